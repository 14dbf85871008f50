"""Everything that is passed through: embeddings, moderations, rerank, images, audio, legacy completions.

One path for all of them, with the same loop, policies, headers and metrics as chat: a request goes to the targets as it
came, under each one's model, and the winner's answer goes back as it came, under the model that was asked for.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.api import form, sse
from gateway.api.asked import Asked, parse, refuse_private
from gateway.api.dialect import StreamWriter, Translation
from gateway.api.endpoint import Endpoint
from gateway.api.envelope import OpenAIErrors, envelope
from gateway.api.exchange import Exchange
from gateway.domain import Answer, Route
from gateway.engine.choices import together
from gateway.errors import HedgerowError, InvalidRequest
from gateway.wires.operations import COMPLETIONS, OPERATIONS, models_of

LARGEST_FORM = 32 * 1024 * 1024
"""Bytes: OpenAI takes audio files of up to 25 MB."""
_DONE = b"data: [DONE]\n\n"
_PICKING = frozenset({"first", "priority"})
"""The selectors that look at nothing in an answer."""

_encode = msgspec.json.Encoder().encode
_object: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Raw])


class RelayDialect(OpenAIErrors):
    """One operation; `default` is the route of requests that name none."""

    keep_alive = sse.COMMENT
    forwarded: tuple[bytes, ...] = ()

    def __init__(self, wire: str, default: str | None = None) -> None:
        self.wire, self.default = wire, default
        self._operation = OPERATIONS[wire]

    def parse(self, body: bytes) -> Asked:
        """Read a request."""
        asked = parse(body, self.default)
        self.expect(asked.fields)
        if asked.stream and self.wire != COMPLETIONS:
            asked.fields["stream"] = Raw(b"true")  # the upstream's own events, passed through like any bytes
            asked = replace(asked, stream=False)
        return asked

    def expect(self, names: Container[str]) -> None:
        """Refuse a request without a field that it needs."""
        for name in self._operation.needs:
            if name not in names and f"{name}[]" not in names:  # a form's lists are written so
                raise InvalidRequest(f"`{name}` is missing.", param=name)

    def admit(self, asked: Asked, route: Route) -> None:
        """Refuse a selector that would have to compare what cannot be compared, and embeddings of different models."""
        picking = route.select.live or set(route.select.name.replace("|", " ").split()) <= _PICKING
        if not (picking or self._operation.words):
            raise InvalidRequest(
                f"The route `{asked.model}` selects by `{route.select.name}`, which compares answers in words; "
                f"{self.wire} has none. Ask a route with `select: first` or `select: priority`.",
                param="model",
                code="selector_not_applicable",
            )
        if self._operation.one_model and len(models := models_of(route.targets)) > 1:
            raise InvalidRequest(
                f"The route `{asked.model}` mixes models ({', '.join(sorted(models))}), whose vectors "
                "cannot be compared. Ask a route whose targets serve one embedding model; "
                "where they do under different names, the operator says so with `same_as`.",
                param="model",
                code="different_models",
            )

    def translated(self, asked: Asked) -> Translation:
        """Refuse: nothing else means the same."""
        raise InvalidRequest(
            f"Not every target of `{asked.model}` can be asked for {self.wire}. Ask a route whose targets are "
            "OpenAI-compatible servers.",
            param="model",
            code="operation_not_supported",
        )

    def together(self, first: Answer, answers: Sequence[Answer]) -> Answer:
        """Return one answer with the choices of all legacy completions; of the rest the first, which has no choices."""
        return together(first, answers) if self.wire == COMPLETIONS else first

    def whole(self, answer: Answer, asked: Asked, explanation: Raw | None) -> bytes:
        """Return the winner's own body; a model that it names is the one that the client asked for."""
        fields: dict[str, Any] = dict(answer.fields)
        if "model" in fields:
            fields["model"] = asked.model
        if explanation is not None:
            fields["hedgerow"] = explanation
        return _encode(fields)

    def writer(self, asked: Asked, wire: str) -> StreamWriter:  # noqa: ARG002 -- it is our own
        """Return the writer of one stream."""
        return CompletionWriter(self, asked) if self.wire == COMPLETIONS else BytesWriter()


class CompletionWriter:
    """The chunks of a legacy completion; a whole one has the same shape as a chunk."""

    def __init__(self, dialect: RelayDialect, asked: Asked) -> None:
        self._dialect = dialect
        self._asked = asked
        self._model = Raw(_encode(asked.model))

    def events(self, data: Sequence[bytes]) -> bytes:
        """Pass chunks on, renamed."""
        return b"".join([sse.frame(_encode(_object.decode(event) | {"model": self._model})) for event in data])

    def replay(self, answer: Answer) -> bytes:
        """Write a whole answer as one chunk."""
        return sse.frame(self._dialect.whole(answer, self._asked, None))

    def end(self, explanation: Raw | None) -> bytes:
        """Write `[DONE]`, after a chunk without choices for an explanation."""
        if explanation is None:
            return _DONE
        told = {"object": "text_completion", "model": self._model, "choices": [], "hedgerow": explanation}
        return sse.frame(_encode(told)) + _DONE

    def fail(self, error: HedgerowError, request_id: str) -> bytes:  # noqa: ARG002 -- stands in a header
        """Write an error event."""
        return sse.frame(envelope(error))


class BytesWriter:
    """Bytes as they come; there is no place in them for a word of ours."""

    def events(self, data: Sequence[bytes]) -> bytes:
        """Pass bytes on."""
        return b"".join(data)

    def replay(self, answer: Answer) -> bytes:
        """Never asked for: no whole answer becomes bytes."""
        raise NotImplementedError

    def fail(self, error: HedgerowError, request_id: str) -> bytes:  # noqa: ARG002
        """Write nothing: the connection ends without its end."""
        return b""

    def end(self, explanation: Raw | None) -> bytes:  # noqa: ARG002
        """Write nothing."""
        return b""


@dataclass(frozen=True, slots=True)
class Upload(Endpoint):
    """An endpoint whose requests are forms with a file."""

    dialect: RelayDialect

    async def _asked(self, exchange: Exchange) -> Asked:
        body = await exchange.body(LARGEST_FORM)
        filled = form.read(body, exchange.headers.get(b"content-type", b"").decode("latin-1"), self.dialect.default)
        refuse_private(filled.names)
        self.dialect.expect(filled.names)
        fields = filled.fields
        model: str = msgspec.json.decode(fields.pop("model"), type=str)
        return Asked(model, fields, stream=False, explain=False, overrides={}, form=filled.form)
