"""An incremental parser of server-sent events (WHATWG HTML, "9.2.6 Interpreting an event stream").

Lines end at CR LF, LF or CR and nowhere else: `str.splitlines` also breaks at U+2028, U+0085 and others, which are
legal inside JSON strings. So the parser works on bytes, where those never look like a line end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """One event is beyond the limit."""


class SSEParser:
    """Feed it whatever arrived, get the data of every event that became complete.

    Only `data` matters to our wires; `event`, `id`, `retry` and comments are skipped. `limit` bounds the bytes of one
    unfinished event, so that an upstream that never ends one cannot fill the memory.
    """

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._rest = b""
        self._more: list[bytes] = []
        """What came after `_rest` without ending its line: a line of megabytes is put together and searched once."""
        self._size = 0
        self._data: list[bytes] = []
        self._started = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of each completed event.

        Raises:
            EventTooLarge: an unfinished event exceeds the limit.
        """
        if self._is_one_event(chunk):
            self._started = True
            yield chunk[6:-2]
            return
        if self._started and b"\n" not in chunk and b"\r" not in chunk and not self._rest.endswith(b"\r"):
            self._more.append(chunk)
            self._size += len(chunk)
            self._check()
            return
        buffer = b"".join((self._rest, *self._more, chunk))
        self._more.clear()
        if not self._started:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                self._rest = buffer
                return
            self._started = True
            buffer = buffer.removeprefix(_BOM)
        yield from self._lines(buffer)
        self._size = len(self._rest) + sum(map(len, self._data))
        self._check()

    def _check(self) -> None:
        if self._size > self._limit:
            raise EventTooLarge(f"an event of more than {self._limit} bytes")

    def _is_one_event(self, chunk: bytes) -> bool:
        """Whether a chunk is just `data: …` and a blank line: how a paced stream arrives, worth not taking apart."""
        return (
            not self._rest
            and not self._more
            and not self._data
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.count(b"\n") == 2
            and b"\r" not in chunk
        )

    def _lines(self, buffer: bytes) -> Iterator[bytes]:
        position = 0
        for end in _LINE_END.finditer(buffer):
            # A CR at the very end may be half of a CR LF: leave it for the next chunk to tell.
            if end.end() == len(buffer) and end.group() == b"\r":
                break
            event = self._line(buffer[position : end.start()])
            position = end.end()
            if event is not None:
                yield event
        self._rest = buffer[position:]

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            if not self._data:
                return None
            event, self._data = b"\n".join(self._data), []
            return event
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            self._data.append(b"")
        return None

    def close(self) -> Iterator[bytes]:
        """Yield the event that the stream's end left without its blank line.

        The specification drops it; providers that forget the last blank line exist, and what they sent is a whole line.
        """
        rest = b"".join((self._rest, *self._more)).removesuffix(b"\r")
        self._rest, self._more = b"", []
        if rest:
            self._line(rest)
        if (event := self._line(b"")) is not None:
            yield event
