"""`reliability: learn` on a route, and `calibration: learned` in its selector, which uses what is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import fanin
from gateway.config.calibrations import LEARNED, OPTION
from gateway.config.faults import Faults
from gateway.config.node import Node
from gateway.domain import Learn, Route


def emptied(select: Node | None) -> list[Node]:
    """Put an empty calibration in place of what is still to be learned; return where."""
    found = [option for spec in list(select.walk()) if (option := spec.child(OPTION))] if select else []
    learned = [option for option in found if option.value == LEARNED]
    for option in learned:
        option.value = {}
    return learned


def read(node: Node, made: Route, written: Any, learned: list[Node], faults: Faults) -> Learn | None:
    """Return how the route learns, None where it does not; `written` is its selector as it stands in the file."""
    given = node.get("reliability", "off")
    if given == "off":
        for option in learned:
            faults.add(option, "nothing is learned", "`reliability: learn` on the route")
        return None
    place = node.value["reliability"]
    if made.select.key is None:
        faults.found(place, f"off with `select: {made.select.name}`, or a selector that votes on a key")
    elif made.launch.map is not None:
        faults.found(place, "off with `launch: map`, whose parts are no answers to one question")
    elif len(made.targets) < 2:
        faults.found(place, "off, or more than one target")
    how = Learn() if given == "learn" else Learn(**{**given, "half_life": float(given.get("half_life", 500))})
    return replace(how, rule=partial(_built, written, made.select.name)) if learned else how


def _built(written: Any, name: str, calibration: Mapping[str, Any]) -> fanin.Rule:
    """Return the rule with a calibration; as before, with the rule behind it that decides where it abstains."""
    rule = fanin.build(_filled(written, calibration))
    return rule if rule.name == name else rule | fanin.build("priority")


def _filled(written: Any, calibration: Mapping[str, Any]) -> Any:
    if isinstance(written, list):
        return [_filled(each, calibration) for each in written]
    if not isinstance(written, dict):
        return written
    return {
        key: calibration if key == OPTION and value == LEARNED else _filled(value, calibration)
        for key, value in written.items()
    }
