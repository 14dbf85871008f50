"""Run real clients twice, directly against a mock provider and through the gateway: what passes directly must pass.

`python -m tests.clients [SUITE …] [--write]` prints a table; `--write` puts it into docs/clients.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.clients import environments, servers
from tests.clients.servers import Place

DOCS = environments.ROOT / "docs" / "clients.md"
SUITES = Path(__file__).with_name("suites")
Command = Callable[[Path], list[str]]
"""The report's path in, the command that writes a JUnit report there out."""


@dataclass(frozen=True)
class Suite:
    """One client's tests; `against` is the mock behind it."""

    name: str
    command: Command
    against: str = "llmock"
    cwd: Path = SUITES


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
    main, two = environments.python("python"), environments.python("openai2")
    yield Suite(f"openai-python {_version(main, 'openai')}", _pytest(main, "openai_sdk.py"))
    yield Suite(f"openai-python {_version(two, 'openai')}", _pytest(two, "openai_sdk.py"))
    yield Suite(f"anthropic {_version(main, 'anthropic')}", _pytest(main, "anthropic_sdk.py"))
    yield Suite("coding agents' raw requests", _pytest(main, "codex_shape.py"))
    yield Suite(
        "pydantic-ai, OpenAI Agents, instructor, litellm, llm",
        _pytest(main, "frameworks.py"),
    )
    yield Suite(f"langchain-openai {_version(main, 'langchain-openai')}", _pytest(main, "langchain_sdk.py"))
    node = environments.node()
    for name, file in (
        ("openai-node", "openai"),
        ("Vercel AI SDK", "vercel"),
        ("anthropic-sdk-typescript", "anthropic"),
    ):
        yield Suite(name, _node(file), cwd=node)
    if servers.OPENAPI.exists():
        own = environments.python("openai-suite")
        source = environments.openai_suite()
        named = f"openai-python {_version(own, 'openai')}'s own tests"
        yield Suite(named, _pytest(own, *OWN_TESTS, rootdir=source), against="steady", cwd=source)
    else:
        print("openai-python's own tests are left out: OpenAI's OpenAPI document is not beside this checkout")


SERVED = ("chat", "responses", "audio", "test_completions.py", "test_embeddings.py", "test_models.py")
OWN_TESTS = (*(f"tests/api_resources/{name}" for name in (*SERVED, "test_moderations.py", "test_images.py")), "-n", "2")
"""What the gateway has endpoints for."""


def _pytest(python: Path, *tests: str, rootdir: Path | None = None) -> Command:
    settled = ["-c", "/dev/null", "--rootdir", ".", "-o", "asyncio_mode=auto"] if rootdir is None else []
    plain = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *settled, *tests]
    return lambda report: [*plain, f"--junitxml={report}"]


def _node(file: str) -> Command:
    reporter = ["--test-reporter=junit"]
    return lambda report: ["node", "--test", *reporter, f"--test-reporter-destination={report}", f"{file}.test.mjs"]


def _version(python: Path, package: str) -> str:
    script = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def run(suite: Suite, place: Place, folder: Path) -> Outcome:
    """Run a suite against a place."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    environ = {**os.environ, **place.environ, "TEST_API_BASE_URL": place.base_url, "NO_PROXY": "127.0.0.1"}
    for unwanted in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "VIRTUAL_ENV", "PYTHONPATH"):
        environ.pop(unwanted, None)
    done = subprocess.run(
        suite.command(report), cwd=suite.cwd, env=environ, capture_output=True, text=True, timeout=1500, check=False
    )
    if not report.exists():
        raise environments.CannotPrepare(f"{suite.name} did not run:\n{(done.stdout + done.stderr)[-3000:]}")
    passed, failed = set(), set()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 -- written by a test runner that we started
        if case.find("skipped") is not None:
            continue
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        broken = case.find("failure") is not None or case.find("error") is not None
        (failed if broken else passed).add(name)
    shutil.copy(report, folder / f"{re.sub(r'[^a-z0-9]+', '-', f'{suite.name} {place.name}'.lower())}.xml")
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
    return {"providers": providers, "routes": routes}


def models_of(source: Path) -> list[str]:
    """Return every model that openai-python's own tests name."""
    found: set[str] = set()
    for file in (source / "tests" / "api_resources").rglob("*.py"):
        found.update(re.findall(r'model="([^"]+)"', file.read_text()))
    return sorted(found - {""})


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of the names of suites to run; all without one")
    parser.add_argument("--write", action="store_true", help="put the table into docs/clients.md")
    asked = parser.parse_args()
    rows, lost = [], 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hedgerow-clients-")))
        chosen = [s for s in suites() if not asked.only or any(part.lower() in s.name.lower() for part in asked.only)]
        mocks = stack.enter_context(servers.llmocks(3))
        own = any(suite.against == "steady" for suite in chosen)
        strict = stack.enter_context(servers.steady(folder)) if own else None
        names = models_of(environments.openai_suite()) if own else []
        url = stack.enter_context(servers.gateway(folder, config(mocks, strict, names)))
        through = Place("one target", f"{url}/v1", url)
        race = Place("a race of three", f"{url}/v1", url, "race", "claude-race", "embedding-race")
        for suite in chosen:
            base = f"{mocks[0]}/v1" if suite.against == "llmock" else strict or ""
            places = [Place("direct", base, f"{mocks[0]}/anthropic"), through]
            places += [race] if suite.against == "llmock" else []
            outcomes = [run(suite, place, folder) for place in places]
            for place, outcome in zip(places[1:], outcomes[1:], strict=True):
                for name in sorted(outcomes[0].passed - outcome.passed):
                    lost += 1
                    print(f"LOST {suite.name}, {place.name}: {name}")
            cells = [outcome.written for outcome in outcomes] + ["-"] * (3 - len(outcomes))
            rows.append(f"| {suite.name} | {' | '.join(cells)} |")
            print(rows[-1], flush=True)
    if asked.write:
        write(rows)
    print(f"{lost} tests that pass directly do not pass through the gateway")
    return 1 if lost else 0


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
