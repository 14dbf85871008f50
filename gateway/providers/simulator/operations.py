"""The simulator's other endpoints: completions, embeddings, moderations, rerank, images and audio, minimal but honest.

They read their requests, play the same behaviours and faults as chat, and answer in the shapes of the real ones.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.providers.simulator.asking import Ask, count_prompt, invalid, typed
from gateway.providers.simulator.framing import DONE, Event
from gateway.providers.simulator.openai_dialect import OpenAIDialect
from gateway.providers.simulator.replying import Reply, token_logprobs

_encode = msgspec.json.encode
_DIMENSIONS = 8
_PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n a simulated picture").decode()


@dataclass(frozen=True, slots=True)
class _Operated(Ask):
    """A request with its whole body, of which only its endpoint knows the meaning."""

    body: Any = None


class _Operation(OpenAIDialect):
    """What the endpoints share: a model, a field that must be there, a usage."""

    field = "input"

    def read(self, body: dict[str, Any]) -> Ask:
        """Read a request."""
        model = typed(body, "model", str, "a string")
        if not model:
            raise invalid("you must provide a model parameter")
        if body.get(self.field) in (None, "", [], b""):
            raise invalid(f"Missing required parameter: '{self.field}'.", self.field, "missing_required_parameter")
        asked = body[self.field]
        return _Operated(
            model=model,
            stream=self.streams(body),
            question=asked if isinstance(asked, str) else "",
            system="",
            prompt_tokens=count_prompt(_texts(asked)),
            logprobs=typed(body, "logprobs", int, "an integer"),
            max_tokens=typed(body, "max_tokens", int, "an integer"),
            body=body,
        )

    def streams(self, body: dict[str, Any]) -> bool:  # noqa: ARG002
        """Whether the answer comes in events."""
        return False

    def whole(self, reply: Reply) -> bytes:
        """Return the body of an answer."""
        body = reply.ask.body if isinstance(reply.ask, _Operated) else {}
        empty = reply.behaviour.empty is not None
        return self.answer(reply, body, _texts(body.get(self.field)) if not empty else [])

    def answer(self, reply: Reply, body: dict[str, Any], items: list[Any]) -> bytes:
        """Return the answer to a request with these items."""
        raise NotImplementedError

    def events(self, reply: Reply) -> Iterator[Event]:
        """Give the only event of an endpoint that does not stream."""
        yield Event(self.whole(reply))


def _texts(asked: Any) -> list[Any]:
    """Return the items of an input: a text, a list of texts, a list of tokens or a list of such lists."""
    if isinstance(asked, list) and asked and not isinstance(asked[0], int):
        return asked
    return [] if asked is None else [asked]


class _Completions(_Operation):
    field = "prompt"

    def streams(self, body: dict[str, Any]) -> bool:
        return bool(typed(body, "stream", bool, "a boolean"))

    def _chunk(self, reply: Reply, text: str, finish: str | None, logprobs: Any = None, **further: Any) -> bytes:
        choice = {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish}
        head = {"id": f"cmpl-{reply.turn.digest[:29]}", "object": "text_completion", "created": reply.created}
        return _encode({**head, "model": reply.model, "choices": [choice], **further})

    def answer(self, reply: Reply, body: dict[str, Any], items: list[Any]) -> bytes:  # noqa: ARG002
        choice = reply.choices[0]
        tokens = list(choice.tokens)
        drawn = list(token_logprobs(len(tokens), choice.confidence, reply.turn.chance))
        told = {"tokens": tokens, "token_logprobs": drawn} if reply.ask.logprobs is not None else None
        usage = {"prompt_tokens": reply.ask.prompt_tokens, "completion_tokens": reply.claimed}
        usage["total_tokens"] = sum(usage.values())
        return self._chunk(reply, "".join(tokens), choice.finish, told, usage=usage)

    def events(self, reply: Reply) -> Iterator[Event]:
        for token in reply.choices[0].tokens:
            yield Event(self._chunk(reply, token, None), tokens=1)
        yield Event(self._chunk(reply, "", reply.choices[0].finish))
        if not reply.behaviour.no_done:
            yield Event(DONE)


class _Embeddings(_Operation):
    def answer(self, reply: Reply, body: dict[str, Any], items: list[Any]) -> bytes:
        size = body.get("dimensions") or _DIMENSIONS
        vectors = [_vector(reply.model, item, size) for item in items]
        packed = body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if packed else vector,
            }
            for index, vector in enumerate(vectors)
        ]
        tokens = reply.ask.prompt_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _encode({"object": "list", "data": data, "model": reply.model, "usage": usage})


def _vector(model: str, item: Any, size: int) -> list[float]:
    """Return a vector that is the same for the same model and text."""
    drawn = hashlib.shake_128(_encode([model.partition("?")[0], item])).digest(size)
    return [(byte - 127.5) / 127.5 for byte in drawn]


class _Moderations(_Operation):
    def answer(self, reply: Reply, body: dict[str, Any], items: list[Any]) -> bytes:  # noqa: ARG002
        results = [
            {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.01}} for _ in items
        ]
        return _encode({"id": f"modr-{reply.turn.digest[:24]}", "model": reply.model, "results": results})


class _Rerank(_Operation):
    field = "documents"

    def answer(self, reply: Reply, body: dict[str, Any], items: list[Any]) -> bytes:
        words = set(str(body.get("query", "")).lower().split())
        scores = [len(words & set(str(item).lower().split())) / max(1, len(words)) for item in items]
        order = sorted(range(len(items)), key=lambda index: -scores[index])
        results = [{"index": index, "relevance_score": scores[index]} for index in order[: body.get("top_n")]]
        return _encode({"id": reply.turn.digest, "model": reply.model, "results": results})


class _Images(_Operation):
    field = "prompt"

    def answer(self, reply: Reply, body: dict[str, Any], items: list[Any]) -> bytes:
        count = int(body.get("n") or 1) if items else 0
        return _encode({"created": reply.created, "data": [{"b64_json": _PIXEL}] * count})


class _Speech(_Operation):
    media = "audio/mpeg"

    def answer(self, reply: Reply, body: dict[str, Any], items: list[Any]) -> bytes:  # noqa: ARG002
        return b"".join(b"ID3\x00" + str(item).encode() for item in items)


class _Transcriptions(_Operation):
    field = "file"

    def answer(self, reply: Reply, body: dict[str, Any], items: list[Any]) -> bytes:  # noqa: ARG002
        return _encode({"text": "".join(reply.choices[0].tokens)})


OPERATIONS: dict[str, OpenAIDialect] = {
    "/completions": _Completions(),
    "/embeddings": _Embeddings(),
    "/moderations": _Moderations(),
    "/rerank": _Rerank(),
    "/images/generations": _Images(),
    "/images/edits": _Images(),
    "/audio/speech": _Speech(),
    "/audio/transcriptions": _Transcriptions(),
    "/audio/translations": _Transcriptions(),
}
