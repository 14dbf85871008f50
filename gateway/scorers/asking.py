"""What every scorer shares: whom it asks, and the request that it sends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Raw

from fanin import Range
from gateway.domain import ChatRequest, Failure, FailureKind, Target

Share: TypeAlias = Annotated[float, Range(0.01, 0.3)]
"""A judge that takes longer than a third of the time is not worth the wait."""

_MODEL = re.compile(r"[^/\s]+/\S.*")
_encode = msgspec.json.Encoder().encode


def target(kind: str, by: str, params: dict[str, Any] | None = None) -> Target:
    """Return the target that `provider/model` names; raises ValueError for what names none."""
    if not _MODEL.fullmatch(by):
        raise ValueError(f"by is {by!r}, not provider/model")
    provider, _, model = by.partition("/")
    return Target(f"{kind}:{by}", provider, model, params=params or {}, retries=1, patience=1.0)


def request(of: ChatRequest, name: str, messages: Sequence[dict[str, str]]) -> ChatRequest:
    """Return a request of the gateway's own: nothing of the client's goes with it but the id and the listener."""
    return ChatRequest(id=of.id, model=name, fields={"messages": Raw(_encode(messages))}, listen=of.listen)


def why(failure: Failure) -> str:
    """Say in two words why a call gave nothing."""
    return "took too long" if failure.kind is FailureKind.TIMEOUT else f"failed ({failure.kind.value})"
