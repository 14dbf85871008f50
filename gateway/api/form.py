"""Multipart forms (RFC 7578): the few fields that we read, and the whole form as buffers that no target copies."""

from __future__ import annotations

import re
from email.message import Message

from msgspec import Raw, Struct
from msgspec.json import encode

from gateway.domain import Form
from gateway.errors import InvalidRequest, ModelMissing

_NAME = re.compile(rb'(?:^|;|\s)name="((?:[^"\\\r\n]|\\.)*)"|(?:^|;|\s)name=([^\s;"]+)', re.IGNORECASE)
_MOST_PARTS = 200
_LONGEST_VALUE = 64 * 1024


class Filled(Struct, frozen=True):
    """A form: its short text fields as JSON strings by name, the names of all, and the form without its model."""

    fields: dict[str, Raw]
    names: frozenset[str]
    form: Form


def read(body: bytes, content_type: str, default: str | None = None) -> Filled:
    """Take a form apart at its boundaries; the parts themselves are not copied.

    `default` is the model of a form that names none.

    Raises:
        InvalidRequest: it is no form, or is not closed.
        ModelMissing: it has no field `model`, and there is no default.
    """
    boundary = _boundary(content_type)
    line = b"--" + boundary
    if not body.startswith(line):
        raise InvalidRequest("The form does not begin with its boundary.")
    names: set[str] = set()
    fields: dict[str, Raw] = {}
    model: slice | None = None
    start = len(line)
    while body[start : start + 2] == b"\r\n":
        end = body.find(b"\r\n" + line, start)
        head = body.find(b"\r\n\r\n", start, end)
        if end < 0 or head < 0 or len(names) >= _MOST_PARTS:
            raise InvalidRequest("The form is broken: a part has no end, or there are too many of them.")
        header, content = body[start:head], slice(head + 4, end)
        name = _name(header)
        names.add(name)
        if name == "model":
            model = content
        elif b"filename" not in header and content.stop - content.start <= _LONGEST_VALUE:
            fields[name] = Raw(encode(body[content].decode(errors="replace")))
        start = end + 2 + len(line)
    if body[start : start + 2] != b"--":
        raise InvalidRequest("The form is not closed by its boundary.")
    view = memoryview(body)
    if model is None:
        if default is None:
            raise ModelMissing
        fields["model"] = Raw(encode(default))
        before = memoryview(line + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n')
        return Filled(fields, frozenset(names), Form(content_type, before, memoryview(b"\r\n" + body)))
    fields["model"] = Raw(encode(body[model].decode(errors="replace")))
    return Filled(fields, frozenset(names), Form(content_type, view[: model.start], view[model.stop :]))


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise InvalidRequest(
            f"The request is {content_type[:60]!r}, expected multipart/form-data with a boundary; "
            "the OpenAI clients send it so."
        )
    return boundary.encode()


def _name(header: bytes) -> str:
    for line in header.split(b"\r\n"):
        if line.lower().startswith(b"content-disposition:") and (found := _NAME.search(line)):
            return (found[1] or found[2] or b"").decode(errors="replace")
    raise InvalidRequest("The form has a part without a name.")
