"""Large request bodies without copies: the targets of one request share the client's own bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from msgspec import Raw

LARGE = 1024 * 1024
"""Bytes of a field from which on it is not worth a copy a target."""
_PIECE = 64 * 1024

Buffer: TypeAlias = bytes | memoryview
_encode = msgspec.json.Encoder().encode


def written(fields: dict[str, Any]) -> bytes | Sequence[Buffer]:
    """Return fields as JSON: one text, or, where one of them is large, pieces of which the large ones are no copies."""
    for value in fields.values():
        sized = value[-1] if isinstance(value, list) and value else value
        if isinstance(sized, Raw) and memoryview(sized).nbytes > LARGE:
            return list(_pieces(fields))
    return _encode(fields)


def _pieces(value: Any) -> Iterator[Buffer]:
    if isinstance(value, Raw):
        yield memoryview(value)
    elif isinstance(value, dict):
        before = b"{"
        for name, inner in value.items():
            yield before + _encode(name) + b":"
            yield from _pieces(inner)
            before = b","
        yield b"}"
    elif isinstance(value, list):
        before = b"["
        for inner in value:
            yield before
            yield from _pieces(inner)
            before = b","
        yield b"]"
    else:
        yield _encode(value)


class Buffers(aiohttp.Payload):
    """A request body of several buffers, sent one after the other, as fast as the other side takes them."""

    def __init__(self, buffers: Sequence[Buffer], content_type: str) -> None:
        super().__init__(buffers, content_type=content_type)
        self._buffers = buffers
        self._size = sum(map(len, buffers))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the text; only debugging asks for it."""
        return b"".join(self._buffers).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send everything."""
        for buffer in self._buffers:
            view = memoryview(buffer)
            for start in range(0, len(view), _PIECE):
                await writer.write(view[start : start + _PIECE])
