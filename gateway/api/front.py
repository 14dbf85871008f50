"""The front door: a thin ASGI application that serves the hot paths itself and hands the rest to FastAPI."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from gateway.api.dialect import ErrorDialect
from gateway.api.envelope import OpenAIErrors, refuse
from gateway.api.exchange import ClientGone, Exchange, Receive, Scope, Send
from gateway.engine.events import Finished, Listener
from gateway.errors import HedgerowError, InternalError, MethodNotAllowed, Unauthorized


class Handler(Protocol):
    """What serves the POSTs of one path, and how its clients read an error."""

    @property
    def dialect(self) -> ErrorDialect:
        """Renders what is refused on the way to the handler."""
        ...

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request."""
        ...


Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OTHER = "_other"
_OPENAI = OpenAIErrors()
_OPEN = frozenset({"/healthz", "/readyz"})


class Front:
    """Route by path, ask for a key where keys are configured, and let only errors in the client's dialect out.

    `hot` maps a path without the optional `/v1` to its POST handler. FastAPI costs a third of a second to import, so
    `rest` builds it at the first request that needs it.
    """

    def __init__(
        self,
        hot: Mapping[str, Handler],
        rest: Callable[[], Application],
        keys: Mapping[str, str],
        observe: Callable[[str, str], Listener],
        on_fault: Callable[[str, BaseException], None],
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._hot = {f"{prefix}{path}": handler for path, handler in hot.items() for prefix in ("", "/v1")}
        self._build_rest = rest
        self._rest: Application | None = None
        self._digests = frozenset(keys.values())
        self._observe = observe
        self._on_fault = on_fault
        self._lifespan = lifespan
        self.ready = self.draining = False
        self.live: set[Exchange] = set()
        """The requests in flight."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        exchange = Exchange(scope, receive, send)
        handler = self._hot.get(exchange.path.rstrip("/"))
        dialect = _OPENAI if handler is None else handler.dialect
        exchange.id_headers = dialect.id_headers
        self.live.add(exchange)
        try:
            await self._serve(exchange, handler, scope, receive, send)
        except HedgerowError as error:
            self._observe(OTHER, exchange.id)(Finished(error.status, exchange.elapsed, None, error.code or error.type))
            await refuse(exchange, error, dialect)
        except asyncio.CancelledError:
            if not exchange.expired:
                raise
            await refuse(exchange, exchange.last_error(), dialect)
        except ClientGone:
            pass
        except Exception as exc:  # noqa: BLE001 -- the last line: the client gets an envelope, the log the traceback
            self._on_fault(exchange.id, exc)
            await refuse(exchange, InternalError(exchange.id), dialect)
        finally:
            self.live.discard(exchange)

    def expire(self) -> None:
        """End every request in flight with an error."""
        for exchange in list(self.live):
            exchange.expire()

    async def _serve(
        self, exchange: Exchange, handler: Handler | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        path = exchange.path.rstrip("/")
        if path in _OPEN:
            await self._probe(exchange, path)
            return
        if self._digests:
            self._authorise(exchange)
        if handler is None:
            if self._rest is None:
                self._rest = await asyncio.to_thread(self._build_rest)
            await self._rest(scope, receive, exchange.signed(send))
        elif exchange.method != "POST":
            raise MethodNotAllowed(f"{exchange.method} {exchange.path} is not possible; use POST.", allowed="POST")
        else:
            await handler(exchange)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Follow the server's start and stop (ASGI lifespan)."""
        await receive()
        async with self._lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.ready = False
        await send({"type": "lifespan.shutdown.complete"})

    async def _probe(self, exchange: Exchange, path: str) -> None:
        well = path == "/healthz" or self.ready
        body = msgspec.json.encode({"status": "ok" if well else "draining" if self.draining else "starting"})
        await exchange.respond(200 if well else 503, body, {})

    def _authorise(self, exchange: Exchange) -> None:
        """Compare by SHA-256: what is looked up is a digest, so its time says nothing about the key."""
        given = exchange.headers.get(b"authorization", b"")
        key = (
            given[7:]
            if given[:7].lower() == b"bearer "
            else exchange.headers.get(b"x-api-key", b"") or (exchange.headers.get(b"api-key", b""))
        )
        if hashlib.sha256(key.strip()).hexdigest() not in self._digests:
            said = "A key is needed: send `Authorization: Bearer …`." if not key else "This key is not known here."
            raise Unauthorized(said)
