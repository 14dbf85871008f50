"""The servers of a run: three mocks of llmock, steady with OpenAI's own document, and the gateway before them."""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.clients import environments
from tests.support.ports import free_port

OPENAPI = environments.ROOT.parent / "shared" / "data" / "openai_openapi.json.gz"
"""OpenAI's OpenAPI document, where this checkout has it beside it."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Place:
    """Where clients are pointed: the base URLs, and the names of the models that are there."""

    name: str
    base_url: str
    anthropic_url: str
    model: str = "gpt-4o-mini"
    claude: str = "claude-haiku-4-5"
    embedding: str = "text-embedding-3-small"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that the suites read."""
        return {
            "CLIENTS_BASE_URL": self.base_url,
            "CLIENTS_ANTHROPIC_URL": self.anthropic_url,
            "CLIENTS_MODEL": self.model,
            "CLIENTS_CLAUDE": self.claude,
            "CLIENTS_EMBEDDING": self.embedding,
        }


@contextmanager
def llmocks(count: int) -> Iterator[list[str]]:
    """Run independent mock providers; give their addresses."""
    command = [str(environments.python("python").with_name("llmock")), "serve", "--host", "127.0.0.1", "-p"]
    with ExitStack() as stack:
        ports = [free_port() for _ in range(count)]
        for port in ports:
            stack.enter_context(_process([*command, str(port)], f"http://127.0.0.1:{port}/health"))
        yield [f"http://127.0.0.1:{port}" for port in ports]


@contextmanager
def steady(folder: Path) -> Iterator[str]:
    """Run the mock that OpenAI's own SDKs are tested against: it validates every request; give its address."""
    document = folder / "openapi.json"
    document.write_bytes(gzip.decompress(OPENAPI.read_bytes()))
    port = free_port()
    command = [str(environments.node() / "node_modules" / ".bin" / "steady"), "--host", "127.0.0.1"]
    with _process([*command, "-p", str(port), str(document)], f"http://127.0.0.1:{port}/models"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def gateway(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Run `hedgerow serve` on a configuration (JSON is YAML); give its address."""
    file = folder / "hedgerow.yaml"
    file.write_text(json.dumps(config))
    port, metrics = free_port(), free_port()
    command = [str(Path(sys.executable).with_name("hedgerow")), "serve", "--config", str(file), "--port", str(port)]
    with _process([*command, "--metrics-port", str(metrics)], f"http://127.0.0.1:{port}/readyz"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _process(command: list[str], ready: str) -> Iterator[None]:
    """Run a server until the end of the block; it is up when `ready` answers."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + PATIENCE
            while not _answers(ready):
                if process.poll() is not None or time.monotonic() > end:
                    process.kill()
                    said = process.stderr.read().decode(errors="replace") if process.stderr else ""
                    raise environments.CannotPrepare(f"{command[0]} did not start:\n{said[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)  # also empties the pipe, which a talkative server may have filled
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as answer:
            return bool(answer.status < 500)
    except OSError as fault:
        return 400 <= getattr(fault, "code", 0) < 500
