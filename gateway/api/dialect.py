"""What a wire dialect is: how clients write a request, and how they read answers, streams and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import Raw

from gateway.api.asked import Asked
from gateway.domain import Answer, Route
from gateway.errors import HedgerowError, InvalidRequest
from gateway.wires.words import Untranslatable

CHAT = "chat"
"""The inner wire: what every target understands and every other dialect is translated to and from."""


class Translation(NamedTuple):
    """The fields of a chat completion request, and the names of what the client sent and no target is told."""

    fields: Mapping[str, Raw]
    dropped: Sequence[str] = ()


def translation(request: Callable[..., tuple[Mapping[str, Any], Sequence[str]]], asked: Asked) -> Translation:
    """Return what a dialect's `request` makes of what was asked.

    Raises:
        InvalidRequest: it cannot be said in a chat completion request.
    """
    try:
        fields, dropped = request(asked.fields, stream=asked.stream)
    except Untranslatable as exc:
        raise InvalidRequest(str(exc), param=exc.param) from None
    return Translation({name: Raw(msgspec.json.encode(value)) for name, value in fields.items()}, dropped)


class ErrorDialect(Protocol):
    """How the clients of one path read an error.

    `id_headers` are the names, besides `x-request-id`, under which they look for the request's id.
    """

    id_headers: tuple[bytes, ...]

    def error(self, error: HedgerowError, request_id: str) -> bytes:
        """Return the body of an error response."""
        ...


class StreamWriter(Protocol):
    """One stream to one client, in the dialect's own events. What it returns goes onto the wire as it is."""

    def events(self, data: Sequence[bytes]) -> bytes:
        """Write what came together from a live upstream: the data of events on the wire the writer was made for."""
        ...

    def replay(self, answer: Answer) -> bytes:
        """Write a whole answer as the stream it would have been, without its end."""
        ...

    def end(self, explanation: Raw | None) -> bytes:
        """Write the end of a complete answer."""
        ...

    def fail(self, error: HedgerowError, request_id: str) -> bytes:
        """Write an error that ends the stream, so that no client takes what it has for a whole answer."""
        ...


class Dialect(ErrorDialect, Protocol):
    """Translate between what clients speak and the inner request. Stateless: one serves all requests of its path.

    `wire` names the protocol. A target that speaks it itself gets the client's own fields and its answer is passed back
    as it came; every other one gets `translated` and its answer comes as a chat completion. `forwarded` are the
    client's headers that belong to the protocol and go to targets that speak it.
    """

    wire: str
    keep_alive: bytes
    forwarded: tuple[bytes, ...]

    def parse(self, body: bytes) -> Asked:
        """Read a request; raises InvalidRequest naming the field, what it holds and what is expected."""
        ...

    def admit(self, asked: Asked, route: Route) -> None:
        """Refuse what cannot be asked of this route, such as what a provider would keep, of several targets."""
        ...

    def translated(self, asked: Asked) -> Translation:
        """Return the chat completion request that means the same; raises InvalidRequest."""
        ...

    def together(self, first: Answer, answers: Sequence[Answer]) -> Answer:
        """Return one answer that holds several; chat completions come with the tokens of all on the first."""
        ...

    def whole(self, answer: Answer, asked: Asked, explanation: Raw | None) -> bytes:
        """Return the body of a whole answer under the model's name that the client asked for."""
        ...

    def writer(self, asked: Asked, wire: str) -> StreamWriter:
        """Return the writer of one stream whose answer or events come in on `wire`: the dialect's own, or chat."""
        ...
