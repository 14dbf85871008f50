"""Content codings: a body packed piece by piece, each so that its reader can unpack it at once (RFC 9110, 8.4.1)."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli  # type: ignore[import-untyped,unused-ignore]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Packer(Protocol):
    """One body on its way."""

    def pack(self, data: bytes) -> bytes:
        """Pack the next piece so that nothing of it is held back."""
        ...

    def end(self) -> bytes:
        """Return the end of the body."""
        ...


class _Gzip:
    def __init__(self) -> None:
        self._to = zlib.compressobj(wbits=31)

    def pack(self, data: bytes) -> bytes:
        return self._to.compress(data) + self._to.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._to.flush()


class _Brotli:
    def __init__(self) -> None:
        self._to = brotli.Compressor(quality=4)

    def pack(self, data: bytes) -> bytes:
        packed: bytes = self._to.process(data) + self._to.flush()
        return packed

    def end(self) -> bytes:
        ended: bytes = self._to.finish()
        return ended


class _Zstd:
    def __init__(self) -> None:
        self._to = zstd.ZstdCompressor()

    def pack(self, data: bytes) -> bytes:
        return self._to.compress(data, self._to.FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._to.flush()


PACKERS: dict[str, Callable[[], Packer]] = {"gzip": _Gzip, "br": _Brotli, "zstd": _Zstd}
"""By the names that stand in `Content-Encoding`."""
