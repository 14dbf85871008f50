"""What is not served here goes to one provider unread, over real sockets, and nothing of ours is given up for it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from yarl import URL

from tests.support.gateways import Running, gateways
from tests.support.wire_server import Received, Reply, WireServer

pytestmark = pytest.mark.anyio

ROUTES = "  one: {targets: [sim/a]}\n"
JSON = {"content-type": "application/json"}
KEY = "sk-real-canary-0001"
CHAT = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}]}
CLIENT = "client-key-that-is-long-enough-to-be-one"


def told(**fields: Any) -> Reply:
    return Reply(200, JSON, json.dumps(fields).encode())


@asynccontextmanager
async def passing(
    reply: Callable[[Received], Reply], more: str = "", *, provider: str = "", routes: str = ROUTES
) -> AsyncIterator[tuple[Running, WireServer]]:
    async with WireServer(reply) as upstream, before(f"{upstream.url}/base/v1", more, provider, routes) as running:
        yield running, upstream


@asynccontextmanager
async def before(url: str, more: str = "", provider: str = "", routes: str = ROUTES) -> AsyncIterator[Running]:
    head = f"  real: {{api: openai, base_url: '{url}', api_key: {KEY}{provider}}}\npassthrough: real\n{more}"
    async with gateways(routes, head=head) as running:
        yield running


async def fetch(running: Running, method: str, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    async with running.http.request(method, URL(running.url + path, encoded=True), **options) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status, headers, await response.read()


async def test_the_official_client_finds_what_it_keeps_at_the_provider() -> None:
    """Files, batches, stored answers, threads, models, images: one base_url for all of it."""
    kept = {"id": "x", "object": "x", "created_at": 1, "created": 1, "data": [], "has_more": False, "deleted": True}

    def reply(received: Received) -> Reply:
        binary = received.path.endswith("/content")
        return Reply(200, {"content-type": "application/octet-stream"}, b"\0\xff\n") if binary else told(**kept)

    async with passing(reply) as (running, upstream), running.client() as client:
        await client.files.create(file=("a.jsonl", b"{}\n" * 9), purpose="batch")
        assert (await client.files.content("file-1")).read() == b"\0\xff\n"
        await client.batches.create(
            input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h", metadata={"k": "v"}
        )
        await client.chat.completions.retrieve("chatcmpl-1")
        await client.chat.completions.delete("chatcmpl-1")
        [_ async for _ in client.chat.completions.list(limit=3, model="gpt")]
        await client.responses.retrieve("resp_1", include=["reasoning.encrypted_content"])
        await client.responses.cancel("resp_1")
        await client.responses.delete("resp_1")
        await client.conversations.create(metadata={"k": "v"})
        await client.models.delete("ft:gpt-4o:acme")
        await client.images.create_variation(image=b"png")
        await client.fine_tuning.jobs.create(model="gpt", training_file="file-1")
        await client.vector_stores.create(name="v")
        assert [model.id async for model in client.models.list()] == ["one"]  # the gateway's own
    assert [received.path.removeprefix("/base/v1/") for received in upstream.received] == [
        "files",
        "files/file-1/content",
        "batches",
        "chat/completions/chatcmpl-1",
        "chat/completions/chatcmpl-1",
        "chat/completions",
        "responses/resp_1",
        "responses/resp_1/cancel",
        "responses/resp_1",
        "conversations",
        "models/ft:gpt-4o:acme",
        "images/variations",
        "fine_tuning/jobs",
        "vector_stores",
    ]
    assert b'filename="a.jsonl"' in upstream.received[0].raw
    assert {received.headers["Authorization"] for received in upstream.received} == {f"Bearer {KEY}"}


async def test_bytes_go_on_as_they_are_and_secrets_do_not() -> None:
    """Method, path, query and body; of headers, in either direction, only those that say how to read what comes."""
    given = {**JSON, "set-cookie": "a=b", "server": "nginx", "openai-organization": "acme", "etag": '"1"'}
    given |= {"x-ratelimit-remaining-requests": "7", "content-disposition": "attachment", "location": "https://x.test/"}
    body = b'{ "a" :\t1,"a":2, "\\u00fc": 1e3 }'
    async with passing(lambda _: Reply(201, given, body), provider=", query: {tier: x}") as (running, upstream):
        status, headers, answer = await fetch(
            running,
            "PATCH",
            "/v1/evals/a%2Fb/runs?after=x%20y&tier=mine",
            data=body,
            headers={
                "authorization": f"Bearer {CLIENT}",
                "cookie": "session=1",
                "x-forwarded-for": "10.0.0.1",
                "openai-organization": "mine",
                "openai-beta": "assistants=v2",
                "content-type": "application/json; x=1",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            },
        )
        assert running.sample("hedgerow_requests_total", route="_passthrough", status="201") == 1
    assert (status, answer) == (201, body)
    [received] = upstream.received
    assert (received.path, received.query, received.raw) == (
        "/base/v1/evals/a/b/runs",
        {"after": "x y", "tier": "x"},
        body,
    )
    sent = {name.lower(): value for name, value in received.headers.items()}
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["content-type"] == "application/json; x=1"
    assert sent["openai-beta"] == "assistants=v2"
    assert "traceparent" in sent
    assert not sent.keys() & {"cookie", "x-forwarded-for", "openai-organization", "transfer-encoding"}
    assert (headers["etag"], headers["content-disposition"]) == ('"1"', "attachment")
    assert headers["x-ratelimit-remaining-requests"] == "7"
    assert (headers["x-hedgerow-route"], headers["x-hedgerow-target"]) == ("_passthrough", "real")
    assert not headers.keys() & {"set-cookie", "openai-organization", "location"}
    assert headers["server"] != "nginx"


async def test_bodies_are_streamed_both_ways() -> None:
    """The provider has the first piece before the client sends the second, and so it goes back."""
    arrived, answered = asyncio.Event(), asyncio.Event()
    seen = hashlib.sha256()

    async def handle(request: web.Request) -> web.StreamResponse:
        async for piece in request.content.iter_any():
            seen.update(piece)
            arrived.set()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await answered.wait()
        await response.write(b"data: 2\n\n")
        return response

    piece = bytes(range(256)) * 4096

    async def pieces() -> AsyncIterator[bytes]:
        yield piece
        await arrived.wait()
        for _ in range(8):
            yield piece

    async with (
        served(handle) as url,
        before(url) as running,
        running.http.post(f"{running.url}/v1/threads/t/runs", data=pieces()) as response,
    ):
        assert response.headers["content-type"] == "text/event-stream"
        assert await response.content.readany() == b"data: 1\n\n"
        answered.set()
        assert await response.content.read() == b"data: 2\n\n"
    assert seen.hexdigest() == hashlib.sha256(piece * 9).hexdigest()


@asynccontextmanager
async def served(handle: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("moment", ["while sending", "while waiting", "while receiving", "while both"])
async def test_a_client_that_leaves_ends_the_call(moment: str) -> None:
    """Whenever it leaves: the provider's side of the connection is closed, and the request counts as left."""
    begun, gone = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            begun.set()
            if moment != "while both":  # an answer may begin before the request has ended
                await request.read()
            response = web.StreamResponse()
            if moment in {"while receiving", "while both"}:
                await response.prepare(request)
                await response.write(b"x")
            await asyncio.Event().wait()
        finally:
            gone.set()
        return response

    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        if moment in {"while sending", "while both"}:
            await asyncio.Event().wait()

    async with served(handle) as url, before(url) as running:
        async with asyncio.timeout(20):

            async def ask() -> None:
                async with running.http.post(f"{running.url}/v1/files", data=body()) as response:
                    await response.read()

            task = asyncio.get_running_loop().create_task(ask())
            await begun.wait()
            await asyncio.sleep(0.05)
            task.cancel()
            await gone.wait()
            while not running.sample("hedgerow_requests_total", route="_passthrough", status="499"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("told_before", [True, False])
async def test_a_body_beyond_the_limit_is_refused_and_the_upload_ends(told_before: bool) -> None:
    """By its length at once, without one as soon as it is known: never a part of it taken for the whole."""
    whole = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        whole.set()
        return web.Response()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 60_000

    async with served(handle) as url, before(url, "limits: {upload_bytes: 100000}") as running:
        body = b"x" * 240_000 if told_before else pieces()
        status, _, answer = await fetch(running, "POST", "/v1/files", data=body)
    assert (status, json.loads(answer)["error"]["type"]) == (413, "invalid_request_error")
    assert not whole.is_set()


ERROR = {"message": "No such File object: file-Ab1cD2eF3gH4iJ5kL6mN7o", "type": "invalid_request_error", "param": "id"}


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        (Reply(404, JSON, json.dumps({"error": ERROR}).encode()), 404, "file-Ab1cD2eF3gH4iJ5kL6mN7o"),
        (Reply(409, JSON, b'{"error": {"message": "Batch is not cancellable", "code": "conflict"}}'), 409, "Batch is"),
        (Reply(400, JSON, b'{"error": {"message": "bad key sk-abcdefgh12345 at db.internal"}}'), 400, "bad key"),
        (Reply(404, {"content-type": "text/html"}, b"<html>nginx at 10.0.0.7</html>"), 404, "answered 404"),
        (Reply(403, JSON, b'{"error": {"message": "Missing scopes: files.write"}}'), 403, "Missing scopes"),
        (Reply(401, JSON, b'{"error": {"message": "Incorrect API key provided: sk-real"}}'), 502, "credential"),
        (Reply(429, {**JSON, "retry-after": "7"}, b"{}"), 429, "rate"),
        (Reply(500, JSON, b'{"error": {"message": "trace at db.internal"}}'), 502, "answered 500"),
        (Reply(302, {"location": "http://169.254.169.254/latest"}), 502, "redirects are not followed"),
        (Reply(200, JSON, end="reset"), 502, "broke"),
    ],
    ids=lambda value: f"{value.status} {value.end}" if isinstance(value, Reply) else None,
)
async def test_errors_are_ours_in_form_and_the_providers_in_what_helps(given: Reply, status: int, said: str) -> None:
    """What speaks of the request keeps its status and words; keys, hosts and redirects stay with the operator."""
    frames = [] if given.end == "reset" else None
    reply = Reply(given.status, given.headers, given.body, frames, end=given.end)
    async with passing(lambda _: reply) as (running, upstream):
        if given.end == "reset":  # the headers are out: the client sees a body that does not end
            with pytest.raises(aiohttp.ClientError):
                await fetch(running, "GET", "/v1/files/x")
            return
        got, headers, body = await fetch(running, "GET", "/v1/files/file-Ab1cD2eF3gH4iJ5kL6mN7o")
        assert running.sample("hedgerow_requests_total", route="_passthrough", status=str(status)) == 1
    error = json.loads(body)["error"]
    assert (got, len(upstream.received)) == (status, 1)  # nothing is asked twice: it may be stored, or billed
    assert said in error["message"]
    assert not [canary for canary in (b"sk-", b"internal", b"10.0.0.7", b"169.254") if canary in body]
    assert "location" not in headers
    assert headers["x-hedgerow-route"] == "_passthrough"
    if status == 429:
        assert headers["retry-after"] == "7"


async def test_a_client_says_how_long_it_waits() -> None:
    """The same header as everywhere, the same 504."""
    async with passing(lambda _: Reply(delay=30)) as (running, _):
        status, _, body = await fetch(running, "GET", "/v1/files", headers={"x-request-timeout-ms": "50"})
    assert (status, json.loads(body)["error"]["code"]) == (504, "deadline_exceeded")


async def test_nothing_goes_upstream_for_a_stranger() -> None:
    """However the path is written."""
    async with passing(lambda _: told(id="x"), f"keys: {{web: {CLIENT}}}") as (running, upstream):
        for path in ("/v1/files", "//v1/files", "/v1/%66iles", "/openai/v1/files"):
            assert (await fetch(running, "GET", path))[0] == 401
        assert upstream.received == []
        known = {"authorization": f"Bearer {CLIENT}"}
        assert (await fetch(running, "GET", "/v1/files", headers=known))[0] == 200
    assert len(upstream.received) == 1


@pytest.mark.parametrize("status", [401, 402, 403, 429, 500])
async def test_what_is_passed_on_costs_the_races_no_target(status: int) -> None:
    """A path that the key may not see, asked for by anybody, must not disable the key for everybody."""

    def reply(received: Received) -> Reply:
        return told(**CHAT) if received.path.endswith("/chat/completions") else Reply(status, JSON, b"{}")

    routes = "  r: {targets: [real/m], retries: 0}\n"
    async with passing(reply, routes=routes) as (running, upstream):
        for _ in range(8):
            await fetch(running, "GET", "/v1/organization/users")
        reply_of_chat = await running.post({"model": "r", "messages": [{"role": "user", "content": "?"}]})
    assert reply_of_chat.status == 200
    assert len(upstream.received) == 9


async def test_an_upload_takes_no_room_from_the_races() -> None:
    """With one place at the provider, a file that comes in slowly holds the one for what is passed on."""
    begun, done = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/chat/completions"):
            return web.json_response(CHAT)
        async for _ in request.content.iter_any():
            begun.set()
        return web.json_response({"id": "file-1"})

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x"
        await done.wait()

    routes = "  r: {targets: [real/m], retries: 0}\n"
    async with served(handle) as url, before(url, provider=", concurrency: 1", routes=routes) as running:
        upload = asyncio.get_running_loop().create_task(fetch(running, "POST", "/v1/files", data=slowly()))
        await begun.wait()
        raced = await running.post({"model": "r", "messages": [{"role": "user", "content": "?"}]})
        refused = await fetch(running, "GET", "/v1/files")
        done.set()
        assert (await upload)[0] == 200
    assert (raced.status, refused[0]) == (200, 503)


async def test_nothing_but_the_api_of_the_one_provider_can_be_reached() -> None:
    """Neither above its base URL, nor what the gateway serves, nor what stands beside /v1."""
    async with passing(lambda _: told(id="x")) as (running, upstream):
        for path in ("/v1/%2e%2e/admin", "/v1/files/..%2f..%2fadmin", "/v1/files%5c..%5c..", "/v1/files%00"):
            assert (await fetch(running, "GET", path))[0] == 400, path
        for path in ("/admin", "/metrics", "/v1", "/v2/files", "/v1x/files", "/v1/models", "/v1/models/none"):
            assert (await fetch(running, "GET", path))[0] in {200, 404}, path
        assert (await fetch(running, "OPTIONS", "/v1/files"))[:1] == (204,)
        assert upstream.received == []
        assert (await fetch(running, "GET", "/v1/@evil.test/x"))[0] == 200
    assert [received.headers["Host"] for received in upstream.received] == [upstream.url.removeprefix("http://")]


async def test_labels_stay_a_closed_set() -> None:
    """A thousand paths are one route; the log line has no path, as ids stand in it."""
    async with passing(lambda _: told(id="x")) as (running, _):
        for number in range(20):
            await fetch(running, "GET", f"/v1/files/secret-{number}?after=secret-{number}")
        running.gateway.metrics.tell()
        samples = [sample for metric in running.gateway.metrics.registry.collect() for sample in metric.samples]
        assert "secret" not in repr(samples)
        assert running.sample("hedgerow_requests_total", route="_passthrough", status="200") == 20
        answered = running.sample("hedgerow_attempts_total", route="_passthrough", target="real", outcome="answered")
        assert answered == 20
        assert "secret" not in repr(running.log())
        assert {line["route"] for line in running.log()} == {"_passthrough"}


async def test_an_idempotency_key_is_the_providers_matter() -> None:
    """It goes on, and nothing is kept here: what is kept is at the provider, and may be large."""
    async with passing(lambda _: told(id="x")) as (running, upstream):
        for _ in range(2):
            headers = {"idempotency-key": "k1"}
            _, answered, _ = await fetch(running, "POST", "/v1/batches", json={}, headers=headers)
            assert "idempotent-replayed" not in answered
    assert [received.headers["idempotency-key"] for received in upstream.received] == ["k1", "k1"]


MODELLESS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/responses", {"json": {"prompt": {"id": "pmpt_1"}}}),
    ("/v1/moderations", {"json": {"input": "x"}}),
    ("/v1/images/generations", {"json": {"prompt": "x", "model": None}}),
]


@pytest.mark.parametrize(("path", "body"), MODELLESS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_request_without_a_model_gets_the_providers_default(path: str, body: dict[str, Any]) -> None:
    """As it would directly; with a model it is raced as ever."""
    async with passing(lambda _: told(results=[], output=[])) as (running, upstream):
        status, headers, _ = await fetch(running, "POST", path, **body)
        assert (status, headers["x-hedgerow-route"]) == (200, "_passthrough")
        assert json.loads(upstream.received[0].raw) == body["json"]
        named = {"input": "x", "prompt": "x", "model": "one"}
        assert (await fetch(running, "POST", path, json=named))[1]["x-hedgerow-route"] == "one"
        assert [line["route"] for line in running.log()] == ["_passthrough", "one"]
    assert len(upstream.received) == 1


async def test_a_request_without_a_model_gets_the_route_that_the_operator_names() -> None:
    """In JSON and in a form, with a passthrough beside it or without one; whatever is not named is refused."""
    routes = ROUTES + "  pictures: {targets: ['sim/p']}\n"
    defaults = "default_routes: {moderations: one, images/edits: pictures}"
    async with gateways(routes, head=defaults) as running, running.client() as client:
        judged = await client.moderations.create(input="hello")
        assert (judged.model, judged.results[0].flagged) == ("one", False)
        picture = await client.images.edit(image=[b"\0png\xff", b"two"], prompt="a hat")
        assert picture.data
        assert b'name="model"\r\n\r\np\r\n' in running.sim.journal[-1].body
        assert b"\0png\xff" in running.sim.journal[-1].body
        with pytest.raises(openai.BadRequestError) as missing:
            await client.images.generate(prompt="a cat")
        _, _, body = await fetch(running, "GET", "/openapi.json")
        described = json.loads(body)["paths"]
    assert missing.value.param == "model"
    needs = [
        described[f"/v1/{path}"]["post"]["requestBody"]["content"].popitem()[1]["schema"]["required"]
        for path in ("moderations", "images/edits", "images/generations")
    ]
    assert needs == [["input"], ["image", "prompt"], ["model", "prompt"]]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/files", 404),
        ("POST", "/v1/responses/resp_1/cancel", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models/x", 405),
    ],
)
async def test_without_it_the_error_says_the_cure(method: str, path: str, status: int) -> None:
    """Off by default: a 404 or 405 in OpenAI's envelope that names the key of the configuration."""
    async with gateways(ROUTES) as running:
        got, _, body = await fetch(running, method, path)
        assert running.sim.journal == []
    assert got == status
    assert "passthrough: PROVIDER" in json.loads(body)["error"]["message"]


async def test_pages_may_use_every_method_of_it() -> None:
    """Where CORS is on, a page can delete a file, too."""
    async with passing(lambda _: told(id="x"), 'cors: ["https://app.test"]') as (running, _):
        asked = {"origin": "https://app.test", "access-control-request-method": "DELETE"}
        status, headers, _ = await fetch(running, "OPTIONS", "/v1/files/x", headers=asked)
    assert status == 200
    assert "DELETE" in headers["access-control-allow-methods"]
