"""Whose turn it is: counts the calls of every model, runs the script's clock and deals out chance that replays."""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass
from functools import cached_property

from gateway.providers.simulator.behaviour import Behaviour
from gateway.providers.simulator.script import Script


@dataclass(slots=True)
class Part:
    """One model's part in the script: what it plays, how often it has been on, how many calls are running."""

    behaviours: tuple[Behaviour, ...]
    calls: int = 0
    running: int = 0


@dataclass
class Turn:
    """One call's place in the script: its number (from 1), its behaviour, and a name that no other call has."""

    part: Part
    n: int
    behaviour: Behaviour
    name: str

    @cached_property
    def chance(self) -> random.Random:
        """The call's own source of chance; seeding is dear, and most calls leave nothing to chance."""
        return random.Random(self.name)  # noqa: S311 -- a script has to replay, it guards no secret

    @cached_property
    def digest(self) -> str:
        """The call's deterministic identity: 32 hexadecimal digits."""
        return hashlib.blake2b(self.name.encode(), digest_size=16).hexdigest()


class Stage:
    """Plays one script from its beginning. The same calls in the same order get the same turns for the same seed."""

    def __init__(self, script: Script, seed: int) -> None:
        self.script = script
        self._seed = seed
        self._parts: dict[str, Part] = {}
        self._began = time.monotonic()

    def enter(self, model: str) -> Turn:
        """Give a model its next turn; raises ScriptError or UnknownModelError as the script does."""
        part = self._parts.get(model)
        if part is None:
            part = self._parts[model] = Part(self.script.behaviours(model))
        part.calls += 1
        played = part.behaviours[min(part.calls, len(part.behaviours)) - 1]
        turn = Turn(part, part.calls, played, f"{self._seed}:{model}:{part.calls}")
        if played.limited:
            turn.behaviour = played.for_call(turn.n, time.monotonic() - self._began, turn.chance)
        return turn
