"""Requests that are passed on unread, and their answers: byte for byte, but for what is nobody's business."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from fanin import Candidate
from gateway.domain import Failure, FailureKind, Headers, Outcome, Target
from gateway.errors import StreamBroken
from gateway.providers import classify
from gateway.providers.buffers import Buffers
from gateway.providers.closing import Closing
from gateway.providers.error_report import report_of
from gateway.providers.scrub import scrub
from gateway.wires.passing import Passing, without

SILENCE = 300.0
"""Seconds that the provider may say nothing: some think for minutes before an event comes."""
LARGEST_ERROR = 64 * 1024
_CONNECT_TIMEOUT = 5.0
_NOT_MODIFIED = 304
_THE_CLIENTS = frozenset({400, 403, 404, 405, 406, 409, 410, 411, 412, 413, 415, 416, 422, 425, 428})
"""Statuses that speak of the request and not of the provider or its key; a 403 says what the key may not do."""
_THE_OPERATORS = frozenset({FailureKind.QUOTA, FailureKind.RATE_LIMITED})


class Passage:
    """What is passed on to one provider. `query` goes with every request, and no client can set what stands in it."""

    def __init__(self, base: str, query: Mapping[str, str]) -> None:
        self._base = base
        self._names, self._query = frozenset(query), urlencode(query)

    async def ask(self, session: aiohttp.ClientSession, target: Target, request: Passing) -> Outcome:
        """Pass a request on; the Candidate's payload is the answer, still open. Never raises but CancelledError."""
        body: Any = request.body
        if isinstance(body, bytes):
            body = Buffers([body], request.headers.get("content-type", "application/octet-stream"))
        query = "&".join(filter(None, (without(request.query, self._names), self._query)))
        url = URL(f"{self._base}/{request.path}{'?' if query else ''}{query}", encoded=True)
        response = None
        handed_over = False
        try:
            response = await session.request(
                request.method,
                url,
                data=body,
                headers={**request.headers, "accept-encoding": "identity"},  # so that an error can be read
                skip_auto_headers=("content-type",),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=SILENCE),
            )
            if response.status >= 300 and response.status != _NOT_MODIFIED:
                return await _refused(target, request, response)
            handed_over = True
            return Candidate(target.name, "", payload=PassedAnswer(target, response))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            return classify.from_exception(target.name, exc)
        finally:
            if response is not None and not handed_over:
                response.close()


class PassedAnswer(Closing):
    """An answer that is passed back as it comes."""

    def __init__(self, target: Target, response: aiohttp.ClientResponse) -> None:
        super().__init__()
        self.status = response.status
        self.headers: Headers = response.raw_headers
        self._target = target
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the bytes; raise StreamBroken when the connection broke inside the body."""
        try:
            while data := await self._response.content.readany():
                yield data
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise StreamBroken(classify.from_exception(self._target.name, exc)) from exc

    async def aclose(self) -> None:
        """End the answer; a connection that was read to its end stays in the pool."""
        self._response.close()
        self._closed()


async def _refused(target: Target, request: Passing, response: aiohttp.ClientResponse) -> Failure:
    """Return why there is no answer. Of what speaks of the request itself, its status and scrubbed words are kept."""
    status = response.status
    if status < 400:
        detail = f"the provider answered {status}: redirects are not followed"
        return Failure(target.name, FailureKind.MALFORMED, detail, status=status)
    body = await _beginning(response)
    headers = {name.lower(): value for name, value in response.headers.items()}
    failure = classify.from_response(target.name, status, headers, body)
    failure = replace(failure, headers=response.raw_headers)
    if status not in _THE_CLIENTS or failure.kind in _THE_OPERATORS:
        return failure
    report = report_of(classify.parsed(body))
    error: dict[str, Any] = {
        # What the client wrote into the path may be told to it again: ids look like credentials.
        "message": scrub(report.message, f"{request.path}?{request.query}") or f"The provider answered {status}.",
        "type": report.type or "invalid_request_error",
        "param": scrub(report.param) or None,
        "code": report.code,
    }
    detail = f"the provider found fault with the request ({status})"
    return replace(failure, kind=FailureKind.CALLER_FAULT, detail=detail, error=error)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Read an error's body up to what any error says; more is none."""
    body = b""
    while len(body) <= LARGEST_ERROR and (part := await response.content.readany()):
        body += part
    return body
