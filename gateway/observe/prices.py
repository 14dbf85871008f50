"""What a target's tokens cost: the operator's own word, else the price list that litellm carries.

The list is read as a file; importing litellm for it would cost three seconds.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.domain import Price, Target
from gateway.settings import ProviderSettings

_FILE = "model_prices_and_context_window_backup.json"
_OPENAI = "https://api.openai.com/"


class _Listed(Struct):
    """What we read of an entry: dollars for one token."""

    litellm_provider: str = ""
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None


class Prices:
    """The prices of targets, by provider and model. `load` takes some 30 ms: not on the event loop.

    With `keep` the whole list is kept, for targets that only requests name.
    """

    def __init__(self, providers: Mapping[str, ProviderSettings], *, keep: bool = False) -> None:
        self._providers, self._keep = providers, keep
        self._known: dict[tuple[str, str], Price] = {}
        self._kept: Mapping[str, _Listed] = {}

    def load(self, targets: Iterable[Target]) -> tuple[str, ...]:
        """Look up what the configuration does not say; return the targets whose price stays unknown, as they are asked.

        Without `keep` the list is forgotten: it is a hundred times what anybody configures.
        """
        unpriced = {(target.provider, target.model) for target in targets if target.price is None}
        listed = _listed() if unpriced or self._keep else {}
        if self._keep:
            self._kept = listed
        for provider, model in unpriced:
            price = self._look_up(listed, provider, model)
            if price is not None:
                self._known[provider, model] = price
        return tuple(sorted(f"{provider}/{model}" for provider, model in unpriced - self._known.keys()))

    def of(self, target: Target) -> Price | None:
        """Return a target's price, None where nobody knows it."""
        price = target.price or self._known.get((target.provider, target.model))
        return price if price or not self._kept else self._look_up(self._kept, target.provider, target.model)

    def _look_up(self, listed: Mapping[str, _Listed], provider: str, model: str) -> Price | None:
        settings = self._providers.get(provider)
        # A server of one's own is not OpenAI because it speaks OpenAI's protocol.
        ours = settings is not None and settings.api == "openai" and (settings.base_url or _OPENAI).startswith(_OPENAI)
        names = {"openai"} if ours else {provider} if settings is None or settings.api == "openai" else {settings.api}
        for name in (provider, *names):
            entry = listed.get(f"{name}/{model}")
            if entry is None:
                plain = listed.get(model)
                entry = plain if plain is not None and plain.litellm_provider.startswith(name) else None
            if entry is not None and entry.input_cost_per_token is not None:
                return Price(entry.input_cost_per_token * 1e6, (entry.output_cost_per_token or 0.0) * 1e6)
        return None


def _listed() -> Mapping[str, _Listed]:
    """Read litellm's list; nothing is known where litellm changes its shape."""
    found = importlib.util.find_spec("litellm")  # of a top-level package, which finds it without importing it
    for folder in (found.submodule_search_locations or ()) if found else ():
        try:
            return msgspec.json.decode(Path(folder, _FILE).read_bytes(), type=dict[str, _Listed])
        except (OSError, msgspec.DecodeError):
            continue
    return {}
