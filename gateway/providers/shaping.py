"""A request's fields as one target wants them: dropped, renamed, completed, and without what a model has refused.

What an upstream says no to is learned from its refusal, not guessed from the model's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gateway.domain import Failure, FailureKind, Target

_TWINS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Two names of one limit: reasoning models refuse the older one, many servers do not know the newer one."""
_NEEDED = frozenset({"input", "messages", "model", "prompt", "stream"})
"""What no refusal makes us leave out: it is the request."""
_REFUSING = frozenset({"unknown_parameter", "unsupported_parameter", "unsupported_value", "extra_forbidden"})
_PHRASE = re.compile(
    r"unsupported|un(?:known|recogni[sz]ed|expected)|not\ (?:supported|permitted|allowed|recogni[sz]ed)"
    r"|does\ not\ support|extra\ (?:inputs|fields)",
    re.IGNORECASE,
)
_MOST_LEARNED = 64
MOST_REFUSALS = 8
"""How many parameters of one request are left out one after the other before its failure stands."""


def shaped(target: Target, fields: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields for a target, in their order, and the names of those that it is not told.

    `drop` and `rename` are about the client's fields, `defaults` fill in what it left out, `params` are the operator's
    and win over everything.
    """
    kept, dropped = renamed(target, fields)
    if target.defaults:
        missing = {name: value for name, value in target.defaults.items() if _TWINS.get(name) not in kept}
        kept = {**missing, **kept}
    return {**kept, **target.params}, dropped


def renamed(target: Target, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the client's fields under a target's names, and the names of those that it is not told.

    A field whose new name the client has sent as well keeps its old one: two values cannot both be meant.
    """
    if not (target.drop or target.rename):
        return fields, ()
    kept = {
        name if (new := target.rename.get(name, name)) in fields else new: value
        for name, value in fields.items()
        if name not in target.drop
    }
    return kept, tuple(name for name in fields if name in target.drop)


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as values of their own: the client's decoded, the operator's copied. What is null is left out."""
    values = {
        name: msgspec.json.decode(value if isinstance(value, Raw) else msgspec.json.encode(value))
        for name, value in fields.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def refused_field(failure: Failure, sent: Collection[str]) -> str | None:
    """Return the sent field that an upstream says it does not know or cannot do; None when it says something else."""
    error = failure.error
    if failure.kind is not FailureKind.CALLER_FAULT or error is None:
        return None
    message = str(error.get("message") or "")
    if error.get("code") not in _REFUSING and not _PHRASE.search(message):
        return None
    param = str(error.get("param") or "").removeprefix("body.").partition(".")[0].partition("[")[0]
    if param:
        return param if param in sent else None
    named = [name for name in sent if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", message)]
    return named[0] if len(named) == 1 else None


class Refusals:
    """What the models of one provider have refused so far: a field's other name, or None where it is left out.

    They forget nothing while the process runs, and learn no more than a model has parameters: names come from clients.
    """

    def __init__(self) -> None:
        self._learned: dict[str, dict[str, str | None]] = {}

    def applied(self, target: Target, fields: dict[str, Any]) -> tuple[str, ...]:
        """Take out or rename what the target's model has refused; return the names of what is left out.

        A target that rather fails than loses a field only has its fields renamed.
        """
        learned = self._learned.get(target.model)
        if not learned:
            return ()
        dropped = []
        for name in [name for name in fields if name in learned]:
            other = learned[name]
            if other is not None:
                fields.setdefault(other, fields.pop(name))
            elif target.on_unsupported == "drop" and name not in target.params:
                del fields[name]
                dropped.append(name)
        return tuple(dropped)

    def learn(self, target: Target, failure: Failure, sent: Collection[str]) -> bool:
        """Take a refusal in; return whether asking again is another request now.

        What the operator wrote into `params` is not ours to take out.
        """
        name = refused_field(failure, sent)
        if name is None or name in _NEEDED or name in target.params:
            return False
        learned = self._learned.setdefault(target.model, {})
        twin = _TWINS.get(name)
        renamed = twin is not None and twin not in sent and learned.get(twin) != name
        if not renamed and target.on_unsupported != "drop":
            return False
        if name not in learned and len(learned) >= _MOST_LEARNED:
            return False
        learned[name] = twin if renamed else None
        return True
