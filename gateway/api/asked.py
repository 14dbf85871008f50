"""Parse a request: refuse what cannot work in any dialect, keep everything else in the client's own bytes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.api.depth import DEEPEST, too_deep
from gateway.domain import Form
from gateway.errors import InvalidRequest, ModelMissing

MOST_FIELDS = 1000
MOST_CHOICES = 128
"""The largest `n`, of OpenAI, too."""
_OURS = ("explain", "launch", "map", "select")
_PRIVATE = frozenset(
    {"api_base", "api_key", "api_version", "base_url", "custom_llm_provider", "extra_headers", "headers", "model_list"}
)
_PRIVATE_PREFIXES = ("aws_", "azure_", "litellm_", "vertex_")

_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


class Asked(Struct, frozen=True):
    """What the client asked: `fields` is everything but `model`, `stream` and `hedgerow`.

    `overrides` holds the request's own `select` and `launch`, as they came; `form` the request, if it is no JSON;
    `parts` its own list of parts for a route that maps.
    """

    model: str
    fields: dict[str, Raw]
    stream: bool
    explain: bool
    overrides: dict[str, Any]
    form: Form | None = None
    parts: tuple[str, ...] = ()


def parse(body: bytes, default: str | None = None) -> Asked:
    """Parse a request body; `default` is the model of one that names none.

    Raises:
        ModelMissing: it names none, and there is no default.
        InvalidRequest: naming the field, what it holds and what is expected.
    """
    try:
        if not body.isascii():
            body.decode()  # `Raw` fields are not looked into: without this the upstreams would have to complain
        fields = _fields.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(f"The request body is not a JSON object: {_reason(exc)}.") from None
    if len(fields) > MOST_FIELDS or too_deep(body):
        raise InvalidRequest(
            f"The request body has {len(fields)} fields, or lists and objects more than {DEEPEST} deep; "
            f"expected at most {MOST_FIELDS}, and {DEEPEST}."
        )
    refuse_private(fields)
    model = field(fields, "model", str, "the name of a route; GET /v1/models lists them", default=default)
    if model is None:
        raise ModelMissing
    stream = field(fields, "stream", bool, "true or false", default=False)
    ours: dict[str, Any] = field(fields, "hedgerow", dict, 'an object such as {"explain": true}', default={}) or {}
    explain = _explain(ours)
    ours.pop("explain", None)
    parts = _parts(ours.pop("map", [])) if ours else ()
    return Asked(model, fields, stream, explain, ours, parts=parts)


def refuse_private(names: Iterable[str]) -> None:
    """Refuse a request that has a field which is the operator's."""
    for name in names:
        if name in _PRIVATE or name.startswith(_PRIVATE_PREFIXES):
            raise InvalidRequest(
                f"`{name}` cannot be set by a request; the gateway's configuration sets it.", param=name
            )


_REQUIRED = object()


def field(
    fields: dict[str, Raw], name: str, kind: type, expected: str, *, default: Any = _REQUIRED, keep: bool = False
) -> Any:
    """Take a field of a given type out of the request (or look at it, with `keep`).

    Raises:
        InvalidRequest: it is missing and has no `default`, or is of another type.
    """
    raw = fields.get(name) if keep else fields.pop(name, None)
    if raw is None or (bytes(raw) == b"null" and default is not _REQUIRED):
        if default is _REQUIRED:
            raise InvalidRequest(f"`{name}` is missing, expected {expected}.", param=name)
        return default
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        shown = bytes(raw)[:60].decode(errors="replace")
        raise InvalidRequest(f"`{name}` is {shown}, expected {expected}.", param=name) from None


def choices_of(asked: Asked) -> int:
    """Return how many answers the client asks for; raises InvalidRequest for what is no sensible number of them."""
    expected = f"a whole number from 1 to {MOST_CHOICES}"
    n: int = field(asked.fields, "n", int, expected, default=1, keep=True)
    if not 1 <= n <= MOST_CHOICES:
        raise InvalidRequest(f"`n` is {n}, expected {expected}.", param="n")
    return n


def expect_list(fields: dict[str, Raw], name: str) -> None:
    """Refuse a request whose field `name` is not a list; what stands in it is not looked into."""
    raw = fields.get(name)
    if raw is None or not bytes(raw).lstrip().startswith(b"["):
        raise InvalidRequest(f"`{name}` is missing or not a list, expected a list of {name}.", param=name)


def _explain(ours: dict[str, Any]) -> bool:
    for name in ours:
        if name not in _OURS:
            nearest = difflib.get_close_matches(str(name), _OURS, n=1)
            hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
            listed = ", ".join(f"`{known}`" for known in _OURS)
            raise InvalidRequest(f"`hedgerow.{name}` is unknown, expected one of {listed}{hint}.", param="hedgerow")
    explain = ours.get("explain", False)
    if not isinstance(explain, bool):
        raise InvalidRequest(f"`hedgerow.explain` is {explain!r}, expected true or false.", param="hedgerow.explain")
    return explain


def _parts(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(part, str) for part in given):
        raise InvalidRequest("`hedgerow.map` is no list of texts, expected the parts to ask.", param="hedgerow.map")
    return tuple(given)


def _reason(exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    return str(exc).replace("JSON is malformed: ", "") or "it is not UTF-8"
