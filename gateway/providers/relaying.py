"""Answers that are passed through: JSON objects that are hardly looked into, and bytes that are not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import msgspec
from msgspec import Raw, Struct

from fanin import Candidate
from gateway.domain import Answer, Failure, FailureKind, Headers, Outcome, Target, Usage
from gateway.errors import StreamBroken
from gateway.providers import classify
from gateway.providers.closing import Closing
from gateway.providers.live import PIECE
from gateway.providers.reading import candidate, read_chunk
from gateway.wires.operations import COMPLETIONS, OPERATIONS

_FATAL = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_NOTHING = (Raw(b"null"), Raw(b"[]"))

_objects: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


class _Counted(Struct):
    prompt_tokens: int | float | None = None
    input_tokens: int | float | None = None
    completion_tokens: int | float | None = None
    output_tokens: int | float | None = None


class _Told(Struct):
    """The part of any answer that we look at."""

    text: str | None = None
    usage: _Counted | None = None


_told = msgspec.json.Decoder(_Told, strict=False)


def reader(wire: str) -> Callable[[Target, bytes], Outcome]:
    """Return who reads whole JSON answers of an operation."""
    holds = OPERATIONS[wire].holds
    without = Raw(b"{}") if OPERATIONS[wire].may_lack else _NOTHING[0]

    def read(target: Target, body: bytes) -> Outcome:
        try:
            fields = _objects.decode(body)
        except _FATAL:
            return Failure(target.name, FailureKind.MALFORMED, "the provider's answer is not a JSON object")
        if fields.get("error", _NOTHING[0]) != _NOTHING[0]:
            return classify.from_error_object(target.name, msgspec.json.decode(fields["error"]), None)
        if holds is not None and fields.get(holds, without) in _NOTHING:
            return Failure(target.name, FailureKind.EMPTY, f"the provider answered without any `{holds}`")
        if wire == COMPLETIONS:
            return _completion(target, fields, body)
        text, usage = _facts(body)
        return Candidate(
            target.name, text, weight=target.weight, priority=target.priority, payload=Answer(fields, usage, wire)
        )

    return read


def _candidate(target: Target, text: str, payload: object) -> Candidate:
    return Candidate(target.name, text, weight=target.weight, priority=target.priority, payload=payload)


def _completion(target: Target, fields: dict[str, Raw], body: bytes) -> Outcome:
    reading = read_chunk(body)
    if reading is None or not reading.choices:
        return Failure(target.name, FailureKind.MALFORMED, "the provider's answer is not a completion")
    choice = next((choice for choice in reading.choices if choice.text), None)
    if choice is None:
        return Failure(target.name, FailureKind.EMPTY, "the provider answered without content")
    return candidate(target, choice, Answer(fields, reading.usage_or(None), COMPLETIONS))


def _facts(body: bytes) -> tuple[str, Usage | None]:
    """Return what a selector may compare and the ledger counts; what is written in another way is nobody's fault."""
    try:
        told = _told.decode(body)
    except _FATAL:
        return "", None
    if (usage := told.usage) is None:
        return told.text or "", None
    prompt, completion = usage.prompt_tokens or usage.input_tokens, usage.completion_tokens or usage.output_tokens
    return told.text or "", Usage(int(prompt or 0), int(completion or 0))


class ByteStream(Closing):
    """An answer in bytes of any kind (audio, an image, subtitles, events), passed on as they come.

    It enters the ballot with its first bytes and is complete when the body is.
    """

    usage: Usage | None = None
    dropped: tuple[str, ...] = ()
    failure: Failure | None = None
    postscript: Mapping[str, Any] = {}

    def __init__(self, target: Target, response: aiohttp.ClientResponse, wire: str) -> None:
        super().__init__()
        self.wire = wire
        self.media = response.headers.get("content-type", "application/octet-stream")
        self.headers: Headers = response.raw_headers
        self.target = target.name
        self._target = target
        self._response = response
        self._first = b""

    async def commit(self) -> Candidate | Failure:
        """Wait for the first bytes."""
        self._first = await self._response.content.read(PIECE)
        if not self._first:
            return Failure(self._target.name, FailureKind.EMPTY, "the provider answered without content")
        return _candidate(self._target, "", self)

    async def __aiter__(self) -> AsyncIterator[list[bytes]]:
        """Give the bytes; raise StreamBroken when the connection broke inside the body."""
        yield [self._first]
        try:
            while data := await self._response.content.read(PIECE):
                yield [data]
        except (aiohttp.ClientError, OSError) as exc:
            self.failure = classify.from_exception(self.target, exc)
            raise StreamBroken(self.failure) from exc

    async def hear(self, count: int) -> str | None:  # noqa: ARG002 -- whatever it says, it is no text
        """Return None: nobody else could continue it."""
        return None

    def forget(self) -> None:
        """Do nothing: no text is kept."""

    def resume(self, like: bytes, skip: int) -> AsyncIterator[list[bytes]]:  # noqa: ARG002
        """Give the bytes; it is never asked to continue another stream."""
        return aiter(self)

    async def aclose(self) -> None:
        """End the stream; the upstream stops sending, and a connection that was read to its end stays in the pool."""
        self._response.close()
        self._closed()
