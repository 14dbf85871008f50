"""The front door: a thin ASGI application that serves the hot paths itself and hands the rest to FastAPI."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from gateway.api import disclosure
from gateway.api.admission import Admission
from gateway.api.dialect import ErrorDialect
from gateway.api.envelope import PASSTHROUGH, OpenAIErrors, refuse
from gateway.api.exchange import ClientGone, Exchange, Receive, Scope, Send
from gateway.api.replays import HEADER, Replays
from gateway.engine.events import Finished, Observer
from gateway.errors import HedgerowError, InternalError, InvalidRequest, MethodNotAllowed, Unauthorized
from gateway.settings import Limits


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
_POST = "POST, OPTIONS"
_OPENAI = OpenAIErrors()
_KEY_HEADERS = (b"authorization", b"x-api-key", b"api-key")
_OPEN = frozenset({"/healthz", "/readyz"})
_PREFIXES = ("", "/v1", "/openai", "/openai/v1")
_AZURE = frozenset({"/openai/v1/models", "/openai/models"})
_PASSED = ("/v1/", "/openai/v1/")
_MODELS = re.compile(r"/(?:openai/)?v1/models(?:/|\Z)")
_SERVED = ("GET", "HEAD", "POST")
_ALL = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_SLASHES = re.compile(r"/{2,}")
_EXPOSED = ("retry-after", "x-request-id", "idempotent-replayed", *disclosure.NAMES)


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
        observe: Callable[[str, str], Observer],
        on_fault: Callable[[str, BaseException], None],
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._hot = {f"{prefix}{path}": handler for path, handler in hot.items() for prefix in _PREFIXES}
        self.endpoints = tuple(path.removeprefix("/") for path in hot)
        # Azure's older paths; the shortest name is taken, so that the longest path behind it counts.
        self._deployed = re.compile(rf"/openai/deployments/(.+?)({'|'.join(map(re.escape, hot))})")
        self._application: Application = self._answer
        self.replays = Replays(time.monotonic)
        self._build_rest = rest
        self._rest: Application | None = None
        self._digests = frozenset(keys.values())
        self._observe = observe
        self._on_fault = on_fault
        self._lifespan = lifespan
        self.admission = Admission(Limits())
        self.passage: Handler | None = None
        """Who passes on what is not served here; nobody does by default."""
        self.ready = self.draining = False
        self.live: set[Exchange] = set()
        """The requests in flight."""

    @property
    def limits(self) -> Limits:
        """What connections are held to."""
        return self.admission.limits

    def share(self, origins: Sequence[str]) -> None:
        """Let the pages of these origins call us (CORS); who does not configure it does not pay for the import."""
        from starlette.middleware.cors import CORSMiddleware  # noqa: PLC0415

        self._application = CORSMiddleware(
            self._answer,
            allow_origins=origins,
            allow_methods=_SERVED if self.passage is None else _ALL,
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        await self._application(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = Exchange(scope, receive, send)
        exchange.largest = self.admission.limits.body_bytes
        handler = self._hot.get(exchange.path) or self._elsewhere(exchange)
        dialect = _OPENAI if handler is None else handler.dialect
        exchange.id_headers = dialect.id_headers
        self.live.add(exchange)
        try:
            await self._serve(exchange, handler, scope, receive, send)
        except HedgerowError as error:
            told = Finished(error.status, exchange.elapsed, None, error.code or error.type)
            self._observe(OTHER, exchange.id).hear(told)
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

    def _elsewhere(self, exchange: Exchange) -> Handler | None:
        """Find the handler of a path that is written in another way: with more slashes, or as Azure's clients do.

        `/v1` comes twice where it stands in the base URL of a client that adds its own, as Anthropic's does.
        """
        path = _SLASHES.sub("/", exchange.path).rstrip("/") or "/"
        exchange.path = path.removeprefix("/v1") if path.startswith("/v1/v1/") else path
        deployed = self._deployed.fullmatch(exchange.path)
        if deployed is None:
            exchange.path = exchange.path.removeprefix("/openai") if exchange.path in _AZURE else exchange.path
            return self._hot.get(exchange.path)
        exchange.deployment = deployed[1]
        return self._hot[deployed[2]]

    async def _serve(
        self, exchange: Exchange, handler: Handler | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if handler is None and exchange.path in _OPEN:
            await self._probe(exchange)
            return
        tenant = self._authorise(exchange) if self._digests else ""
        if exchange.method == "GET" and exchange.headers.get(b"upgrade", b"").lower() == b"websocket":
            raise InvalidRequest("WebSockets are not served, nor passed on: connect to the realtime provider itself.")
        if self.passage is not None and self._beyond(exchange, handler):
            if exchange.method == "OPTIONS":
                await exchange.respond(204, b"", {"allow": ", ".join((*_ALL, "OPTIONS"))})
            else:
                await self._admitted(self.passage, exchange, tenant)
        elif handler is None:
            if self._rest is None:
                self._rest = await asyncio.to_thread(self._build_rest)
            # A HEAD is a GET whose body the server keeps back.
            method = "GET" if exchange.method == "HEAD" else exchange.method
            await self._rest({**scope, "path": exchange.path, "method": method}, receive, exchange.signed(send))
        elif exchange.method == "OPTIONS":
            await exchange.respond(204, b"", {"allow": _POST})
        elif exchange.method != "POST":
            said = f"{exchange.method} {exchange.path} is not possible; use POST."
            raise MethodNotAllowed(f"{said} {PASSTHROUGH}" if _below(exchange.path) else said, allowed=_POST)
        else:
            await self._admitted(handler, exchange, tenant)

    def _beyond(self, exchange: Exchange, handler: Handler | None) -> bool:
        """Whether a request is none that the gateway answers itself."""
        if handler is not None:
            return exchange.method not in {"POST", "OPTIONS"} and _below(exchange.path)
        ours = _MODELS.match(exchange.path) and exchange.method in {"GET", "HEAD", "OPTIONS"}
        return not ours and _below(exchange.path)

    async def _admitted(self, handler: Handler, exchange: Exchange, tenant: str) -> None:
        """Serve a request that costs something, if there is room for it."""
        admission = self.admission
        if admission.crowded:
            await admission.wait()
        else:
            admission.inside += 1
        try:
            if HEADER not in exchange.headers or handler is self.passage:  # there the key is the provider's matter
                await handler(exchange)
            elif (replayed := await self.replays.serve(exchange, handler, tenant)) is not None:
                self._observe(OTHER, exchange.id).hear(Finished(replayed, exchange.elapsed, None))
        finally:
            admission.leave()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Follow the server's start and stop (ASGI lifespan)."""
        await receive()
        async with self._lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.ready = False
            await self.replays.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _probe(self, exchange: Exchange) -> None:
        if exchange.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(f"{exchange.method} {exchange.path} is not possible; use GET.", allowed="GET, HEAD")
        well = exchange.path == "/healthz" or self.ready
        body = msgspec.json.encode({"status": "ok" if well else "draining" if self.draining else "starting"})
        await exchange.respond(200 if well else 503, body, {})

    def _authorise(self, exchange: Exchange) -> str:
        """Return the digest of the client's key.

        Keys are compared by SHA-256: what is looked up is a digest, so its time says nothing about the key.
        """
        if exchange.repeats(_KEY_HEADERS):
            raise Unauthorized("A key came twice: send one `Authorization` header.")
        given = exchange.headers.get(b"authorization", b"")
        key = (
            given[7:]
            if given[:7].lower() == b"bearer "
            else exchange.headers.get(b"x-api-key", b"") or (exchange.headers.get(b"api-key", b""))
        )
        digest = hashlib.sha256(key.strip()).hexdigest()
        if digest not in self._digests:
            said = "A key is needed: send `Authorization: Bearer …`." if not key else "This key is not known here."
            raise Unauthorized(said)
        return digest


def _below(path: str) -> bool:
    """Whether a path is one of the API's."""
    return path.startswith(_PASSED)
