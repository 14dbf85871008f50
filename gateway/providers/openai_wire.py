"""Our own client for every OpenAI-compatible upstream: bytes out, bytes in, nothing renamed, dropped or invented."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from msgspec import Raw
from msgspec.structs import replace
from yarl import URL

from fanin import Candidate
from gateway.domain import ChatRequest, Deadline, Failure, FailureKind, Outcome, ProviderSettings, Target
from gateway.providers import classify
from gateway.providers.openai_stream import WireStream
from gateway.providers.reading import read_answer

CONNECT_TIMEOUT = 5.0
MAX_ANSWER = 16 * 1024 * 1024
_LARGE = 1024 * 1024

_encode = msgspec.json.Encoder().encode
_TRUE = Raw(b"true")


class OpenAIWire:
    """One provider's pooled connections. Calling it asks one target; it never raises but CancelledError.

    Cancelling a call closes its connection, which stops the upstream's work.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        base = (settings.base_url or "https://api.openai.com/v1").rstrip("/")
        self._url = URL(f"{base}/chat/completions", encoded=True).update_query(settings.query)
        self._headers = {
            "content-type": "application/json",
            "accept": "*/*",
            "accept-encoding": "gzip, deflate",
            "user-agent": "hedgerow",
        }
        if settings.api_key is not None:
            self._headers["authorization"] = f"Bearer {settings.api_key.reveal()}"
        self._headers |= settings.headers
        self._session: aiohttp.ClientSession | None = None
        self._without_logprobs: set[str] = set()

    def _open(self) -> aiohttp.ClientSession:
        # Made inside the running loop, at the first call. The bulkhead limits calls, so the pool itself need not.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=True,
                read_bufsize=2**16,
            )
        return self._session

    async def warm_up(self) -> None:
        """Open the pool; connections are made when they are needed."""
        self._open()

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:  # noqa: ARG002
        """Ask one target; the deadline is kept by the attempt policy around this call."""
        if not request.logprobs:
            return await self._ask(target, request)
        # The selector wants logprobs, the client did not ask: a model that refuses them is asked once more without.
        if target.model not in self._without_logprobs:
            outcome = await self._ask(target, request)
            if not (isinstance(outcome, Failure) and _refuses_logprobs(outcome)):
                return outcome
            self._without_logprobs.add(target.model)
        return await self._ask(target, replace(request, logprobs=False))

    async def _ask(self, target: Target, request: ChatRequest) -> Outcome:
        body = outgoing(target, request)
        # aiohttp warns about large bodies given as bytes; a reader over the same bytes is sent in pieces, uncopied.
        data: Any = body if len(body) < _LARGE else io.BytesIO(body)
        response = None
        handed_over = False
        try:
            response = await self._open().post(
                self._url, data=data, headers=request.headers or None, allow_redirects=False
            )
            if response.status != 200:
                return await self._refused(target, response)
            if request.live and response.content_type == "text/event-stream":
                outcome = await WireStream(target, response).commit()
                handed_over = isinstance(outcome, Candidate)
                return outcome
            whole = await _read(response)
            if whole is None:
                return Failure(target.name, FailureKind.MALFORMED, f"an answer of more than {MAX_ANSWER} bytes")
            return read_answer(target, whole)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            return classify.from_exception(target.name, exc)
        finally:
            if response is not None and not handed_over:
                response.close()  # a no-op for the connection of an answer that was read to its end

    async def _refused(self, target: Target, response: aiohttp.ClientResponse) -> Failure:
        if 200 < response.status < 400:
            return Failure(
                target.name, FailureKind.MALFORMED, f"the provider answered {response.status}", status=response.status
            )
        headers = {name.lower(): value for name, value in response.headers.items()}
        return classify.from_response(target.name, response.status, headers, await _read(response) or b"")


def _refuses_logprobs(failure: Failure) -> bool:
    if failure.kind is not FailureKind.CALLER_FAULT or failure.error is None:
        return False
    return "logprobs" in f"{failure.error.get('param')} {failure.error.get('message')}"


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Read a whole body; None when it is larger than one branch may be."""
    parts: list[bytes] = []
    size = 0
    while part := await response.content.readany():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def outgoing(target: Target, request: ChatRequest) -> bytes:
    """Return the upstream's request: the client's fields in the client's bytes, the target's model, prompt and params.

    `params` are the operator's and win over the client's fields; the prompt is a system message before all others.
    """
    fields: dict[str, Any] = {"model": target.model, **request.fields}
    if request.live:
        fields["stream"] = _TRUE
    else:
        fields.pop("stream_options", None)
    if request.logprobs:
        fields["logprobs"] = _TRUE
    if target.prompt is not None:
        fields["messages"] = _prompted(target.prompt, fields.get("messages"))
    if target.params:
        fields.update(target.params)
    return _encode(fields)


def _prompted(prompt: str, messages: Raw | None) -> list[Any]:
    before: list[Mapping[str, str]] = [{"role": "system", "content": prompt}]
    return [*before, *(msgspec.json.decode(messages, type=list[Raw]) if messages is not None else ())]
