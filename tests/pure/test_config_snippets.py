"""The configurations that the documents show: whoever copies one gets what the text says, not a fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import config
from gateway.config.schema import json_schema

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "selectors" / "README.md", *(ROOT / "docs").rglob("*.md")])
KEY = "Zq8_vR2mXw5-tB9nLc4yKd7jHf3gPs6a"
PROVIDERS = f"""
providers:
  openai: {{api_key: {KEY}}}
  anthropic: {{api_key: {KEY}a}}
  mistral: {{api_key: {KEY}m}}
  azure: {{api: openai, base_url: "https://hedgerow.openai.azure.com/openai/v1", api_key: {KEY}z}}
"""
ROUTES = """
routes:
  guard: {targets: [openai/omni-moderation-latest], select: first}
  pictures: {targets: [openai/gpt-image-1], select: first}
"""
ROUTE = "\nroutes:\n  shown:\n"
TARGETS = "    targets: [openai/gpt-5-mini, anthropic/claude-haiku-4-5, mistral/mistral-small]\n"
OURS = frozenset(json_schema()["properties"])
FOREIGN = frozenset({"rules"})
"""The first key of what is no configuration of the gateway's (the Prometheus adapter's)."""


def snippets() -> list[tuple[str, str]]:
    """Return where each snippet stands, and its text."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in re.finditer(r"^```ya?ml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{path.relative_to(ROOT)}:{line}", match[1]))
    return found


def whole(snippet: str) -> str | None:
    """Return a snippet with what it leaves out around it; None for another program's."""
    keys = re.findall(r"^([a-z_]+):", snippet, re.MULTILINE)
    if FOREIGN.issuperset(keys):
        return None
    if OURS.issuperset(keys):
        return snippet + ("" if "providers" in keys else PROVIDERS) + ("" if "routes" in keys else ROUTES)
    inside = "".join(f"    {line}\n" for line in snippet.split("\n"))
    return PROVIDERS + ROUTE + inside + ("" if "targets" in keys else TARGETS)


def test_the_snippets_are_found() -> None:
    """Those of the README, of the API, of operations, of selectors and of streams at least."""
    shown = {place.partition(":")[0] for place, _ in snippets()}
    assert shown >= {"README.md", "docs/api.md", "docs/operations.md", "docs/selectors.md", "docs/streaming.md"}


@pytest.mark.parametrize(("place", "snippet"), snippets(), ids=[place for place, _ in snippets()])
def test_a_snippet_of_the_documents_is_sound(place: str, snippet: str) -> None:
    """It has no fault; what it leaves out, providers and targets, is put around it."""
    text = whole(snippet)
    if text is None:
        return
    variables = {name: KEY + name for name in re.findall(r"\$\{(\w+)", text)}
    assert config.parse(text, variables).routes, place


def test_a_snippet_with_a_fault_would_be_told() -> None:
    """The check can fail: at the top level, in a route, and in a target."""
    for faulty in ("limits: {inflight: 3}\n", "select: majorty\n", "targets:\n  - {model: openai/x, renam: {}}\n"):
        with pytest.raises(config.ConfigError):
            config.parse(whole(faulty) or "", {})
