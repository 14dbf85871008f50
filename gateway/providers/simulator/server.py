"""The server: a socket, the paths of both wire dialects and the simulator's own endpoints."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from gateway.providers.simulator.anthropic_dialect import AnthropicDialect
from gateway.providers.simulator.journal import Account, Entry, Journal
from gateway.providers.simulator.openai_dialect import OpenAIDialect
from gateway.providers.simulator.operations import OPERATIONS
from gateway.providers.simulator.player import Dialect
from gateway.providers.simulator.reception import Reception
from gateway.providers.simulator.script import Script, ScriptError, ScriptSource
from gateway.providers.simulator.stage import Stage

_LARGEST_BODY = 128 * 2**20
_CLOSING = 0.05  # seconds that running calls get when the simulator stops; 0 would mean no limit
_OWN = "/_simulator/"


class Simulator:
    """A provider that follows a script, on a socket of its own.

    ::

        async with Simulator({"paris": {"answer": "Paris", "ttft": 0.1}}) as sim:
            ...  # ask sim.base_url for the model "paris", or "paris?cut=2"
        assert sim.journal[0].outcome == "completed"

    Port 0 takes any free one. `keep` is how many calls the journal remembers; the ledger counts all. The journal holds
    requests as they came, keys included: it is meant for keys that open nothing.
    """

    def __init__(
        self,
        script: Script | ScriptSource | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        keep: int = 10_000,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._tls = tls
        self._seed = seed
        self._stage = Stage(_script(script), seed)
        self._journal = Journal(keep)
        self._reception = Reception(self._journal, time.monotonic())
        chat: dict[str, Dialect] = {"/chat/completions": OpenAIDialect(), "/messages": AnthropicDialect()}
        self._dialects = {**chat, **OPERATIONS}
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Listen, and begin the script. Raises OSError when the address is taken."""
        server = web.Server(self._handle, request_factory=_request, handler_cancellation=True, access_log=None)
        self._reception = Reception(self._journal, time.monotonic())
        self.reset()
        self._runner = web.ServerRunner(server, shutdown_timeout=_CLOSING)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening and break off what still runs."""
        self._reception.closing = True
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """The address without a path: what Anthropic clients call the base URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http{'s' if self._tls else ''}://{host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What OpenAI clients call the base URL."""
        return f"{self.url}/v1"

    @property
    def journal(self) -> list[Entry]:
        """The calls that are remembered, in order of arrival."""
        return list(self._journal.entries)

    @property
    def ledger(self) -> dict[str, Account]:
        """The totals of every model since the start or the last reset."""
        return self._journal.accounts

    @property
    def now(self) -> float:
        """The seconds on the journal's clock."""
        return self._reception.now()

    @property
    def running(self) -> int:
        """How many calls have not ended yet."""
        return self._journal.running

    def play(self, script: Script | ScriptSource | None) -> None:
        """Begin another script: its clock and its call numbers start anew, journal and ledger go on."""
        self._stage = Stage(_script(script), self._seed)

    def reset(self) -> None:
        """Begin the same script again and forget all calls."""
        self.play(self._stage.script)
        self._journal.clear()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, method = request.path, request.method
        if method == "POST":
            for suffix, dialect in self._dialects.items():
                if path.endswith(suffix):
                    return await self._reception.receive(request, dialect, self._stage)
        if path.startswith(_OWN):
            return await self._own(f"{method} {path.removeprefix(_OWN)}", request)
        _, models, name = path.partition("/models")
        if models and method == "GET":
            return self._models(name.lstrip("/"))
        return _error(404, f"Invalid URL ({method} {path})")

    def _models(self, name: str) -> web.Response:
        known = self._stage.script.models
        listed = [{"id": model, "object": "model", "created": 0, "owned_by": "simulator"} for model in known]
        if not name:
            return _json({"object": "list", "data": listed})
        found = next((model for model in listed if model["id"] == name), None)
        return _json(found) if found else _error(404, f"The model '{name}' does not exist", "model_not_found")

    async def _own(self, action: str, request: web.BaseRequest) -> web.Response:
        match action:
            case "GET journal":
                return _json([entry.record() for entry in self._journal.entries])
            case "GET ledger":
                return _json({model: asdict(account) for model, account in self._journal.accounts.items()})
            case "POST reset":
                self.reset()
                return _json({"reset": True})
            case "POST script":
                try:
                    self.play(Script.parse(await request.text()))
                except ScriptError as fault:
                    return _error(400, str(fault), "invalid_script")
                return _json({"models": list(self._stage.script.models)})
        return _error(404, "expected GET journal, GET ledger, POST reset or POST script")


def _script(source: Script | ScriptSource | None) -> Script:
    return source if isinstance(source, Script) else Script(source)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: asyncio.Task[None]) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_BODY)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _error(status: int, message: str, code: str | None = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return _json({"error": error}, status)
