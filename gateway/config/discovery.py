"""Settings without a file: look for the variables that people have set anyway, and write the configuration they mean.

What is found is written as a configuration document and then read like any other, so the same checks apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import yaml

from gateway.config.catalog import PROFILES, Profile
from gateway.config.durations import written
from gateway.config.faults import ConfigError, Fault
from gateway.config.loading import parse
from gateway.config.node import Node
from gateway.config.schema.terms import HEDGE_AFTER, MOST_TARGETS
from gateway.settings import Settings

MODELS = "HEDGEROW_MODELS"
CLIENT_KEY = "HEDGEROW_KEY"
DEPLOYMENT = "AZURE_OPENAI_DEPLOYMENT"
_SOURCE = "environment"
_AUTO = {"initial": 1, "stagger": written(HEDGE_AFTER)}
"""A few requests an hour would never tell how long a target usually takes: hedges after a fixed time, for all."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A provider of which the environment holds the key or the address, and the variables that hold them."""

    name: str
    key: str | None
    address: str | None

    @property
    def variables(self) -> str:
        return ", ".join(filter(None, (self.key, self.address)))


def discover(environ: Mapping[str, str]) -> Settings:
    """Return settings for the providers whose variables are set; `notes` say what was found and what to ask for.

    Clients may ask for `auto` (one target, the next when it is slow or fails), with two targets also for `fast` (all at
    once, the first answer), with three for `vote` (the majority), for each provider by name, and for provider/model.
    `HEDGEROW_MODELS`, a list such as `openai/gpt-5,groq/qwen3`, replaces the models we would choose; `HEDGEROW_KEY` is
    the key that clients must show.

    Raises:
        ConfigError: when no provider is found, or when what is found does not fit together.
    """
    found = [each for name, profile in PROFILES.items() if (each := _find(name, profile, environ))]
    if not found:
        names = [name for profile in PROFILES.values() for name in (profile.keys or profile.addresses)[:1]]
        cure = "`hedgerow demo` runs without any key"
        raise ConfigError([Fault("", "no provider found", f"one of the variables {', '.join(names)}", cure)], _SOURCE)
    models = _models(found, environ)
    try:
        settings = parse(yaml.safe_dump(_document(found, models, environ), sort_keys=False), environ, _SOURCE)
    except ConfigError as error:
        raise ConfigError([_by_variable(fault, found, environ) for fault in error.faults], _SOURCE) from None
    return replace(settings, notes=(*_notes(found, models, settings, environ), *settings.notes))


def _find(name: str, profile: Profile, environ: Mapping[str, str]) -> _Found | None:
    key, address = _first_set(profile.keys, environ), _first_set(profile.addresses, environ)
    addressed = address is not None or profile.base_url is not None or profile.api != "openai"
    keyed = key is not None or (address is not None and profile.base_url is not None)
    return _Found(name, key, address) if addressed and keyed else None


def _first_set(names: Sequence[str], environ: Mapping[str, str]) -> str | None:
    return next((name for name in names if environ.get(name, "").strip()), None)


def _models(found: Sequence[_Found], environ: Mapping[str, str]) -> list[str]:
    """Return the targets, as provider/model: those of HEDGEROW_MODELS, else the one we know of each provider."""
    if not environ.get(MODELS, "").strip():
        chosen: dict[str, str | None] = {each.name: PROFILES[each.name].model for each in found}
        chosen["azure"] = environ.get(DEPLOYMENT, "").strip()
        return [f"{each.name}/{chosen[each.name]}" for each in found if chosen[each.name]]
    models = [model.strip() for model in environ[MODELS].split(",") if model.strip()]
    names = [each.name for each in found]
    faults = []
    for model in models:
        provider = model.partition("/")[0]
        if provider not in names:
            expected = f"provider/model with a provider that is found ({', '.join(names)})"
            keys = PROFILES[provider].keys if provider in PROFILES else ()
            cure = f"set {keys[0]}" if keys else ""
            faults.append(Fault(MODELS, f"found {Node(model).shown()}", expected, cure))
    if len(models) > MOST_TARGETS:
        faults.append(Fault(MODELS, f"found a list of {len(models)}", f"at most {MOST_TARGETS} models"))
    if faults:
        raise ConfigError(faults, _SOURCE)
    return models


def _document(found: Sequence[_Found], models: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    models = [_literally(model) for model in models]
    auto = {"auto": {"targets": [*models], "launch": _AUTO}} if models else {}
    fast = {"fast": {"targets": [*models], "launch": "all", "select": "first"}} if len(models) > 1 else {}
    vote = {"vote": {"targets": [*models], "launch": "all", "select": "majority"}} if len(models) > 2 else {}
    own = {each.name: [model for model in models if model.startswith(f"{each.name}/")] for each in found}
    by_name = {name: {"targets": targets, "launch": "fallback"} for name, targets in own.items() if targets}
    return {
        "providers": {each.name: _provider(each, environ) for each in found},
        "routes": auto | fast | vote | by_name,
        "adhoc_routes": True,
        "keys": {"default": f"${{{CLIENT_KEY}}}"} if environ.get(CLIENT_KEY) else {},
    }


def _provider(each: _Found, environ: Mapping[str, str]) -> dict[str, str]:
    settings = {}
    if each.key:
        settings["api_key"] = f"${{{each.key}}}"
    if each.address:
        reference = f"${{{each.address}}}"
        settings["base_url"] = _ollama(environ[each.address]) if each.name == "ollama" else reference
    return settings


def _literally(text: str) -> str:
    return text.replace("${", "$${")


def _ollama(host: str) -> str:
    """Return the address that OLLAMA_HOST means: `0.0.0.0:11434` and `http://gpu` are its usual ways to write one."""
    host = _literally(host.strip())
    parts = urlsplit(host if "://" in host else f"http://{host}")
    try:
        port = parts.port or (None if "://" in host else 11434)
    except ValueError:
        return host  # the check of base_url tells what is wrong with it
    name = parts.hostname if parts.hostname not in {None, "0.0.0.0"} else "127.0.0.1"  # noqa: S104 -- replaced, not bound
    path = parts.path.rstrip("/").removesuffix("/v1")
    shown = f"[{name}]" if name and ":" in name else name
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{path}/v1"


def _by_variable(fault: Fault, found: Sequence[_Found], environ: Mapping[str, str]) -> Fault:
    """Return the fault as one of the variable it comes from: there is no file whose path and line could be told."""
    variables = {"keys.default": CLIENT_KEY}
    for each in found:
        variables[f"providers.{each.name}.api_key"] = each.key or ""
        variables[f"providers.{each.name}.base_url"] = each.address or ""
    chosen = _first_set((MODELS, DEPLOYMENT), environ)
    path = chosen if chosen and fault.path.startswith("routes.") else variables.get(fault.path, fault.path)
    return replace(fault, path=path, line=None)


def _notes(found: Sequence[_Found], models: Sequence[str], settings: Settings, environ: Mapping[str, str]) -> list[str]:
    meaning = {
        "auto": f"auto (one target; the next after {written(HEDGE_AFTER)}, or when it fails)",
        "fast": "fast (all at once, the first answer)",
        "vote": "vote (all at once, what the majority says)",
    }
    notes = [f"Found {', '.join(f'{each.name} ({each.variables})' for each in found)}."]
    if settings.routes:
        notes.append(f"Clients may ask for {', '.join(meaning.get(name, name) for name in settings.routes)}.")
        notes.append(f"These routes ask {', '.join(models)}; {MODELS} chooses others.")
    notes.append("Clients may name any model of these providers as provider/model, several with commas between them.")
    asked = {model.partition("/")[0] for model in models}
    silent = [each.name for each in found if each.name not in asked and not environ.get(MODELS, "").strip()]
    if silent:
        notes.append(f"We know no model of {', '.join(silent)}: name one in {MODELS}.")
    if "azure" not in {each.name for each in found}:
        key, address = *PROFILES["azure"].keys, *PROFILES["azure"].addresses
        half = _first_set((key, address), environ)
        if half:
            notes.append(f"{half} is set, but azure needs both {key} and {address}: it is left out.")
    return notes
