"""Run real clients twice, directly against a mock provider and through the gateway: what passes directly must pass.

`python -m tests.clients [SUITE …] [--quick] [--write]` prints a table; `--quick` runs the clients that most people use,
`--write` puts the table into docs/clients.md. It ends with 0 when nothing that passes directly is lost, with 1 when
something is. Where a registry of packages cannot be reached, its suites are skipped in capital letters.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.clients import environments, servers
from tests.clients.servers import Place

DOCS = environments.ROOT / "docs" / "clients.md"
SUITES = Path(__file__).with_name("suites")
PATIENCE = 1500.0
"""Seconds for one run of one suite."""
Command = Callable[[Path], list[str]]
"""The report's path in, the command that writes a JUnit report there out."""


@dataclass(frozen=True)
class Suite:
    """One client's tests: `prepare` makes its environment and returns the command and where it runs.

    `against` is the mock behind it.
    """

    name: str
    prepare: Callable[[], tuple[Command, Path]]
    against: str = "llmock"
    quick: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one run of a suite gave: the names of the tests by how they ended."""

    passed: frozenset[str]
    failed: frozenset[str]

    @property
    def written(self) -> str:
        """How the table shows it."""
        return f"{len(self.passed)} of {len(self.passed) + len(self.failed)}"


def suites() -> Iterator[Suite]:
    """Give the suites, the quick ones first."""
    version = environments.locked
    yield Suite(f"openai-python {version('python', 'openai')}", _pytest("python", "openai_sdk.py"), quick=True)
    yield Suite(f"openai-python {version('openai2', 'openai')}", _pytest("openai2", "openai_sdk.py"), quick=True)
    yield Suite(f"anthropic {version('python', 'anthropic')}", _pytest("python", "anthropic_sdk.py"), quick=True)
    yield Suite("coding agents' raw requests", _pytest("python", "codex_shape.py"), quick=True)
    yield Suite("pydantic-ai, OpenAI Agents, instructor, litellm, llm", _pytest("python", "frameworks.py"))
    langchain = f"langchain-openai {version('python', 'langchain-openai')}"
    yield Suite(langchain, _pytest("python", "langchain_sdk.py"))
    yield Suite("openai-node", _node("openai"), quick=True)
    yield Suite("Vercel AI SDK", _node("vercel"))
    yield Suite("anthropic-sdk-typescript", _node("anthropic"), quick=True)
    if servers.OPENAPI.exists():
        yield Suite(f"openai-python {version('openai-suite', 'openai')}'s own tests", _own, against="steady")
    else:
        print("openai-python's own tests are left out: OpenAI's OpenAPI document is not beside this checkout")


RACED = (
    "chat", "responses", "test_responses.py", "audio", "test_completions.py", "test_embeddings.py", "test_models.py",
    "test_moderations.py", "test_images.py",
)  # fmt: skip
PASSED_ON = (
    "test_files.py", "test_batches.py", "test_uploads.py", "uploads", "test_conversations.py", "conversations",
    "test_vector_stores.py", "vector_stores", "test_evals.py", "evals", "test_videos.py",
)  # fmt: skip
OWN_TESTS = (*(f"tests/api_resources/{name}" for name in (*RACED, *PASSED_ON)), "-n", "2")
"""What the gateway has endpoints for, and what lives at one provider."""


def _pytest(lock: str, test: str) -> Callable[[], tuple[Command, Path]]:
    def prepare() -> tuple[Command, Path]:
        settled = ["-c", "/dev/null", "--rootdir", ".", "--confcutdir", ".", "-o", "asyncio_mode=auto"]
        return _reporting(environments.python(lock), *settled, test), SUITES

    return prepare


def _own() -> tuple[Command, Path]:
    return _reporting(environments.python("openai-suite"), *OWN_TESTS), environments.openai_suite()


def _reporting(python: Path, *arguments: str) -> Command:
    plain = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return lambda report: [*plain, f"--junitxml={report}"]


def _node(file: str) -> Callable[[], tuple[Command, Path]]:
    def prepare() -> tuple[Command, Path]:
        return lambda report: [
            "node",
            "--test",
            "--test-reporter=junit",
            f"--test-reporter-destination={report}",
            f"{file}.test.mjs",
        ], environments.node()

    return prepare


def run(suite: Suite, command: Command, cwd: Path, place: Place, folder: Path) -> Outcome:
    """Run a suite against a place."""
    report = folder / f"{re.sub(r'[^a-z0-9]+', '-', f'{suite.name} {place.name}'.lower())}.xml"
    environ = {**os.environ, **place.environ, "TEST_API_BASE_URL": place.base_url, "NO_PROXY": "127.0.0.1"}
    for unwanted in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "VIRTUAL_ENV", "PYTHONPATH"):
        environ.pop(unwanted, None)
    try:
        done = subprocess.run(
            command(report), cwd=cwd, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise environments.CannotPrepare(f"{suite.name}, {place.name}: no end after {PATIENCE:g} s") from None
    if not report.exists():
        raise environments.CannotPrepare(f"{suite.name} did not run:\n{(done.stdout + done.stderr)[-3000:]}")
    passed, failed = set(), set()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 -- written by a test runner that we started
        if case.find("skipped") is not None:
            continue
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        broken = case.find("failure") is not None or case.find("error") is not None
        (failed if broken else passed).add(name)
    return Outcome(frozenset(passed), frozenset(failed))


def config(mocks: list[str], steady: str | None, models: list[str]) -> dict[str, object]:
    """Return the gateway's configuration: each model through one target, and through a race of three."""
    names = ("one", "two", "three")
    providers: dict[str, object] = {
        name: {"api": "openai", "base_url": f"{url}/v1", "api_key": "sk-of-the-mock"}
        for name, url in zip(names, mocks, strict=True)
    }
    providers |= {
        f"claude-{name}": {"api": "anthropic", "base_url": f"{url}/anthropic", "api_key": "sk-of-the-mock"}
        for name, url in zip(names, mocks, strict=True)
    }
    direct = Place("", "", "")
    routes: dict[str, object] = {
        direct.model: {"targets": [f"one/{direct.model}"]},
        direct.claude: {"targets": [f"claude-one/{direct.claude}"]},
        direct.embedding: {"targets": [f"one/{direct.embedding}"]},
        "race": {"targets": [f"{name}/{direct.model}" for name in names]},
        "claude-race": {"targets": [f"claude-{name}/{direct.claude}" for name in names]},
        "embedding-race": {"targets": [f"{name}/{direct.embedding}" for name in names]},
    }
    if steady is not None:
        providers["steady"] = {"api": "openai", "base_url": steady, "api_key": "sk-of-the-mock", "responses": True}
        routes |= {model: {"targets": [f"steady/{model}"]} for model in models if model not in routes}
    kept = "one" if steady is None else "steady"
    return {"providers": providers, "routes": routes, "passthrough": kept}


def models_of(source: Path) -> list[str]:
    """Return every model that openai-python's own tests name."""
    found: set[str] = set()
    for file in (source / "tests" / "api_resources").rglob("*.py"):
        found.update(re.findall(r'model="([^"]+)"', file.read_text()))
    return sorted(found - {""})


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="parts of the names of suites to run; all without one")
    parser.add_argument("--quick", action="store_true", help="only the clients that most people use")
    parser.add_argument("--write", action="store_true", help="put the table into docs/clients.md")
    asked = parser.parse_args()
    chosen = [suite for suite in suites() if suite.quick or not asked.quick]
    chosen = [s for s in chosen if not asked.only or any(part.lower() in s.name.lower() for part in asked.only)]
    if not chosen:
        raise environments.CannotPrepare(f"no suite has {' or '.join(asked.only)} in its name")
    rows, lost = compare(chosen)
    if asked.write:
        write(rows)
    print(f"{lost} tests that pass directly do not pass through the gateway")
    return 1 if lost else 0


def compare(chosen: list[Suite]) -> tuple[list[str], int]:
    """Run each suite directly and through the gateway; return the table's rows, and how many tests are lost."""
    rows, lost = [], 0
    ready = list(_prepared(chosen))
    if not ready:
        print("NOTHING WAS RUN")
        return rows, lost
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hedgerow-clients-")))
        mocks = stack.enter_context(servers.llmocks(3))
        own = any(suite.against == "steady" for suite, _, _ in ready)
        strict = stack.enter_context(servers.steady(folder)) if own else None
        names = models_of(environments.openai_suite()) if own else []
        url = stack.enter_context(servers.gateway(folder, config(mocks, strict, names)))
        pool = stack.enter_context(ThreadPoolExecutor(2))
        through = Place("one target", f"{url}/v1", url)
        race = Place("a race of three", f"{url}/v1", url, "race", "claude-race", "embedding-race")
        for suite, command, cwd in ready:
            base = f"{mocks[0]}/v1" if suite.against == "llmock" else strict or ""
            places = [Place("direct", base, f"{mocks[0]}/anthropic"), through]
            places += [race] if suite.against == "llmock" else []
            began = time.monotonic()
            outcomes = list(pool.map(lambda place, s=suite, c=command, w=cwd: run(s, c, w, place, folder), places))
            for place, outcome in zip(places[1:], outcomes[1:], strict=True):
                for name in sorted(outcomes[0].passed - outcome.passed):
                    lost += 1
                    print(f"LOST {suite.name}, {place.name}: {name}")
            cells = [outcome.written for outcome in outcomes] + ["-"] * (3 - len(outcomes))
            rows.append(f"| {suite.name} | {' | '.join(cells)} |")
            print(f"{rows[-1]}  {time.monotonic() - began:.0f} s", flush=True)
    return rows, lost


def _prepared(chosen: list[Suite]) -> Iterator[tuple[Suite, Command, Path]]:
    """Give the suites whose clients are at hand; say loudly which are not, since a registry may be out of reach."""
    for suite in chosen:
        try:
            environments.python("python")  # brings the mock behind every suite
            yield suite, *suite.prepare()
        except environments.NotAtHand as fault:
            print(f"SKIPPED {suite.name}: {fault}", flush=True)


def write(rows: list[str]) -> None:
    """Put the table between its marks in docs/clients.md."""
    head = ["| client | directly | one target | a race of three |", "|---|---|---|---|"]
    text = DOCS.read_text()
    begin, end = "<!-- results -->\n", "<!-- /results -->"
    before, _, rest = text.partition(begin)
    DOCS.write_text(f"{before}{begin}{chr(10).join([*head, *rows])}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except environments.CannotPrepare as fault:
        sys.exit(str(fault))
