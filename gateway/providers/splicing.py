"""Continue one chat stream with the chunks of another, so that the client sees a single one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw])
_choices = msgspec.json.Decoder(list[dict[str, Raw]])
_text = msgspec.json.Decoder(str | None)
_SHARED = ("id", "created", "model", "system_fingerprint", "service_tier")
_NULL, _NOTHING = Raw(b"null"), Raw(b"[]")


class Splice:
    """Chunks in, the same chunks as the continuation of the stream that `like` is of, without `skip` characters.

    One stream has one id and tells the role once, so the first stream's stay.
    """

    def __init__(self, like: bytes, skip: int) -> None:
        began = _object.decode(like)
        self._shared = {name: began[name] for name in _SHARED if name in began}
        self._skip = skip

    def __call__(self, events: Sequence[bytes]) -> list[bytes]:
        """Return the chunks that are left; what says nothing any more is left out."""
        return [chunk for event in events if (chunk := self._continued(event)) is not None]

    def _continued(self, event: bytes) -> bytes | None:
        fields: dict[str, Any] = {**_object.decode(event), **self._shared}
        choices = _choices.decode(fields.get("choices", _NOTHING))
        if not choices:
            return _encode(fields) if fields.get("usage", _NULL) != _NULL else None
        fields["choices"] = [self._cut(choice) for choice in choices]
        silent = all(
            not choice["delta"] and choice.get("finish_reason", _NULL) == _NULL for choice in fields["choices"]
        )
        return None if silent and fields.get("usage", _NULL) == _NULL else _encode(fields)

    def _cut(self, choice: dict[str, Raw]) -> dict[str, Any]:
        """Return a choice without the role, and without what the client has already."""
        delta: dict[str, Any] = dict(_object.decode(choice.get("delta", Raw(b"{}"))))
        delta.pop("role", None)
        said = _text.decode(delta.get("content", _NULL)) or ""
        there = min(self._skip, len(said))
        self._skip -= there
        if len(said) == there:
            delta.pop("content", None)
        elif there:
            delta["content"] = said[there:]
        cut: dict[str, Any] = {**choice, "delta": delta}
        if there and "logprobs" in cut:
            cut["logprobs"] = _NULL  # they are those of the tokens before the cut, too
        return cut
