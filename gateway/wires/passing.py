"""What is passed on unread to one provider: which paths, and which header fields in either direction. Pure."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Collection
from urllib.parse import unquote_to_bytes

from gateway.domain import ChatRequest
from gateway.errors import InvalidRequest

ROUTE = "_passthrough"
"""What metrics, logs and headers call the route of everything that is passed on."""
OPERATION = "passthrough"
"""What metrics and traces call what is done there: nobody knows whether it is a chat."""
ANY_MODEL = "*"
"""The model of its target: which one is asked, if any, stands in what nobody reads."""
TAKEN = (
    b"accept",
    b"accept-language",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"idempotency-key",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"openai-beta",
    b"anthropic-beta",
    b"anthropic-version",
    b"range",
    b"traceparent",
    b"tracestate",
)
"""The header fields of a request that go on. An allow-list: keys, cookies, organisations and hops are not in it."""
GIVEN = frozenset(
    {
        b"accept-ranges",
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"etag",
        b"last-modified",
    }
)
"""The header fields of an answer that come back, beside those that every answer may have."""

_PREFIXES = (b"/v1/", b"/openai/v1/")
_SLASHES = re.compile(rb"/{2,}")
_PATH = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")  # RFC 3986, section 3.3
_QUERY = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@%/?\[\]|-]*")
_MOST_DECODINGS = 8


class Passing(ChatRequest, frozen=True):
    """A request that is passed on as it came; `path` stands below the provider's base URL, as the client wrote it.

    `body` is None where there is none; one that is still coming in is sent while it does.
    """

    method: str = "GET"
    path: str = ""
    query: str = ""
    body: bytes | AsyncIterable[bytes] | None = None


def below(path: bytes) -> str:
    """Return what stands behind `/v1/` in the path of a request.

    Whatever a server may make of it, it stays there: no segment is `..` or `.`, however often it is decoded.

    Raises:
        InvalidRequest: the path would leave the provider's base URL, or is none by RFC 3986.
    """
    plain = _SLASHES.sub(b"/", path)
    rest = next((plain[len(prefix) :] for prefix in _PREFIXES if plain.startswith(prefix)), None)
    if rest is None or not _PATH.fullmatch(rest):
        raise InvalidRequest("The path has characters that must be percent-encoded in a URL.")
    decoded, times = rest, 0
    while (again := unquote_to_bytes(decoded)) != decoded and times < _MOST_DECODINGS:
        decoded, times = again, times + 1
    segments = re.split(rb"[/\\]", decoded)
    if times == _MOST_DECODINGS or b".." in segments or b"." in segments or re.search(rb"[\x00-\x1f\x7f]", decoded):
        raise InvalidRequest("The path has a segment `.` or `..`, or a control character: it is not passed on.")
    return rest.decode("ascii")


def behind(query: bytes) -> str:
    """Return the query of a request; raises InvalidRequest if it is none by RFC 3986."""
    if not _QUERY.fullmatch(query):
        raise InvalidRequest("The query has characters that must be percent-encoded in a URL.")
    return query.decode("ascii")


def without(query: str, names: Collection[str]) -> str:
    """Return a query without the parameters of these names, however they are written."""
    return query if not names else "&".join(pair for pair in query.split("&") if _name(pair) not in names)


def _name(pair: str) -> str:
    return unquote_to_bytes(pair.partition("=")[0].replace("+", " ")).decode(errors="replace")
