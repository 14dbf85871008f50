"""Traces against a real OTLP receiver: what it decodes is the request, its branches, and who was superseded."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway import config
from gateway.observe import tracing
from gateway.serving import Addresses, CannotServe
from gateway.serving.configuration import Configuration
from tests.support.gateways import gateways
from tests.support.simulators import ROOT, eventually

pytestmark = pytest.mark.anyio

CANARY = "sk-trace-canary-000001"
HELLO = [{"role": "user", "content": f"What is the capital of France? {CANARY}"}]
PLAIN = "providers: {local: {base_url: 'http://127.0.0.1:1/v1'}}\nroutes: {r: {targets: [local/m]}}\n"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@contextmanager
def collector() -> Iterator[tuple[str, list[Any], list[bytes]]]:
    """An OTLP receiver; gives its address, the spans it got, and the bodies as they came."""
    spans: list[Any] = []
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            assert self.path == "/v1/traces"
            bodies.append(body)
            decoded = ExportTraceServiceRequest.FromString(body)
            spans.extend(s for r in decoded.resource_spans for scope in r.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans, bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


async def test_a_request_is_a_span_with_a_child_for_each_branch() -> None:
    """One fails, one wins, one is cancelled; the client's trace is continued, and each upstream gets its own span."""
    routes = "  race: {targets: ['sim/a?status=503', 'sim/b?latency=0.1', 'sim/c?silent'], retries: 0}"
    with collector() as (url, spans, bodies):
        async with gateways(routes, head=f"traces: {{endpoint: '{url}'}}") as running:
            sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1", "x-request-id": "mine"}
            reply = await running.post({"model": "race", "messages": HELLO}, headers=sent)
            assert reply.status == 200
            upstream = {entry.model: dict(entry.headers) for entry in running.sim.journal}
        roots = [span for span in spans if span.name == "chat race"]
        branches = {attributes(span)["hedgerow.target"]: span for span in spans if span.name != "chat race"}

    [root] = roots
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(root) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "hedgerow",
        "gen_ai.request.model": "race",
        "hedgerow.request_id": "mine",
        "hedgerow.target": "sim/b?latency=0.1",
        "hedgerow.selector": "first",
        "hedgerow.rescued": True,
        "hedgerow.answered": 1,
        "http.response.status_code": 200,
    }
    assert len(branches) == 3
    assert {span.parent_span_id for span in branches.values()} == {root.span_id}
    failed, won, cut = (attributes(branches[f"sim/{name}"]) for name in ("a?status=503", "b?latency=0.1", "c?silent"))
    assert failed["error.type"] == "transient"
    assert branches["sim/a?status=503"].status.code == 2
    assert won["hedgerow.won"]
    assert won["gen_ai.usage.output_tokens"] > 0
    assert cut["hedgerow.superseded"]
    assert branches["sim/c?silent"].status.code == 0
    assert [event.name for event in branches["sim/b?latency=0.1"].events] == ["attempt"]
    for span in branches.values():
        headers = upstream[attributes(span)["gen_ai.request.model"]]
        assert headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
        assert headers["tracestate"] == "vendor=1"
    assert not any(CANARY.encode() in body or b"provider-canary" in body or b"France" in body for body in bodies)


@pytest.mark.parametrize(
    ("path", "asked", "operation"),
    [("embeddings", {"input": "hello"}, "embeddings"), ("completions", {"prompt": "hello"}, "text_completion")],
)
async def test_a_span_names_its_own_operation(path: str, asked: dict[str, str], operation: str) -> None:
    """Embeddings are no chat, in the request's span and in its branches'; a hedge says that it is one."""
    targets = "{model: 'sim/a?latency=0.3', same_as: a}, {model: sim/b, same_as: a}"
    routes = f"  r: {{targets: [{targets}], launch: {{initial: 1, stagger: 50ms}}}}"
    with collector() as (url, spans, _):
        async with gateways(routes, head=f"traces: {{endpoint: '{url}'}}") as running:
            reply = await running.post({"model": "r", **asked}, path=f"/v1/{path}")
            assert reply.status == 200, reply.body
    assert {attributes(span)["gen_ai.operation.name"] for span in spans} == {operation}
    assert sorted(span.name for span in spans) == [f"{operation} a?latency=0.3", f"{operation} b", f"{operation} r"]
    assert [attributes(span)["hedgerow.target"] for span in spans if "hedgerow.hedge" in attributes(span)] == ["sim/b"]


async def test_a_target_that_is_asked_twice_has_one_span() -> None:
    """Whoever makes up for another's share: both calls stand in it, and the tokens of both; the root says for whom."""
    routes = "  all: {targets: ['sim/a?status=401', other/b], select: collect, retries: 0}"
    with collector() as (url, spans, _):
        head = "  other: {api: openai, base_url: '{sim}', api_key: sk-other-canary}"
        async with gateways(routes, head=f"{head}\ntraces: {{endpoint: '{url}'}}") as running:
            reply = await running.post({"model": "all", "messages": HELLO, "n": 2})
    named = {span.name: span for span in spans}
    assert sorted(named) == sorted(span.name for span in spans) == ["chat a?status=401", "chat all", "chat b"]
    assert [event.name for event in named["chat b"].events] == ["attempt", "attempt"]
    assert attributes(named["chat b"])["gen_ai.usage.output_tokens"] == reply.json["usage"]["completion_tokens"]
    [made_up] = [event for event in named["chat all"].events if event.name == "made_up"]
    assert list(attributes(made_up).values()) == ["sim/a?status=401", "other/b", 1]


async def test_the_span_of_a_stream_lasts_until_its_last_words() -> None:
    """It goes on after its first ones, with which it has won; so does a span that hangs below it at the upstream."""
    routes = "  live: {targets: ['sim/a?tokens=10&gap=0.02']}"
    with collector() as (url, spans, _):
        async with gateways(routes, head=f"traces: {{endpoint: '{url}'}}") as running:
            reply = await running.post({"model": "live", "messages": HELLO, "stream": True})
            assert reply.status == 200
            await eventually(lambda: not running.gateway.metrics._routes["live"].in_flight)
        [branch] = [span for span in spans if span.name != "chat live"]
    assert branch.end_time_unix_nano - branch.start_time_unix_nano > 0.15e9
    assert attributes(branch)["gen_ai.usage.output_tokens"] == 10


async def test_a_judge_s_call_is_a_span_of_its_own() -> None:
    """Beside the branches, with its own tokens, as long as it took; one that fails is an error; upstream is told."""
    judged = "targets: [sim/a, sim/b], select: [{judge: {by: 'sim/JUDGE'}}, priority]"
    routes = f"  r: {{{judged.replace('JUDGE', 'judge')}}}\n  out: {{{judged.replace('JUDGE', 'judge?status=400')}}}"
    script: Any = {
        "a": {"answer": "one"},
        "b": {"answer": "two"},
        "judge": {"answer": '{"winner": 1}', "latency": 0.05},
    }
    with collector() as (url, spans, _):
        async with gateways(routes, script, head=f"traces: {{endpoint: '{url}'}}") as running:
            for model in ("r", "out"):
                assert (await running.post({"model": model, "messages": HELLO})).status == 200
            told = sorted(e.headers["traceparent"].split("-")[2] for e in running.sim.journal if "judge" in e.model)
    asked = [span for span in spans if "hedgerow.scorer" in attributes(span)]
    roots = {span.span_id for span in spans if span.name in {"chat r", "chat out"}}
    good = [attributes(span) for span in asked if attributes(span)["gen_ai.request.model"] == "judge"]
    assert len(good) == 2
    assert all(each["gen_ai.usage.output_tokens"] > 0 and "error.type" not in each for each in good)
    assert any(attributes(span).get("error.type") == "caller_fault" for span in asked)
    assert all(span.end_time_unix_nano - span.start_time_unix_nano > 4e7 for span in asked if span.name == "chat judge")
    assert {span.parent_span_id for span in asked} == roots
    assert told == sorted(span.span_id.hex() for span in asked)


@pytest.mark.slow  # the exporter tries again for some seconds when the gateway ends
async def test_an_answer_does_not_wait_for_a_collector_that_is_gone() -> None:
    """Spans are lost, requests are not."""
    async with gateways("  one: {targets: [sim/a]}", head="traces: {endpoint: 'http://127.0.0.1:9'}") as running:
        assert (await running.post({"model": "one", "messages": HELLO})).status == 200


def test_traces_are_off_unless_somebody_asks_and_then_cost_nothing() -> None:
    """Neither the configuration nor a variable: opentelemetry is not even imported."""
    assert not tracing.wanted(None, {})
    assert tracing.wanted("http://x", {})
    assert tracing.wanted(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"})
    assert not tracing.wanted(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"})
    code = "import sys, gateway.serving; assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_what_is_not_installed_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The extra is optional: without it the gateway does not start, and says what would help."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    file = tmp_path / "hedgerow.yaml"
    file.write_text(f"{PLAIN}traces: {{endpoint: 'http://127.0.0.1:4318'}}")
    with pytest.raises(CannotServe, match=r"pip install 'hedgerow\[otel\]'"):
        Configuration(file, {}, Addresses())
    file.write_text(PLAIN)
    assert Configuration(file, {}, Addresses()).settings.traces is None


def test_an_endpoint_that_is_none_is_a_fault() -> None:
    """With its path and what was expected."""
    with pytest.raises(config.ConfigError, match=r'traces.endpoint: found "here", expected an address such as'):
        config.parse(f"{PLAIN}traces: {{endpoint: here}}", {})


async def test_what_is_passed_on_unread_is_called_so_and_is_no_chat_of_a_model() -> None:
    """Neither the name of a model nor an operation is guessed; a request for an unknown route has no model either."""
    with collector() as (url, spans, _):
        async with gateways(
            "  r: {targets: [sim/a]}", head=f"passthrough: sim\ntraces: {{endpoint: '{url}'}}"
        ) as running:
            async with running.http.get(running.url + "/v1/vector_stores") as reply:
                assert reply.headers["x-hedgerow-route"] == "_passthrough"
            assert (await running.post({"model": "nobody", "messages": []})).status == 404
    assert sorted(span.name for span in spans) == ["chat", "passthrough", "passthrough sim"]
    assert not any("gen_ai.request.model" in attributes(span) for span in spans)
