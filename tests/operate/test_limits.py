"""What the front of the gateway refuses, over real sockets: too large, too slow, too many, malformed; always JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.running import Served, load, served
from tests.support.simulators import simulator_process

LIMITS = (
    "limits: {header_timeout: 1s, body_timeout: 1500ms, in_flight: 4, queue: 2, connections: 60, body_bytes: 3000000}"
)
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "script.yaml").write_text("quick: {answer: Paris}\nslow: {answer: Rome, latency: 1}\n")
    with simulator_process(folder / "script.yaml") as sim:
        text = f"providers: {{sim: {{api: openai, base_url: '{sim.base_url}'}}}}\n{LIMITS}\n"
        routes = "routes: {one: {targets: [sim/quick]}, slow: {targets: [sim/slow]}}\n"
        with served(folder, text + routes) as running:
            yield running


def say(gateway: Served, *pieces: bytes, pause: float = 0.0) -> tuple[int, dict[str, str], bytes]:
    """Send pieces over a connection of its own, and read until the gateway closes it or has answered."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            headers = {}
            while line := answer.readline().strip():
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            return status, headers, answer.read(int(headers["content-length"]))


@pytest.mark.parametrize(
    ("pieces", "status", "code"),
    [
        ((b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",), 414, "url_too_long"),
        ((POST + b"x: " + b"a" * 33_000 + b"\r\n\r\n",), 431, "headers_too_large"),
        ((POST + b"x: ", *[b"a" * 10_000] * 12), 431, "headers_too_large"),
        ((POST + b"".join(b"x-%d: 1\r\n" % number for number in range(120)) + b"\r\n",), 431, "headers_too_large"),
        ((b"GARBAGE\r\n\r\n",), 400, "invalid_http"),
        ((POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",), 400, "invalid_http"),
        ((POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",), 400, "invalid_http"),
        ((POST + b"content-length: 3000001\r\n\r\n",), 413, None),
        ((POST + b"transfer-encoding: chunked\r\n\r\n", *[b"100000\r\n" + b"a" * 1048576 + b"\r\n"] * 4), 413, None),
    ],
    ids=[
        "url",
        "header",
        "endless-header",
        "many-headers",
        "garbage",
        "two-lengths",
        "smuggled",
        "declared",
        "chunked",
    ],
)
def test_what_is_too_large_or_malformed_is_told_so(
    gateway: Served, pieces: tuple[bytes, ...], status: int, code: str | None
) -> None:
    """HTTP's own status, OpenAI's envelope, and the connection is closed; never a 500, never silence."""
    seen, headers, body = say(gateway, *pieces)
    error = json.loads(body)["error"]
    assert (seen, error["type"], error["code"]) == (status, "invalid_request_error", code)
    assert headers["content-type"] == "application/json"
    assert gateway.ask()[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "one", "messages": ' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"model": "one", "messages": [], "x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 1_000_000,
        b'{"model": "one", "messages": [{"role": "user", "content": ' + b'{"a": ' * 80 + b"1" + b"}" * 80 + b"}]}",
        b"{" + b", ".join(b'"%d": 1' % number for number in range(2000)) + b"}",
    ],
    ids=["lists", "objects", "unclosed", "inside", "fields"],
)
def test_json_that_is_too_deep_is_a_400(gateway: Served, body: bytes) -> None:
    """Never a 500, whatever parser the depth would break."""
    status, _, answer = say(gateway, POST + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")


def test_a_deep_looking_text_is_no_deep_json(gateway: Served) -> None:
    """Brackets inside strings and side by side nest nothing."""
    content = '[[[{{{"\\' * 500
    body = json.dumps({"model": "one", "messages": [{"role": "user", "content": content}] * 100}).encode()
    assert say(gateway, POST + b"content-length: %d\r\n\r\n" % len(body) + body)[0] == 200


def test_a_request_that_does_not_arrive_in_time_is_a_408(gateway: Served) -> None:
    """The gateway waits for nobody for ever: not for a first byte, the rest of a line, of the headers or of a body."""
    beginnings = [(), (b"P",), (POST + b"x-slow: ", b"a"), (POST + b"content-length: 50\r\n\r\n", b"{")]
    with ThreadPoolExecutor() as threads:
        answers = [*threads.map(lambda pieces: say(gateway, *pieces), beginnings)]
    for status, headers, body in answers:
        assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
        assert headers["connection"] == "close"


def test_an_overloaded_gateway_says_so_and_stays_alive(gateway: Served) -> None:
    """In flight and in the queue there is room for six; the others get 503 with Retry-After, the probes an answer."""

    async def crowd() -> list[tuple[int, dict[str, str]]]:
        body = b'{"model": "slow", "messages": [{"role": "user", "content": "France?"}]}'
        text = POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body

        async def one() -> tuple[int, dict[str, str]]:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(text)
            head, _, _ = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            status, *lines = head.decode().split("\r\n")
            return int(status.split()[1]), dict(line.split(": ", 1) for line in lines)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one()) for _ in range(30)]
            await asyncio.sleep(0.3)
            assert (await asyncio.to_thread(gateway.get, "/healthz"))[0] == 200
            assert (await asyncio.to_thread(gateway.get, "/readyz"))[0] == 200
        return [task.result() for task in tasks]

    outcomes = asyncio.run(crowd())
    assert sorted({status for status, _ in outcomes}) == [200, 503]
    assert 4 <= sum(status == 200 for status, _ in outcomes) <= 6
    waits = {headers["retry-after"] for status, headers in outcomes if status == 503}
    assert waits <= {"1", "2", "3"}
    assert gateway.ask()[0] == 200


def test_beyond_the_connections_only_the_probes_are_answered(gateway: Served) -> None:
    """Connections that do nothing take no request's place for long, and a full gateway still says that it is alive."""
    idle = [socket.create_connection(("127.0.0.1", gateway.port), timeout=20) for _ in range(60)]
    try:
        time.sleep(0.1)
        assert gateway.get("/healthz")[0] == 200
        assert gateway.ask()[0] == 503
    finally:
        for connection in idle:
            connection.close()
    gateway.until(lambda: gateway.ask()[0] == 200, "room again")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit (util-linux) is not installed here")
def test_with_few_file_descriptors_connections_are_refused_before_none_is_left(tmp_path: Path) -> None:
    """A client is told so instead of being reset, the probes are answered, and it is over when the crowd has gone."""
    script = tmp_path / "script.yaml"
    script.write_text("quick: {answer: Paris}\n")
    with simulator_process(script) as sim:
        text = f"providers: {{sim: {{api: openai, base_url: '{sim.base_url}'}}}}\n"
        text += "routes: {one: {targets: [sim/quick]}}\n"
        with served(tmp_path, text, prefix=("prlimit", "--nofile=160:160")) as gateway:
            crowd = [socket.create_connection(("127.0.0.1", gateway.port), timeout=20) for _ in range(60)]
            try:
                time.sleep(0.2)
                assert gateway.ask()[0] == 503
                assert gateway.get("/healthz")[0] == 200
            finally:
                for connection in crowd:
                    connection.close()
            gateway.until(lambda: gateway.ask()[0] == 200, "room again")


@pytest.mark.slow
def test_slowloris_does_not_slow_the_others_down(tmp_path: Path) -> None:
    """300 connections that drip a byte a second, opened anew when they are closed: everybody else is served."""
    script = tmp_path / "script.yaml"
    script.write_text("quick: {answer: Paris}\n")
    with simulator_process(script) as sim:
        text = f"providers: {{sim: {{api: openai, base_url: '{sim.base_url}'}}}}\n"
        text += "routes: {one: {targets: [sim/quick]}}\nlimits: {header_timeout: 1s, body_timeout: 1s}\n"
        with served(tmp_path, text) as gateway:
            refused = asyncio.run(_drip(gateway))
            assert gateway.get("/healthz")[0] == 200
    assert refused >= 300


async def _drip(gateway: Served) -> int:
    refused = 0

    async def attack(number: int, until: float) -> None:
        nonlocal refused
        while time.monotonic() < until:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(POST + (b"content-length: 99\r\n\r\n" if number % 2 else b"x: "))
            answer = b""
            while not answer:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        answer = await reader.read(1000) or b"closed"
                writer.write(b"a")
            refused += b" 408 " in answer
            writer.close()

    until = time.monotonic() + 4
    with load(gateway.port) as clients:
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(attack(number, until))
    assert clients.failed() == 0, clients.outcomes
    assert clients.outcomes["200"] > 50
    return refused
