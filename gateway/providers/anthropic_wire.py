"""Our own client for Anthropic's Messages: the client's own fields where it speaks them, else a translation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw
from yarl import URL

from gateway.domain import ChatRequest, Deadline, Failure, FailureKind, Native, Outcome, Target
from gateway.providers.anthropic_reading import COUNT_TOKENS, MESSAGES, read_count, read_message
from gateway.providers.anthropic_stream import MessagesStream, TranslatedStream
from gateway.providers.parameters import OPENAI, superfluous, unsupported
from gateway.providers.passing import Passage
from gateway.providers.reading import read_answer
from gateway.providers.shaping import plain, shaped
from gateway.providers.upstream import Call, Upstream
from gateway.settings import ProviderSettings
from gateway.wires import chat_to_messages, messages_answers
from gateway.wires.passing import Passing
from gateway.wires.words import Untranslatable

VERSION = "2023-06-01"
_BETA = "anthropic-beta"
_IRRELEVANT = frozenset({"metadata", "stream_options"})

_encode = msgspec.json.Encoder().encode


class AnthropicWire:
    """One provider. Calling it asks one target; it never raises but CancelledError.

    Cancelling a call closes its connection, which stops the upstream's work.
    """

    native = frozenset({MESSAGES, COUNT_TOKENS})

    def __init__(self, settings: ProviderSettings) -> None:
        base = (settings.base_url or "https://api.anthropic.com").rstrip("/").removesuffix("/v1")
        self._url = URL(f"{base}/v1/messages", encoded=True).update_query(settings.query)
        self._count_url = URL(f"{base}/v1/messages/count_tokens", encoded=True).update_query(settings.query)
        self._beta = settings.headers.get(_BETA)
        key = settings.api_key
        given = {} if key is None else {"x-api-key": key.reveal()}
        self._upstream = Upstream({"anthropic-version": VERSION, **given, **settings.headers}, settings.ca_certificate)
        self._passage = Passage(f"{base}/v1", settings.query)

    async def warm_up(self) -> None:
        """Open the pool."""
        self._upstream.open()

    async def aclose(self) -> None:
        """Close the pool."""
        await self._upstream.aclose()

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:  # noqa: ARG002
        """Ask one target; the deadline is kept by the attempt policy around this call."""
        native = request.native
        call: Call | Failure
        if native is not None and native.wire == COUNT_TOKENS:
            call = Call(self._count_url, outgoing(target, native), read_count, headers=self._headers(request, native))
        elif native is not None and native.wire == MESSAGES:
            stream = MessagesStream if request.live else None
            body = outgoing(target, native, live=request.live)
            dropped = tuple(name for name in native.fields if name in target.drop)
            call = Call(self._url, body, read_message, stream, self._headers(request, native), dropped)
        else:
            call = self._translated(target, request)
        return call if isinstance(call, Failure) else await self._upstream.ask(target, call)

    async def pass_on(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:  # noqa: ARG002
        """Pass a request on unread, and its answer back."""
        assert isinstance(request, Passing)  # noqa: S101 -- nobody asks this of any other
        return await self._passage.ask(self._upstream.open_plain(), target, request)

    def _headers(self, request: ChatRequest, native: Native) -> Mapping[str, str]:
        if not native.headers:
            return request.headers
        headers = {**request.headers, **native.headers}
        if self._beta and _BETA in headers:
            headers[_BETA] = f"{self._beta},{headers[_BETA]}"
        return headers

    def _translated(self, target: Target, request: ChatRequest) -> Call | Failure:
        kept, dropped = shaped(target, request.fields)
        given = plain(kept)
        wants_usage = bool((given.get("stream_options") or {}).get("include_usage"))
        given = {
            name: value
            for name, value in given.items()
            if name not in _IRRELEVANT and (name in chat_to_messages.TAKEN or not superfluous(name, value))
        }
        foreign = sorted((given.keys() & OPENAI) - chat_to_messages.TAKEN - target.params.keys())
        if foreign and target.on_unsupported == "fail":
            return unsupported(target, foreign[0])
        given = {name: value for name, value in given.items() if name not in foreign}
        if target.prompt is not None:
            given["messages"] = [{"role": "system", "content": target.prompt}, *given.get("messages", ())]
        try:
            body = chat_to_messages.request(given)
        except Untranslatable as exc:
            return _untranslatable(target, exc)
        stream = partial(TranslatedStream, include_usage=wants_usage) if request.live else None
        fields = {"model": target.model, **body, **({"stream": True} if request.live else {})}
        return Call(self._url, _encode(fields), _completion, stream, request.headers, (*dropped, *foreign))


def outgoing(target: Target, native: Native, *, live: bool = False) -> bytes:
    """Return the upstream's request: the client's fields in the client's bytes, the target's model, prompt and params.

    The prompt is a system block before all others; `params` are the operator's, in OpenAI's words or Anthropic's.
    """
    kept = {name: value for name, value in native.fields.items() if name not in target.drop}
    fields: dict[str, Any] = {"model": target.model, **kept}
    if live:
        fields["stream"] = True
    if target.prompt is not None:
        fields["system"] = _prompted(target.prompt, native.fields.get("system"))
    if target.params and native.wire == MESSAGES:
        fields |= chat_to_messages.parameters(target.params)
    return _encode(fields)


def _prompted(prompt: str, system: Raw | None) -> list[Any]:
    first = {"type": "text", "text": prompt}
    if system is None or bytes(system) == b"null":
        return [first]
    if bytes(system).startswith(b"["):
        return [first, *msgspec.json.decode(system, type=list[Raw])]
    return [first, {"type": "text", "text": system}]


def _completion(target: Target, body: bytes) -> Outcome:
    """Read a whole Messages answer as a chat completion."""
    outcome = read_message(target, body)
    if isinstance(outcome, Failure):
        return outcome
    created = int(datetime.now(UTC).timestamp())
    return read_answer(target, _encode(messages_answers.to_chat(msgspec.json.decode(body), created)))


def _untranslatable(target: Target, exc: Untranslatable) -> Failure:
    error = {"message": str(exc), "type": "invalid_request_error", "param": exc.param, "code": "unsupported_value"}
    return Failure(target.name, FailureKind.CALLER_FAULT, f"{exc.param} cannot be translated", status=400, error=error)
