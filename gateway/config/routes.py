"""The `routes` of the configuration → `Route`, with everything checked that needs more than one value at a time."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import fanin
from gateway.config import durations, learning
from gateway.config.catalog import PROFILES
from gateway.config.faults import Faults, did_you_mean, one_of
from gateway.config.node import Node, masked
from gateway.config.schema.terms import (
    DEADLINE,
    FIRST_TOKEN,
    HEDGE_AFTER,
    IDLE,
    LONGEST_DEADLINE,
    MOST_TARGETS,
    NAME,
    NAME_TITLE,
    RETRIES,
    TIMEOUT,
)
from gateway.domain import Launch, Map, Price, Route, Target

_COUNTED = {"majority": "agree", "quorum": "k"}
"""The options of selectors that count targets: no ballot can ever meet one that is larger than the route."""

_BY_TARGET = {"weighted": "weights", "guarded": "priors"}
"""The options of selectors that name targets: a name that no target has would silently count for nothing."""

_ASKED = {"judge": "by", "fuse": "by"}
"""The options of selectors that name a model of a provider."""

_STAGGERS = {"never": math.inf, "auto": HEDGE_AFTER}
"""The words for a stagger, in seconds: `auto` as long as little is known."""

HURRY = 1.0
"""Seconds of Retry-After that a target with others behind it is waited for."""

_RESERVED = frozenset(
    {"api_base", "api_key", "base_url", "extra_headers", "hedgerow", "messages", "model", "stream", "stream_options"}
)
"""What a target's `params` cannot set: it is the client's, or it chooses where the request goes."""


def route(name: str, node: Node, defined: Collection[str] | None, faults: Faults) -> Route:
    """Return one route; `defined` are the names of the file's providers, None when these are not even a mapping."""
    deadline = _seconds(node, "deadline", DEADLINE)
    if deadline > LONGEST_DEADLINE:
        faults.found(node.value["deadline"], f"a duration of at most {durations.written(LONGEST_DEADLINE)}")
    limit = math.inf if node.has("deadline") and node.child("deadline") is None else deadline
    timeout = _timeout(node, min(TIMEOUT, deadline), limit, faults)
    first_token = _first_token(node, math.inf, timeout, faults)
    idle = _seconds(node, "idle", IDLE)
    targets = tuple(
        Target(
            name=target_name,
            provider=provider,
            model=model,
            prompt=target.get("prompt"),
            prefill=_prefill(target),
            params=_settable(target, "params", faults),
            drop=_droppable(target, faults),
            rename=_renamed(target, faults),
            defaults=_settable(target, "defaults", faults),
            on_unsupported=target.get("on_unsupported", "fail"),
            on_reasoning_only=target.get("on_reasoning_only", "fail"),
            same_as=target.get("same_as"),
            timeout=_timeout(target, timeout, limit, faults),
            first_token=_first_token(target, first_token, timeout, faults),
            idle=_seconds(target, "idle", idle),
            context=_tokens(target.get("context")),
            retries=node.get("retries", RETRIES),
            weight=float(target.get("weight", 1.0)),
            priority=priority,
            price=_price(target.child("price")),
        )
        for priority, (target, target_name, provider, model) in enumerate(_named(node, defined, faults))
    )
    count = len(node.value["targets"].value) if node.child("targets") else 0
    launch = _launch(node, count, faults)
    written = node.get("select")
    learned = learning.emptied(node.child("select"))
    rule = _rule(node.child("select"), faults, "first" if launch.map is None else "concat")
    if node.get("on_abstain", "priority") == "priority" and rule.abstains:
        rule = rule | fanin.build("priority")
    _check_counts(node, count, faults)
    if len(targets) == count:  # else the name may be the one of a target that is faulty
        _check_names(node, [target.name for target in targets], faults)
    _check_scorers(node, rule, (count, launch.map.most if launch.map else count), defined, faults)
    warm, buffered, verified = _streaming(node, count, launch, rule, faults)
    evades = node.get("on_filtered") == "next"
    made = Route(name, _hurried(targets, launch), launch, rule, deadline, warm, buffered, verified, evades)
    return replace(made, learn=learning.read(node, made, written, learned, faults))


def _streaming(node: Node, count: int, launch: Launch, rule: fanin.Rule, faults: Faults) -> tuple[bool, bool, bool]:
    """Return what becomes of streams: whether siblings stand by, whether it is replayed, whether it is verified."""
    warm, verified = node.get("standby") == "warm", node.get("stream") == "verify"
    buffered = node.get("buffer") == "full"
    alone = count == 1 or (launch.initial == 1 and math.isinf(launch.stagger))
    if warm and count and alone:
        faults.found(node.value["standby"], "cold, or a launch that asks several targets at once")
    elif warm and buffered:
        faults.found(node.value["standby"], "cold with `buffer: full`, which shows no stream before it is whole")
    elif warm and launch.map:
        faults.found(node.value["standby"], "cold with `launch: map`, which streams nothing before its end")
    elif warm and not (rule.live or verified):
        faults.found(node.value["standby"], f"cold with `select: {rule.name}`, which streams nothing before its end")
    if verified and count and min(launch.initial, count) < 2:
        faults.found(node.value["stream"], "auto, or a launch that asks several targets at once")
    elif verified and buffered:
        faults.found(node.value["stream"], "auto with `buffer: full`")
    elif verified and launch.map:
        faults.found(node.value["stream"], "auto with `launch: map`")
    elif verified and rule.live:
        faults.found(node.value["stream"], f"auto with `select: {rule.name}`, or a selector that votes")
    return warm, buffered, verified


def _prefill(target: Node) -> Mapping[str, object] | None:
    node = target.child("prefill")
    if node is None or node.value is False:
        return None
    return {} if node.value is True else dict(node.plain())


def _hurried(targets: tuple[Target, ...], launch: Launch) -> tuple[Target, ...]:
    """Give the targets that others stand behind a short patience: asking the next one is better than a long wait."""
    if launch.initial >= len(targets):
        return targets
    return (*map(_hurry, targets[:-1]), *targets[-1:])


def _hurry(target: Target) -> Target:
    first_token = FIRST_TOKEN if math.isinf(target.first_token) else target.first_token
    return replace(target, patience=HURRY, first_token=first_token)


def _seconds(node: Node, key: str, default: float) -> float:
    text = node.get(key)
    return default if text is None else durations.seconds(text)


def _timeout(node: Node, default: float, deadline: float, faults: Faults) -> float:
    timeout = _seconds(node, "timeout", default)
    if node.child("timeout") is not None and timeout > deadline:
        faults.found(node.value["timeout"], f"at most the route's deadline of {durations.written(deadline)}")
    return timeout


def _price(node: Node | None) -> Price | None:
    dollars = {} if node is None else node.plain()
    sound = all(isinstance(dollars.get(kind), (int, float)) for kind in ("input", "output"))
    return Price(float(dollars["input"]), float(dollars["output"])) if sound else None


def _tokens(written: int | str | None) -> int | None:
    return int(written.removesuffix("k")) * 1000 if isinstance(written, str) else written


def _first_token(node: Node, default: float, timeout: float, faults: Faults) -> float:
    first_token, timeout = _seconds(node, "first_token", default), _seconds(node, "timeout", timeout)
    if node.child("first_token") is not None and first_token > timeout:
        faults.found(node.value["first_token"], f"at most the timeout of {durations.written(timeout)}")
    return first_token


def _settable(target: Node, key: str, faults: Faults) -> dict[str, object]:
    """Return `params` or `defaults`."""
    given = target.child(key)
    for name, value in given.children().items() if given else ():
        if name in _RESERVED:
            faults.add(value, "a field that a target cannot set", "a field of the request body such as temperature")
    return dict(given.plain()) if given else {}


def _droppable(target: Node, faults: Faults) -> frozenset[str]:
    given = target.child("drop")
    for name in given.value if given else ():
        if name.value in _RESERVED:
            faults.found(name, "a field that a request can do without, such as logit_bias")
    return frozenset(given.plain()) if given else frozenset()


def _renamed(target: Node, faults: Faults) -> dict[str, str]:
    """Return the new names by the old ones; two fields can neither have one name, nor be handed on in a chain."""
    given = target.child("rename")
    renamed = {name: node.value for name, node in given.children().items()} if given else {}
    taken = Counter(renamed.values())
    for name, node in given.children().items() if given else ():
        if name in _RESERVED or node.value in _RESERVED:
            faults.add(node, "a field that cannot be renamed", "two fields such as max_tokens: max_completion_tokens")
        elif taken[node.value] > 1 or node.value in renamed:
            faults.found(node, "a name that no other field is renamed to or from")
        elif name in target.get("drop", ()):
            faults.add(node, "a field that is also dropped", "it in one of both")
    return renamed


def _named(node: Node, defined: Collection[str] | None, faults: Faults) -> Iterator[tuple[Node, str, str, str]]:
    """Give the sound targets with their names: the written one, else `provider/model`, else that with `#2`."""
    targets = node.child("targets")
    sound = [target for target in targets.value if not target.faulty] if targets else []
    taken = Counter(target.get("name") for target in sound)
    seen: set[str] = set()
    for target in sound:
        model_node = target.child("model") if isinstance(target.value, dict) else target
        if model_node is None:
            continue
        provider, _, model = model_node.value.partition("/")
        if defined is not None and provider not in defined:
            _undefined(model_node, provider, defined, faults)
        name = target.get("name") or _free(model_node.value, {*taken, *seen})
        if name in seen:
            faults.found(target.value["name"], "each name once in a route")
        elif not re.fullmatch(NAME, name):
            faults.found(model_node, f"a `name` beside it, as headers and metrics take only {NAME_TITLE}")
        seen.add(name)
        yield target, name, provider, model


def _free(wanted: str, taken: Collection[str | None]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}#{number}"
    return name


def _undefined(node: Node, provider: str, defined: Collection[str], faults: Faults) -> None:
    known = [masked(name) for name in defined]
    expected = f"a provider of this file before the slash ({', '.join(known)})"
    cure = did_you_mean(node, provider, known)
    if not cure and not node.hidden and provider in PROFILES:
        cure = f"define `{provider}` under providers"
    faults.found(node, expected, cure)


def _launch(node: Node, count: int, faults: Faults) -> Launch:
    launch = node.child("launch")
    hedge = Launch(1, HEDGE_AFTER, adaptive=True, hedges=1)
    words = {"all": Launch(count), "hedge": hedge, "fallback": Launch(1)}
    if launch is None:
        return words["all"]
    if isinstance(launch.value, str):
        return words[launch.value]
    initial = launch.get("initial", 1)
    if count and initial > count:
        faults.found(launch.value["initial"], f"at most the number of targets, {count}")
    stagger = launch.get("stagger", "never")
    if stagger == "never" and launch.has("hedges"):
        faults.found(launch.value["hedges"], "no `hedges` without a `stagger`, a duration or auto")
    parts = launch.child("map")
    return Launch(
        initial,
        _STAGGERS.get(stagger) or durations.seconds(stagger),
        None if parts is None else Map(**parts.plain()),
        adaptive=stagger == "auto",
        hedges=launch.get("hedges", 1 if stagger == "auto" else math.inf),
    )


def _rule(select: Node | None, faults: Faults, default: str) -> fanin.Rule:
    if select is None:
        return fanin.build(default)
    try:
        return fanin.build(select.plain())
    except fanin.SpecError as refused:
        for fault in refused.faults:
            faults.add_below(select, fault.path, fault.fault, fault.expected)
        return fanin.build("first")


def _options(node: Node, option_of: Mapping[str, str]) -> Iterator[Node]:
    """Give, at any depth of the route's selector, the option that `option_of` names for each kind of selector."""
    select = node.child("select")
    for spec in select.walk() if select else ():
        for selector, options in spec.children().items():
            option = options.child(option_of.get(selector, ""))
            if option is not None:
                yield option


def _check_counts(node: Node, count: int, faults: Faults) -> None:
    for option in _options(node, _COUNTED):
        if isinstance(option.value, int) and 0 < count < option.value:
            faults.found(option, f"at most the number of targets, {count}")


def _check_scorers(
    node: Node, rule: fanin.Rule, counts: tuple[int, int], defined: Collection[str] | None, faults: Faults
) -> None:
    """Hold those whom scorers ask to the same rules as targets; `counts` are those of targets and answers."""
    count, answers = counts
    for by in _options(node, _ASKED):
        if isinstance(by.value, str) and "/" in by.value and defined is not None:
            provider = by.value.partition("/")[0]
            if provider not in defined:
                _undefined(by, provider, defined, faults)
    select = node.child("select")
    calls = sum(scorer.calls(answers) for scorer in rule.scorers)
    if select is not None and calls and count + calls > MOST_TARGETS:
        fault = f"{count} targets and {calls} calls about their answers"
        faults.add(select, fault, f"at most {MOST_TARGETS} calls for one request", "how: index takes two")


def _check_names(node: Node, names: Sequence[str], faults: Faults) -> None:
    targets = node.child("targets")
    hidden = any(inner.hidden for inner in targets.walk()) if targets else False
    for option in _options(node, _BY_TARGET):
        for name, value in option.children().items():
            if name not in names:
                expected = "the name of a target of this route" if hidden else one_of(names)
                cure = "" if hidden else did_you_mean(Node(name), name, names)
                faults.add(value, "not a target of this route", expected, cure)
