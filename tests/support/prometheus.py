"""A real Prometheus for tests: it scrapes, evaluates the rules that are shipped, and answers queries."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.support.simulators import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"


def installed() -> bool:
    """Whether Prometheus and promtool are on the path."""
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[Any]:
        """Return the samples of an expression now."""
        found: list[Any] = self._ask("query", query=expression)["result"]
        return found

    def over(self, expression: str, start: float, end: float, step: float) -> list[Any]:
        """Return the series of an expression between two moments (Unix time)."""
        found: list[Any] = self._ask("query_range", query=expression, start=start, end=end, step=step)["result"]
        return found

    def rules(self) -> list[Any]:
        """Return the rules with their health and last error."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, what: str, **parameters: Any) -> Any:
        with urlopen(f"{self.url}/api/v1/{what}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def prometheus(folder: Path, port: int, target: str) -> Iterator[Prometheus]:
    """Scrape `target` (host:port) every two seconds under the shipped rules, until the end of the block.

    A scrape of everything is a tenth of a second of CPU: on a busy machine one each second would time out.
    """
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}\n"
        f"rule_files: ['{RULES}']\n"
        f"scrape_configs: [{{job_name: hedgerow, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    log = folder / "prometheus.log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            give_up = time.monotonic() + 30
            while not _answers(f"http://127.0.0.1:{port}/-/ready"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.1)
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except OSError:
        return False
