"""Every documented parameter of each dialect over another wire: carried, translated, named as dropped, or refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.domain import Failure
from tests.support import anthropic_server, gemini_server
from tests.support.behind_litellm import FLASH, QUIET, ask, upstream_server
from tests.support.gateways import gateways
from tests.support.recorded import DATA
from tests.support.wire_server import WireServer

pytestmark = pytest.mark.anyio

DROPPED, REFUSED, NEUTRAL = "named in x-hedgerow-dropped", "a 400 that names it", "says what happens anyway"
Row = tuple[str, dict[str, Any], str | dict[str, Any]]
"""A parameter, what the client sends, and what becomes of it: one of the three, or fields of the upstream's request."""

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
TOOLS = [{"type": "function", "function": FUNCTION}]
FLAT = {"type": "function", **FUNCTION}
THEIRS = {"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}
SHAPE = {"type": "json_schema", "schema": SCHEMA}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
ALONE = {"type": "auto", "disable_parallel_tool_use": True}
MARK = {"type": "ephemeral"}
HELLO = {"role": "user", "content": "Hello"}


def row(name: str, value: Any, becomes: str | dict[str, Any], **beside: Any) -> Row:
    """One line of a table; `beside` is what a request with this parameter needs, too."""
    return name, {**beside, name: value}, becomes


def said(*parts: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
    """One message, as the only one of a request."""
    return {"messages": [{"role": role, "content": list(parts), **fields}]}


CHAT_OVER_MESSAGES: Sequence[Row] = (
    row("audio", {"voice": "alloy", "format": "wav"}, REFUSED),
    row("frequency_penalty", 0.5, REFUSED),
    row("function_call", {"name": "f"}, {"tool_choice": {**ALONE, "type": "tool", "name": "f"}}, functions=[FUNCTION]),
    row("functions", [FUNCTION], {"tools": [THEIRS], "tool_choice": ALONE}),
    row("logit_bias", {"1": 2}, REFUSED),
    row("logprobs", True, REFUSED),
    row("max_completion_tokens", 9, {"max_tokens": 9}),
    row("max_tokens", 9, {"max_tokens": 9}),
    row("metadata", {"a": "b"}, DROPPED),
    row("modalities", ["text", "audio"], REFUSED),
    row("moderation", {"model": "m"}, REFUSED),
    row("n", 1, NEUTRAL),
    row("parallel_tool_calls", False, {"tool_choice": ALONE}, tools=TOOLS),
    row("prediction", {"type": "content", "content": "x"}, REFUSED),
    row("presence_penalty", 0.5, REFUSED),
    row("prompt_cache_key", "k", DROPPED),
    row("prompt_cache_options", {"mode": "auto"}, DROPPED),
    row("prompt_cache_retention", "24h", DROPPED),
    row("reasoning_effort", "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    row("reasoning_effort", "high", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, max_tokens=4000),
    row("reasoning_effort", "low", DROPPED, max_tokens=500),
    row("reasoning_effort", "minimal", NEUTRAL),
    row("reasoning_effort", "utmost", REFUSED),
    row("response_format", FORMAT, {"output_config": {"format": SHAPE}}),
    row("response_format", {"type": "json_object"}, REFUSED),
    row("response_format", {"type": "xml"}, REFUSED),
    row("response_format", {"type": "text"}, NEUTRAL),
    row("safety_identifier", "s", {"metadata": {"user_id": "s"}}),
    row("safety_identifier", "s", DROPPED, user="u"),
    row("seed", 3, REFUSED),
    row("service_tier", "flex", DROPPED),
    row("stop", "x", {"stop_sequences": ["x"]}),
    row("store", True, DROPPED),
    row("store", False, NEUTRAL),
    row("stream_options", {"include_usage": True}, NEUTRAL),
    row("temperature", 0.3, {"temperature": 0.3}),
    row("tool_choice", "required", {"tool_choice": {"type": "any"}}, tools=TOOLS),
    row("tool_choice", "required", REFUSED),
    row("tool_choice", "auto", NEUTRAL),
    row("tool_choice", "sometimes", REFUSED, tools=TOOLS),
    row("tools", TOOLS, {"tools": [THEIRS]}),
    row("tools", [{**TOOLS[0], "cache_control": MARK}], {"tools": [{**THEIRS, "cache_control": MARK}]}),
    row("tools", [{"type": "custom", "custom": {"name": "c"}}], REFUSED),
    row("top_logprobs", 2, REFUSED),
    row("top_p", 0.4, {"top_p": 0.4}),
    row("user", "u", {"metadata": {"user_id": "u"}}),
    row("verbosity", "low", REFUSED),
    row("web_search_options", {}, REFUSED),
    row("a_field_of_tomorrow", [1], {"a_field_of_tomorrow": [1]}),
    ("messages", said({"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}), REFUSED),
    ("messages", {"messages": [{"role": "critic", "content": "No."}]}, REFUSED),
    ("messages", {"messages": [{"role": "assistant", "content": None, "audio": {"id": "a_1"}}]}, REFUSED),
    ("messages.name", said({"type": "text", "text": "Hi"}, name="Ann"), DROPPED),
    (
        "messages.image_url.detail",
        said({"type": "image_url", "image_url": {"url": "https://images.example/a.png", "detail": "low"}}),
        DROPPED,
    ),
    (
        "messages",
        said({"type": "text", "text": "Hi", "cache_control": MARK}),
        said({"type": "text", "text": "Hi", "cache_control": MARK}),
    ),
)

DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Long."}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "no such city"}

MESSAGES_OVER_CHAT: Sequence[Row] = (
    row("cache_control", MARK, DROPPED),
    row("compaction", {"enabled": True}, DROPPED),
    row("container", "c_1", REFUSED),
    row("context_management", {"edits": []}, DROPPED),
    row("diagnostics", {}, DROPPED),
    row("fallback_credit_token", "t", DROPPED),
    row("fallbacks", [], DROPPED),
    row("inference_geo", "eu", DROPPED),
    row("max_tokens", 9, {"max_completion_tokens": 9}),
    row("mcp_servers", [{"type": "url", "url": "https://mcp.example", "name": "m"}], REFUSED),
    row("metadata", {"user_id": "u"}, {"user": "u"}),
    row("metadata", {"user_id": "u" * 65}, DROPPED),
    row("output_config", {"format": SHAPE, "effort": "low"}, {"response_format": FORMAT, "reasoning_effort": "low"}),
    row("output_config", {"format": {"type": "xml"}}, REFUSED),
    ("output_config.task_budget", {"output_config": {"task_budget": {"total": 9}}}, DROPPED),
    row("output_format", SHAPE, {"response_format": FORMAT}),
    row("service_tier", "standard_only", DROPPED),
    row("speed", "fast", DROPPED),
    row("stop_sequences", ["x"], {"stop": ["x"]}),
    row("system", "Be brief.", {"messages": [{"role": "system", "content": "Be brief."}, HELLO]}),
    row("temperature", 0.3, {"temperature": 0.3}),
    row("thinking", {"type": "enabled", "budget_tokens": 2048}, {"reasoning_effort": "low"}),
    row("thinking", {"type": "adaptive"}, DROPPED),
    row("thinking", {"type": "adaptive"}, {"reasoning_effort": "high"}, output_config={"effort": "high"}),
    row("thread", {"id": "t_1"}, REFUSED),
    row("tool_choice", {"type": "any"}, {"tool_choice": "required"}, tools=[THEIRS]),
    row("tool_choice", {**ALONE}, {"tool_choice": "auto", "parallel_tool_calls": False}, tools=[THEIRS]),
    row("tool_choice", {"type": "any"}, REFUSED),
    row("tool_choice", {"type": "some"}, REFUSED, tools=[THEIRS]),
    row("tools", [THEIRS], {"tools": TOOLS}),
    row("tools", [{"type": "web_search_20250305", "name": "web_search"}], REFUSED),
    ("tools.input_examples", {"tools": [{**THEIRS, "input_examples": [{"city": "Paris"}]}]}, DROPPED),
    ("cache_control", {"tools": [{**THEIRS, "cache_control": MARK}]}, DROPPED),
    ("cache_control", {"system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}]}, DROPPED),
    ("cache_control", said({"type": "text", "text": "Hi", "cache_control": MARK}), DROPPED),
    row("top_k", 3, DROPPED),
    row("top_p", 0.4, {"top_p": 0.4}),
    row("user_profile_id", "p", DROPPED),
    row("workspace_id", "w", DROPPED),
    row("a_field_of_tomorrow", [1], {"a_field_of_tomorrow": [1]}),
    ("messages", {"messages": [{"role": "critic", "content": "No."}]}, REFUSED),
    ("messages.citations", said({**DOCUMENT, "citations": {"enabled": True}}), DROPPED),
    ("messages.context", said({**DOCUMENT, "context": "of 1910"}), DROPPED),
    ("messages.is_error", said({**RESULT, "is_error": True}), DROPPED),
)

RESPONSES_OVER_CHAT: Sequence[Row] = (
    row("background", True, REFUSED),
    row("context_management", [{"type": "compaction"}], DROPPED),
    row("conversation", "c_1", REFUSED),
    row("include", ["message.output_text.logprobs"], {"logprobs": True}),
    row("include", ["reasoning.encrypted_content"], DROPPED),
    row("instructions", "Be brief.", {"messages": [{"role": "system", "content": "Be brief."}, HELLO]}),
    row("max_output_tokens", 9, {"max_completion_tokens": 9}),
    row("max_tool_calls", 3, DROPPED),
    row("metadata", {"a": "b"}, NEUTRAL),  # the response has it again
    row("moderation", {"model": "m"}, {"moderation": {"model": "m"}}),
    row("parallel_tool_calls", False, {"parallel_tool_calls": False}, tools=[FLAT]),
    row("previous_response_id", "r_1", REFUSED),
    row("prompt", {"id": "p_1"}, REFUSED),
    row("prompt_cache_key", "k", {"prompt_cache_key": "k"}),
    row("prompt_cache_options", {"mode": "auto"}, {"prompt_cache_options": {"mode": "auto"}}),
    row("prompt_cache_retention", "24h", {"prompt_cache_retention": "24h"}),
    row("reasoning", {"effort": "low"}, {"reasoning_effort": "low"}),
    ("reasoning.summary", {"reasoning": {"summary": "auto"}}, DROPPED),
    row("safety_identifier", "s", {"safety_identifier": "s"}),
    row("service_tier", "flex", {"service_tier": "flex"}),
    row("store", True, REFUSED),
    row("store", False, NEUTRAL),
    row("stream_options", {"include_obfuscation": False}, NEUTRAL),
    row("temperature", 0.3, {"temperature": 0.3}),
    row("text", {"verbosity": "low", "format": {**SHAPE, "name": "answer", "strict": True}},
        {"verbosity": "low", "response_format": FORMAT}),
    row("text", {"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    row("text", {"format": {"type": "grammar"}}, REFUSED),
    row("tool_choice", "required", {"tool_choice": "required"}, tools=[FLAT]),
    row("tool_choice", "required", REFUSED),
    row("tools", [FLAT], {"tools": TOOLS}),
    row("tools", [{"type": "web_search"}], REFUSED),
    ("tools.defer_loading", {"tools": [{**FLAT, "defer_loading": True}]}, DROPPED),
    row("top_logprobs", 2, {"top_logprobs": 2, "logprobs": True}),
    row("top_p", 0.4, {"top_p": 0.4}),
    row("truncation", "auto", DROPPED),
    row("user", "u", {"user": "u"}),
    row("a_field_of_tomorrow", [1], {"a_field_of_tomorrow": [1]}),
    ("input", {"input": [{"type": "item_reference", "id": "i_1"}]}, REFUSED),
)  # fmt: skip

DECLARED = [{"function_declarations": [{"name": "f", "description": "d", "parameters": SCHEMA}]}]

CHAT_OVER_GEMINI: Sequence[Row] = (
    row("audio", {"voice": "alloy", "format": "wav"}, REFUSED),
    row("frequency_penalty", 0.5, {"generationConfig": {"frequency_penalty": 0.5}}),
    row("function_call", {"name": "f"}, REFUSED, functions=[FUNCTION]),
    row("function_call", "auto", {"tools": DECLARED}, functions=[FUNCTION]),
    row("functions", [FUNCTION], {"tools": DECLARED}),
    row("logit_bias", {"1": 2}, REFUSED),
    row("logprobs", True, {"generationConfig": {"responseLogprobs": True}}),
    row("max_completion_tokens", 9, {"generationConfig": {"max_output_tokens": 9}}),
    row("max_tokens", 9, {"generationConfig": {"max_output_tokens": 9}}),
    row("metadata", {"a": "b"}, DROPPED),
    row("modalities", ["text", "audio"], {"generationConfig": {"responseModalities": ["TEXT", "AUDIO"]}}),
    row("moderation", {"model": "m"}, REFUSED),
    row("n", 2, {"generationConfig": {"candidate_count": 2}}),
    row("parallel_tool_calls", False, REFUSED, tools=TOOLS),
    row("parallel_tool_calls", True, {"tools": DECLARED}, tools=TOOLS),
    row("prediction", {"type": "content", "content": "x"}, REFUSED),
    row("presence_penalty", 0.5, {"generationConfig": {"presence_penalty": 0.5}}),
    row("prompt_cache_key", "k", DROPPED),
    row("prompt_cache_options", {"mode": "auto"}, DROPPED),
    row("prompt_cache_retention", "24h", DROPPED),
    row("reasoning_effort", "low",
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}}}),
    row("response_format", {"type": "json_object"}, {"generationConfig": {"response_mime_type": "application/json"}}),
    row("safety_identifier", "s", DROPPED),
    row("seed", 3, {"generationConfig": {"seed": 3}}),
    row("service_tier", "flex", {"serviceTier": "flex"}),
    row("stop", ["x"], {"generationConfig": {"stop_sequences": ["x"]}}),
    row("store", True, DROPPED),
    row("stream_options", {"include_usage": True}, NEUTRAL),
    row("temperature", 0.3, {"generationConfig": {"temperature": 0.3}}),
    row("tool_choice", "required", {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, tools=TOOLS),
    row("tools", TOOLS, {"tools": DECLARED}),
    row("top_logprobs", 2, REFUSED),
    row("top_p", 0.4, {"generationConfig": {"top_p": 0.4}}),
    row("user", "u", DROPPED),
    row("verbosity", "low", REFUSED),
    row("web_search_options", {}, {"tools": [{"googleSearch": {}}]}),
    row("a_field_of_tomorrow", [1], {"a_field_of_tomorrow": [1]}),
)  # fmt: skip

CHAT = ("/v1/chat/completions", {"messages": [HELLO]})
MESSAGES = ("/v1/messages", {"max_tokens": 100, **said({"type": "text", "text": "Hello"})})
RESPONSES = ("/v1/responses", {"input": "Hello", "store": False})


def named(table: Sequence[Row]) -> set[str]:
    """The names of all parameters that a table has a line for."""
    return {name for _, sent, _ in table for name in sent}


@pytest.mark.parametrize(
    ("schema", "tables"),
    [
        ("CreateChatCompletionRequest", (CHAT_OVER_MESSAGES, CHAT_OVER_GEMINI)),
        ("CreateResponse", (RESPONSES_OVER_CHAT,)),
    ],
)
def test_the_tables_have_every_parameter_that_openai_documents(schema: str, tables: Sequence[Sequence[Row]]) -> None:
    """A parameter that is new in the document needs a decision here."""
    document = DATA / "openai_openapi.json.gz"
    if not document.exists():
        pytest.skip(f"OpenAI's OpenAPI document is not at hand: {document}")
    schemas = json.loads(gzip.decompress(document.read_bytes()))["components"]["schemas"]

    def properties(schema: dict[str, Any]) -> set[str]:
        if "$ref" in schema:
            return properties(schemas[schema["$ref"].rpartition("/")[2]])
        return {*schema.get("properties", ())}.union(*(properties(part) for part in schema.get("allOf", ())))

    for table in tables:
        assert properties(schemas[schema]) - {"model", "messages", "input", "stream"} <= named(table)


@pytest.mark.parametrize(
    ("route", "path", "least", "table"),
    [
        ("anthropic", *CHAT, CHAT_OVER_MESSAGES),
        ("chat", *MESSAGES, MESSAGES_OVER_CHAT),
        ("chat", *RESPONSES, RESPONSES_OVER_CHAT),
    ],
    ids=["chat over messages", "messages over chat", "responses over chat"],
)
async def test_no_parameter_is_lost_without_a_word(
    route: str, path: str, least: dict[str, Any], table: Sequence[Row]
) -> None:
    """It is in the upstream's request, in the header of what was dropped, or in the refusal; nothing else is."""
    wrong: list[Any] = []
    async with WireServer(lambda _: anthropic_server.message(anthropic_server.text("{}"))) as server:
        head = f"  anth: {{api: anthropic, base_url: '{server.url}', api_key: sk-ant-canary}}"
        routes = "  anthropic: {targets: [anth/claude-haiku-4-5], retries: 0}\n  chat: {targets: [sim/a], retries: 0}"
        async with gateways(routes, {"a": {"answer": "{}"}}, head=head) as running:
            for name, sent, becomes in table:
                reply = await running.post({"model": route, **least, **sent}, path)
                bodies = [received.json for received in server.received] + running.received()
                dropped = reply.headers.get("x-hedgerow-dropped")
                if becomes == REFUSED:
                    error = reply.json["error"]
                    right = reply.status == 400 and (error.get("param") == name or f"`{name}`" in error["message"])
                    right = right or (reply.status == 400 and path == MESSAGES[0])  # Anthropic's errors have no param
                elif becomes == DROPPED:
                    right = reply.status == 200 and dropped == name and not bodies[-1].keys() & {name}
                else:
                    shown = becomes if isinstance(becomes, dict) else {}
                    right = reply.status == 200 and dropped is None and bodies[-1] == {**bodies[-1], **shown}
                if not right:
                    wrong.append((name, sent, becomes, reply.status, dropped, reply.body, bodies[-1:]))
    assert wrong == []


@pytest.mark.filterwarnings(QUIET)
async def test_no_parameter_is_lost_on_its_way_through_litellm() -> None:
    """What litellm says that it can translate is held against what it writes; the rest is named or refused."""
    wrong: list[Any] = []
    async with upstream_server() as upstream:
        for name, sent, becomes in CHAT_OVER_GEMINI:
            beside = {"logprobs": True} if name == "top_logprobs" else {}
            reply = gemini_server.answer(gemini_server.content(gemini_server.text("x")))
            outcome = await upstream.ask(FLASH, ask(**sent, **beside), reply)
            if isinstance(outcome, Failure):
                right = becomes == REFUSED and outcome.error is not None and outcome.error["param"] == name
            elif becomes == DROPPED:
                right = outcome.payload.dropped == (name,) and not upstream.body.keys() & {name}
            else:
                shown = becomes if isinstance(becomes, dict) else {}
                right = outcome.payload.dropped == () and upstream.body == {**upstream.body, **shown}
            if not right:
                wrong.append((name, becomes, outcome, upstream.body))
    assert wrong == []
