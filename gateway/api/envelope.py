"""Errors on the wire: OpenAI's envelope with the status, type, code and param that the SDKs map to exceptions."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.api import sse
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


async def refuse(exchange: Exchange, error: HedgerowError, headers: dict[str, str]) -> None:
    """Answer with an error: as a response, or in-band when a stream has begun.

    An in-band error ends the stream without `[DONE]`, so that no client takes the answer for complete.
    """
    if exchange.started:
        await exchange.write(sse.frame(envelope(error)))
        await exchange.end()
    else:
        await exchange.respond(error.status, envelope(error), {**headers, **error.headers})
