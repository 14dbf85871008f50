"""Compressed request bodies: decoded within a limit, so that a small body cannot become a large one unseen."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from gateway.errors import BodyTooLarge, InvalidRequest, UnsupportedCoding

_STEP = 1024 * 1024
_SUPPORTED = ("gzip", "deflate", "br", "zstd")


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """Return what a body of this `Content-Encoding` holds (RFC 9110, section 8.4), at most `limit` bytes.

    Raises:
        UnsupportedCoding: it is none of gzip, deflate, br and zstd, or several on top of each other.
        BodyTooLarge: it would become larger than `limit`; nothing beyond that is decompressed.
        InvalidRequest: it is broken, or goes on behind its end.
    """
    coding = coding.strip().lower().removeprefix("x-")
    if coding in {"", "identity"}:
        return body
    decode = _DECODERS.get(coding)
    if decode is None:
        raise UnsupportedCoding(coding, _SUPPORTED)
    try:
        whole = decode(body, limit)
    except _broken() as exc:
        raise InvalidRequest(f"The request body is not valid {coding} ({exc}); send it uncompressed.") from None
    if len(whole) > limit:
        raise BodyTooLarge(f"the request body has more than {limit} bytes once it is decompressed; send a smaller one")
    return whole


class _BrokenError(ValueError):
    """The compressed data end too early, or go on behind their end."""


def _broken() -> tuple[type[Exception], ...]:
    """Return what the decoders raise, without importing those that nobody has used."""
    import brotli  # noqa: PLC0415 -- few requests are compressed, fewer like this
    from backports import zstd  # noqa: PLC0415

    return zlib.error, brotli.error, zstd.ZstdError, _BrokenError


def _complete(whole: bytes, limit: int, *, ended: bool, rest: bytes) -> bytes:
    if len(whole) <= limit and (not ended or rest):
        raise _BrokenError("it ends too early" if not ended else "something follows its end")
    return whole


def _gzip(body: bytes, limit: int) -> bytes:
    return _inflated(body, limit, 31)


def _deflate(body: bytes, limit: int) -> bytes:
    """Take the zlib format that the word stands for, and the raw one that some send."""
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _inflated(body, limit, 15 if is_zlib else -15)


def _inflated(body: bytes, limit: int, window: int) -> bytes:
    inflate = zlib.decompressobj(window)
    whole = inflate.decompress(body, limit + 1)
    return _complete(whole, limit, ended=inflate.eof, rest=inflate.unused_data)


def _brotli(body: bytes, limit: int) -> bytes:
    import brotli  # noqa: PLC0415 -- see _broken

    decoder = brotli.Decompressor()
    parts = [decoder.process(body, output_buffer_limit=_STEP)]
    size = len(parts[0])
    while size <= limit and not decoder.is_finished():
        parts.append(decoder.process(b"", output_buffer_limit=_STEP))
        if not parts[-1]:
            raise _BrokenError("it ends too early")
        size += len(parts[-1])
    return b"".join(parts)


def _zstd(body: bytes, limit: int) -> bytes:
    from backports import zstd  # noqa: PLC0415 -- see _broken

    decoder = zstd.ZstdDecompressor()
    whole = decoder.decompress(body, max_length=limit + 1)
    return _complete(whole, limit, ended=decoder.eof, rest=decoder.unused_data if decoder.eof else b"")


_DECODERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
