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
from gateway.providers.parameters import OPENAI, sifted, unsupported
from gateway.providers.passing import Passage
from gateway.providers.reading import read_answer
from gateway.providers.shaping import plain, renamed, shaped
from gateway.providers.upstream import Call, Upstream
from gateway.settings import ProviderSettings
from gateway.wires import chat_to_messages, legacy_functions, messages_answers
from gateway.wires.passing import Passing
from gateway.wires.words import Untranslatable

VERSION = "2023-06-01"
_BETA = "anthropic-beta"

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
            body, _ = outgoing(target, native)
            call = Call(self._count_url, body, read_count, headers=self._headers(request, native))
        elif native is not None and native.wire == MESSAGES:
            stream = MessagesStream if request.live else None
            try:
                body, dropped = outgoing(target, native, live=request.live)
            except Untranslatable as exc:  # the operator's params say what Anthropic cannot
                return _untranslatable(target, exc)
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
        options = given.pop("stream_options", None)
        wants_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        given, unsaid = sifted(given, chat_to_messages.TAKEN)
        foreign = sorted((given.keys() & OPENAI) - chat_to_messages.TAKEN - target.params.keys())
        if foreign and target.on_unsupported == "fail":
            return unsupported(target, foreign[0])
        given = {name: value for name, value in given.items() if name not in foreign}
        if target.prompt is not None:
            given["messages"] = [{"role": "system", "content": target.prompt}, *given.get("messages", ())]
        try:
            body, lost = chat_to_messages.request(given)
        except Untranslatable as exc:
            return _untranslatable(target, exc)
        legacy = legacy_functions.asked(given)
        stream = partial(TranslatedStream, include_usage=wants_usage, legacy=legacy) if request.live else None
        fields = {"model": target.model, **body, **({"stream": True} if request.live else {})}
        dropped = (*dropped, *unsaid, *foreign, *lost)
        return Call(self._url, _encode(fields), partial(_completion, legacy=legacy), stream, request.headers, dropped)


def outgoing(target: Target, native: Native, *, live: bool = False) -> tuple[bytes, tuple[str, ...]]:
    """Return the upstream's request, the client's fields in the client's bytes, and the names of what is not in it.

    The target's prompt is a system block before all others; its `defaults` and `params` are in OpenAI's words or in
    Anthropic's.
    """
    kept, dropped = renamed(target, native.fields)
    fields: dict[str, Any] = {"model": target.model, **kept}
    if target.defaults and native.wire == MESSAGES:
        fields = {**chat_to_messages.parameters(target.defaults), **fields}
    if live:
        fields["stream"] = True
    if target.prompt is not None:
        fields["system"] = _prompted(target.prompt, native.fields.get("system"))
    if target.params and native.wire == MESSAGES:
        fields |= chat_to_messages.parameters(target.params)
    return _encode(fields), dropped


def _prompted(prompt: str, system: Raw | None) -> list[Any]:
    first = {"type": "text", "text": prompt}
    if system is None or bytes(system) == b"null":
        return [first]
    if bytes(system).startswith(b"["):
        return [first, *msgspec.json.decode(system, type=list[Raw])]
    return [first, {"type": "text", "text": system}]


def _completion(target: Target, body: bytes, *, legacy: bool) -> Outcome:
    """Read a whole Messages answer as a chat completion."""
    outcome = read_message(target, body)
    if isinstance(outcome, Failure):
        return outcome
    created = int(datetime.now(UTC).timestamp())
    completion = messages_answers.to_chat(msgspec.json.decode(body), created)
    return read_answer(target, _encode(legacy_functions.answered(completion) if legacy else completion))


def _untranslatable(target: Target, exc: Untranslatable) -> Failure:
    error = {"message": str(exc), "type": "invalid_request_error", "param": exc.param, "code": "unsupported_value"}
    return Failure(target.name, FailureKind.CALLER_FAULT, f"{exc.param} cannot be translated", status=400, error=error)
