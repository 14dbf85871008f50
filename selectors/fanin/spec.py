"""Turn configuration values into functions with checked options: one mechanism for selectors, keys and checks.

The options of a function are its parameters, and their annotations are the only place that says what they may be:
`Annotated[int, Range(1)]`, `Literal["mean", "min"]`, `float | None`, `Mapping[str, float]`, `re.Pattern[str]`,
`Rule`, or `Annotated[..., KEYS]` for something that another catalogue names. So a third-party selector gets the same
messages.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fanin.faults import Fault, SpecError, join, listed, quote, unknown
from fanin.rule import Rule

_T = TypeVar("_T")
_SCALARS: Mapping[Any, str] = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Range:
    """The marker of a number's limits, both included: `Annotated[int, Range(1)]` is an integer >= 1."""

    least: float = -math.inf
    most: float = math.inf

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most

    def __str__(self) -> str:
        if self.most == math.inf:
            return f">= {self.least:g}"
        return f"<= {self.most:g}" if self.least == -math.inf else f"from {self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Catalogue(Generic[_T]):
    """Functions by name, and how a configuration value chooses one and gives it options.

    A value is a name, `{name: {option: ...}}`, or the function itself. A function with a single option takes its value
    without naming it: `{regex: "(a|b)"}`. `on` is the parameter that is no option but what the function works on;
    functions without it are factories and are called with their options.
    """

    kind: str
    entries: Mapping[str, Callable[..., Any]]
    on: str | None = None

    def names(self) -> tuple[str, ...]:
        """Return the known names in alphabetical order."""
        return tuple(sorted(self.entries))

    def find(self, name: str, path: str) -> Callable[..., Any]:
        """Return the function of this name; raise SpecError with the nearest name if there is none."""
        if name not in self.entries:
            raise SpecError(Fault(path, unknown(self.kind, name, self.names()), listed(self.names())))
        return self.entries[name]

    def read(self, value: Any, path: str = "") -> _T:
        """Return what the value describes; raise SpecError with all its faults."""
        if callable(value):
            return value  # type: ignore[no-any-return]
        if isinstance(value, str):
            return self._make(value, None, path, join(path, value))
        if isinstance(value, Mapping) and len(value) == 1:
            ((name, given),) = value.items()
            if isinstance(name, str):
                return self._make(name, given, join(path, name), join(path, name))
        if isinstance(value, Mapping) and value and all(isinstance(name, str) for name in value):
            raise SpecError(Fault(path, f"names {len(value)} of them ({', '.join(value)})", self.expected()))
        raise SpecError(Fault(path, f"is {quote(value)}", self.expected()))

    def expected(self) -> str:
        """Return what a value may be, for messages."""
        return f"the name of a {self.kind}, or one name with its options"

    def convert(self, value: Any, annotation: Any, path: str) -> Any:
        """Return the value as an option of this annotation takes it; raise SpecError if it does not fit."""
        return _convert(value, annotation, path, self.convert)

    def _make(self, name: str, given: Any, named_at: str, path: str) -> _T:
        function = self.find(name, named_at)
        options = self._options(function, given, path)
        if self.on and self.on in inspect.signature(function).parameters:
            return functools.partial(function, **options) if options else function  # type: ignore[return-value]
        try:
            return function(**options)  # type: ignore[no-any-return]
        except SpecError:
            raise
        except (TypeError, ValueError) as error:
            raise SpecError(Fault(path, f"cannot be made: {error}", "options that fit together")) from error

    def _options(self, function: Callable[..., Any], given: Any, path: str) -> dict[str, Any]:
        known = _parameters(function, self.on)
        if given is None:
            given = {}
        elif _is_short(given, known):
            (only,) = known
            return {only: self.convert(given, known[only].annotation, path)}
        if not isinstance(given, Mapping):
            raise SpecError(Fault(path, f"is {quote(given)}", f"its options: {_expected_options(known)}"))
        options: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, value in given.items():
            try:
                options[name] = self.convert(value, _annotation(known, name, path), join(path, str(name)))
            except SpecError as error:
                faults.extend(error.faults)
        for name, parameter in known.items():
            if parameter.default is parameter.empty and parameter.kind in _NAMED and name not in given:
                faults.append(Fault(path, f"lacks the option {name!r}", f"{name}: {describe(parameter.annotation)}"))
        if faults:
            raise SpecError(*faults)
        return options


_NAMED = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


def _parameters(function: Callable[..., Any], on: str | None) -> dict[str, inspect.Parameter]:
    """Return the options of a function with their annotations resolved; `**rest` is kept to say that any name goes."""
    hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(function).parameters.items()
        if name != on and parameter.kind in {*_NAMED, parameter.VAR_KEYWORD}
    }


def _annotation(known: Mapping[str, inspect.Parameter], name: Any, path: str) -> Any:
    named = {key: parameter for key, parameter in known.items() if parameter.kind in _NAMED}
    if name in named:
        return named[name].annotation
    for parameter in known.values():
        if parameter.kind is parameter.VAR_KEYWORD and isinstance(name, str):
            return parameter.annotation
    fault = unknown("option", str(name), tuple(named))
    raise SpecError(Fault(join(path, str(name)), fault, _expected_options(named)))


def _expected_options(known: Mapping[str, inspect.Parameter]) -> str:
    return listed(sorted(known)) if known else "no options"


def _is_short(given: Any, known: Mapping[str, inspect.Parameter]) -> bool:
    """Tell whether this is the value of a function's only option, given without the option's name."""
    if len(known) != 1:
        return False
    ((name, parameter),) = known.items()
    if parameter.kind not in _NAMED or (isinstance(given, Mapping) and name in given):
        return False
    return not isinstance(given, Mapping) or _is_spec(parameter.annotation)


def _is_spec(annotation: Any) -> bool:
    """Tell whether an option is itself described by a name with options."""
    return annotation is Rule or any(isinstance(m, Catalogue) for m in getattr(annotation, "__metadata__", ()))


def describe(annotation: Any) -> str:
    """Return what an option of this annotation may be, in words."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        catalogue = next((m for m in annotation.__metadata__ if isinstance(m, Catalogue)), None)
        limits = [str(m) for m in annotation.__metadata__ if isinstance(m, Range)]
        return catalogue.expected() if catalogue else " ".join([describe(args[0]), *limits])
    if origin in {Union, types.UnionType}:
        return listed(describe(arm) for arm in args)
    if origin is Literal:
        return listed(map(str, args))
    if origin is re.Pattern:
        return "a regular expression"
    if annotation is Rule:
        return "a selector"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping of names to {describe(args[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each item {describe(args[0])}"
    return "null" if annotation is type(None) else _SCALARS.get(annotation, getattr(annotation, "__name__", "a value"))


_Recur = Callable[[Any, Any, str], Any]


def _convert(value: Any, annotation: Any, path: str, recur: _Recur) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(value, annotation, path, recur)
    if origin in {Union, types.UnionType}:
        return _union(value, annotation, path, recur)
    if origin is re.Pattern:
        return _pattern(value, path)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return dict(_each(((k, v, args[1], join(path, str(k))) for k, v in value.items()), recur))
    if isinstance(origin, type) and issubclass(origin, Sequence) and isinstance(value, (list, tuple)):
        return tuple(v for _, v in _each(((i, v, args[0], f"{path}[{i}]") for i, v in enumerate(value)), recur))
    if not _fits(value, annotation):
        raise SpecError(Fault(path, f"is {quote(value)}", describe(annotation)))
    return value


def _annotated(value: Any, annotation: Any, path: str, recur: _Recur) -> Any:
    for marker in annotation.__metadata__:
        if isinstance(marker, Catalogue):
            return marker.read(value, path)
        if isinstance(marker, Range) and not (_fits(value, get_args(annotation)[0]) and value in marker):
            raise SpecError(Fault(path, f"is {quote(value)}", describe(annotation)))
    return recur(value, get_args(annotation)[0], path)


def _union(value: Any, annotation: Any, path: str, recur: _Recur) -> Any:
    if value is None and type(None) in get_args(annotation):
        return None
    arms = [arm for arm in get_args(annotation) if arm is not type(None)]
    for arm in arms:
        try:
            return recur(value, arm, path)
        except SpecError:
            if len(arms) == 1:
                raise
    raise SpecError(Fault(path, f"is {quote(value)}", describe(annotation)))


def _pattern(value: Any, path: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError) as error:
        why = f": {error}" if isinstance(error, re.error) else ""
        raise SpecError(Fault(path, f"is {quote(value)}{why}", "a regular expression")) from error


def _each(items: Iterable[tuple[Any, Any, Any, str]], recur: _Recur) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    faults: list[Fault] = []
    for key, value, annotation, path in items:
        try:
            found.append((key, recur(value, annotation, path)))
        except SpecError as error:
            faults.extend(error.faults)
    if faults:
        raise SpecError(*faults)
    return found


def _fits(value: Any, annotation: Any) -> bool:
    """Tell whether a plain value is of the type; true is no number, and a number must be finite."""
    if annotation is Any or isinstance(annotation, TypeVar):
        return True
    if get_origin(annotation) is Literal:
        return any(value == word and type(value) is type(word) for word in get_args(annotation))
    if annotation in {int, float}:
        number = isinstance(value, int if annotation is int else (int, float)) and not isinstance(value, bool)
        return number and math.isfinite(value)
    kind = get_origin(annotation) or annotation
    return isinstance(value, kind) if isinstance(kind, type) else True
