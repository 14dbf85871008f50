"""A whole gateway for tests: the real application behind a real socket, with its log and metrics at hand."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
from blockbuster import BlockBuster

from gateway import config
from gateway.app import Gateway
from gateway.observe.log import Log
from gateway.providers.simulator import Simulator
from gateway.providers.simulator.script import ScriptSource
from gateway.serving.loopback import serving


@dataclass(frozen=True)
class Reply:
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A gateway that listens, and the simulated provider `sim` behind it."""

    url: str
    gateway: Gateway
    sim: Simulator
    written: io.BytesIO
    http: aiohttp.ClientSession
    to_close: AsyncExitStack

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def client(self, **options: Any) -> openai.AsyncOpenAI:
        """The real OpenAI client, without retries of its own.

        It is closed with the gateway: the garbage collector would do it in the event loop of a later test.
        """
        plain = openai.DefaultAsyncHttpxClient(verify=False)  # reading the certificates that it trusts takes 80 ms
        given = {
            "base_url": self.base_url, "api_key": "client-key", "max_retries": 0, "http_client": plain, **options,
        }  # fmt: skip
        client = openai.AsyncOpenAI(**given)
        self.to_close.push_async_callback(client.close)
        return client

    def received(self) -> list[Any]:
        """The bodies that reached the upstream, in order."""
        return [json.loads(entry.body) for entry in self.sim.journal]

    def log(self) -> list[dict[str, Any]]:
        """The lines logged so far about requests."""
        self.gateway.log.close()
        lines = [json.loads(line) for line in self.written.getvalue().split(b"\n") if line]
        return [line for line in lines if "request_id" in line]

    def sample(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels; 0 where it was never counted."""
        self.gateway.metrics.tell()
        samples = (sample for family in self.gateway.metrics.registry.collect() for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    async def post(self, body: Any, path: str = "/v1/chat/completions", **options: Any) -> Reply:
        """Post JSON and read the whole response."""
        data = io.BytesIO(json.dumps(body).encode())
        async with self.http.post(self.url + path, data=data, **options) as response:
            return Reply(response.status, response.headers, await response.read())


class _NothingBlocks:
    """A call inside the gateway that would block the event loop fails the test.

    Gateways may overlap: what is patched for them is the interpreter's, and the last one takes it off.
    """

    def __init__(self) -> None:
        self._blockbuster = BlockBuster("gateway", excluded_modules=["gateway.providers.simulator"])
        self._inside = 0

    def __enter__(self) -> None:
        if not self._inside:
            self._blockbuster.activate()
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1
        if not self._inside:
            self._blockbuster.deactivate()


nothing_blocks = _NothingBlocks()


@asynccontextmanager
async def gateways(
    routes: str, script: ScriptSource | None = None, *, head: str = "", environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Start a simulator and a gateway whose `routes:` block is given.

    `head` stands between `providers:`, to which its indented lines belong, and `routes:`; `{sim}` in it is the
    simulator's base URL.
    """
    async with Simulator(script) as sim:
        text = f"providers:\n  sim: {{api: openai, base_url: '{sim.base_url}', api_key: sk-provider-canary}}\n"
        text += head.replace("{sim}", sim.base_url) + "\n"
        settings = config.parse(text + "routes:\n" + routes, environ or {})
        written = io.BytesIO()
        gateway = Gateway(settings, Log(written, [p.api_key for p in settings.providers.values() if p.api_key]))
        async with serving(gateway.asgi) as url, aiohttp.ClientSession() as http, AsyncExitStack() as to_close:
            with nothing_blocks:
                yield Running(url, gateway, sim, written, http, to_close)
