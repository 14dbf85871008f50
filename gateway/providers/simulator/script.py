"""The script: which behaviour a model name stands for, read from the name itself, from a mapping or from a file.

A model name is `name?word=value&word&...`, as in `paris?ttft=0.1&tps=50&cut=12`: the words are added to whatever the
script says about `paris`. In a file the same words are the keys of a mapping, and a list is played one call after
another, the last entry for ever:

    paris: {answer: Paris, ttft: 0.1}
    flaky: [{status: 429, retry_after: 2}, {answer: Paris}]
    slow: ttft=3&tps=50
    "*": {}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import yaml

from gateway.providers.simulator.behaviour import WORDS, Behaviour
from gateway.providers.simulator.readers import ExpectedError

Played: TypeAlias = Behaviour | Mapping[str, Any] | str
ScriptSource: TypeAlias = Mapping[str, Played | Sequence[Played]]

ANY = "*"
"""The entry for every model that has none of its own."""


class ScriptError(ValueError):
    """A script says something the simulator does not understand; the text names every fault, one a line."""


class UnknownModelError(LookupError):
    """The script knows no such model."""


class Script:
    """Model names and their behaviours. An empty script answers to every name."""

    def __init__(self, source: ScriptSource | None = None) -> None:
        faults: list[str] = []
        self._entries = {str(name): _entry(str(name), played, faults) for name, played in (source or {}).items()}
        if faults:
            raise ScriptError("\n".join(faults))

    @classmethod
    def load(cls, path: Path) -> Script:
        """Read a YAML or JSON file. Raises ScriptError when it cannot be read or understood."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"))
        except OSError as fault:
            raise ScriptError(f"{path}: {fault.strerror}") from None
        except UnicodeDecodeError:
            raise ScriptError(f"{path}: not UTF-8 text") from None

    @classmethod
    def parse(cls, written: str) -> Script:
        """Read the text of a script in YAML, of which JSON is a part."""
        try:
            source = yaml.safe_load(written)
        except yaml.YAMLError as fault:
            raise ScriptError(f"not YAML: {fault}") from None
        if source is not None and not isinstance(source, Mapping):
            raise ScriptError(f"expected a mapping of model name to behaviour, found {_quote(source)}")
        return cls(source)

    @property
    def models(self) -> tuple[str, ...]:
        """The names the script knows, without the entry for all others."""
        return tuple(name for name in self._entries if name != ANY)

    def behaviours(self, model: str) -> tuple[Behaviour, ...]:
        """Return what a model plays, one call after another.

        Raises ScriptError for words that mean nothing and UnknownModelError for a bare name that is not in the script;
        a name with words describes itself and needs no entry.
        """
        name, mark, words = model.partition("?")
        entry = self._entries.get(name) or self._entries.get(ANY)
        if entry is None:
            if self._entries and not mark:
                raise UnknownModelError(model)
            entry = (Behaviour(),)
        if not words:
            return entry
        faults: list[str] = []
        said = _words(_split(words, model, faults), model, faults)
        played = tuple(_checked(behaviour, said, model, faults) for behaviour in entry) if not faults else entry
        if faults:
            raise ScriptError("\n".join(faults))
        return played


def _entry(name: str, played: Any, faults: list[str]) -> tuple[Behaviour, ...]:
    if not isinstance(played, list | tuple):
        return (_behaviour(name, played, faults),)
    if not played:
        faults.append(f"{name}: an empty list, expected at least one behaviour")
    return tuple(_behaviour(f"{name}[{i}]", item, faults) for i, item in enumerate(played))


def _behaviour(where: str, played: Any, faults: list[str]) -> Behaviour:
    if isinstance(played, Behaviour):
        return played
    if isinstance(played, str):
        played = _split(played, where, faults)
    if not isinstance(played, Mapping):
        faults.append(f"{where}: {_quote(played)}, expected a mapping of words such as {{answer: Paris, ttft: 0.1}}")
        return Behaviour()
    return _checked(Behaviour(), _words(played, where, faults), where, faults)


def _split(words: str, where: str, faults: list[str]) -> dict[str, str]:
    """Split `word=value&word`; values may be percent-encoded, a plus sign is a plus sign."""
    said: dict[str, str] = {}
    for part in filter(None, words.split("&")):
        word, _, value = part.partition("=")
        if word in said:
            faults.append(f"{where}: the word {word!r} is given twice")
        said[word] = unquote(value)
    return said


def _words(said: Mapping[Any, Any], where: str, faults: list[str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in said.items():
        name = str(key).replace("-", "_")
        word = WORDS.get(name)
        if word is None:
            nearest = get_close_matches(name, WORDS, n=1, cutoff=0.0)
            faults.append(f"{where}: the simulator knows no word {str(key)!r}; the nearest is {nearest[0]!r}")
            continue
        try:
            read[name] = word.metadata["read"](value)
        except ExpectedError as fault:
            faults.append(f"{where}: {name} = {_quote(value)}, expected {fault}")
    return read


def _checked(behaviour: Behaviour, said: Mapping[str, Any], where: str, faults: list[str]) -> Behaviour:
    try:
        return replace(behaviour, **said)
    except ValueError as fault:
        faults.append(f"{where}: {fault}")
        return behaviour


def _quote(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
