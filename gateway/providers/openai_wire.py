"""Our own client for every OpenAI-compatible upstream: bytes out, bytes in, nothing renamed, dropped or invented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from yarl import URL

from gateway.domain import ChatRequest, Deadline, Failure, FailureKind, Native, Outcome, ProviderSettings, Target
from gateway.providers.openai_stream import WireStream
from gateway.providers.reading import read_answer
from gateway.providers.responses_reading import RESPONSES, ResponsesStream, read_response
from gateway.providers.upstream import Call, Upstream

_encode = msgspec.json.Encoder().encode
_TRUE = Raw(b"true")


class OpenAIWire:
    """One provider. Calling it asks one target; it never raises but CancelledError.

    Cancelling a call closes its connection, which stops the upstream's work.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        base = (settings.base_url or "https://api.openai.com/v1").rstrip("/")
        self._url = URL(f"{base}/chat/completions", encoded=True).update_query(settings.query)
        self._responses_url = URL(f"{base}/responses", encoded=True).update_query(settings.query)
        self.native = frozenset({RESPONSES} if settings.responses else ())
        key = settings.api_key
        bearer = {} if key is None else {"authorization": f"Bearer {key.reveal()}"}
        self._upstream = Upstream({**bearer, **settings.headers})
        self._without_logprobs: set[str] = set()

    async def warm_up(self) -> None:
        """Open the pool."""
        self._upstream.open()

    async def aclose(self) -> None:
        """Close the pool."""
        await self._upstream.aclose()

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:  # noqa: ARG002
        """Ask one target; the deadline is kept by the attempt policy around this call."""
        if request.native is not None and request.native.wire in self.native:
            return await self._respond(target, request, request.native)
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
        stream = WireStream if request.live else None
        return await self._upstream.ask(
            target, Call(self._url, outgoing(target, request), read_answer, stream, request.headers)
        )

    async def _respond(self, target: Target, request: ChatRequest, native: Native) -> Outcome:
        stream = ResponsesStream if request.live else None
        body = outgoing_response(target, native, live=request.live)
        headers = {**request.headers, **native.headers}
        return await self._upstream.ask(target, Call(self._responses_url, body, read_response, stream, headers))


def _refuses_logprobs(failure: Failure) -> bool:
    if failure.kind is not FailureKind.CALLER_FAULT or failure.error is None:
        return False
    return "logprobs" in f"{failure.error.get('param')} {failure.error.get('message')}"


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


_RESPONSES_WORDS = {"max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens"}


def outgoing_response(target: Target, native: Native, *, live: bool) -> bytes:
    """Return the upstream's request for a response: the client's fields in the client's bytes, the target's model.

    The target's prompt stands before the client's instructions; its params are the operator's and win.
    """
    fields: dict[str, Any] = {"model": target.model, **native.fields}
    if live:
        fields["stream"] = _TRUE
    if target.prompt is not None:
        given = msgspec.json.decode(native.fields.get("instructions", Raw(b"null")))
        fields["instructions"] = f"{target.prompt}\n\n{given}" if given else target.prompt
    for name, value in target.params.items():
        if name == "reasoning_effort":
            fields["reasoning"] = {**msgspec.json.decode(fields.get("reasoning", b"{}")), "effort": value}
        else:
            fields[_RESPONSES_WORDS.get(name, name)] = value
    return _encode(fields)
