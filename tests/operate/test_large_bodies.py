"""Large requests: every branch sends the client's own bytes from the same memory."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.providers.buffers import LARGE
from tests.support.gateways import gateways
from tests.support.running import Served, served
from tests.support.simulators import simulator_process


def large(model: str, size: int = LARGE) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}
    return {"model": model, "temperature": 0.5, "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.anyio
async def test_a_large_request_reaches_every_target_whole_also_when_it_is_sent_again() -> None:
    """A retry sends the same pieces once more."""
    script = {"a": [{"status": 503, "first": 1}, {"answer": "Paris"}], "b": {"answer": "Paris"}}
    async with gateways("  both: {targets: [sim/a, sim/b], select: {defer: majority}, retries: 2}", script) as running:
        reply = await running.post(large("both"))
        assert reply.status == 200, reply.body
        received = running.received()
        assert sorted(call["model"] for call in received) == ["a", "a", "b"]
        assert all(call["messages"] == large("")["messages"] and call["temperature"] == 0.5 for call in received)


@pytest.mark.slow
def test_large_bodies_in_flight_take_less_than_three_times_their_size(tmp_path: Path) -> None:
    """Five of 19 MB to three targets each: what a copy for each branch would need is far beyond."""
    (tmp_path / "script.yaml").write_text("quick: {answer: Paris, latency: 1}\n")
    with simulator_process(tmp_path / "script.yaml") as sim:
        config = f"providers: {{sim: {{api: openai, base_url: '{sim.base_url}'}}}}\n"
        config += "routes: {one: {targets: [sim/quick, sim/quick, sim/quick], select: majority}}\n"
        with served(tmp_path, config) as gateway:
            gateway.ask()
            body = json.dumps(large("one", 19_000_000)).encode()
            before, peak, statuses = _watched(gateway, body, 5)
    assert statuses == [200] * 5
    assert peak - before < 3 * 5 * len(body)


def _watched(gateway: Served, body: bytes, count: int) -> tuple[int, int, list[int]]:
    process, statuses = psutil.Process(gateway.process.pid), []
    before = peak = process.memory_info().rss

    def post() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", body)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
        connection.close()

    clients = [threading.Thread(target=post) for _ in range(count)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.005)
    return before, peak, statuses
