"""`POST /v1/chat/completions` over real sockets with the real OpenAI client: what a client relies on."""

from __future__ import annotations

import hashlib
import json

import openai
import pytest

from tests.support.gateways import gateways

pytestmark = pytest.mark.anyio

PARIS = {"answer": "Paris"}
HELLO = [{"role": "user", "content": "What is the capital of France?"}]
THREE = """
  three: {targets: [sim/a, sim/b, sim/c], select: majority}
  race: {targets: [sim/a, sim/b, sim/c]}
  one: {targets: [sim/a]}
"""
SCRIPT = {"a": PARIS, "b": PARIS, "c": {"answer": "Rome"}}


async def test_a_plain_answer_has_the_upstream_s_own_body_under_the_name_asked_for() -> None:
    """Field for field what the upstream sent, but `model`."""
    async with gateways(THREE, SCRIPT) as running:
        through = (await running.post({"model": "one", "messages": HELLO})).json
        async with running.http.post(
            f"{running.sim.base_url}/chat/completions", json={"model": "a", "messages": HELLO}
        ) as response:
            direct = await response.json()

    assert through["model"] == "one"
    assert list(through) == list(direct)
    volatile = {"id", "created", "model", "system_fingerprint"}
    assert {k: v for k, v in through.items() if k not in volatile} == {
        k: v for k, v in direct.items() if k not in volatile
    }


async def test_the_openai_client_gets_the_majority_s_answer_and_headers_that_say_why() -> None:
    """Two of three say Paris; the headers name route, target, selector, branches and agreement."""
    async with gateways(THREE, SCRIPT) as running, running.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="three", messages=HELLO, extra_headers={"x-request-id": "mine-1"}
        )
        completion = raw.parse()

    assert completion.choices[0].message.content == "Paris"
    assert completion.usage is not None
    assert raw.headers["x-request-id"] == "mine-1" == completion._request_id
    assert raw.headers["x-hedgerow-route"] == "three"
    assert raw.headers["x-hedgerow-target"] in {"sim/a", "sim/b"}
    assert raw.headers["x-hedgerow-selector"] == "majority"
    assert raw.headers["x-hedgerow-branches"] in {"2/3", "3/3"}
    assert float(raw.headers["x-hedgerow-agreement"]) >= 0.66
    assert 0 <= float(raw.headers["x-hedgerow-overhead-ms"]) < 1000


async def test_the_path_without_v1_serves_the_same() -> None:
    """Clients whose base URL lacks `/v1` work too, and so does a trailing slash."""
    async with gateways(THREE, SCRIPT) as running:
        for path in ("/chat/completions", "/v1/chat/completions/", "/v1/chat/completions"):
            response = await running.post({"model": "one", "messages": HELLO}, path)
            assert response.status == 200, path


async def test_unknown_request_fields_reach_the_upstream_and_our_own_field_does_not() -> None:
    """What we do not know passes through byte for byte; `hedgerow` and the client's key stay here."""
    body = {
        "model": "one",
        "messages": HELLO,
        "temperature": 0.70,
        "vendor_option": {"deep": [1, 2.50, None]},
        "hedgerow": {"explain": True},
    }
    async with gateways(THREE, SCRIPT) as running:
        await running.post(body, headers={"authorization": "Bearer client-key", "cookie": "a=b", "traceparent": "00-1"})
        [entry] = running.sim.journal

    assert json.loads(entry.body) == {
        "model": "a",
        "messages": HELLO,
        "temperature": 0.7,
        "vendor_option": {"deep": [1, 2.5, None]},
    }
    assert entry.headers["authorization"] == "Bearer sk-provider-canary"
    assert entry.headers["traceparent"] == "00-1"
    assert "cookie" not in entry.headers


async def test_an_explanation_comes_only_when_asked_for() -> None:
    """One extra field with candidates, failures, tally and timings; nothing without asking."""
    routes = "  three: {targets: [sim/a, sim/b, 'sim/c?status=404'], select: {defer: majority}}"
    async with gateways(routes, SCRIPT) as running:
        plain = (await running.post({"model": "three", "messages": HELLO})).json
        asked = (await running.post({"model": "three", "messages": HELLO, "hedgerow": {"explain": True}})).json

    assert "hedgerow" not in plain
    told = asked["hedgerow"]
    assert told["winner"] == "sim/a"
    assert told["tally"] == {"paris": 2} or list(told["tally"].values()) == [2]
    assert {candidate["target"] for candidate in told["candidates"]} == {"sim/a", "sim/b"}
    assert [(failure["target"], failure["kind"]) for failure in told["failures"]] == [
        ("sim/c?status=404", "model_gone")
    ]
    assert all(candidate["ms"] > 0 for candidate in told["candidates"])


async def test_a_failing_target_costs_nothing_but_its_branch() -> None:
    """One of three answers 503 for ever: the client sees a plain 200, the metrics a rescue."""
    routes = "  race: {targets: ['sim/a?status=503', 'sim/b?latency=0.2'], retries: 0}"
    async with gateways(routes, SCRIPT) as running, running.client() as client:
        completion = await client.chat.completions.create(model="race", messages=HELLO)  # type: ignore[arg-type]
        assert completion.choices[0].message.content == "Paris"
        assert running.sample("hedgerow_rescues_total", route="race") == 1
        assert (
            running.sample("hedgerow_attempts_total", route="race", target="sim/a?status=503", outcome="transient") == 1
        )
        assert running.sample("hedgerow_requests_total", route="race", status="200") == 1
        [line] = running.log()

    assert line["event"] == "request.finished"
    assert (line["route"], line["winner"], line["status"], line["rescued"]) == (
        "race",
        "sim/b?latency=0.2",
        200,
        True,
    )
    assert [(branch["target"], branch["outcome"]) for branch in line["branches"]] == [
        ("sim/a?status=503", "transient"),
        ("sim/b?latency=0.2", "answered"),
    ]


async def test_tool_calls_pass_through_and_are_counted_as_an_answer() -> None:
    """A call without text is an answer, with its id and arguments as the model wrote them."""
    tools = [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
        }
    ]
    routes = "  one: {targets: ['sim/a'], select: majority}"
    script = {"a": {"call": {"name": "weather", "arguments": '{"city": "Paris"}'}}}
    async with gateways(routes, script) as running, running.client() as client:
        completion = await client.chat.completions.create(model="one", messages=HELLO, tools=tools)  # type: ignore[arg-type]
        [call] = completion.choices[0].message.tool_calls or []
        assert call.function.name == "weather"  # type: ignore[union-attr]
        assert json.loads(call.function.arguments) == {"city": "Paris"}  # type: ignore[union-attr]
        assert completion.choices[0].finish_reason == "tool_calls"
        assert running.received()[0]["tools"] == tools


async def test_image_parts_reach_the_upstream_unchanged() -> None:
    """Content parts are the upstream's business."""
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 1000, "detail": "low"}},
    ]
    async with gateways(THREE, SCRIPT) as running, running.client() as client:
        await client.chat.completions.create(model="one", messages=[{"role": "user", "content": parts}])  # type: ignore[list-item,misc]
        assert running.received()[0]["messages"] == [{"role": "user", "content": parts}]


async def test_a_body_of_several_megabytes_is_fanned_out_whole() -> None:
    """Large prompts take the streaming path of the HTTP client and arrive complete at every branch."""
    image = "data:image/png;base64," + "A" * (3 * 1024 * 1024)
    message = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]}]
    async with gateways("  all: {targets: [sim/a, sim/b], select: majority}", SCRIPT) as running:
        response = await running.post({"model": "all", "messages": message})
        assert response.status == 200
        assert [body["messages"] for body in running.received()] == [message, message]


async def test_each_target_has_its_own_prompt_params_and_name() -> None:
    """One model stands twice in a route; the operator's params win over the client's fields."""
    routes = """
  views:
    targets:
      - {model: sim/a, name: engineer, prompt: Review as an engineer., params: {temperature: 0}}
      - {model: sim/a, name: lawyer, prompt: Review as a lawyer.}
    select: {defer: majority}
"""
    async with gateways(routes, SCRIPT) as running:
        response = await running.post({"model": "views", "messages": HELLO, "temperature": 1})
        bodies = sorted(running.received(), key=lambda body: body["temperature"])

    assert response.headers["x-hedgerow-target"] == "engineer"
    assert [body["temperature"] for body in bodies] == [0, 1]
    assert bodies[0]["messages"] == [{"role": "system", "content": "Review as an engineer."}, *HELLO]
    assert bodies[1]["messages"] == [{"role": "system", "content": "Review as a lawyer."}, *HELLO]


async def test_max_confidence_asks_for_logprobs_and_takes_them_out_again() -> None:
    """The selector's need is not the client's: the surer answer wins and the body has no stray logprobs."""
    routes = "  sure: {targets: ['sim/c?confidence=0.4', 'sim/a?confidence=0.9'], select: max_confidence}"
    async with gateways(routes, SCRIPT) as running:
        body = (await running.post({"model": "sure", "messages": HELLO})).json
        assert all(body["logprobs"] is True for body in running.received())
        kept = (await running.post({"model": "sure", "messages": HELLO, "logprobs": True})).json

    assert body["choices"][0]["message"]["content"] == "Paris"
    assert body["choices"][0]["logprobs"] is None
    assert kept["choices"][0]["logprobs"]["content"][0]["logprob"] < 0


@pytest.mark.parametrize(
    ("words", "status", "exception"),
    [
        ("status=400", 400, openai.BadRequestError),
        ("error=context_length", 400, openai.BadRequestError),
        ("status=401", 502, openai.InternalServerError),
        ("status=429&retry_after=9", 429, openai.RateLimitError),
        ("status=500", 502, openai.InternalServerError),
        ("status=503", 502, openai.InternalServerError),
        ("silent", 504, openai.InternalServerError),
        ("reset", 502, openai.InternalServerError),
        ("empty=null", 502, openai.InternalServerError),
        ("html", 502, openai.InternalServerError),
        ("truncated", 502, openai.InternalServerError),
        ("short", 502, openai.InternalServerError),
        ("error=overloaded&error_in=body", 502, openai.InternalServerError),
        ("redirect=http://localhost:1/", 502, openai.InternalServerError),
    ],
)
async def test_when_all_targets_fail_the_client_s_sdk_raises_the_fitting_exception(
    words: str, status: int, exception: type[openai.APIStatusError]
) -> None:
    """The status is fused from the branches; a provider's 401 is never the client's own."""
    routes = f"  all: {{targets: ['sim/a?{words}', 'sim/b?{words}'], deadline: 1s, timeout: 1s, retries: 0}}"
    async with gateways(routes) as running, running.client() as client:
        with pytest.raises(exception) as caught:
            await client.chat.completions.create(model="all", messages=HELLO)  # type: ignore[arg-type]

    assert caught.value.status_code == status
    body = caught.value.body
    assert isinstance(body, dict)
    assert {"message", "type", "param", "code", "hedgerow"} == set(body)
    # Timers that are due at the same moment fire in any order.
    assert {branch["target"] for branch in body["hedgerow"]["branches"]} == {f"sim/a?{words}", f"sim/b?{words}"}
    assert caught.value.response.headers["x-hedgerow-branches"] == "0/2"
    assert "127.0.0.1" not in str(body)
    assert "canary" not in str(body)
    if status == 429:
        assert int(caught.value.response.headers["retry-after"]) in {9, 10}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "The request body is not a JSON object"),
        (b"[]", 400, "The request body is not a JSON object"),
        (b'{"messages": []}', 400, "`model` is missing"),
        (b'{"model": 5, "messages": []}', 400, "`model` is 5, expected the name of a route"),
        (b'{"model": "one"}', 400, "`messages` is missing or not a list"),
        (b'{"model": "one", "messages": "hi"}', 400, "`messages` is missing or not a list"),
        (b'{"model": "one", "messages": [], "stream": "yes"}', 400, '`stream` is "yes", expected true or false'),
        (b'{"model": "one", "messages": [], "api_base": "http://x"}', 400, "`api_base` cannot be set by a request"),
        (b'{"model": "one", "messages": [], "hedgerow": {"explian": true}}', 400, "did you mean `explain`?"),
        (b'{"model": "onne", "messages": []}', 404, "Did you mean `one`?"),
        (b'{"model": "sim/a,sim/b", "messages": []}', 400, "The operator can allow them"),
        (b'{"model": "one", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "nested too deeply"),
        (b"\xff\xfe", 400, "The request body is not a JSON object"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(body: bytes, status: int, message: str) -> None:
    """Every refusal is OpenAI's envelope with a sentence that names the thing and the cure; no upstream is asked."""
    async with gateways(THREE, SCRIPT) as running:
        async with running.http.post(f"{running.base_url}/chat/completions", data=body) as response:
            error = (await response.json())["error"]
        assert response.status == status
        assert message in error["message"]
        assert error["type"] == "invalid_request_error"
        assert len(running.sim.journal) == 0


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    """413 as soon as Content-Length tells."""
    async with gateways(THREE, SCRIPT) as running:
        response = await running.post({"model": "one", "messages": [], "pad": "x" * (21 * 1024 * 1024)})
        assert response.status == 413


async def test_a_configured_key_is_asked_for_in_every_form_clients_use() -> None:
    """Bearer, x-api-key and api-key are one parser; a wrong or missing key is a 401 the SDK understands."""
    key = "hr-" + hashlib.sha256(b"a test").hexdigest()
    head = "keys: {app: '${KEY}'}"
    async with gateways(THREE, SCRIPT, head=head, environ={"KEY": key}) as running:
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}, {"api-key": key}):
            response = await running.post({"model": "one", "messages": HELLO}, headers=headers)
            assert response.status == 200, headers
        async with running.client(api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="one", messages=HELLO)  # type: ignore[arg-type]
        for path in ("/v1/models", "/nowhere", "//v1/models", "/openapi.json"):
            async with running.http.get(running.url + path) as refused:
                assert refused.status == 401, path
        async with running.http.get(running.url + "/healthz") as open_to_all:
            assert open_to_all.status == 200


async def test_models_are_listed_and_described() -> None:
    """`GET /v1/models` is how clients check a connection; each route is a model."""
    async with gateways(THREE, SCRIPT) as running, running.client() as client:
        assert [model.id async for model in client.models.list()] == ["three", "race", "one"]
        assert (await client.models.retrieve("race")).owned_by == "hedgerow"
        with pytest.raises(openai.NotFoundError, match="Did you mean `race`"):
            await client.models.retrieve("rase")
        async with running.http.get(running.url + "/nowhere") as lost:
            assert (await lost.json())["error"]["type"] == "invalid_request_error"
            assert lost.status == 404
        async with running.http.get(running.url + "/v1/chat/completions") as wrong_method:
            assert wrong_method.status == 405
        async with running.http.get(running.url + "/metrics") as elsewhere:
            assert elsewhere.status == 404


async def test_metrics_never_grow_with_what_clients_send() -> None:
    """Unknown models share one `_other` series."""
    async with gateways(THREE, SCRIPT) as running:
        await running.post({"model": "warm-up", "messages": []})
        before = _series(running)
        for number in range(50):
            await running.post({"model": f"model-{number}", "messages": []})
        assert _series(running) == before
        assert running.sample("hedgerow_requests_total", route="_other", status="404") == 51


def _series(running) -> int:  # type: ignore[no-untyped-def]
    return sum(len(metric.samples) for metric in running.gateway.metrics.registry.collect())


async def test_a_request_may_write_its_own_route_where_the_operator_allows_it() -> None:
    """A comma list of targets with its own `select`, or a configured route with another one; the same rules hold."""
    async with gateways(THREE, SCRIPT, head="adhoc_routes: true") as running:
        own = {"model": "sim/c,sim/a,sim/b", "messages": HELLO, "hedgerow": {"select": {"defer": "majority"}}}
        response = await running.post(own)
        assert response.json["choices"][0]["message"]["content"] == "Paris"
        assert response.json["model"] == "sim/c,sim/a,sim/b"
        assert response.headers["x-hedgerow-branches"] == "3/3"

        override = {"model": "race", "messages": HELLO, "hedgerow": {"select": "priority", "launch": "fallback"}}
        response = await running.post(override)
        assert (response.headers["x-hedgerow-target"], response.headers["x-hedgerow-branches"]) == ("sim/a", "1/1")

        for model, overrides, message in (
            ("nobody/a,sim/a", {}, "nobody"),
            ("sim/a", {"select": "majorty"}, "did you mean"),
            ("sim/a,${HOME}/x", {}, "HOME"),
        ):
            refused = await running.post({"model": model, "messages": HELLO, "hedgerow": overrides})
            assert refused.status == 400, refused.body
            assert message in refused.json["error"]["message"]
        assert running.sample("hedgerow_requests_total", route="_other", status="200") == 1


async def test_a_selector_that_abstains_degrades_to_priority_or_fails_as_configured() -> None:
    """No answer has a number: by default the highest-priority answer is given, under its name; `fail` is an error."""
    routes = """
  lenient: {targets: [sim/a, sim/c], select: {majority: {key: number}}}
  strict: {targets: [sim/a, sim/c], select: {majority: {key: number}}, on_abstain: fail}
"""
    async with gateways(routes, SCRIPT) as running:
        lenient = await running.post({"model": "lenient", "messages": HELLO})
        strict = await running.post({"model": "strict", "messages": HELLO})

    assert (lenient.status, lenient.headers["x-hedgerow-selector"]) == (200, "priority")
    assert (strict.status, strict.json["error"]["code"]) == (502, "selector_abstained")


async def test_collect_gives_all_answers_as_the_choices_of_one_completion() -> None:
    """Numbered anew, in order of priority, tokens added up; every one of them is an answer the client got."""
    routes = "  compare: {targets: [sim/a, sim/b, sim/c, 'sim/a?status=503'], select: collect, retries: 0}"
    script = {**SCRIPT, "b": {"answer": "Lyon"}}
    async with gateways(routes, script) as running, running.client() as client:
        completion = await client.chat.completions.create(model="compare", messages=HELLO)  # type: ignore[arg-type]
        streamed = await running.post({"model": "compare", "messages": HELLO, "stream": True})
        lost = [
            running.sample("hedgerow_tokens_total", target=f"sim/{name}", kind="completion", fate="lost")
            for name in "abc"
        ]

    assert [(choice.index, choice.message.content) for choice in completion.choices] == [
        (0, "Paris"),
        (1, "Lyon"),
        (2, "Rome"),
    ]
    assert completion.usage is not None
    assert completion.usage.completion_tokens >= 3
    assert lost == [0, 0, 0]
    deltas = [
        json.loads(event[6:])["choices"][0]
        for event in streamed.body.decode().split("\n\n")
        if event.startswith("data: {")
    ]
    assert {delta["index"] for delta in deltas} == {0, 1, 2, 3}


async def test_a_json_object_is_put_together_from_its_fields_where_that_is_asked_for() -> None:
    """One choice with the fields that most targets gave, whole and streamed; never against the client's own schema."""
    routes = "  fields: {targets: [sim/a, sim/b, sim/c], select: {json_fields: {synthesis: true}}}"
    script = {
        "a": {"answer": '{"name": "Ada", "born": 1815, "field": "poetry"}'},
        "b": {"answer": '{"name": "Ada", "born": 1816, "field": "maths"}'},
        "c": {"answer": '{"name": "Eda", "born": 1815, "field": "maths"}'},
    }
    made = '{"born":1815,"field":"maths","name":"Ada"}'
    schema = {
        "type": "object",
        "not": {"properties": {"name": {"const": "Ada"}, "field": {"const": "maths"}, "born": {"const": 1815}}},
    }
    async with gateways(routes, script) as running:
        whole = await running.post({"model": "fields", "messages": HELLO})
        streamed = await running.post({"model": "fields", "messages": HELLO, "stream": True})
        strict = await running.post(
            {
                "model": "fields",
                "messages": HELLO,
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
                "hedgerow": {"explain": True},
            }
        )
    assert [choice["message"]["content"] for choice in whole.json["choices"]] == [made]
    assert whole.headers["x-hedgerow-selector"] == "json_fields"
    assert json.dumps(made).encode() in streamed.body
    assert strict.json["choices"][0]["message"]["content"] in {entry["answer"] for entry in script.values()}
    assert "not taken: the answer breaks the JSON Schema" in strict.json["hedgerow"]["reason"]


async def test_perspectives_are_scored_together() -> None:
    """Each perspective answers with a score; the header says the weighted mean, the choices every perspective."""
    routes = """
  review:
    targets:
      - {model: sim/technical, name: technical}
      - {model: sim/legal, name: legal, weight: 3}
    select: {score_aggregate: {field: score, how: mean}}
"""
    script = {
        "technical": {"answer": '{"score": 8, "why": "sound"}'},
        "legal": {"answer": '{"score": 4, "why": "risky"}'},
    }
    async with gateways(routes, script) as running:
        response = await running.post({"model": "review", "messages": HELLO})
    assert response.headers["x-hedgerow-score"] == "5"
    assert len(response.json["choices"]) == 2


async def test_a_heavy_selector_decides_off_the_event_loop() -> None:
    """Minimum Bayes risk takes milliseconds of CPU; it runs in a thread and picks the answer nearest to all."""
    routes = "  translate: {targets: [sim/a, sim/b, sim/c], select: mbr}"
    async with gateways(routes, {**SCRIPT, "c": {"answer": "Paris!"}}) as running:
        response = await running.post({"model": "translate", "messages": HELLO})
    assert response.headers["x-hedgerow-selector"] == "mbr"
    assert response.json["choices"][0]["message"]["content"].startswith("Paris")


async def test_targets_that_the_deadline_overtakes_are_logged_and_counted_as_timeouts() -> None:
    """Every branch stands in the log line with its outcome, and none is booked as superseded."""
    routes = "  all: {targets: ['sim/a?silent', 'sim/b?silent'], deadline: 200ms}"
    async with gateways(routes) as running:
        assert (await running.post({"model": "all", "messages": HELLO})).status == 504
        for target in ("sim/a?silent", "sim/b?silent"):
            assert running.sample("hedgerow_attempts_total", route="all", target=target, outcome="timeout") == 1
            assert running.sample("hedgerow_superseded_total", target=target) == 0
        [line] = running.log()
    assert [branch["outcome"] for branch in line["branches"]] == ["timeout", "timeout"]


async def test_waiting_for_the_deadline_is_not_the_gateway_s_overhead() -> None:
    """A vote that waits for a silent target waits for a provider."""
    routes = "  all: {targets: [sim/a, 'sim/b?silent'], select: {defer: majority}, deadline: 1s}"
    async with gateways(routes, SCRIPT) as running:
        response = await running.post({"model": "all", "messages": HELLO})
    assert float(response.headers["x-hedgerow-overhead-ms"]) < 300


async def test_a_long_retry_after_is_not_waited_for_where_another_target_stands_behind() -> None:
    """In a fallback the next target is asked at once; a target that stands alone is waited for."""
    routes = """
  back: {targets: ['sim/a?status=429&retry_after=4&first=1', sim/b], launch: fallback}
  alone: {targets: ['sim/a?status=429&retry_after=0.2&first=1']}
"""
    async with gateways(routes, SCRIPT) as running:
        response = await running.post({"model": "back", "messages": HELLO})
        assert response.headers["x-hedgerow-target"] == "sim/b"
        assert len(running.received()) == 2
        assert (await running.post({"model": "alone", "messages": HELLO})).status == 200


async def test_a_refused_key_is_counted_and_logged() -> None:
    """Somebody who tries keys can be seen."""
    async with gateways(
        THREE, SCRIPT, head="keys: {app: '${KEY}'}", environ={"KEY": hashlib.sha256(b"x").hexdigest()}
    ) as running:
        await running.post({"model": "one", "messages": HELLO})
        assert running.sample("hedgerow_requests_total", route="_other", status="401") == 1
        assert [(line["status"], line["error"]) for line in running.log()] == [(401, "invalid_api_key")]


@pytest.mark.parametrize("value", [False, None])
async def test_a_client_that_refuses_logprobs_does_not_turn_the_selector_blind(value: object) -> None:
    """`logprobs: false` is the client's wish for its answer, not for what the selector may ask."""
    routes = "  sure: {targets: ['sim/c?confidence=0.4', 'sim/a?confidence=0.9'], select: max_confidence}"
    async with gateways(routes, SCRIPT) as running:
        response = await running.post({"model": "sure", "messages": HELLO, "logprobs": value})
    assert response.json["choices"][0]["message"]["content"] == "Paris"
    assert response.json["choices"][0]["logprobs"] is None


async def test_a_body_that_is_not_utf8_is_the_client_s_fault() -> None:
    """No provider is asked, and none is blamed."""
    async with gateways(THREE, SCRIPT) as running:
        body = b'{"model": "one", "messages": [{"role": "user", "content": "\xff\xfe"}]}'
        async with running.http.post(f"{running.base_url}/chat/completions", data=body) as response:
            assert response.status == 400
        assert running.received() == []


async def test_every_response_has_a_request_id_and_a_405_says_what_is_allowed() -> None:
    """Also those that FastAPI serves."""
    async with gateways(THREE, SCRIPT) as running:
        async with running.http.get(running.url + "/v1/models", headers={"x-request-id": "mine"}) as models:
            assert models.headers["x-request-id"] == "mine"
        async with running.http.get(running.url + "/v1/chat/completions") as wrong:
            assert (wrong.status, wrong.headers["allow"]) == (405, "POST, OPTIONS")
            assert wrong.headers["x-request-id"].startswith("req_")


async def test_an_idempotency_key_goes_to_a_single_target_only() -> None:
    """Several targets are several calls: one key for all of them would be a lie."""
    async with gateways(THREE, SCRIPT) as running:
        for model in ("one", "race"):
            await running.post({"model": model, "messages": HELLO}, headers={"idempotency-key": f"for-{model}"})
        keys = [entry.headers.get("idempotency-key") for entry in running.sim.journal]
    assert keys[0] == "for-one"
    assert set(keys[1:]) == {None}


async def test_with_ad_hoc_routes_on_an_unknown_model_is_still_not_found() -> None:
    """And what a client writes is bounded: it is read on the event loop."""
    async with gateways(THREE, SCRIPT, head="adhoc_routes: true") as running:
        unknown = await running.post({"model": "onne", "messages": HELLO})
        endless = await running.post({"model": "one", "messages": HELLO, "hedgerow": {"select": ["first"] * 5000}})
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")
    assert endless.status == 400
    assert "expected at most 8192" in endless.json["error"]["message"]


async def test_a_provider_that_cannot_start_costs_its_own_branches_only() -> None:
    """The others serve, the fault is in the log, and the gateway becomes ready."""
    async with gateways(THREE, SCRIPT) as running:
        gateway = running.gateway

        class Broken:
            async def warm_up(self) -> None:
                raise ImportError("no such library")

        gateway._providers = {"broken": Broken(), **gateway._providers}  # type: ignore[dict-item]
        gateway.asgi.ready = False
        await gateway._get_ready()
        assert gateway.asgi.ready
        assert (await running.post({"model": "one", "messages": HELLO})).status == 200
        assert "no such library" in running.log()[0]["traceback"]
        del gateway._providers["broken"]
