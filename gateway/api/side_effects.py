"""Requests that do something besides answering: several targets at once would do it several times."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from gateway.domain import Route
from gateway.errors import InvalidRequest

_ON_THE_CLIENT = frozenset({"function", "custom"})
"""The types of tools that the client itself carries out."""


class _Tool(Struct):
    type: str = "function"


_TRUE, _NULL = Raw(b"true"), Raw(b"null")
_tools = msgspec.json.Decoder(list[_Tool])
_CURE = "Ask a route with one target, or with `launch: fallback`, which asks the next only when one has failed."


def at_once(route: Route) -> bool:
    """Whether a request to this route may run at several targets at the same time."""
    return len(route.targets) > 1 and (route.launch.initial > 1 or math.isfinite(route.launch.stagger))


def refuse_effects(fields: Mapping[str, Raw], route: Route) -> None:
    """Refuse, of several targets at once, what each of them would keep, search, run or charge for by itself.

    Raises:
        InvalidRequest: naming the field and the cure.
    """
    if not at_once(route):
        return
    if fields.get("store") == _TRUE:
        raise _unsafe("store", "would be kept by every provider that is asked", route)
    if "web_search_options" in fields and fields["web_search_options"] != _NULL:
        raise _unsafe("web_search_options", "would search the web once for every target", route)
    if "tools" in fields:
        try:
            tools = _tools.decode(fields["tools"])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # the targets say what is wrong with it
        hosted = next((tool.type for tool in tools if tool.type not in _ON_THE_CLIENT), None)
        if hosted is not None:
            raise _unsafe("tools", f"of type {hosted[:60]!r} would run once at every provider", route)


def _unsafe(param: str, why: str, route: Route) -> InvalidRequest:
    return InvalidRequest(
        f"`{param}` {why}: the route `{route.name}` asks several targets at once. {_CURE}",
        param=param,
        code="unsafe_with_several_targets",
    )
