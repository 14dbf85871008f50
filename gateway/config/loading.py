"""A file or a text → `Settings`: read the YAML, check its shape, build, and raise all faults at once."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.config import calibrations, document, durations, shape
from gateway.config.catalog import OURS
from gateway.config.credentials import digests
from gateway.config.faults import ConfigError, Fault, Faults, did_you_mean, one_of
from gateway.config.files import Environment, Files
from gateway.config.node import Node, masked
from gateway.config.providers import provider
from gateway.config.routes import route
from gateway.domain import Route
from gateway.settings import Limits, ProviderSettings, Secret, Settings
from gateway.wires.operations import models_of

LARGEST_FILE = 1024 * 1024
_CREDENTIAL = re.compile(r"^keys\.|(?:key|token|secret|password|credential|authorization|cookie)[^.]*$", re.IGNORECASE)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def load(path: Path, environ: Mapping[str, str], files: Files | None = None) -> Settings:
    """Return the settings that a file describes; `files` remembers what was read for it.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    files = Files() if files is None else files
    return _settings(_text_of(path, files), Environment(environ, files, path.parent), str(path), (path, files))


def parse(text: str, environ: Mapping[str, str], source: str = "<config>") -> Settings:
    """Return the settings that a YAML text describes; `source` is what messages call it.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    return _settings(text, environ, source, None)


def _text_of(path: Path, files: Files) -> str:
    try:
        content = files.read(path)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        fault = Fault("", "not UTF-8 text", "a YAML file in UTF-8", line=line)
    except OSError as error:
        fault = Fault("", f"cannot be read ({error.strerror})", "a configuration file", "`hedgerow demo` needs none")
    else:
        if len(content) <= LARGEST_FILE:
            return text
        fault = Fault("", f"a file of {len(content)} bytes", f"at most {LARGEST_FILE}")
    raise ConfigError([fault], str(path))


def _settings(text: str, environ: Mapping[str, str], source: str, read: tuple[Path, Files] | None) -> Settings:
    faults = Faults(source)
    root = document.read(text, environ, faults)
    shape.check(root, faults)
    if read is not None:
        calibrations.load(root, read[0].parent, read[1], faults)
    settings = _build(root, faults)
    faults.raise_any()
    notes = (*_exposed(root, read and read[0]), *_unencrypted(settings), *_unused(settings), *_mixed(settings))
    notes = (*notes, *_open_to_pages(settings), *_warned(settings))
    return replace(settings, notes=notes)


def _build(root: Node, faults: Faults) -> Settings:
    """Build from all that is sound; what is not is already a fault, so the result is complete when there is none."""
    providers, routes = root.child("providers"), root.child("routes")
    built = {name: provider(name, node, faults) for name, node in (providers.children() if providers else {}).items()}
    defined = tuple(providers.value) if providers else None
    made = {name: route(name, node, defined, faults) for name, node in (routes.children() if routes else {}).items()}
    adhoc = root.get("adhoc_routes", False)
    if not adhoc and not root.faulty and not (root.has("routes") and root.value["routes"].value):
        faults.missing("routes", root, "at least one route, or adhoc_routes: true")
    sound = {name: accounts[0] for name, accounts in built.items() if accounts}
    traces = root.child("traces")
    endpoint = None if traces is None else traces.get("endpoint")
    return Settings(
        sound,
        made,
        adhoc,
        digests(root.child("keys"), faults),
        _limits(root.child("limits")),
        cors=tuple(root.get("cors", ())),
        traces=endpoint,
        passthrough=_passthrough(root, defined, sound, faults),
        default_routes=_default_routes(root.child("default_routes"), made, faults),
        redis=Secret(root.get("redis")) if root.has("redis") else None,
        accounts={name: accounts for name, accounts in built.items() if len(accounts) > 1},
    )


def _passthrough(
    root: Node, defined: Collection[str] | None, sound: Mapping[str, ProviderSettings], faults: Faults
) -> str | None:
    """Return the provider that gets what we do not serve: one that our own client asks."""
    node = root.child("passthrough")
    if node is None or defined is None:
        return None
    name: str = node.value
    if name not in defined:
        faults.found(node, one_of(map(masked, defined)), did_you_mean(node, name, map(masked, defined)))
    elif name in sound and sound[name].api not in OURS:
        cure = "litellm has no way to pass a request on unread"
        faults.found(node, f"a provider whose api is {' or '.join(sorted(OURS))}", cure)
    return name


def _default_routes(node: Node | None, made: Mapping[str, Route], faults: Faults) -> Mapping[str, str]:
    given = {} if node is None else node.children()
    for name in given.values():
        if name.value not in made:
            faults.found(name, "a route of this file", did_you_mean(name, name.value, made))
    route = given.get("embeddings")
    if route is not None and not route.faulty and len(models_of(made[route.value].targets)) > 1:
        cure = "`same_as` on the targets says where different names are the same"
        faults.found(route, "a route of one embedding model", cure)
    return {operation: name.value for operation, name in given.items()}


def _limits(node: Node | None) -> Limits:
    given: dict[str, Any] = {} if node is None else {name: child.value for name, child in node.children().items()}
    times = {name: durations.seconds(value) for name, value in given.items() if isinstance(value, str)}
    return Limits(**{**given, **times})


def _exposed(root: Node, path: Path | None) -> Iterator[str]:
    """Say so when everybody on the machine can read keys that are written into the file itself."""
    if path is None or os.name == "nt" or not path.exists() or not path.stat().st_mode & stat.S_IROTH:
        return
    literal = [node.path for node in root.walk() if _CREDENTIAL.search(node.path) and _is_literal(node)]
    if literal:
        places = ", ".join(literal[:3]) + (", …" if len(literal) > 3 else "")
        yield (
            f"{path} holds credentials ({places}) and every user of this machine can read it: "
            f"`chmod 640 {path}`, or write variables such as ${{OPENAI_API_KEY}} instead."
        )


def _is_literal(node: Node) -> bool:
    return node.secret and not node.variable and isinstance(node.value, str)


def _unencrypted(settings: Settings) -> Iterator[str]:
    """Say so when a key travels in clear text to another machine."""
    for each in settings.providers.values():
        address = urlsplit(each.base_url or "")
        credentials = each.api_key or each.headers
        if address.scheme == "http" and address.hostname not in _LOOPBACK and credentials:
            yield f"The key of provider {each.name} goes to {address.hostname} unencrypted: use https there."


def _unused(settings: Settings) -> Iterator[str]:
    asked = {target.provider for made in settings.routes.values() for target in made.targets}
    asked |= {scorer.target.provider for made in settings.routes.values() for scorer in made.select.scorers}
    asked |= {settings.passthrough or ""}
    idle = [name for name in settings.providers if name not in asked]
    if idle and not settings.adhoc:
        yield f"No route asks {', '.join(idle)}."


def _mixed(settings: Settings) -> Iterator[str]:
    """Say so where a route is plainly meant for embeddings and will refuse every request for them."""
    for made in settings.routes.values():
        models = models_of(made.targets)
        if len(models) > 1 and all("embed" in model for model in models):
            yield (
                f"Route {made.name} mixes embedding models ({', '.join(sorted(models))}), whose vectors cannot be "
                "compared: embeddings are refused there. Where they are the same model, say so with `same_as`."
            )


def _warned(settings: Settings) -> Iterator[str]:
    """Say what the selector of a route with several models has to say about itself."""
    for made in settings.routes.values():
        if made.select.warning and len({(target.provider, target.model) for target in made.targets}) > 1:
            yield f"Route {made.name}: {made.select.warning}."


def _open_to_pages(settings: Settings) -> Iterator[str]:
    """Say so when any page in a browser on this machine can use the gateway without a key."""
    if "*" in settings.cors and not settings.keys:
        yield "Any web page in a browser that reaches this gateway can use it: list origins under cors, or set keys."
