"""What a stream is to everybody who passes it on, whoever speaks in it: one target, several in turn, or all at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from gateway.domain import Failure, Headers, Usage


class LiveStream(Protocol):
    """An answer that is still being written: the payload of a candidate that entered the ballot at its first words.

    Iterating gives lists of what arrived together: each item is the data of one server-sent event (a JSON object, never
    `[DONE]`), beginning with the ones read before the commit. It ends after a complete answer and raises
    `errors.StreamBroken` when the upstream broke off. `wire` says whose events they are, as `Answer.wire` does.
    """

    @property
    def headers(self) -> Headers:
        """What the upstream's headers say, as in an Answer."""
        ...

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of the client's fields that the upstream was not sent."""
        ...

    @property
    def media(self) -> str | None:
        """The content type of what is not events."""
        ...

    @property
    def wire(self) -> str:
        """The protocol of the events."""
        ...

    @property
    def target(self) -> str:
        """The name of the target that speaks at present."""
        ...

    @property
    def failure(self) -> Failure | None:
        """What broke the stream off; None while it goes on, and after a whole answer."""
        ...

    @property
    def postscript(self) -> Mapping[str, Any]:
        """What has become known since the first words, for the explanation at the end."""
        ...

    def __aiter__(self) -> AsyncIterator[list[bytes]]:
        """Give the events."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What has been counted so far."""
        ...

    async def hear(self, count: int) -> str | None:
        """Read on until it has said `count` characters or is over; return all that it has said.

        None: it says more than the text of one choice (a tool call, a second choice), or on another wire than chat.
        """
        ...

    def forget(self) -> None:
        """Keep no more of what it says, as nobody will `hear` it."""
        ...

    def resume(self, like: bytes, skip: int) -> AsyncIterator[list[bytes]]:
        """Give its events behind the first `skip` characters, as the continuation of a stream that began with `like`.

        It ends and raises as iterating does. Only after `hear` has told what it says.
        """
        ...

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once when the stream is over, however it ends."""
        ...

    async def aclose(self) -> None:
        """Close the connection; the upstream stops writing."""
        ...
