"""No credential, host or address of an upstream's message reaches a client; what helps the client stays."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import FailureKind
from gateway.providers import classify
from gateway.providers.scrub import LONGEST, scrub

CANARIES = [
    "sk-proj-Zx81kQmT0aVb2CdE3fGh",
    "sk-ant-api03-Canary_0123456789-abcdefghij",
    "sk-proj-****************abcd",
    "gsk_0123456789abcdefghijABCDEFGHIJ",
    "AIzaSyCanary0123456789abcdefghijklmnop",
    "AKIAIOSFODNN7CANARY0",
    "xai-Canary0123456789",
    "hf_CanaryCanary0123456789",
    "ya29.a0Canary0123456789",
    "0123456789abcdef0123456789abcdef",
    "2b7e1516-28ae-d2a6-abf7-158809cf4f3c",
    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYCANARYKEY1",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl",
    "https://secret-host.internal:8443/v1/chat?api-key=canary",
    "http://10.1.2.3:8000/v1",
    "myresource.openai.azure.com",
    "llm.corp:9000",
    "vllm-0.vllm.default.svc",
    "localhost:11434",
    "169.254.169.254",
    "[fd00::1]:8000",
]


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize("frame", ["{}", "Incorrect value: {}.", 'could not reach "{}", try later', "({})", "a,{};b"])
def test_a_canary_never_survives_in_any_part_of_a_failure(canary: str, frame: str) -> None:
    """Whatever looks like a credential or an address is cut out of message, param and detail alike."""
    text = frame.format(canary)
    for error in ({"message": text, "param": text, "type": text, "code": text}, text, {"detail": text}):
        failure = classify.from_response("a", 400, {}, json.dumps({"error": error}).encode())
        assert failure.kind is FailureKind.CALLER_FAULT
        assert canary not in repr(failure) + json.dumps(failure.error), failure
    assert canary not in scrub(text)


@pytest.mark.parametrize(
    "message",
    [
        "api_key=canary7",
        "Authorization: Bearer canary7",
        "authorization: canary7",
        '{"token": "canary7"}',
        "api key provided: canary7",
        "password = 'canary7'",
    ],
)
def test_what_is_called_a_secret_is_cut_out_whatever_it_looks_like(message: str) -> None:
    """Short keys have no shape of their own; the word before them gives them away."""
    assert "canary7" not in scrub(message)


@pytest.mark.parametrize("kind", [401, 403, 429, 500, 503])
def test_an_error_that_is_not_the_clients_carries_no_upstream_text_at_all(kind: int) -> None:
    """Not even scrubbed words of the upstream leave the gateway where they cannot help the client."""
    failure = classify.from_response(
        "a", kind, {}, json.dumps({"error": {"message": "canary words", "type": "x"}}).encode()
    )
    assert failure.error is None
    assert "canary" not in repr(failure)


@pytest.mark.parametrize(
    "message",
    [
        "Invalid 'messages[3].content[0].type': expected one of 'text', 'image_url'.",
        "messages.1.content.0.text: text content blocks must be non-empty",
        "The model `claude-3-5-sonnet-20241022` does not support `meta-llama/Llama-3.3-70B-Instruct-Turbo` prefills",
        "accounts/fireworks/models/llama4-maverick-instruct-basic cannot do that",
        "prompt is too long: 213462 tokens > 200000 maximum",
        "max_tokens: 8193 > 8192, which is the maximum allowed number of output tokens for claude-3-5-haiku-20241022",
        "temperature: 1000 but the supported range is from 0 (inclusive) to 2.0001 (exclusive)",
        "Unsupported value: 'response_format.json_schema.schema' needs `additionalProperties: false`",
        "No tool output found for tool call call_1.",
    ],
)
def test_what_helps_the_client_stays_word_for_word(message: str) -> None:
    """Paths into the request, model names and numbers are no secrets."""
    assert scrub(message) == message


def test_a_message_becomes_one_line_of_bounded_length() -> None:
    """Line breaks, terminal escapes and endless texts end here."""
    assert scrub("a\r\nb\x1b[31mc\u2028d") == "a b [31mc d"
    assert len(scrub("word " * 10_000)) == LONGEST + 1


@pytest.mark.parametrize("piece", ["a.", "a-", "0a", "A1a", "key ", "[:", "https:", "1.", "eyJ", "aA0/", "bearer "])
def test_no_hostile_message_costs_more_than_a_moment(piece: str) -> None:
    """Patterns stay (nearly) linear on what was made to make them backtrack."""
    start = time.thread_time()
    scrub(piece * 4000)
    classify.from_error_object("a", piece * 4000, 400)
    assert time.thread_time() - start < 2  # CPU seconds on a busy machine: backtracking would take minutes


@given(st.text())
def test_scrubbing_twice_changes_nothing_more(message: str) -> None:
    """A cleaned message is clean."""
    once = scrub(message)
    assert scrub(once) == once or len(once) > LONGEST
