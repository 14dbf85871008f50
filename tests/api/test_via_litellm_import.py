"""What comes into the process with litellm, and what stays out: each looked at in an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

CALL = """
import asyncio, json, socket, sys, threading

reached = []
sys.addaudithook(lambda event, args: reached.append(str(args[-1] if event == "socket.connect" else args[0]))
                 if event in {"socket.connect", "socket.getaddrinfo"} else None)

import gateway.providers.via_litellm
before = sorted(name for name in sys.modules if name.partition(".")[0] in {"litellm", "httpx", "openai", "tiktoken"})
sys.modules["mcp"] = None  # as if it were not installed

from gateway.providers.via_litellm import LitellmProvider
from tests.support import anthropic_server as anthropic
from tests.support.behind_litellm import CLAUDE, ask, upstream_server

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

async def main():
    async with upstream_server() as upstream:
        used = anthropic.message(anthropic.tool_use("f", {}), stop_reason="tool_use")
        whole = await upstream.ask(CLAUDE, ask(tools=[TOOL]), used)
        frames = anthropic.frames(anthropic.tool_use("f", {}), stop_reason="tool_use")
        live = await upstream.ask(CLAUDE, ask(tools=[TOOL], live=True), anthropic.stream(frames))
        async for _ in live.payload:
            pass
        await live.payload.aclose()
        refused = await upstream.ask(CLAUDE, ask(), anthropic.refusal(401, "authentication_error", "no"))
        import litellm
        return {
            "before": before,
            "whole": whole.tool_calls[0].name,
            "live": live.tool_calls[0].name,
            "refused": refused.kind.value,
            "proxy": sorted(name for name in sys.modules if name.startswith("litellm.proxy")),
            "web": sorted({"uvicorn", "redis", "prisma", "apscheduler"} & sys.modules.keys()),
            "callbacks": len(litellm.callbacks + litellm.success_callback + litellm.failure_callback),
            "reached": sorted({host for host in reached if "127.0.0.1" not in host and "None" not in host}),
            "cost_map": len(litellm.model_cost) > 1000,
        }

print(json.dumps(asyncio.run(main())))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What a fresh interpreter saw during a whole answer, a stream and a refusal."""
    done = subprocess.run(
        [sys.executable, "-c", CALL], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed | {"stderr": done.stderr}


def test_litellm_is_not_imported_before_the_first_call(seen: dict[str, Any]) -> None:
    """Who configures no such provider pays neither its seconds nor its memory."""
    assert seen["before"] == []


def test_litellms_proxy_never_runs_in_our_process(seen: dict[str, Any]) -> None:
    """Neither its application nor anything of its web server, keys, database or routes is loaded.

    litellm itself imports a few leaf modules that live in that package (types, redaction). They are listed, so that a
    new one is looked at before it gets in.
    """
    leaves = {
        "_types",
        "common_utils.config_sync_pubsub",
        "common_utils.encrypt_decrypt_utils",
        "guardrails.exception_utils",
        "openai_files_endpoints.common_utils",
        "pass_through_endpoints.llm_provider_handlers.typesafe_passthrough_logging_handler",
        "spend_tracking.cold_storage_handler",
        "spend_tracking.savings",
        "types_utils.utils",
        "_experimental.mcp_server.stdio_gate",
    }
    packages = {leaf[:end] for leaf in leaves for end, character in enumerate(leaf) if character == "."}
    loaded = {name.removeprefix("litellm.proxy").lstrip(".") for name in seen["proxy"]}
    assert loaded <= leaves | packages | {""}
    assert seen["web"] == []


def test_tools_need_no_further_package(seen: dict[str, Any]) -> None:
    """Litellm wants `mcp` for tools; our calls pass that by, whole and streamed."""
    assert (seen["whole"], seen["live"]) == ("f", "f")


def test_nothing_is_downloaded_or_reported(seen: dict[str, Any]) -> None:
    """No price list, no telemetry, no tokenizer: the only address ever used is the provider's."""
    assert seen["reached"] == []
    assert seen["cost_map"] is True
    assert seen["callbacks"] == 0


def test_litellm_writes_nothing_to_the_console(seen: dict[str, Any]) -> None:
    """No advice, no feedback link, no warning: neither after an answer nor after an error."""
    assert seen["refused"] == "credential"
    assert seen["stderr"] == ""
