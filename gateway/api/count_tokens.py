"""`/v1/messages/count_tokens`: the provider's own count where the first target is Anthropic's, else an estimate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.api.asked import Asked, expect_list, parse
from gateway.api.endpoint import OTHER, Engine
from gateway.api.envelope import refuse
from gateway.api.exchange import ClientGone, Exchange
from gateway.api.messages import MessagesDialect
from gateway.domain import ChatRequest, Failure, Native, Route
from gateway.engine.events import Finished
from gateway.errors import AllTargetsFailed, HedgerowError

WIRE = "messages/count_tokens"

_BYTES_A_TOKEN = 4
_TOKENS_A_MESSAGE = 4
_TOKENS_AN_ATTACHMENT = 1600
"""What Anthropic documents for an image of about a megapixel."""


class CountTokens:
    """The endpoint. It asks one target: counts of different tokenizers have no majority."""

    dialect = MessagesDialect()

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request."""
        status, told = 500, None
        route = None
        try:
            asked = parse(await exchange.body())
            expect_list(asked.fields, "messages")
            route = self._engine.route(asked)
            with exchange.watched():
                body, headers = await self._count(asked, route, exchange)
            await exchange.respond(200, body, {"x-hedgerow-route": route.name, **headers})
            status = 200
        except HedgerowError as error:
            status, told = error.status, error.code or error.type
            await refuse(exchange, error, self.dialect)
        except ClientGone:
            status = 499
        finally:
            observer = self._engine.observe(route.name if route else OTHER, exchange.id, WIRE)
            observer.hear(Finished(status, exchange.elapsed, None, told))

    async def _count(self, asked: Asked, route: Route, exchange: Exchange) -> tuple[bytes, dict[str, str]]:
        target = route.targets[0]
        if WIRE not in self._engine.native.get(target.provider, ()):
            return msgspec.json.encode({"input_tokens": estimate(asked)}), {"x-hedgerow-estimate": "true"}
        native = Native(WIRE, asked.fields, exchange.given(self.dialect.forwarded))
        request = ChatRequest(exchange.id, asked.model, {}, native=native)
        deadline = asyncio.get_running_loop().time() + route.deadline
        outcome = await self._engine.call(target, request, deadline)
        if isinstance(outcome, Failure):
            raise AllTargetsFailed([outcome])
        return msgspec.json.encode(outcome.payload.fields), {"x-hedgerow-target": target.name}


def estimate(asked: Asked) -> int:
    """Return about how many tokens a request has: a token for four bytes of text, 1600 for an image or a document.

    Of English prose it is within a fifth or so; nobody but the provider knows better.
    """
    total = 0
    for name in ("messages", "system", "tools"):
        if name in asked.fields:
            value = msgspec.json.decode(asked.fields[name])
            total += sum(_sizes(value)) + (_TOKENS_A_MESSAGE * len(value) if isinstance(value, list) else 0)
    return total


def _sizes(value: Any) -> Iterator[int]:
    if isinstance(value, str):
        yield -(-len(value.encode()) // _BYTES_A_TOKEN)
    elif isinstance(value, list):
        for item in value:
            yield from _sizes(item)
    elif isinstance(value, dict):
        if value.get("type") in {"image", "document"} and isinstance(value.get("source"), dict):
            if value["source"].get("type") == "text":
                yield from _sizes(value["source"].get("data"))
            else:
                yield _TOKENS_AN_ATTACHMENT
            return
        for key, item in value.items():
            if key not in {"type", "cache_control"}:
                yield from _sizes(item)
