"""The command `hedgerow` as a user runs it: in a process of its own, on real ports."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import psutil
import pytest
from typer.testing import CliRunner, Result

from gateway.__main__ import app
from tests.support.ports import free_port
from tests.support.simulators import ROOT

SCRIPT = "a: {answer: Paris, latency: 0.2}\nb: {status: 503}\n"
KEYS = (
    "OPENAI",
    "ANTHROPIC",
    "GEMINI",
    "GOOGLE",
    "MISTRAL",
    "GROQ",
    "DEEPSEEK",
    "OPENROUTER",
    "AZURE",
    "OLLAMA",
    "VLLM",
)
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith((*KEYS, "HEDGEROW"))}


def hedgerow(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in a process of its own."""
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**CLEAN, **environ}, cwd=ROOT, check=False
    )


def said(*arguments: str, **environ: str) -> Result:
    """Run the command to its end in this process: for those that serve nothing."""
    return CliRunner().invoke(app, arguments, env={**dict.fromkeys(os.environ.keys() - CLEAN.keys()), **environ})


@contextmanager
def started(log: Path, ready: str, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command beside the test until it is ready; end it with the test."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", "gateway", *arguments]
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**CLEAN, **environ}, cwd=ROOT)
    try:
        give_up = time.monotonic() + 30
        while ready not in log.read_text():
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.01)
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[str]:
    """A simulated provider in a process of its own; gives its base URL."""
    (tmp_path / "script.yaml").write_text(SCRIPT)
    log = tmp_path / "simulator.log"
    with started(log, "listening on", "simulate", "--port", "0", "--script", str(tmp_path / "script.yaml")):
        found = re.search(r"http://\S+", log.read_text())
        assert found
        yield found.group() + "/v1"


def config_of(tmp_path: Path, upstream: str) -> str:
    path = tmp_path / "hedgerow.yaml"
    path.write_text(
        f"providers:\n  sim: {{api: openai, base_url: '{upstream}', api_key: '${{SIM_KEY}}'}}\n"
        "routes:\n  race: {targets: [sim/b, sim/a], select: first, retries: 0}\n"
    )
    return str(path)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_serve_answers_a_client_counts_it_and_stops_on_sigterm(tmp_path: Path, upstream: str) -> None:
    """The whole way: configuration, client, failing target, answer, metrics on their own port, log line, clean end."""
    port, metrics_port = free_port(), free_port()
    log = tmp_path / "gateway.log"
    arguments = (
        "serve",
        "--config",
        config_of(tmp_path, upstream),
        "--port",
        str(port),
        "--metrics-port",
        str(metrics_port),
    )
    with started(log, "base_url", *arguments, SIM_KEY="sk-e2e-canary-0001") as child:
        assert get(f"http://127.0.0.1:{port}/healthz") == (200, '{"status":"ok"}')
        assert get(f"http://127.0.0.1:{port}/readyz")[0] == 200
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
            completion = client.chat.completions.create(model="race", messages=[{"role": "user", "content": "France?"}])
        assert completion.choices[0].message.content == "Paris"
        assert completion.model == "race"

        _, metrics = get(f"http://127.0.0.1:{metrics_port}/metrics")
        for line in (
            'hedgerow_requests_total{route="race",status="200"} 1.0',
            'hedgerow_attempts_total{outcome="transient",route="race",target="sim/b"} 1.0',
            'hedgerow_attempts_total{outcome="answered",route="race",target="sim/a"} 1.0',
            'hedgerow_selected_total{route="race",selector="first",target="sim/a"} 1.0',
            'hedgerow_rescues_total{route="race"} 1.0',
            'hedgerow_attempt_duration_seconds_count{operation="chat",target="sim/a"} 1.0',
            'hedgerow_request_duration_seconds_count{operation="chat",outcome="answered",route="race"} 1.0',
            'hedgerow_overhead_seconds_count{route="race"} 1.0',
            'hedgerow_superseded_total{target="sim/a"} 0.0',
        ):
            assert line in metrics, line
        booked = r'hedgerow_tokens_total\{basis="exact",fate="won",kind="completion",target="sim/a"\} [1-9]'
        assert re.search(booked, metrics)
        assert get(f"http://127.0.0.1:{port}/metrics")[0] == 404

        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) in {0, -signal.SIGTERM}
    written = log.read_text()
    [line] = [json.loads(line) for line in written.split("\n") if '"request.finished"' in line]
    assert (line["route"], line["winner"], line["rescued"]) == ("race", "sim/a", True)
    assert "Traceback" not in written
    assert "canary" not in written
    assert "France" not in written
    assert "Paris" not in written


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_taken_port_is_one_sentence_with_the_cure(tmp_path: Path, option: str) -> None:
    """No traceback: the address, why, and the option that helps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--port": str(free_port()), "--metrics-port": str(free_port()), option: str(port)}
        arguments = [word for pair in ports.items() for word in pair]
        ended = hedgerow("serve", "--config", config_of(tmp_path, "http://127.0.0.1:9/v1"), *arguments, SIM_KEY="k")
    assert ended.returncode == 2
    assert ended.stderr == f"127.0.0.1:{port} cannot be used (Address already in use). Choose another with {option}.\n"


def test_a_demo_on_a_taken_port_is_one_sentence_too() -> None:
    """The gateway's own sentence reaches who started the demo, and nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = hedgerow("demo", "--once", "--port", port, "--metrics-port", str(free_port()))
    assert ended.returncode == 2
    assert ended.stderr == f"127.0.0.1:{port} cannot be used (Address already in use). Choose another with --port.\n"


def test_an_address_open_to_others_needs_a_key(tmp_path: Path) -> None:
    """Whoever can reach the gateway spends its credit: without keys it serves this machine only."""
    ended = hedgerow(
        "serve", "--config", config_of(tmp_path, "http://127.0.0.1:9/v1"), "--host", "0.0.0.0", SIM_KEY="k"
    )
    assert ended.returncode == 2
    assert "asks for no key" in ended.stderr


def test_check_says_every_fault_at_once_and_exits_2(tmp_path: Path) -> None:
    """A broken configuration is told whole, a sound one in a line; `-c` works as with the other commands."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("providers: {openai: {api_kee: x}}\nroutes: {a: {targets: [openai/m], deadline: 20}}\n")
    ended = said("check", str(broken))
    assert ended.exit_code == 2
    assert "did you mean `api_key`?" in ended.stderr
    assert 'expected a duration such as "20s"' in ended.stderr
    assert "Traceback" not in ended.stderr

    for option in ([], ["-c"]):
        sound = said("check", *option, config_of(tmp_path, "http://127.0.0.1:9/v1"), SIM_KEY="k")
        assert (sound.exit_code, "1 route over 1 provider" in sound.stdout) == (0, True)


def test_check_without_a_file_says_what_the_environment_offers() -> None:
    """As `serve` would start without one; with no key at all it names the variables that it looks for."""
    found = said("check", OPENAI_API_KEY="sk-of-the-test")
    assert (found.exit_code, "the environment: well formed" in found.stdout) == (0, True)
    assert "sk-of-the-test" not in found.stdout + found.stderr
    nothing = said("check")
    assert (nothing.exit_code, "OPENAI_API_KEY" in nothing.stderr) == (2, True)


def test_explain_prints_the_plan_and_names_the_nearest_route(tmp_path: Path) -> None:
    """What would be asked, in which rhythm, who decides, at what cost."""
    config = config_of(tmp_path, "http://127.0.0.1:9/v1")
    plan = said("explain", "race", "--config", config, SIM_KEY="k").stdout
    assert "asks all targets at once" in plan
    assert "1. sim/b" in plan
    assert "2. sim/a" in plan
    lost = said("explain", "rase", "--config", config, SIM_KEY="k")
    assert (lost.exit_code, "Did you mean `race`?" in lost.stderr) == (2, True)


def test_an_imported_configuration_can_be_checked_at_once(tmp_path: Path) -> None:
    """What cannot be carried over stands on stderr, so that stdout is a file; what is no such file is one sentence."""
    theirs, ours = tmp_path / "config.yaml", tmp_path / "hedgerow.yaml"
    theirs.write_text("model_list: [{model_name: m, litellm_params: {model: gpt-4o, api_key: os.environ/K, rpm: 5}}]")
    imported = said("import", str(theirs))
    assert imported.exit_code == 0
    assert imported.stderr.startswith("model_list[0].litellm_params.rpm: not carried over: ")
    ours.write_text(imported.stdout)
    checked = said("check", str(ours), K="sk-of-the-test")
    assert "well formed, 1 route over 1 provider" in checked.stdout
    refused = said("import", str(tmp_path / "none.yaml"))
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)


def test_the_schema_is_json() -> None:
    """Editors read it."""
    assert json.loads(said("schema").stdout)["properties"]["routes"]


def test_serve_without_a_file_says_what_it_looked_for_or_what_it_found(tmp_path: Path) -> None:
    """No key: one clear answer with the cure. A key: the routes clients may ask for."""
    nothing = hedgerow("serve")
    assert nothing.returncode == 2
    assert "OPENAI_API_KEY" in nothing.stderr
    assert "hedgerow demo" in nothing.stderr

    log = tmp_path / "gateway.log"
    arguments = ("serve", "--port", str(free_port()), "--metrics-port", str(free_port()))
    with started(log, "base_url", *arguments, OPENAI_API_KEY="sk-e2e-canary-0002", GROQ_API_KEY="gsk_e2e_canary_3"):
        said = log.read_text()
    assert "OPENAI_API_KEY" in said
    assert "auto" in said
    assert "canary" not in said


def test_the_demo_shows_its_table_and_ends() -> None:
    """`make demo ONCE=1`: twelve requests answered over four routes, the comparison, how to ask, exit 0."""
    ended = hedgerow("demo", "--once", "--port", str(free_port()), "--metrics-port", str(free_port()))
    assert ended.returncode == 0, ended.stderr
    for word in (
        "race",
        "hedge",
        "majority",
        "max_confidence",
        "superseded",
        "What redundancy saved",
        "curl",
        "OpenAI(",
    ):
        assert word in ended.stdout
    [row] = [line for line in ended.stdout.split("\n") if line.strip("│ ").startswith("all ")]
    answered = re.findall(r"(\d+) of 12 answered, (\d+) right", row)
    with_routes, alone = answered
    assert with_routes[0] == "12"
    assert int(with_routes[1]) > int(alone[1])


def test_a_gateway_stays_small_and_measures_its_overhead_finer_than_the_loop_s_clock(
    tmp_path: Path, upstream: str
) -> None:
    """Without litellm, which alone is twice as large; uvloop's clock ticks in milliseconds."""
    port = free_port()
    arguments = ("--port", str(port), "--metrics-port", str(free_port()))
    config = config_of(tmp_path, upstream)
    with started(tmp_path / "gateway.log", "base_url", "serve", "--config", config, *arguments, SIM_KEY="k") as child:
        seen = set()
        for _ in range(5):
            body = b'{"model": "race", "messages": [{"role": "user", "content": "France?"}]}'
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body)
            with urllib.request.urlopen(request, timeout=10) as response:
                seen.add(float(response.headers["x-hedgerow-overhead-ms"]))
        assert psutil.Process(child.pid).memory_info().rss < 130 * 2**20
    assert 0 not in seen
    assert len(seen) > 1


def test_the_garbage_collector_that_rests_during_the_start_works_again_when_the_server_is_ready() -> None:
    """In an interpreter of its own, as it serves: a server that never collects grows by every cycle."""
    code = """
import gc
from gateway.serving import Addresses, Options, server, serve
async def looks(self):
    print(gc.isenabled(), gc.get_freeze_count() > 10_000)
server.Server.main_loop = looks
serve(None, {"OPENAI_API_KEY": "sk-of-the-test"}, Addresses(port=%d, metrics_port=%d), Options(drain=0.0))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code % (free_port(), free_port())],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.stdout.startswith("True True"), ended.stdout + ended.stderr
