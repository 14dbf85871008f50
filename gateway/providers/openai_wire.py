"""Our own client for every OpenAI-compatible upstream: bytes out, bytes in, nothing renamed, dropped or invented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from yarl import URL

from gateway.domain import ChatRequest, Deadline, Failure, FailureKind, Form, Native, Outcome, Target
from gateway.providers.buffers import Buffer, written
from gateway.providers.openai_stream import WireStream
from gateway.providers.passing import Passage
from gateway.providers.reading import read_answer
from gateway.providers.relaying import ByteStream, reader
from gateway.providers.responses_reading import RESPONSES, ResponsesStream, read_response
from gateway.providers.shaping import MOST_REFUSALS, Refusals, shaped
from gateway.providers.upstream import Call, Upstream
from gateway.settings import ProviderSettings
from gateway.wires.operations import COMPLETIONS, OPERATIONS
from gateway.wires.passing import Passing

_TRUE = Raw(b"true")


class OpenAIWire:
    """One provider. Calling it asks one target; it never raises but CancelledError.

    Cancelling a call closes its connection, which stops the upstream's work.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        base = (settings.base_url or "https://api.openai.com/v1").rstrip("/")
        self._urls = {
            path: URL(f"{base}/{path}", encoded=True).update_query(settings.query)
            for path in ("chat/completions", "responses", *OPERATIONS)
        }
        self.native = frozenset({*OPERATIONS, RESPONSES} if settings.responses else OPERATIONS)
        key = settings.api_key
        bearer = {} if key is None else {"authorization": f"Bearer {key.reveal()}"}
        self._upstream = Upstream({**bearer, **settings.headers}, settings.ca_certificate)
        self._passage = Passage(base, settings.query)
        self._without_logprobs: set[str] = set()
        self._refusals = Refusals()

    async def warm_up(self) -> None:
        """Open the pool."""
        self._upstream.open()

    async def aclose(self) -> None:
        """Close the pool."""
        await self._upstream.aclose()

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:  # noqa: ARG002
        """Ask one target; the deadline is kept by the attempt policy around this call."""
        if request.native is not None and request.native.wire == RESPONSES and RESPONSES in self.native:
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

    async def pass_on(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:  # noqa: ARG002
        """Pass a request on unread, and its answer back."""
        assert isinstance(request, Passing)  # noqa: S101 -- nobody asks this of any other
        return await self._passage.ask(self._upstream.open_plain(), target, request)

    async def _ask(self, target: Target, request: ChatRequest) -> Outcome:
        """Ask, and ask again without what the model turns out not to take, as far as the target allows that."""
        native = _spoken(request)
        if native is not None and native.form is not None:
            return await self._upstream.ask(target, self._filled(target, request, native.wire, native.form))
        for _ in range(MOST_REFUSALS):
            fields, dropped = outgoing(target, request)
            dropped += self._refusals.applied(target, fields)
            outcome = await self._upstream.ask(target, self._call(request, written(fields), dropped))
            if not isinstance(outcome, Failure) or not self._refusals.learn(target, outcome, fields.keys()):
                break
        return outcome

    def _call(self, request: ChatRequest, body: bytes | Sequence[Buffer], dropped: tuple[str, ...]) -> Call:
        stream = WireStream if request.live else None
        if (native := _spoken(request)) is None:
            return Call(self._urls["chat/completions"], body, read_answer, stream, request.headers, dropped)
        wire = native.wire
        return Call(
            self._urls[wire],
            body,
            reader(wire),
            partial(WireStream, wire=wire) if stream and wire == COMPLETIONS else None,
            request.headers,
            dropped,
            opaque=None if OPERATIONS[wire].is_json else partial(ByteStream, wire=wire),
        )

    async def _respond(self, target: Target, request: ChatRequest, native: Native) -> Outcome:
        stream = ResponsesStream if request.live else None
        fields, dropped = outgoing_response(target, native, live=request.live)
        headers = {**request.headers, **native.headers}
        call = Call(self._urls["responses"], written(fields), read_response, stream, headers, dropped)
        return await self._upstream.ask(target, call)

    def _filled(self, target: Target, request: ChatRequest, wire: str, form: Form) -> Call:
        """Return the call that sends a form under the target's model."""
        body = (form.before, target.model.encode(), form.after)
        headers = {**request.headers, "content-type": form.content_type}
        opaque = partial(ByteStream, wire=wire)
        return Call(self._urls[wire], body, reader(wire), None, headers, content_type=form.content_type, opaque=opaque)


def _spoken(request: ChatRequest) -> Native | None:
    """Return the request in the words of one of our own operations; None where it is asked as a chat."""
    native = request.native
    return native if native is not None and native.wire in OPERATIONS else None


def _refuses_logprobs(failure: Failure) -> bool:
    if failure.kind is not FailureKind.CALLER_FAULT or failure.error is None:
        return False
    return "logprobs" in f"{failure.error.get('param')} {failure.error.get('message')}"


def outgoing(target: Target, request: ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the upstream's request, in the client's bytes, and the names of the client's fields that are not in it.

    The target's prompt is a system message before all others.
    """
    native = _spoken(request)
    kept, dropped = shaped(target, request.fields if native is None else native.fields)
    fields: dict[str, Any] = {"model": target.model, **kept}
    if native is not None:
        if request.live and native.wire == COMPLETIONS:
            fields["stream"] = _TRUE
        return fields, dropped
    if request.live:
        fields["stream"] = _TRUE
    else:
        fields.pop("stream_options", None)
    if request.logprobs:
        fields["logprobs"] = _TRUE
    if target.prompt is not None:
        fields["messages"] = _prompted(target.prompt, fields.get("messages"))
    return fields, dropped


def _prompted(prompt: str, messages: Raw | None) -> list[Any]:
    before: list[Mapping[str, str]] = [{"role": "system", "content": prompt}]
    return [*before, *(msgspec.json.decode(messages, type=list[Raw]) if messages is not None else ())]


_RESPONSES_WORDS = {"max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens"}


def outgoing_response(target: Target, native: Native, *, live: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the upstream's request for a response, in the client's bytes, and the names of what is not in it.

    The target's prompt stands before the client's instructions; its defaults and params may be named as chat
    completions name them.
    """
    kept, dropped = shaped(target, native.fields)
    fields: dict[str, Any] = {"model": target.model, **kept}
    if live:
        fields["stream"] = _TRUE
    if target.prompt is not None:
        given = msgspec.json.decode(native.fields.get("instructions", Raw(b"null")))
        fields["instructions"] = f"{target.prompt}\n\n{given}" if given else target.prompt
    for name in {**target.defaults, **target.params}:
        wins = name in target.params
        if name == "reasoning_effort" and name in fields:
            reasoning = msgspec.json.decode(native.fields.get("reasoning", Raw(b"{}"))) or {}
            effort = {"effort": fields.pop(name)}
            fields["reasoning"] = {**reasoning, **effort} if wins else {**effort, **reasoning}
        elif name in _RESPONSES_WORDS and name in fields:
            value, new = fields.pop(name), _RESPONSES_WORDS[name]
            fields[new] = value if wins else fields.get(new, value)
    return fields, dropped
