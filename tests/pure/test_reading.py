"""Reading answers: what real providers call OpenAI-compatible is understood, and what is no answer is a failure."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from fanin import Candidate, ToolCall
from gateway.domain import Answer, Failure, FailureKind, Target, Usage
from gateway.providers.reading import confidence, read_answer, read_chunk

TARGET = Target("a", "p", "m", weight=2.0, priority=1)


def read(message: dict[str, Any], **choice: Any) -> Candidate | Failure:
    return read_answer(TARGET, json.dumps({"choices": [{"index": 0, "message": message, **choice}]}).encode())


def test_a_whole_answer_keeps_the_upstream_s_bytes() -> None:
    """Numbers keep their spelling, unknown fields stay, the usage is counted."""
    body = (
        b'{"id":"x","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"cost":1.50e-7,'
        b'"usage":{"prompt_tokens":3,"completion_tokens":1}}'
    )
    candidate = read_answer(TARGET, body)
    assert isinstance(candidate, Candidate)
    assert (candidate.text, candidate.finish_reason, candidate.weight, candidate.priority) == ("hi", "stop", 2.0, 1)
    assert isinstance(candidate.payload, Answer)
    assert bytes(candidate.payload.fields["cost"]) == b"1.50e-7"
    assert candidate.payload.usage == Usage(3, 1)


@pytest.mark.parametrize(
    ("message", "text", "calls"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", ()),
        ({"content": None, "refusal": "I cannot."}, "I cannot.", ()),
        (
            {"content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
            "",
            (ToolCall("f", "{}", "1"),),
        ),
        ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, "", (ToolCall("f", '{"a":1}', ""),)),
        ({"function_call": {"name": "f", "arguments": "{}"}}, "", (ToolCall("f", "{}", ""),)),
        ({"content": None, "audio": {"id": "x"}}, "", ()),
    ],
)
def test_what_providers_really_send_is_an_answer(
    message: dict[str, Any], text: str, calls: tuple[ToolCall, ...]
) -> None:
    """Content lists, refusals, calls without type or with an object as arguments, legacy calls, audio."""
    candidate = read(message, finish_reason="")
    assert isinstance(candidate, Candidate)
    assert (candidate.text, candidate.tool_calls, candidate.finish_reason) == (text, calls, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.MALFORMED),
        (b"<html>", FailureKind.MALFORMED),
        (b'{"choices": [{"mess', FailureKind.MALFORMED),
        (b"[]", FailureKind.MALFORMED),
        (b'{"choices": "none"}', FailureKind.MALFORMED),
        (b'{"a": ' + b"[" * 100_000, FailureKind.MALFORMED),
        (b'{"choices": []}', FailureKind.EMPTY),
        (b'{"id": "x"}', FailureKind.EMPTY),
        (b'{"choices": [{"text": "hello"}]}', FailureKind.MALFORMED),
        (b'{"choices": [{"message": {"content": "a"}}, {"message": null}]}', FailureKind.MALFORMED),
        (b'{"choices": [{"message": {"content": null}}]}', FailureKind.EMPTY),
        (b'{"choices": [{"message": {"content": ""}}]}', FailureKind.EMPTY),
        (b'{"choices": [{"message": {"content": "", "reasoning_content": "hm"}}]}', FailureKind.EMPTY),
        (b'{"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}', FailureKind.FILTERED),
        (b'{"error": {"message": "busy", "code": 503}}', FailureKind.TRANSIENT),
    ],
)
def test_a_success_status_does_not_make_an_answer(body: bytes, kind: FailureKind) -> None:
    """Each is the failure that it really is, never an empty candidate."""
    failure = read_answer(TARGET, body)
    assert isinstance(failure, Failure)
    assert failure.kind is kind


@given(st.binary())
def test_no_bytes_make_the_reader_raise(body: bytes) -> None:
    """Upstreams are hostile."""
    read_answer(TARGET, body)
    read_chunk(body)
    assert confidence(Raw(b"null")) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "content", "tool_calls", "function", "logprobs", "usage", "error"]
                ),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_no_json_makes_the_reader_raise(value: Any) -> None:
    """Nor does JSON of any shape."""
    outcome = read_answer(TARGET, json.dumps({"choices": [value], "x": value}).encode())
    assert isinstance(outcome, Candidate | Failure)


def test_confidence_is_the_exponential_of_the_mean_logprob() -> None:
    """exp(mean) of the tokens; no tokens, no confidence; never above one, never NaN."""

    def of(*values: float | None) -> float | None:
        return confidence(Raw(json.dumps({"content": [{"token": "x", "logprob": v} for v in values]}).encode()))

    assert of(-0.1, -0.3) == pytest.approx(math.exp(-0.2))
    assert of() is None
    assert of(None) is None
    assert of(5.0) == 1.0
    assert confidence(Raw(b'{"content": "no"}')) is None
    assert confidence(Raw(b'{"token_logprobs": [null, -1.0]}')) == pytest.approx(math.exp(-1))
