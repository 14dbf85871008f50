"""What coding agents send to `/v1/responses` and `/v1/messages`, as raw HTTP: fields that no SDK knows must pass."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

from place import ANTHROPIC_URL, BASE_URL, CLAUDE, KEY, MODEL, WEATHER


def _events(url: str, body: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    content = json.dumps(body).encode()
    request = Request(url, content, {"content-type": "application/json", "accept": "text/event-stream", **headers})
    with urlopen(request, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.read().decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


def test_codex_cli_s_responses_request() -> None:
    """`store: false`, reasoning, include, client metadata, a cache key: everything in one stream."""
    said = [{"type": "input_text", "text": "List the files."}]
    body = {
        "model": MODEL,
        "instructions": "You are a coding agent.",
        "input": [{"type": "message", "role": "user", "content": said}],
        "tools": [{"type": "function", "name": "shell", "description": "Run.", "strict": False, "parameters": WEATHER}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0190-session",
        "client_metadata": {"x": "y"},
    }
    events = _events(f"{BASE_URL}/responses", body, authorization=f"Bearer {KEY}", originator="codex_cli_rs")
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert any(item["type"] == "function_call" and item["name"] == "shell" for item in done)


def test_a_coding_agent_s_messages_request() -> None:
    """System blocks with cache control, a beta header, thinking, metadata and tools in one stream."""
    body = {
        "model": CLAUDE,
        "max_tokens": 4096,
        "stream": True,
        "system": [{"type": "text", "text": "You are a coding agent.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "List the files."}]}],
        "tools": [{"name": "Bash", "description": "Run.", "input_schema": WEATHER}],
        "metadata": {"user_id": "user_1_session_2"},
    }
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "anthropic-beta": "fine-grained-tool-streaming"}
    events = _events(f"{ANTHROPIC_URL}/v1/messages?beta=true", body, **headers)
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    assert any(event["type"] == "content_block_start" for event in events)
