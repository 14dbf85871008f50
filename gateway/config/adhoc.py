"""A route that a request writes itself: a list of targets, or a configured route with another `select` or `launch`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.config import document, shape
from gateway.config.faults import ConfigError, Faults
from gateway.config.routes import route
from gateway.domain import Route
from gateway.errors import InvalidRequest
from gateway.settings import Settings

NAME = "ad-hoc"
LARGEST = 8192
"""Characters: what a client sends is read on the event loop, and YAML is slow."""


def adhoc_route(model: str, overrides: Mapping[str, Any], settings: Settings) -> Route:
    """Return the route that a request asks for, held to the same rules as one in the configuration.

    Raises:
        InvalidRequest: with everything that is wrong with it.
    """
    try:
        return _built(model, overrides, settings)
    except ConfigError as exc:
        told = (str(replace(fault, path=fault.path.removeprefix(f"routes.{NAME}."))) for fault in exc.faults)
        raise InvalidRequest(
            f"This is no route of the gateway's, and cannot be made one: {'. '.join(told)}.", param="model"
        ) from None


def _built(model: str, overrides: Mapping[str, Any], settings: Settings) -> Route:
    configured = settings.routes.get(model)
    if configured is None:
        targets: list[Any] = [part.strip() for part in model.split(",")]
    else:
        targets = [{"model": f"{target.provider}/{target.model}", "name": target.name} for target in configured.targets]
    faults = Faults("request")
    # JSON is YAML; without an environment a request cannot read the gateway's variables.
    own = {"targets": targets, **overrides}
    text = json.dumps({"providers": {name: {} for name in settings.providers}, "routes": {NAME: own}})
    if len(text) > LARGEST:
        raise InvalidRequest(
            f"`model` and `hedgerow` have {len(text)} characters together, expected at most {LARGEST}."
        )
    root = document.read(text, {}, faults)
    shape.check(root, faults)
    node = (root.child("routes") or root).child(NAME)
    made = None if node is None else route(NAME, node, tuple(settings.providers), faults)
    faults.raise_any()
    assert made is not None  # noqa: S101 -- a missing node is a fault
    return made if configured is None else replace(configured, **{name: getattr(made, name) for name in overrides})
