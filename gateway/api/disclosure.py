"""What a response says about how it came about: the `x-hedgerow-*` headers and, on request, the `hedgerow` field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from fanin import Candidate
from gateway.domain import Failure, Headers
from gateway.engine.events import Consulted
from gateway.engine.fanout import Verdict
from gateway.errors import branch
from gateway.wires.passing import GIVEN

NAMES = tuple(
    f"x-hedgerow-{name}"
    for name in ("route", "target", "selector", "branches", "agreement", "score", "overhead-ms", "dropped")
)
"""The headers of our own that a page of another origin may read."""


def headers(route: str, verdict: Verdict, overhead: float, cost: float | None) -> dict[str, str]:
    """Return the headers of a decided response; `overhead` in seconds, `cost` in dollars where it is known by now."""
    selection = verdict.selection
    described = {
        "x-hedgerow-route": route,
        "x-hedgerow-target": selection.winner.target,
        "x-hedgerow-selector": selection.selector,
        "x-hedgerow-branches": f"{len(verdict.ballot.candidates)}/{verdict.asked}",
        "x-hedgerow-overhead-ms": f"{overhead * 1000:.2f}",
    }
    if cost is not None:
        described["x-hedgerow-cost"] = f"{cost:.3g}"
    if verdict.parts:
        described["x-hedgerow-parts"] = str(len(verdict.parts))
    if selection.agreement is not None:
        described["x-hedgerow-agreement"] = f"{selection.agreement:.3g}"
    if selection.score is not None:
        described["x-hedgerow-score"] = f"{selection.score:.6g}"
    return described


_PASSED = frozenset({b"openai-processing-ms", b"openai-version", b"retry-after", b"retry-after-ms"})
_PASSED_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
_PATH = re.compile(rb"/(?!/)[!-~]*\Z")


def passed_on(headers: Headers) -> dict[str, str]:
    """Return those of an upstream's headers that a client may see.

    An allow-list: cookies, servers and the operator's organisation are nobody's business.
    """
    return {
        low.decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if (low := name.lower()) in _PASSED or low.startswith(_PASSED_PREFIXES)
    }


def of_file(headers: Headers) -> dict[str, str]:
    """Return those that a client may see of an answer that is passed on unread: what says how to read it, too.

    An address is told only where it is a path, as ours are the same.
    """
    told = passed_on(headers)
    for name, value in headers:
        low = name.lower()
        if low in GIVEN or (low == b"location" and _PATH.match(value)):
            told[low.decode("latin-1")] = value.decode("latin-1")
    return told


def explanation(route: str, verdict: Verdict, overhead: float) -> msgspec.Raw:
    """Return the `hedgerow` field: every candidate and failure, the tally, and where the time went (milliseconds)."""
    selection, ballot = verdict.selection, verdict.ballot
    return msgspec.Raw(
        msgspec.json.encode(
            {
                "route": route,
                "selector": selection.selector,
                "winner": selection.winner.target,
                "reason": selection.reason,
                "answer": selection.answer,
                "agreement": selection.agreement,
                "score": selection.score,
                "tally": dict(selection.tally),
                "candidates": [_described(candidate, verdict) for candidate in ballot.candidates],
                "failures": [branch(failure, verdict.durations) for failure in cast("list[Failure]", ballot.failures)],
                "superseded": [{"target": name, "ms": _ms(verdict.durations[name])} for name in verdict.superseded],
                **(
                    {"parts": [_part(place, part) for place, part in enumerate(verdict.parts, 1)]}
                    if verdict.parts
                    else {}
                ),
                "consulted": [_consultation(call) for call in verdict.consulted],
                "overhead_ms": round(overhead * 1000, 2),
            }
        )
    )


def amended(explanation: msgspec.Raw, further: Mapping[str, Any]) -> msgspec.Raw:
    """Return an explanation with what became known while the answer was streamed."""
    return msgspec.Raw(msgspec.json.encode({**msgspec.json.decode(explanation), **further}))


def _described(candidate: Candidate, verdict: Verdict) -> dict[str, Any]:
    return {
        "target": candidate.target,
        "ms": _ms(verdict.durations[candidate.target]),
        "text": candidate.text,
        "tool_calls": [{"name": call.name, "arguments": call.arguments} for call in candidate.tool_calls],
        "finish_reason": candidate.finish_reason,
        "flaw": candidate.flaw or None,
        "confidence": candidate.confidence,
        "score": candidate.score,
        "weight": candidate.weight,
    }


def _part(place: int, part: Verdict) -> dict[str, Any]:
    target = part.selection.winner.target
    failures = [branch(failure, part.durations) for failure in cast("list[Failure]", part.ballot.failures)]
    return {"part": place, "target": target, "ms": _ms(part.durations[target]), "failures": failures}


def _consultation(call: Consulted) -> dict[str, Any]:
    told: dict[str, Any] = {"target": call.target, "ms": _ms(call.duration)}
    if call.usage is not None:
        told["usage"] = {"prompt_tokens": call.usage.prompt, "completion_tokens": call.usage.completion}
    if call.failure is not None:
        told |= {"kind": call.failure.kind.value, "detail": call.failure.detail}
    return told


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
