"""docs/observability.md lists every metric as it is: name, kind, labels and meaning."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry

from gateway.observe import genai
from gateway.observe.metrics import Metrics, Reloads
from tests.support.simulators import ROOT

DOCUMENT = ROOT / "docs" / "observability.md"


def described(registry: CollectorRegistry) -> set[tuple[str, str, str, str]]:
    """Name, kind, labels and help of every metric of ours."""
    found = set()
    for metric in registry._names_to_collectors.values():
        [family] = metric.describe()  # type: ignore[attr-defined]
        name = family.name + "_total" * (family.type == "counter")
        labels = ", ".join(metric._labelnames)  # type: ignore[attr-defined]
        found.add((name, family.type, labels, family.documentation))
    return found


def rows() -> set[tuple[str, str, str, str]]:
    """The rows of the document's tables that begin with a metric's name."""
    cells = re.findall(r"^\| `(hedgerow_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    return {(name, kind, labels.replace("`", "").strip(), text.strip()) for name, kind, labels, text in cells}


def test_every_metric_stands_in_the_document_and_no_other() -> None:
    """Who adds a metric says there what it means."""
    metrics = Metrics(())
    Reloads(metrics.registry)
    assert rows() == described(metrics.registry)


def test_opentelemetry_s_names_stand_there_too() -> None:
    """With what each is made of."""
    text = DOCUMENT.read_text()
    for twin in genai.TWINS:
        assert f"`{twin.name}`" in text
        assert f"`{twin.source}`" in text
