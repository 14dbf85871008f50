"""What providers say when they refuse, and what we make of it; the examples are shaped like real answers."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from gateway.domain import FailureKind as K
from gateway.providers import classify
from gateway.providers.sse import EventTooLarge


def openai(
    message: str, kind: str | None = "invalid_request_error", code: Any = None, param: Any = None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def anthropic(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def google(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


ANSWERS: list[tuple[str, int, object, K]] = [
    ("OpenAI context", 400, openai("too many", code="context_length_exceeded"), K.CONTEXT_LENGTH),
    ("Anthropic context", 400, anthropic("invalid_request_error", "prompt is too long"), K.CONTEXT_LENGTH),
    (
        "vLLM context",
        400,
        {"object": "error", "message": "This model's maximum context length is 8", "type": "BadRequestError"},
        K.CONTEXT_LENGTH,
    ),
    (
        "Gemini context",
        400,
        google(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
        K.CONTEXT_LENGTH,
    ),
    ("Groq too large", 413, openai("Request too large for model `m`: Limit 6000", "tokens", "x"), K.CONTEXT_LENGTH),
    ("Bedrock context", 400, {"message": "Input is too long for requested model."}, K.CONTEXT_LENGTH),
    ("Azure filter", 400, openai("The response was filtered", None, "content_filter", "prompt"), K.FILTERED),
    (
        "Azure inner code",
        400,
        {"error": {"message": "no", "code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        K.FILTERED,
    ),
    ("OpenRouter moderation", 403, {"error": {"code": 403, "message": "Your input was flagged"}}, K.FILTERED),
    ("OpenAI quota", 429, openai("You exceeded your quota", "insufficient_quota", "insufficient_quota"), K.QUOTA),
    ("Anthropic credit", 400, anthropic("invalid_request_error", "Your credit balance is too low to access"), K.QUOTA),
    ("Anthropic limits", 400, anthropic("invalid_request_error", "reached your specified API usage limits"), K.QUOTA),
    ("DeepSeek balance", 402, openai("Insufficient Balance", "unknown_error", "invalid_request_error"), K.QUOTA),
    ("payment", 402, b"", K.QUOTA),
    (
        "Gemini per minute",
        429,
        google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan"),
        K.RATE_LIMITED,
    ),
    ("OpenAI rate", 429, openai("Rate limit reached for model m", "tokens", "rate_limit_exceeded"), K.RATE_LIMITED),
    ("OpenRouter rate", 429, {"error": {"code": 429, "message": "Provider returned error"}}, K.RATE_LIMITED),
    ("429 in HTML", 429, b"<html>Too Many Requests</html>", K.RATE_LIMITED),
    ("OpenAI key", 401, openai("Incorrect API key provided: sk-1", code="invalid_api_key"), K.CREDENTIAL),
    ("xAI key", 400, {"code": "invalid-argument", "error": "Incorrect API key provided: xa***99."}, K.CREDENTIAL),
    (
        "Gemini key",
        400,
        google(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"}),
        K.CREDENTIAL,
    ),
    ("Anthropic permission", 403, anthropic("permission_error", "no"), K.CREDENTIAL),
    ("403 in HTML", 403, b"<html>", K.CREDENTIAL),
    ("OpenAI model", 404, openai("The model `m` does not exist", code="model_not_found"), K.MODEL_GONE),
    ("OpenAI model of another project", 403, openai("no access to model", code="model_not_found"), K.MODEL_GONE),
    ("Anthropic model", 404, anthropic("not_found_error", "model: claude-sonet"), K.MODEL_GONE),
    ("Voyage model", 400, {"detail": "Model nonexistent is not supported. Supported models are ['a']."}, K.MODEL_GONE),
    ("OpenRouter model", 400, {"error": {"code": 400, "message": "m/n is not a valid model ID"}}, K.CALLER_FAULT),
    ("Groq model", 400, openai("The model `m` has been decommissioned", code="model_decommissioned"), K.MODEL_GONE),
    ("Azure deployment", 404, {"error": {"code": "DeploymentNotFound", "message": "no"}}, K.MODEL_GONE),
    ("wrong path", 404, {"detail": "Not Found"}, K.MODEL_GONE),
    ("404 in HTML", 404, b"<html>", K.MODEL_GONE),
    ("OpenAI other 404", 404, openai("No file with id file-1", code="not_found"), K.CALLER_FAULT),
    ("OpenAI 400", 400, openai("Invalid 'temperature'", param="temperature", code="decimal_below_min"), K.CALLER_FAULT),
    ("FastAPI 422", 422, {"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}, K.CALLER_FAULT),
    ("error is text", 400, {"error": "bad temperature"}, K.CALLER_FAULT),
    ("Anthropic too large", 413, anthropic("request_too_large", "Request exceeds the maximum size"), K.CALLER_FAULT),
    ("413 of nginx", 413, b"<html>", K.CALLER_FAULT),
    ("Groq tool", 400, openai("Tool call validation failed", code="tool_use_failed"), K.MALFORMED),
    ("timeout", 408, {}, K.TRANSIENT),
    ("conflict", 409, openai("could not acquire lock"), K.TRANSIENT),
    ("500", 500, openai("The server had an error", "server_error"), K.TRANSIENT),
    ("500 that talks of context", 500, openai("context length", code="context_length_exceeded"), K.TRANSIENT),
    ("503 in HTML", 503, b"<html>upstream connect error</html>", K.TRANSIENT),
    ("Anthropic overloaded", 529, anthropic("overloaded_error", "Overloaded"), K.TRANSIENT),
    ("redirect", 302, b"", K.MALFORMED),
    ("Gemini list", 400, [google(400, "INVALID_ARGUMENT", "Invalid value at 'contents'")], K.CALLER_FAULT),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_an_error_answer_has_the_kind_that_its_status_and_words_say(status: int, body: object, kind: K) -> None:
    """Each known shape and meaning is recognised, whichever provider says it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    failure = classify.from_response("a", status, {}, raw)
    assert (failure.kind, failure.target, failure.status) == (kind, "a", status)
    assert (failure.error is not None) == kind.caller_should_know


EVENTS: list[tuple[str, object, int | None, K]] = [
    ("Anthropic overloaded", {"type": "overloaded_error", "message": "Overloaded"}, None, K.TRANSIENT),
    ("Anthropic rate", {"type": "rate_limit_error", "message": "slow down"}, None, K.RATE_LIMITED),
    ("Anthropic api", {"type": "api_error", "message": "Internal server error"}, None, K.TRANSIENT),
    ("Anthropic whole event", anthropic("overloaded_error", "Overloaded"), 200, K.TRANSIENT),
    ("OpenRouter", {"code": 502, "message": "Provider disconnected"}, 200, K.TRANSIENT),
    ("OpenRouter rate", {"code": "429", "message": "Provider returned error"}, None, K.RATE_LIMITED),
    ("Gemini", {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Resource exhausted"}, None, K.RATE_LIMITED),
    ("Groq", {"message": "bad", "type": "invalid_request_error", "code": "tool_use_failed"}, None, K.MALFORMED),
    ("caller", {"message": "bad 'n'", "type": "invalid_request_error"}, None, K.CALLER_FAULT),
    (
        "vLLM",
        {"message": "max tokens must be at least 1", "type": "BadRequestError", "code": 400},
        None,
        K.CALLER_FAULT,
    ),
    ("only text", "CUDA out of memory", None, K.TRANSIENT),
    ("context in text", "This model's maximum context length is 4096 tokens", None, K.CONTEXT_LENGTH),
    ("nothing", None, None, K.TRANSIENT),
    ("true", True, 200, K.TRANSIENT),
]


@pytest.mark.parametrize(("error", "status", "kind"), [row[1:] for row in EVENTS], ids=[row[0] for row in EVENTS])
def test_an_error_inside_a_success_has_the_kind_that_its_words_say(error: object, status: int | None, kind: K) -> None:
    """A 200 proves nothing: the object's own code and words decide; what they leave open is the provider's fault."""
    assert classify.from_error_object("a", error, status).kind is kind


def test_a_client_gets_the_upstreams_object_in_openais_shape() -> None:
    """Message, type, param and code survive for what a client can mend."""
    body = json.dumps(openai("Invalid 'temperature'", param="temperature", code="decimal_below_min")).encode()
    assert classify.from_response("a", 400, {}, body).error == {
        "message": "Invalid 'temperature'",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "decimal_below_min",
    }


def test_a_prompt_that_is_too_long_gets_openais_code_from_providers_that_have_none() -> None:
    """Clients act upon `context_length_exceeded`; Anthropic only says it in prose."""
    body = json.dumps(anthropic("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")).encode()
    error = classify.from_response("a", 400, {}, body).error
    assert error == {
        "message": "prompt is too long: 9 tokens > 8 maximum",
        "type": "invalid_request_error",
        "param": None,
        "code": "context_length_exceeded",
    }


def test_an_unreadable_body_still_gives_the_client_a_sentence() -> None:
    """Where the upstream says nothing readable our own sentence is the message."""
    failure = classify.from_response("a", 422, {}, b"<html>nope</html>")
    assert failure.error is not None
    assert failure.error["message"] == "The provider found fault with the request (422)."


def test_only_a_rate_limit_reads_the_reset_headers() -> None:
    """Every answer of OpenAI carries reset times; after a 500 they would mean a pause of minutes for nothing."""
    headers = {"x-ratelimit-reset-tokens": "6m0s"}
    assert classify.from_response("a", 429, headers, b"").retry_after == 360
    assert classify.from_response("a", 500, headers, b"").retry_after is None
    assert classify.from_response("a", 503, headers | {"retry-after": "7"}, b"").retry_after == 7
    assert classify.from_response("a", 400, {"retry-after": "7"}, b"").retry_after is None


def test_googles_retry_info_counts_where_no_header_says_more() -> None:
    """Gemini puts the delay into the error's details; a header goes before it."""
    retry_info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39.5s"}
    body = json.dumps(google(429, "RESOURCE_EXHAUSTED", "quota", {"reason": "RATE"}, retry_info)).encode()
    assert classify.from_response("a", 429, {}, body).retry_after == 39.5
    assert classify.from_response("a", 429, {"retry-after": "2"}, body).retry_after == 2
    assert classify.from_error_object("a", json.loads(body), 200).retry_after == 39.5


KEY = SimpleNamespace(host="h.example", port=443, is_ssl=True, ssl=True)
RESPONSE_INFO: Any = SimpleNamespace(real_url=URL("http://h.example/"))
EXCEPTIONS: list[tuple[BaseException, K]] = [
    (TimeoutError(), K.TIMEOUT),
    (aiohttp.ServerTimeoutError(), K.TIMEOUT),
    (aiohttp.SocketTimeoutError(), K.TIMEOUT),
    (aiohttp.ConnectionTimeoutError(), K.TIMEOUT),
    (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, "no")), K.TRANSIENT),  # type: ignore[arg-type]
    (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "unknown")), K.TRANSIENT),  # type: ignore[arg-type]
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("x")), K.TRANSIENT),  # type: ignore[arg-type]
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "x")), K.TRANSIENT),
    (ssl.SSLError(1, "x"), K.TRANSIENT),
    (socket.gaierror(-3, "later"), K.TRANSIENT),
    (ConnectionRefusedError(), K.TRANSIENT),
    (ConnectionResetError(), K.TRANSIENT),
    (aiohttp.ServerDisconnectedError(), K.TRANSIENT),
    (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), K.TRANSIENT),
    (OSError(errno.EHOSTUNREACH, "no route"), K.TRANSIENT),
    (aiohttp.ClientConnectionError("Connector is closed."), K.TRANSIENT),
    (aiohttp.ClientPayloadError("Response payload is not completed"), K.TRUNCATED),
    (asyncio.IncompleteReadError(b"", 5), K.TRUNCATED),
    (aiohttp.ContentTypeError(RESPONSE_INFO, ()), K.MALFORMED),
    (aiohttp.ClientResponseError(RESPONSE_INFO, (), message="Bad status line"), K.MALFORMED),
    (EventTooLarge("big"), K.MALFORMED),
    (msgspec.DecodeError("x"), K.MALFORMED),
    (json.JSONDecodeError("x", "", 0), K.MALFORMED),
    (OSError(errno.EMFILE, "Too many open files"), K.UNKNOWN),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "Too many open files")), K.UNKNOWN),  # type: ignore[arg-type]
    (aiohttp.InvalidURL("x"), K.UNKNOWN),
    (ValueError("x"), K.UNKNOWN),
    (KeyError("x"), K.UNKNOWN),
]


@pytest.mark.parametrize(
    ("exc", "kind"), EXCEPTIONS, ids=[f"{type(row[0]).__name__}-{i}" for i, row in enumerate(EXCEPTIONS)]
)
def test_an_exception_has_the_kind_of_what_went_wrong(exc: BaseException, kind: K) -> None:
    """Silence, refusal, breakage, nonsense and our own faults are told apart; what is unknown is ours."""
    failure = classify.from_exception("a", exc)
    assert failure.kind is kind
    assert "example" not in failure.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "type", "code", "status", "param", "detail", "details", "errors", "retryDelay"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
statuses = st.none() | st.integers(100, 999)


@given(json_values, statuses)
def test_no_error_object_makes_the_classifier_raise(error: object, status: int | None) -> None:
    """Whatever JSON an upstream calls an error, it becomes a failure with a sentence of ours."""
    becomes_a_failure(error, status)


@pytest.mark.slow
@settings(max_examples=5_000)
@given(json_values, statuses)
def test_no_error_object_of_thousands_makes_the_classifier_raise(error: object, status: int | None) -> None:
    """The same promise, looked at for longer."""
    becomes_a_failure(error, status)


def becomes_a_failure(error: object, status: int | None) -> None:
    failure = classify.from_error_object("a", error, status)
    assert failure.kind in set(K) - {K.UNKNOWN, K.SUPERSEDED}
    assert failure.detail.startswith("the ")
    if failure.error is not None:
        assert isinstance(failure.error["message"], str)
        assert failure.error["message"]


@given(
    st.binary(max_size=200), st.integers(100, 999), st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text())
)
def test_no_answer_makes_the_classifier_raise(body: bytes, status: int, headers: dict[str, str]) -> None:
    """Whatever bytes come as an error's body, they become a failure."""
    assert classify.from_response("a", status, headers, body).status == status


def test_a_deeply_nested_body_is_an_unreadable_one() -> None:
    """A thousand brackets neither overflow the stack nor take long."""
    assert classify.from_response("a", 400, {}, b"[" * 50_000).kind is K.CALLER_FAULT
