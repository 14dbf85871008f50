"""What the tests of providers behind litellm share: a scripted upstream, requests, and the reading of answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Raw

from fanin import Candidate
from gateway.domain import Answer, ChatRequest, Target
from gateway.providers.via_litellm import LitellmProvider
from gateway.settings import ProviderSettings, Secret
from tests.support import anthropic_server, gemini_server
from tests.support.wire_server import Received, Reply, WireServer

KEY = "canary-key-7"
QUIET = "ignore:Items? '.*' on TypedDict class:UserWarning"
"""What pydantic says about litellm's own types while it builds them, once a process: nothing that we could mend."""
CLAUDE = Target("claude", "anthropic", anthropic_server.MODEL, weight=2.0, priority=3)
FLASH = Target("flash", "gemini", gemini_server.MODEL)


def ask(
    *, live: bool = False, logprobs: bool = False, headers: dict[str, str] | None = None, **fields: Any
) -> ChatRequest:
    fields.setdefault("messages", [{"role": "user", "content": "Capital of France?"}])
    raw = {name: Raw(json.dumps(value).encode()) for name, value in fields.items()}
    return ChatRequest("req-1", "route", raw, live=live, logprobs=logprobs, headers=headers or {})


class Upstream:
    """A scripted server and the providers that ask it; `replies` are played in order, the last one for ever."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.server = WireServer(self._next)
        self._providers: list[LitellmProvider] = []

    def _next(self, received: Received) -> Reply:
        return self.replies[min(len(self.server.received), len(self.replies)) - 1]

    async def ask(self, target: Target, request: ChatRequest, reply: Reply | None = None, **settings: Any) -> Any:
        if reply is not None:
            self.replies = [reply]
        key = Secret(KEY)
        provider = LitellmProvider(ProviderSettings(target.provider, target.provider, self.server.url, key, **settings))
        self._providers.append(provider)
        return await provider(target, request, asyncio.get_running_loop().time() + 30)

    @property
    def body(self) -> Any:
        return self.server.received[-1].json

    async def close(self) -> None:
        for provider in self._providers:
            await provider.aclose()


@asynccontextmanager
async def upstream_server() -> AsyncIterator[Upstream]:
    """Run a server and close the providers that asked it."""
    upstream = Upstream()
    async with upstream.server:
        try:
            yield upstream
        finally:
            await upstream.close()


def fields(candidate: Candidate) -> dict[str, Any]:
    assert isinstance(candidate.payload, Answer)
    return {name: json.loads(bytes(raw)) for name, raw in candidate.payload.fields.items()}


async def events(candidate: Candidate) -> list[dict[str, Any]]:
    read = [json.loads(data) async for events in candidate.payload for data in events]
    await candidate.payload.aclose()
    return read
