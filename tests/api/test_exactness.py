"""The bare wire around every endpoint: paths, methods, CORS, compressed bodies, headers."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import aiohttp
import brotli
import openai
import pytest
from backports import zstd

from gateway.api.exchange import MAX_BODY
from tests.support.gateways import gateways

pytestmark = pytest.mark.anyio

ONE = "  one: {targets: [sim/a]}"
HELLO = [{"role": "user", "content": "What is the capital of France?"}]
BODY = {"model": "one", "messages": HELLO}
CHAT = "/v1/chat/completions"


def _raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(data) + squeeze.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": _raw_deflate,
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": zstd.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_request_means_the_same(coding: str) -> None:
    """The upstream gets the plain body and no trace of the coding."""
    async with gateways(ONE) as running:
        data = CODINGS[coding](json.dumps(BODY).encode())
        async with running.http.post(running.url + CHAT, data=data, headers={"content-encoding": coding}) as response:
            assert response.status == 200, await response.text()
        [entry] = running.sim.journal

    assert json.loads(entry.body)["messages"] == HELLO
    assert "content-encoding" not in entry.headers


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_bomb_is_413_and_a_broken_body_is_400(coding: str) -> None:
    """A few bytes that become more than the limit, and a body that is cut: both are said, neither reaches a target."""
    pack = CODINGS[coding]
    whole = pack(json.dumps(BODY).encode())
    async with gateways(ONE) as running:
        for data, expected in ((pack(b" " * (MAX_BODY + 1)), 413), (whole[:-3], 400), (b"no " * 9, 400)):
            async with running.http.post(
                running.url + CHAT, data=data, headers={"content-encoding": coding}
            ) as response:
                assert response.status == expected
                assert (await response.json())["error"]["type"] == "invalid_request_error"
        assert running.sim.journal == []


async def test_an_unknown_coding_is_415_and_says_which_are_known() -> None:
    """RFC 9110, 15.5.16: the answer carries Accept-Encoding."""
    async with gateways(ONE) as running:
        reply = await running.post(BODY, headers={"content-encoding": "compress"})

    assert reply.status == 415
    assert reply.headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert "compress" in reply.json["error"]["message"]


async def test_slashes_too_many_and_azure_paths_lead_to_the_same_endpoint() -> None:
    """`//`, a trailing `/`, Azure's v1 prefix and its older path with the deployment as the model."""
    paths = (
        "//v1//chat/completions",
        "/v1/chat/completions//",
        "/openai/v1/chat/completions?api-version=preview",
        "/openai/deployments/one/chat/completions?api-version=2024-10-21",
        "/openai/chat/completions?api-version=2024-10-21",
        "/v1/v1/chat/completions",
    )
    async with gateways(ONE) as running:
        for path in paths:
            body = {"messages": HELLO} if "deployments" in path else BODY
            reply = await running.post(body, path, headers={"api-key": "any"})
            assert reply.status == 200, (path, reply.body)
            assert reply.json["model"] == "one"


async def test_the_azure_client_works_by_its_endpoint_alone() -> None:
    """AzureOpenAI puts the deployment into the path and its key into `api-key`; responses have none in theirs."""
    key = "f6c1b0d7e2a94853b1c7d6e5f4a39281"
    head = f"keys: {{web: {key}}}"
    async with gateways(ONE, {"a": {"answer": "Paris"}}, head=head) as running:
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=running.url, api_key=key, api_version="2024-10-21", max_retries=0
        ) as client:
            completion = await client.chat.completions.create(model="one", messages=HELLO)  # type: ignore[arg-type]
            response = await client.responses.create(model="one", input="Capital of France?", store=False)
        assert (completion.choices[0].message.content, response.output_text) == ("Paris", "Paris")
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=running.url, api_key="wrong", api_version="2024-10-21", max_retries=0
        ) as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.chat.completions.create(model="one", messages=HELLO)  # type: ignore[arg-type]


async def test_head_and_options_answer_as_the_methods_they_stand_for() -> None:
    """HEAD is a GET without its body; OPTIONS names the methods; what is not possible is 405 with Allow."""
    async with gateways(ONE) as running:
        for path in ("/v1/models", "/v1/models/one", "/v1/models/", "/healthz"):
            async with running.http.head(running.url + path) as response:
                assert (response.status, await response.read()) == (200, b""), path
                assert int(response.headers["content-length"]) > 0
                assert response.headers["x-request-id"]
        async with running.http.head(running.url + "/v1/models/none") as response:
            assert response.status == 404
        for path, allowed in ((CHAT, "POST, OPTIONS"), ("/v1/models", "GET, HEAD, OPTIONS")):
            async with running.http.options(running.url + path) as response:
                assert (response.status, response.headers["allow"]) == (204, allowed)
            async with running.http.delete(running.url + path) as response:
                assert (response.status, response.headers["allow"]) == (405, allowed)
                assert (await response.json())["error"]["type"] == "invalid_request_error"


ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, x-stainless-lang",
}


async def test_anthropic_s_clients_find_the_models_in_their_own_shape() -> None:
    """Coding agents list them to offer a choice; OpenAI's list has neither type nor display name."""
    async with gateways("  one: {targets: [sim/a]}\n  two: {targets: [sim/a]}") as running:
        headers = {"anthropic-version": "2023-06-01", "x-api-key": "any"}
        async with running.http.get(running.url + "/v1/models?limit=1000", headers=headers) as reply:
            listed = await reply.json()
        async with running.http.get(running.url + "/v1/models") as reply:
            assert (await reply.json())["object"] == "list"
    assert [(model["type"], model["id"], model["display_name"]) for model in listed["data"]] == [
        ("model", "one", "one"),
        ("model", "two", "two"),
    ]
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "one", "two")


@pytest.mark.parametrize("head", ["", "passthrough: sim"])
async def test_a_websocket_is_refused_with_a_reason(head: str) -> None:
    """Realtime clients read the body of the refused handshake; nothing goes upstream."""
    handshake = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    async with gateways(ONE, head=head) as running:
        for path in ("/v1/realtime?model=one", "/v1/responses"):
            async with running.http.get(running.url + path, headers=handshake) as reply:
                assert reply.status == 400
                assert "WebSockets" in (await reply.json())["error"]["message"]
        assert not running.sim.journal


async def test_without_cors_no_page_is_let_in() -> None:
    """Off by default: neither a preflight nor an answer carries a word of permission."""
    async with gateways(ONE) as running:
        async with running.http.options(running.url + CHAT, headers=PREFLIGHT) as response:
            assert not [name for name in response.headers if name.lower().startswith("access-control")]
        reply = await running.post(BODY, headers={"origin": ORIGIN})
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]


async def test_with_cors_the_listed_origin_alone_is_let_in() -> None:
    """The preflight needs no key; the answer, its headers and also an error can be read by the page."""
    head = f"cors: ['{ORIGIN}']\nkeys: {{web: f6c1b0d7e2a94853b1c7d6e5f4a39281}}"
    async with gateways(ONE, head=head) as running:
        async with running.http.options(running.url + CHAT, headers=PREFLIGHT) as response:
            assert response.status == 200
            assert response.headers["access-control-allow-origin"] == ORIGIN
            assert "x-stainless-lang" in response.headers["access-control-allow-headers"]
        async with running.http.options(
            running.url + CHAT, headers={**PREFLIGHT, "origin": "https://evil.example"}
        ) as response:
            assert response.status == 400
            assert "access-control-allow-origin" not in response.headers
        refused = await running.post(BODY, headers={"origin": ORIGIN})
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
        key = {"authorization": "Bearer f6c1b0d7e2a94853b1c7d6e5f4a39281"}
        answered = await running.post(BODY, headers={"origin": ORIGIN, **key})
        assert answered.status == 200
        assert "x-hedgerow-target" in answered.headers["access-control-expose-headers"]


async def test_every_response_carries_an_id_and_forbids_sniffing() -> None:
    """Also an error, a list of models and what is not there."""
    async with gateways(ONE) as running:
        for method, path in (("GET", "/v1/models"), ("GET", "/nothing"), ("POST", CHAT), ("GET", "/readyz")):
            async with running.http.request(method, running.url + path) as response:
                assert response.headers["x-request-id"].startswith("req_")
                assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_body_that_is_too_large_without_saying_so_is_413() -> None:
    """Chunked, without Content-Length: counted while it comes."""

    async def endless() -> object:
        for _ in range(MAX_BODY // 2**20 + 2):
            yield b" " * 2**20

    async with gateways(ONE) as running:
        try:
            async with running.http.post(running.url + CHAT, data=endless()) as response:
                assert response.status == 413
        except aiohttp.ClientOSError:
            pass  # the server may close before everything is sent
        assert running.sim.journal == []


async def test_the_openapi_document_describes_every_endpoint_that_is_served() -> None:
    """Each POST has its required fields, its routes and its errors; the two lists of paths cannot drift apart."""
    async with gateways(ONE) as running:
        async with running.http.get(running.url + "/openapi.json") as response:
            document = await response.json()
        posts = {path for path, methods in document["paths"].items() if "post" in methods}
        assert posts == {f"/v1/{path}" for path in running.gateway.asgi.endpoints}
        for path in posts:
            described = document["paths"][path]["post"]
            [body] = described["requestBody"]["content"].values()
            assert body["schema"]["properties"]["model"]["enum"] == ["one"]
            assert {"200", "400", "401", "404", "429", "502", "504"} <= described["responses"].keys()
            reply = await running.post({"model": "one"}, path)
            assert str(reply.status) in described["responses"], path
        async with running.http.get(running.url + "/openai/v1/models") as models:
            assert models.status == 200
