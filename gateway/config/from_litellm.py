"""The configuration of a LiteLLM proxy → ours, with a sentence for everything that could not be carried over.

What is read is what its documentation of the proxy's configuration names. A model group becomes a route, its
deployments the route's targets; the groups that it falls back to stand behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from gateway.config import durations
from gateway.config.deployments import NOT_OURS, Deployments, duration, mapping, mappings, text, whole
from gateway.config.faults import ConfigError
from gateway.config.loading import parse
from gateway.config.schema.terms import DEADLINE, MOST_RETRIES, MOST_TARGETS, NAME

_FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
_ROUTER = frozenset({*_FALLBACKS, "default_fallbacks", "model_group_alias", "num_retries"})
_SECTIONS = {
    "litellm_settings": _ROUTER | {"drop_params", "request_timeout"},
    "router_settings": _ROUTER | {"timeout"},
    "general_settings": frozenset({"master_key"}),
}
"""The settings that are carried over, by section."""
_STAND_IN = "https://q7Zx2Lm9Rw4Kp8Tn3Vb6Yc1Hd5Jf0Gs.net"
"""What every variable holds while the result is checked: an address as well as a key that nobody guesses."""


class Imported(NamedTuple):
    """Our configuration as YAML, and what is not in it: each note is `path: what became of it`."""

    text: str
    notes: tuple[str, ...]


class CannotImport(Exception):
    """The text is no configuration of a LiteLLM proxy; the message says why."""


def from_litellm(text: str) -> Imported:
    """Translate a LiteLLM proxy's configuration.

    Raises:
        CannotImport: it is not YAML, or has no `model_list`.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise CannotImport(f"not valid YAML (line {mark.line + 1})" if mark else "not valid YAML") from None
    except RecursionError:
        raise CannotImport("nested too deeply") from None
    if not isinstance(document, Mapping) or not mappings(document.get("model_list")):
        raise CannotImport("no `model_list`, expected the configuration of a LiteLLM proxy")
    return _Import(mapping(document)).result()


class _Import:
    """One translation."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._notes: list[str] = []
        self._sections = {name: mapping(document.get(name)) for name in _SECTIONS}
        self._groups: dict[str, list[Any]] = {}

    def result(self) -> Imported:
        providers, adhoc = self._deployments()
        ours: dict[str, Any] = {"providers": providers, "routes": self._routes()}
        if adhoc:
            ours["adhoc_routes"] = True
        if master := text(self._sections["general_settings"].get("master_key")):
            ours["keys"] = {"master": master}
            self._note("general_settings.master_key", "is the key of a client called `master`: at least 32 characters")
        self._leftovers()
        written = yaml.dump(
            ours, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120
        )
        self._check(written)
        return Imported(written, tuple(dict.fromkeys(self._notes)))

    def _note(self, path: str, said: str) -> None:
        self._notes.append(f"{path}: {said}")

    def _deployments(self) -> tuple[dict[str, Any], bool]:
        """Gather the groups; return their providers, and whether a wildcard stands for any model."""
        drops = self._sections["litellm_settings"].get("drop_params") is True
        deployments = Deployments(self._note, mappings(self._document.get("credential_list")), drops=drops)
        ranked: dict[str, list[tuple[float, Any]]] = {}
        for place, deployment in enumerate(mappings(self._document["model_list"])):
            taken = deployments.take(f"model_list[{place}]", deployment)
            if taken is not None:
                ranked.setdefault(taken[0], []).append(taken[1:])
        for name, group in ranked.items():
            self._groups[name] = [target for _, target in sorted(group, key=lambda each: each[0])]
        return deployments.providers, deployments.wildcard

    def _routes(self) -> dict[str, Any]:
        """Return the route of each group, and the same under its aliases."""
        routes = dict(self._of_groups())
        for alias, named in mapping(self._setting("model_group_alias")).items():
            group = named.get("model") if isinstance(named, Mapping) else named
            if not isinstance(group, str) or group not in routes or not re.fullmatch(NAME, alias):
                self._note(f"model_group_alias.{alias}", "left out: what it stands for is no model of the list")
            else:
                routes.setdefault(alias, routes[group])
        return routes

    def _of_groups(self) -> Iterator[tuple[str, dict[str, Any]]]:
        retries, timeout = self._setting("num_retries"), duration(self._setting("request_timeout", "timeout"))
        for name in self._groups:
            others = self._behind(name)
            route = self._route(name, [target for member in (name, *others) for target in self._groups[member]])
            if any(name in entry for entry in mappings(self._setting("content_policy_fallbacks"))):
                route["on_filtered"] = "next"
            if timeout is not None:
                route["timeout"] = timeout
                if durations.seconds(timeout) > DEADLINE:
                    route["deadline"] = timeout
            if whole(retries, 0, MOST_RETRIES):
                route["retries"] = retries
            yield name, route

    def _route(self, name: str, targets: list[Any]) -> dict[str, Any]:
        if len(targets) > MOST_TARGETS:
            self._note(name, f"has {len(targets)} targets with its fallbacks, of which {MOST_TARGETS} are kept")
        kept = targets[:MOST_TARGETS]
        return {"targets": kept, "launch": "fallback"} if len(kept) > 1 else {"targets": kept}

    def _behind(self, group: str) -> list[str]:
        """Return the groups that one falls back to."""
        named = [entry.get(group) for kind in _FALLBACKS for entry in mappings(self._setting(kind))]
        named.append(self._setting("default_fallbacks"))
        flat = (other for others in named if isinstance(others, list) for other in others)
        others = [other for other in dict.fromkeys(filter(_is_text, flat)) if other != group]
        for unknown in (other for other in others if other not in self._groups):
            self._note(f"fallbacks of {group}", f"`{unknown}` is left out: it is no model of the list")
        return [other for other in others if other in self._groups]

    def _setting(self, *names: str) -> Any:
        """Return a setting of the router's or of litellm's, whichever is there."""
        places = (self._sections["router_settings"], self._sections["litellm_settings"])
        return next((place[name] for name in names for place in places if place.get(name) is not None), None)

    def _leftovers(self) -> None:
        """Name everything else that the file says."""
        for section, carried in _SECTIONS.items():
            for name in self._sections[section]:
                if name not in carried:
                    self._note(f"{section}.{name}", _why(name))
        for name in self._document:
            if name not in {"model_list", "credential_list", *_SECTIONS}:
                self._note(name, _why(name))

    def _check(self, text: str) -> None:
        """Hold the result against our own rules; what they refuse is for the operator to mend."""
        try:
            parse(text, _Everything(), "imported")
        except ConfigError as error:
            self._notes += [f"to be mended by hand: {fault}" for fault in error.faults]


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice, and mappings of plain values in one line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


class _Everything(dict[str, str]):
    """An environment in which every variable is set."""

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        """Return what stands in for every value."""
        return _STAND_IN


def _why(name: str) -> str:
    return f"not carried over: {NOT_OURS.get(name, 'there is no such setting here')}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
