"""Our own client for every OpenAI-compatible upstream: bytes out, bytes in, nothing renamed, dropped or invented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from yarl import URL

from gateway.domain import ChatRequest, Deadline, Failure, FailureKind, Outcome, ProviderSettings, Target
from gateway.providers.openai_stream import WireStream
from gateway.providers.reading import read_answer
from gateway.providers.shaping import MOST_REFUSALS, Refusals, shaped
from gateway.providers.upstream import Call, Upstream

_encode = msgspec.json.Encoder().encode
_TRUE = Raw(b"true")


class OpenAIWire:
    """One provider. Calling it asks one target; it never raises but CancelledError.

    Cancelling a call closes its connection, which stops the upstream's work.
    """

    native: frozenset[str] = frozenset()

    def __init__(self, settings: ProviderSettings) -> None:
        base = (settings.base_url or "https://api.openai.com/v1").rstrip("/")
        self._url = URL(f"{base}/chat/completions", encoded=True).update_query(settings.query)
        key = settings.api_key
        bearer = {} if key is None else {"authorization": f"Bearer {key.reveal()}"}
        self._upstream = Upstream({**bearer, **settings.headers})
        self._without_logprobs: set[str] = set()
        self._refusals = Refusals()

    async def warm_up(self) -> None:
        """Open the pool."""
        self._upstream.open()

    async def aclose(self) -> None:
        """Close the pool."""
        await self._upstream.aclose()

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:  # noqa: ARG002
        """Ask one target; the deadline is kept by the attempt policy around this call."""
        if not request.logprobs:
            return await self._ask(target, request)
        # The selector wants logprobs, the client did not ask: a model that refuses them is asked once more without.
        if target.model not in self._without_logprobs:
            outcome = await self._ask(target, request)
            if not (isinstance(outcome, Failure) and _refuses_logprobs(outcome)):
                return outcome
            self._without_logprobs.add(target.model)
        return await self._ask(target, replace(request, logprobs=False))

    async def _ask(self, target: Target, request: ChatRequest) -> Outcome:
        """Ask, and ask again without what the model turns out not to take, as far as the target allows that."""
        stream = WireStream if request.live else None
        for _ in range(MOST_REFUSALS):
            fields, dropped = outgoing(target, request)
            dropped += self._refusals.applied(target, fields)
            call = Call(self._url, _encode(fields), read_answer, stream, request.headers, dropped)
            outcome = await self._upstream.ask(target, call)
            if not isinstance(outcome, Failure) or not self._refusals.learn(target, outcome, fields.keys()):
                break
        return outcome


def _refuses_logprobs(failure: Failure) -> bool:
    if failure.kind is not FailureKind.CALLER_FAULT or failure.error is None:
        return False
    return "logprobs" in f"{failure.error.get('param')} {failure.error.get('message')}"


def outgoing(target: Target, request: ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the upstream's request, in the client's bytes, and the names of the client's fields that are not in it.

    The target's prompt is a system message before all others.
    """
    kept, dropped = shaped(target, request.fields)
    fields: dict[str, Any] = {"model": target.model, **kept}
    if request.live:
        fields["stream"] = _TRUE
    else:
        fields.pop("stream_options", None)
    if request.logprobs:
        fields["logprobs"] = _TRUE
    if target.prompt is not None:
        fields["messages"] = _prompted(target.prompt, fields.get("messages"))
    return fields, dropped


def _prompted(prompt: str, messages: Raw | None) -> list[Any]:
    before: list[Mapping[str, str]] = [{"role": "system", "content": prompt}]
    return [*before, *(msgspec.json.decode(messages, type=list[Raw]) if messages is not None else ())]
