"""What a running gateway has learned from its votes, read from its metrics, as a calibration that a route can load."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from fanin import Reliability
from gateway.evaluation.calibrating import save
from gateway.evaluation.faults import CannotEvaluate
from gateway.observe import metrics

TIMEOUT = 10.0
"""Seconds for a scrape."""


def of(route: str, url: str) -> Reliability:
    """Return what a route has learned; `url` is where the gateway serves its metrics, of all its workers.

    Raises:
        CannotEvaluate: when it cannot be reached, or the route learns nothing.
    """
    address = url.removesuffix("/metrics").rstrip("/") + "/metrics"
    unreachable = f"{address} gives no metrics: name the gateway's address and `--metrics-port`"
    if not address.startswith(("http://", "https://")):
        raise CannotEvaluate(unreachable)
    try:
        with urlopen(address, timeout=TIMEOUT) as response:  # noqa: S310 -- http or https, see above
            scraped = response.read().decode()
    except (OSError, URLError, ValueError):
        raise CannotEvaluate(unreachable) from None
    routes = metrics.learned(scraped)
    if route not in routes:
        known = ", ".join(sorted(routes)) or "none"
        raise CannotEvaluate(f"the route {route!r} learns nothing (those that do: {known}): `reliability: learn`")
    return routes[route]


def write(route: str, known: Reliability, out: Path) -> None:
    """Write the calibration; raises CannotEvaluate when that is impossible."""
    votes = {target: round(estimate.seen, 1) for target, estimate in known.targets.items()}
    save({**known.calibration(), "votes": votes}, out, f"Learned by the route {route!r} from votes, without labels.")
