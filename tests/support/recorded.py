"""Recorded exchanges of real providers, replayed over a real socket: what a gateway must not change.

They are read from a folder beside the repository and never become part of it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateways import Running, gateways
from tests.support.wire_server import Received, Reply, WireServer

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@dataclass(frozen=True)
class Exchange:
    """One request with its answer: `body` is JSON, or the text of an event stream where `streamed`."""

    id: str
    kind: str
    host: str
    request: dict[str, Any]
    status: int
    streamed: bool
    body: Any

    @property
    def events(self) -> list[Any]:
        """The events of a stream, decoded, without `[DONE]`."""
        return [json.loads(data) for data in datas(self.body) if data != "[DONE]"]

    @property
    def reply(self) -> Reply:
        """The answer as a server gives it."""
        if self.streamed:
            return Reply(self.status, {"content-type": "text/event-stream; charset=utf-8"}, frames=[self.body.encode()])
        return Reply(self.status, {"content-type": "application/json"}, json.dumps(self.body).encode())


@cache
def exchanges(name: str, kind: str) -> list[Exchange]:
    """Return the recorded exchanges of a kind; skips the test where the recordings are not at hand."""
    path = DATA / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the recordings are not at hand: {path}")
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [_exchange(row) for row in rows if row["kind"] == kind and isinstance(_decoded(row["request"]), dict)]


def _exchange(row: dict[str, Any]) -> Exchange:
    # Some streams are not noted as such.
    streamed = row["sse"] or (isinstance(row["body"], str) and row["body"].startswith((":", "data:", "event:")))
    body = row["body"] if streamed else _decoded(row["body"])
    return Exchange(str(row["id"]), row["kind"], row["host"], _decoded(row["request"]), row["status"], streamed, body)


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def datas(stream: str) -> Iterator[str]:
    """Yield the data of each event of a stream in the plain dress that providers send."""
    for block in stream.replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines:
            yield "\n".join(lines)


class Replaying:
    """A gateway before a server that answers with whatever exchange is `playing`; its route is `one`."""

    def __init__(self, running: Running, server: WireServer) -> None:
        self.running = running
        self.server = server
        self.playing: Exchange | None = None

    async def ask(self, exchange: Exchange, body: Any, path: str) -> Any:
        """Ask the gateway while an exchange plays; return its response, and what reached the server."""
        self.playing = exchange
        self.server.received.clear()
        response = await self.running.post({**body, "model": "one"}, path)
        return response, self.server.received[0].json if self.server.received else None


@asynccontextmanager
async def replaying(settings: str) -> AsyncIterator[Replaying]:
    """Run one before a provider with these settings."""
    holder: list[Replaying] = []

    def answer(_: Received) -> Reply:
        assert holder[0].playing is not None
        return holder[0].playing.reply

    async with WireServer(answer) as server:
        head = f"  real: {{base_url: '{server.url}/v1', api_key: k, {settings}}}"
        async with gateways("  one: {targets: [real/upstream-model], retries: 0}", head=head) as running:
            holder.append(Replaying(running, server))
            yield holder[0]
