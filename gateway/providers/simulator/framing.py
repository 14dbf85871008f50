"""Server-sent events: what a dialect emits and the many legal ways to write it (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.providers.simulator.behaviour import Behaviour

DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"
_NEWLINES = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its JSON (or DONE), its name where the dialect has names, and how many generated tokens it carries."""

    data: bytes
    name: bytes = b""
    tokens: int = 0


class Framer:
    """Writes events the way a behaviour dresses them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._newline = _NEWLINES[behaviour.newline]
        self._plain = not (behaviour.newline != "lf" or behaviour.comments or behaviour.multiline or behaviour.tight)

    @property
    def opening(self) -> bytes:
        """What goes before the first event."""
        return _BOM if self._behaviour.bom else b""

    def frame(self, event: Event, *, broken: bool = False, unfinished: bool = False) -> bytes:
        """Return the bytes of one event: a broken one lacks the end of its JSON, an unfinished one its line ends."""
        data = event.data[: len(event.data) * 2 // 3] if broken else event.data
        head = b"event: " + event.name + b"\n" if event.name else b""
        framed = head + b"data: " + data + b"\n\n" if self._plain else self._dressed(head, data)
        return framed.rstrip(b"\r\n") if unfinished else framed

    def ping(self, named: bytes) -> bytes:
        """Return a sign of life: an event of its own where the dialect has one, otherwise a comment."""
        if named:
            return self.frame(Event(named, b"ping"))
        return b": ping\n\n".replace(b"\n", self._newline)

    def _dressed(self, head: bytes, data: bytes) -> bytes:
        behaviour = self._behaviour
        # White space may stand after a JSON object's brace, and the end of a data line is white space.
        lines = [b"{", data[1:]] if behaviour.multiline and data[:1] == b"{" else [data]
        colon = b"data:" if behaviour.tight else b"data: "
        comment = b": simulated comment\n\n" if behaviour.comments else b""
        written = comment + head + b"".join(colon + line + b"\n" for line in lines) + b"\n"
        return written.replace(b"\n", self._newline)
