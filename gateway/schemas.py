"""JSON Schemas of clients and operators, compiled once. The only import of jsonschema, which is lazy.

A schema that a client sends is a program of a stranger's. So nothing is fetched (`$ref` finds what stands in the
schema), its regular expressions are not run (one can take hours), and a reference is followed so often and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from fanin import Candidate
from fanin.keys.canonical_json import document as document_in

Fits: TypeAlias = Callable[[Any], bool]

LARGEST = 65_536
"""Bytes of a client's schema; a larger one is not checked."""
MOST_REFERENCES = 10_000
"""References that one answer may take to check; one that takes more counts as fitting."""

_followed: ContextVar[list[int]] = ContextVar("followed")


class _TooMuchError(Exception):
    """Checking takes too long."""


@cache
def _validators() -> tuple[Any, Any]:
    """Return jsonschema's validator classes for an operator's schemas and for a client's, made at the first use."""
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415 -- costs 60 ms that most gateways need not pay

    follow = Draft202012Validator.VALIDATORS["$ref"]

    def counted(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[Any]:
        left = _followed.get()
        left[0] -= 1
        if left[0] < 0:
            raise _TooMuchError
        yield from follow(validator, reference, instance, schema) or ()

    extend: Any = validators.extend
    limited = extend(Draft202012Validator, {"$ref": counted})
    return limited, extend(limited, {"pattern": _unchecked, "patternProperties": _unchecked})


def _unchecked(*_: Any) -> Iterator[Any]:
    return iter(())


def is_warm() -> bool:
    """Whether jsonschema is there, so that a check neither imports nor blocks."""
    return bool(_validators.cache_info().currsize)


def warm_up() -> None:
    """Import jsonschema now; call it from a thread."""
    _validators()
    import referencing  # noqa: F401, PLC0415


def _fits(validator: Any) -> Fits:
    def fits(instance: Any) -> bool:
        _followed.set([MOST_REFERENCES])
        try:
            return bool(validator.is_valid(instance))
        except Exception:  # noqa: BLE001 -- an unresolvable reference, a recursion: what cannot be checked is not refused
            return True

    return fits


def compiled(schema: Mapping[str, Any] | bool) -> Fits:
    """Return the check of an operator's schema; raises ValueError, with what is wrong, for one that is none."""
    from jsonschema import SchemaError  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    operators, _ = _validators()
    try:
        operators.check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        raise ValueError(f"no JSON Schema: {error.message[:100]}{f' at {place}' if place else ''}") from None
    return _fits(operators(schema, registry=Registry()))


@lru_cache(maxsize=256)
def of_client(schema: bytes) -> Fits | None:
    """Return the check of a schema that a client sent; None where it cannot be used, which is the providers' to say."""
    from referencing import Registry  # noqa: PLC0415

    if len(schema) > LARGEST:
        return None
    try:
        read = msgspec.json.decode(schema)
    except (msgspec.MsgspecError, RecursionError):
        return None
    _, clients = _validators()
    return _fits(clients(read, registry=Registry())) if isinstance(read, dict) else None


class _JsonSchema(Struct):
    schema: Raw = Raw(b"null")


class _Format(Struct):
    type: str | None = None
    json_schema: _JsonSchema | None = None


@lru_cache(maxsize=256)
def _format(raw: bytes) -> tuple[str | None, bytes]:
    """Return the type of a `response_format` and its schema; nothing where it cannot be read, which providers say."""
    try:
        read = msgspec.json.decode(raw, type=_Format)
    except (msgspec.MsgspecError, RecursionError):
        return None, b""
    return read.type, bytes(read.json_schema.schema) if read.json_schema else b""


async def format_fault(text: str, raw: bytes) -> str | None:
    """Return what keeps a text from being what a client's `response_format` asks for; None where it is that."""
    kind, schema = _format(raw)
    if kind not in {"json_object", "json_schema"}:
        return None
    try:
        document = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return "the answer is not the JSON that was asked for"
    if kind == "json_schema" and not await fits(schema, document):
        return "the answer breaks the JSON Schema of the request"
    return None


async def fits(schema: bytes, document: Any) -> bool:
    """Whether a document fits a client's schema; the import of jsonschema, a tenth of a second, is left to a thread."""
    if not is_warm():
        await asyncio.to_thread(warm_up)
    check = of_client(schema)
    return check is None or check(document)


def json_schema(*, schema: Mapping[str, Any] | None = None) -> Callable[[Candidate], bool]:
    """Let in answers that are, or hold in a fence or after some words, a document of this JSON Schema (2020-12).

    Without a schema any JSON will do. What the request itself asks for (`response_format`) is checked without this.
    """
    fits = compiled(schema if schema is not None else True)

    def passes(candidate: Candidate) -> bool:
        try:
            found = document_in(candidate.text)
        except RecursionError:
            return False
        return found is not None and fits(found)

    return passes
