"""The journal and the ledger: what was asked, when it ended and how, and what was generated for it."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.providers.simulator import Simulator
from tests.support.simulators import (
    ROOT,
    SimulatorProcess,
    chat,
    eventually,
    exchange,
    hang_up,
    simulator_process,
    simulators,
)

pytestmark = pytest.mark.anyio


async def begin(
    sim: Simulator, model: str, *, stream: bool = True
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request and wait until the simulator has it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    body = json.dumps(chat(model, stream=stream)).encode()
    before = len(sim.journal)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await eventually(lambda: len(sim.journal) > before)
    return reader, writer


async def test_the_journal_tells_what_was_asked_and_when() -> None:
    """Headers, body, connection, status and times are those of the call, in the order of arrival."""
    async with simulators() as (sim,):
        body = chat("m?latency=0.05", unknown_field=[1])
        await exchange(sim, body, headers="X-Tenant: blue\r\nX-Tenant: green")
        await exchange(sim, chat("n?status=429"))
        first, second = sim.journal
    assert first.json == body
    assert first.headers["x-tenant"] == "blue, green"
    assert (first.n, second.n, first.path, first.model) == (1, 2, "/v1/chat/completions", "m?latency=0.05")
    assert first.first_byte is not None
    assert first.ended is not None
    assert 0 <= first.started <= first.first_byte - 0.05 <= first.ended - 0.05
    assert second.started >= first.ended
    assert [(e.status, e.outcome, e.connection) for e in (first, second)] == [
        (200, "completed", 1),
        (429, "completed", 2),
    ]


async def test_a_call_that_still_runs_is_in_the_journal() -> None:
    """A running call has neither an end nor an outcome, and counts as running."""
    async with simulators() as (sim,):
        _, writer = await begin(sim, "m?silent")
        assert (sim.journal[0].outcome, sim.journal[0].ended, sim.running) == ("running", None, 1)
        writer.close()
        await eventually(lambda: sim.running == 0)


@pytest.mark.parametrize("leave", [hang_up, asyncio.StreamWriter.close], ids=["rst", "fin"])
@pytest.mark.parametrize(
    ("model", "stream"),
    [
        ("m?silent", False), ("m?latency=9", False), ("m?gap=9", False), ("m?ttft=9", True),
        ("m?early=headers&ttft=9", True), ("m?tokens=9&stall&stall_at=2", True), ("m?tokens=9&gap=0.3", True),
    ],
)  # fmt: skip
async def test_a_client_that_leaves_is_noticed_at_once(
    model: str, stream: bool, leave: Callable[[asyncio.StreamWriter], None]
) -> None:
    """However the provider waits and however the client leaves, it is noticed within 20 ms (median of five)."""
    delays = []
    async with simulators() as (sim,):
        for _ in range(5):
            _, writer = await begin(sim, model, stream=stream)
            await asyncio.sleep(0.005)
            left = time.monotonic()
            leave(writer)
            await eventually(lambda: sim.running == 0)
            delays.append(time.monotonic() - left)
        assert [entry.outcome for entry in sim.journal] == ["disconnected"] * 5
        assert all(entry.ended is not None and entry.ended < 1.0 for entry in sim.journal)
    assert statistics.median(delays) < 0.02


async def test_the_ledger_counts_what_nobody_received() -> None:
    """A stream that is left in the middle has cost the tokens written until then; the totals add up."""
    async with simulators() as (sim,):
        model = "m?tokens=50&gap=0.01"
        reader, writer = await begin(sim, model)
        for _ in range(5):
            await reader.readuntil(b'"content":"')
        hang_up(writer)
        await eventually(lambda: sim.running == 0)
        await exchange(sim, chat("m?tokens=50", stream=True))
        (left, whole) = sim.journal
        assert left.ended is not None
        assert 4 <= left.generated <= 2 + (left.ended - left.started) / 0.01
        assert left.generated < 50
        assert whole.generated == 50
        account = sim.ledger[model]
        assert (account.calls, account.disconnected, account.completed) == (1, 1, 0)
        assert account.generated == left.generated
        assert account.prompt_tokens == left.prompt_tokens > 0


async def test_a_whole_answer_costs_until_its_client_leaves() -> None:
    """Also without a stream a provider generates token by token: it stops when the client is gone."""
    async with simulators() as (sim,):
        _, writer = await begin(sim, "m?tokens=50&ttft=0.02&gap=0.01", stream=False)
        await asyncio.sleep(0.1)
        writer.close()
        await eventually(lambda: sim.running == 0)
        (left,) = sim.journal
        assert left.ended is not None
        assert 5 <= left.generated <= 2 + (left.ended - left.started - 0.02) / 0.01
        assert left.generated < 50
        _, writer = await begin(sim, "m?tokens=50&stall&stall_at=7", stream=False)
        writer.close()
        await eventually(lambda: sim.running == 0)
        assert sim.journal[1].generated == 7
        _, writer = await begin(sim, "m?tokens=50&silent", stream=False)
        writer.close()
        await eventually(lambda: sim.running == 0)
        assert sim.journal[2].generated == 0


async def test_kept_alive_connections_keep_their_number() -> None:
    """Two requests on one connection have one number: pooling can be seen."""
    async with simulators() as (sim,):
        reader, writer = await begin(sim, "m", stream=False)
        await reader.readuntil(b"system_fingerprint")
        body = json.dumps(chat("m")).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"system_fingerprint")
        writer.close()
        await exchange(sim, chat("m"))
        assert [entry.connection for entry in sim.journal] == [1, 1, 2]


async def test_the_journal_forgets_and_the_ledger_does_not() -> None:
    """The journal keeps as many calls as it may, the ledger counts all of them."""
    async with Simulator(keep=3) as sim:
        for _ in range(5):
            await exchange(sim, chat("m"))
        assert [entry.n for entry in sim.journal] == [3, 4, 5]
        assert sim.ledger["m"].calls == 5


async def test_a_body_that_is_no_json_is_in_the_journal_too() -> None:
    """What cannot be read is kept as text, with the 400 it got."""
    async with simulators() as (sim,):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\n{\xff{"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        deep = "[" * 100_000
        assert (await exchange(sim, {"model": "m", "messages": deep})).status == 400
        assert sim.journal[0].json == "{\ufffd{"
        assert sim.ledger[""].calls == 2


async def test_a_simulator_that_stops_breaks_its_calls_off() -> None:
    """Stopping takes no longer than a moment, and what ran is entered as broken off by the provider."""
    async with simulators() as (sim,):
        reader, writer = await begin(sim, "m?silent")
        began = time.monotonic()
        await sim.close()
        assert time.monotonic() - began < 0.5
        assert sim.journal[0].outcome == "reset"
        assert await reader.read() == b""
        writer.close()


async def test_the_endpoints_show_and_change_the_run() -> None:
    """Journal, ledger, reset and script over HTTP, and what they say to a script that means nothing."""
    async with simulators({"m": {}}) as (sim,):
        await exchange(sim, chat("m"))
        (entry,) = (await exchange(sim, {}, "/_simulator/journal", method="GET")).json
        assert entry["body"] == chat("m")
        assert entry["headers"]["host"] == "localhost"
        assert (entry["outcome"], entry["generated"]) == ("completed", 6)
        ledger = (await exchange(sim, {}, "/_simulator/ledger", method="GET")).json
        assert ledger["m"]["completed"] == 1
        refused = await exchange(sim, {"m": {"ttfb": 1}}, "/_simulator/script")
        assert (refused.status, refused.json["error"]["code"]) == (400, "invalid_script")
        assert "nearest is 'ttft'" in refused.json["error"]["message"]
        assert (await exchange(sim, chat("m"))).status == 200
        replaced = await exchange(sim, {"m": {"status": 503}, "n": {}}, "/_simulator/script")
        assert replaced.json == {"models": ["m", "n"]}
        assert (await exchange(sim, chat("m"))).status == 503
        assert len(sim.journal) == 3
        await exchange(sim, {}, "/_simulator/reset")
        assert (sim.journal, sim.ledger) == ([], {})
        assert (await exchange(sim, {}, "/_simulator/nothing")).status == 404


async def test_a_call_that_outlives_a_reset_stays_out_of_the_books() -> None:
    """A call that began before the reset and ends after it is in neither journal nor ledger."""
    async with simulators() as (sim,):
        _, writer = await begin(sim, "m?silent")
        sim.reset()
        assert sim.running == 1
        writer.close()
        await eventually(lambda: sim.running == 0)
        assert (sim.journal, sim.ledger) == ([], {})


def _status(simulator: SimulatorProcess, model: str, wait: float = 5.0) -> int:
    body = json.dumps(chat(model)).encode()
    with socket.create_connection(("127.0.0.1", int(simulator.url.rpartition(":")[2])), timeout=wait) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        return int(client.recv(65536).split(b" ", 2)[1])


def test_a_simulator_runs_as_a_process(tmp_path: Path) -> None:
    """The command prints its address, plays its script, answers its endpoints and ends well on SIGTERM."""
    script = tmp_path / "script.yaml"
    script.write_text("m: {status: 503}\n", encoding="utf-8")
    with simulator_process(script, seed=3) as simulator:
        assert simulator.url.startswith("http://127.0.0.1:")
        assert _status(simulator, "m") == 503
        simulator.play({"m": {"answer": "Paris"}})
        assert _status(simulator, "m") == 200
        with pytest.raises(ConnectionResetError):
            _status(simulator, "m?reset")
        with pytest.raises(TimeoutError):
            _status(simulator, "m?silent", wait=0.1)
        assert [call["outcome"] for call in simulator.journal()] == ["completed", "completed", "reset", "disconnected"]
        assert simulator.ledger()["m"]["calls"] == 2
        simulator.reset()
        assert (simulator.journal(), simulator.ledger()) == ([], {})
        simulator.process.terminate()
        assert simulator.process.wait(timeout=5) == 0


def test_a_simulator_that_cannot_run_says_why(tmp_path: Path) -> None:
    """A script that means nothing and an address that is taken end in a sentence, not in a traceback."""
    path = tmp_path / "script.yaml"
    path.write_text("m: {ttfb: 1}", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        wrong = [["--script", str(path)], ["--port", port]]
        sentences = ["the nearest is 'ttft'", f"cannot listen on 127.0.0.1:{port}"]
        for arguments, sentence in zip(wrong, sentences, strict=True):
            command = [sys.executable, "-m", "gateway.providers.simulator", *arguments]
            ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
            assert ended.returncode == 1
            assert sentence in ended.stderr
            assert "Traceback" not in ended.stderr


def test_the_words_can_be_printed() -> None:
    """`--words` lists the vocabulary."""
    command = [sys.executable, "-m", "gateway.providers.simulator", "--words"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout
    assert "retry_after " in printed
