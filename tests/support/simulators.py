"""Scripted providers for tests: several in this process, one in a process of its own, and a raw client."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from gateway.providers.simulator import Simulator
from gateway.providers.simulator.script import ScriptSource

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def simulators(*scripts: ScriptSource | None, seed: int = 0) -> AsyncIterator[list[Simulator]]:
    """Start one simulator for each script in this process; each gets a seed of its own, counted from `seed`."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Simulator(script, seed=seed + i))
            for i, script in enumerate(scripts or [None])
        ]


async def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait until a condition holds; fails after `within` seconds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s")
        await asyncio.sleep(0.001)


@dataclass(frozen=True)
class SimulatorProcess:
    """A simulator in a process of its own, asked over its own endpoints."""

    process: subprocess.Popen[str]
    url: str

    @property
    def base_url(self) -> str:
        """What OpenAI clients call the base URL."""
        return f"{self.url}/v1"

    def journal(self) -> list[dict[str, Any]]:
        """The calls it remembers."""
        found: list[dict[str, Any]] = self._own("journal")
        return found

    def ledger(self) -> dict[str, dict[str, int]]:
        """The totals by model."""
        found: dict[str, dict[str, int]] = self._own("ledger")
        return found

    def reset(self) -> None:
        """Begin the script again and forget all calls."""
        self._own("reset", b"")

    def play(self, script: ScriptSource) -> None:
        """Begin another script."""
        self._own("script", json.dumps(script).encode())

    def _own(self, name: str, body: bytes | None = None) -> Any:
        request = Request(f"{self.url}/_simulator/{name}", data=body)
        with urlopen(request, timeout=5) as answer:
            return json.load(answer)


@contextmanager
def simulator_process(script: Path | None = None, seed: int = 0) -> Iterator[SimulatorProcess]:
    """Start a simulator as a process of its own on a free port and stop it at the end."""
    command = [sys.executable, "-m", "gateway.providers.simulator", "--port", "0", "--seed", str(seed)]
    command += ["--script", str(script)] if script else []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            prefix = "listening on "
            assert line.startswith(prefix), f"expected the ready line, found {line!r}"
            yield SimulatorProcess(process, line.removeprefix(prefix).strip())
        finally:
            process.terminate()
            process.wait(timeout=5)


@dataclass(frozen=True)
class Exchange:
    """What came back on one raw connection: `ended` is "eof", "rst" or "open" (nothing more came in time)."""

    raw: bytes
    ended: str
    elapsed: float

    @property
    def head(self) -> bytes:
        """Status line and header fields."""
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """The body as it came; a chunked one with the chunks put together, as far as they came."""
        body = self.raw.partition(b"\r\n\r\n")[2]
        if b"transfer-encoding: chunked" not in self.head.lower():
            return body
        whole = b""
        while body:
            size, found, rest = body.partition(b"\r\n")
            if not found or not int(size, 16):
                break
            whole += rest[: int(size, 16)]
            body = rest[int(size, 16) + 2 :]
        return whole

    @property
    def whole(self) -> bool:
        """Whether a chunked body came to its proper end."""
        return self.raw.endswith(b"0\r\n\r\n")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.head.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        """The header fields by lower-case name; of repeated ones the last."""
        fields = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return {name.decode().lower(): value.strip().decode() for name, _, value in fields}

    @property
    def json(self) -> Any:
        """The body decoded."""
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of the server-sent events, for streams in the plainest dress."""
        blocks = self.body.decode().split("\n\n")[:-1]
        return [block.partition("data: ")[2] for block in blocks]

    @property
    def chunks(self) -> list[Any]:
        """The events decoded, without `[DONE]`."""
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def text(self) -> str:
        """The contents of all OpenAI deltas, put together."""
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


async def ask(model: str, *, quiet: float = 1.0, **fields: Any) -> Exchange:
    """Ask a simulator of one's own one question on OpenAI's wire."""
    async with simulators() as (sim,):
        return await exchange(sim, chat(model, **fields), quiet=quiet)


def chat(model: str, text: str = "What is the capital of France?", **fields: Any) -> dict[str, Any]:
    """Return the body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


async def exchange(
    sim: Simulator,
    body: Any,
    path: str = "/v1/chat/completions",
    *,
    method: str = "POST",
    quiet: float = 1.0,
    headers: str = "Accept: */*",
) -> Exchange:
    """Send a request on a new connection and read until the server ends it, or is quiet for so many seconds.

    The connection asks to be closed after the answer, so that the end of the answer can be told from silence.
    """
    content = json.dumps(body).encode()
    fields = f"Host: localhost\r\nConnection: close\r\n{headers}\r\nContent-Length: {len(content)}"
    head = f"{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    started, received, ended = time.monotonic(), b"", "open"
    try:
        writer.write(head.encode() + content)
        while True:
            piece = await asyncio.wait_for(reader.read(65536), quiet)
            if not piece:
                ended = "eof"
                break
            received += piece
    except TimeoutError:
        pass
    except ConnectionResetError:
        ended = "rst"
    finally:
        writer.transport.abort()
    return Exchange(received, ended, time.monotonic() - started)


def hang_up(writer: asyncio.StreamWriter) -> None:
    """Break a client's connection off with a reset, as a client that is killed does, unless it is closed already."""
    if writer.transport.is_closing():
        return
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
