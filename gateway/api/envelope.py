"""Errors on the wire: OpenAI's envelope with the status, type, code and param that the SDKs map to exceptions."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.api.dialect import ErrorDialect
from gateway.api.exchange import Exchange
from gateway.errors import HedgerowError


def envelope(error: HedgerowError) -> bytes:
    """Return the body `{"error": {"message", "type", "param", "code"}}`, with our own details beside them."""
    described: dict[str, Any] = {
        "message": str(error),
        "type": error.type,
        "param": error.param,
        "code": error.code,
        **error.extra,
    }
    return msgspec.json.encode({"error": described})


PASSTHROUGH = "The operator can have such requests passed on to one provider, with `passthrough: PROVIDER`."
"""The cure for what the gateway does not serve itself."""


class OpenAIErrors:
    """How the clients of everything that has no dialect of its own read an error."""

    id_headers: tuple[bytes, ...] = ()

    def error(self, error: HedgerowError, request_id: str) -> bytes:  # noqa: ARG002 -- stands in a header
        """Return OpenAI's envelope."""
        return envelope(error)


async def refuse(
    exchange: Exchange, error: HedgerowError, dialect: ErrorDialect, headers: dict[str, str] | None = None
) -> None:
    """Answer with an error in the client's dialect: as a response, or in-band when a stream has begun."""
    if exchange.started:
        await exchange.break_off(error)
    else:
        body = dialect.error(error, exchange.id)
        await exchange.respond(error.status, body, {**(headers or {}), **error.headers})
