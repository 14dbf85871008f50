"""Reads the values of a script: each reader takes what a model name or a YAML file says and returns a typed value.

A reader raises ExpectedError, whose text completes the sentence "expected ...".
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

Reader: TypeAlias = Callable[[Any], Any]


class ExpectedError(ValueError):
    """A value is not what a word takes; the text says what it takes."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A distribution of waiting times in seconds: `kind` is fixed, uniform, lognormal, tail or among."""

    kind: str = "fixed"
    numbers: tuple[float, ...] = (0.0,)

    @property
    def fixed(self) -> float | None:
        """The time itself where nothing is left to chance, otherwise None."""
        return self.numbers[0] if self.kind == "fixed" else None

    def draw(self, chance: random.Random) -> float:
        """Return one waiting time."""
        match self.kind:
            case "uniform":
                return chance.uniform(*self.numbers)
            case "lognormal":
                return chance.lognormvariate(math.log(self.numbers[0]), self.numbers[1])
            case "tail":
                base, probability, long = self.numbers
                return long if chance.random() < probability else base
            case "among":
                return chance.choice(self.numbers)
        return self.numbers[0]


NO_WAIT = Wait()
FOREVER = Wait("fixed", (math.inf,))


def text(value: Any) -> str:
    """Read a text."""
    if isinstance(value, bool | int | float):
        return str(value)
    if not isinstance(value, str):
        raise ExpectedError("a text")
    return value


def flag(value: Any) -> bool:
    """Read a switch; the bare word switches on."""
    switch = {"": True, "1": True, "true": True, "0": False, "false": False}.get(str(value).lower())
    if switch is None:
        raise ExpectedError("the bare word, or 1 or 0")
    return switch


def number(value: Any) -> float:
    """Read a finite or infinite number that is not negative."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = -1.0
    if isinstance(value, bool) or not result >= 0:
        raise ExpectedError("a number that is not negative")
    return result


def seconds(value: Any) -> float:
    """Read a duration in seconds."""
    try:
        return number(value)
    except ExpectedError:
        raise ExpectedError("seconds, such as 0.25") from None


def duration(value: Any) -> float:
    """Read a duration in seconds; the bare word means forever."""
    return math.inf if value in ("", True) else seconds(value)


def offset(value: Any) -> float:
    """Read seconds that may be negative."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ExpectedError("seconds, also negative, such as -3600") from None


def count(value: Any) -> int:
    """Read a whole number that is not negative."""
    try:
        result = number(value)
    except ExpectedError:
        result = 0.5
    if not result.is_integer():
        raise ExpectedError("a whole number such as 12")
    return int(result)


def share(value: Any) -> float:
    """Read a probability."""
    try:
        result = number(value)
    except ExpectedError:
        result = 2.0
    if result > 1:
        raise ExpectedError("a probability between 0 and 1")
    return result


def certainty(value: Any) -> float:
    """Read a mean token probability: above 0, because its logarithm is sent."""
    result = share(value)
    if result == 0:
        raise ExpectedError("a mean token probability above 0 and up to 1")
    return result


def status(value: Any) -> int:
    """Read an HTTP status that is not a success."""
    try:
        result = count(value)
    except ExpectedError:
        result = 0
    if not 300 <= result <= 599:
        raise ExpectedError("an HTTP status from 300 to 599")
    return result


def one_of(*choices: str) -> Reader:
    """Return a reader of one word out of a closed set."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ExpectedError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def wait(value: Any) -> Wait:
    """Read a waiting time: `0.2`, `0.1..0.3`, `lognormal:MEDIAN:SIGMA`, `tail:BASE:PROBABILITY:LONG` or `0.1|0.4|2`."""
    if isinstance(value, list):
        return Wait("among", _numbers(value, at_least=1))
    spelled = str(value)
    if "|" in spelled:
        return Wait("among", _numbers(spelled.split("|"), at_least=1))
    if ".." in spelled:
        low, high = _numbers(spelled.split(".."), exactly=2)
        return Wait("uniform", (low, high))
    kind, *rest = spelled.split(":")
    if kind == "lognormal":
        numbers = _numbers(rest, exactly=2)
        if numbers[0] == 0:
            raise ExpectedError("a median above 0, as in lognormal:0.5:0.4")
        return Wait(kind, numbers)
    if kind == "tail":
        base, probability, long = _numbers(rest, exactly=3)
        return Wait(kind, (base, share(probability), long))
    return Wait("fixed", _numbers([value], exactly=1))


def _numbers(values: list[Any], *, exactly: int = 0, at_least: int = 0) -> tuple[float, ...]:
    try:
        numbers = tuple(number(value) for value in values)
    except ExpectedError:
        numbers = ()
    if len(numbers) < max(exactly, at_least) or (exactly and len(numbers) != exactly):
        raise ExpectedError("seconds such as 0.2, 0.1..0.3, lognormal:0.5:0.4, tail:0.1:0.05:8 or 0.1|0.4|2")
    return numbers


def texts(value: Any) -> tuple[str, ...]:
    """Read several texts: a list, or one text with `|` between them."""
    return tuple(text(item) for item in (value if isinstance(value, list) else text(value).split("|")))


def headers(value: Any) -> tuple[tuple[str, str], ...]:
    """Read header fields: a mapping, or `name:value|name:value`."""
    pairs = value.items() if isinstance(value, Mapping) else [item.partition(":")[::2] for item in texts(value)]
    fields = tuple((str(name), text(field)) for name, field in pairs)
    if not all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) for name, _ in fields):
        raise ExpectedError("header fields such as x-should-retry:false")
    return fields


def table(value: Any) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Read a table of questions and answers: a mapping of regular expression to answer, tried in order."""
    if not isinstance(value, Mapping):
        raise ExpectedError("a mapping of regular expression to answer, in a script file")
    try:
        return tuple((re.compile(str(question)), text(answer)) for question, answer in value.items())
    except re.error as fault:
        raise ExpectedError(f"regular expressions ({fault})") from None


def calls(value: Any) -> tuple[tuple[str, str], ...]:
    """Read tool calls: `NAME:JSON`, or in a file a list of `{name: ..., arguments: ...}`."""
    if isinstance(value, str):
        name, _, arguments = value.partition(":")
        return ((name, arguments or "{}"),)
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, Mapping) and isinstance(item.get("name"), str) for item in items):
        raise ExpectedError("NAME:JSON, or a list of {name: ..., arguments: ...}")
    return tuple((item["name"], _arguments(item.get("arguments", {}))) for item in items)


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
