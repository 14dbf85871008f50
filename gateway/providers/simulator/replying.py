"""Composes what the provider is going to say: answers, tokens, tool calls and probabilities, before any wire format."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from gateway.providers.simulator.asking import Ask, Tool
from gateway.providers.simulator.behaviour import DEFAULT_ANSWER, Behaviour
from gateway.providers.simulator.instances import instance
from gateway.providers.simulator.stage import Turn

_TOKEN = re.compile(r"\s?\w{1,12}|\s?[^\w\s]{1,4}|\s+")
_SEPARATORS = "\u2028line\u2029paragraph\u0085next"
_PADDING = (
    " amber birch cedar delta ember fjord grove heron inlet jetty knoll larch maple north ocean pine quartz river slate"
    " tidal umber vale willow yarrow acorn bramble copse dune eddy fern gorse hazel iris juniper kelp lichen moss"
)


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call; `pieces` are the tokens of its arguments."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The arguments as one JSON text, which a script may have broken."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer. `tokens` are those of the text, or of the refusal where `refused`; a `finish` of None is not told."""

    index: int
    tokens: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    calls: tuple[ToolUse, ...] = ()
    refused: bool = False
    finish: str | None = "stop"
    confidence: float = 1.0

    @property
    def generated(self) -> int:
        """The completion tokens of this choice; the name of a tool counts as one."""
        return len(self.reasoning) + len(self.tokens) + sum(1 + len(call.pieces) for call in self.calls)


@dataclass(frozen=True, slots=True)
class Reply:
    """Everything that one call says; `created` is in seconds since 1970."""

    ask: Ask
    turn: Turn
    created: int
    choices: tuple[Choice, ...]

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour that is played."""
        return self.turn.behaviour

    @property
    def model(self) -> str:
        """The model that the answer names."""
        return self.behaviour.answer_model or self.ask.model

    @property
    def generated(self) -> int:
        """The completion tokens that are really generated."""
        return sum(choice.generated for choice in self.choices)

    @property
    def claimed(self) -> int:
        """The completion tokens that the usage tells."""
        claim = self.behaviour.usage_tokens
        return self.generated if claim is None else claim

    @property
    def reasoned(self) -> int:
        """The tokens of reasoning among them."""
        return sum(len(choice.reasoning) for choice in self.choices)


@lru_cache(maxsize=4096)
def tokenise(text: str) -> tuple[str, ...]:
    """Cut a text into tokens that join up to the same text: short words with the space before them, and punctuation."""
    return tuple(_TOKEN.findall(text))


@lru_cache(maxsize=256)
def _padding(length: int) -> tuple[str, ...]:
    # Drawn at random, with a seed of its own, so that padding is never mistaken for a repetition loop.
    return tuple(random.Random(0).choices(tokenise(_PADDING), k=length))  # noqa: S311 -- a script, not a secret


class Composer:
    """Composes the reply to one request."""

    def __init__(self, ask: Ask, turn: Turn) -> None:
        self._ask = ask
        self._turn = turn
        self._behaviour = turn.behaviour

    def compose(self, created: int) -> Reply:
        """Return the reply; `created` is in seconds since 1970."""
        return Reply(self._ask, self._turn, created, tuple(self._choice(i) for i in range(self._ask.n)))

    def _choice(self, index: int) -> Choice:
        behaviour = self._behaviour
        if behaviour.empty is not None:
            return Choice(index, finish=_finish(behaviour, "stop"))
        if behaviour.refusal is not None:
            return Choice(index, tokenise(behaviour.refusal), refused=True, finish=_finish(behaviour, "stop"))
        reasoning = tokenise(behaviour.reasoning or ("Let me think." if behaviour.reasoning_only else ""))
        calls = self._tool_uses(index)
        if calls:
            return Choice(index, (), reasoning, calls, finish=_finish(behaviour, "tool_calls"))
        text, right = self._text()
        confidence = behaviour.confidence if right else behaviour.wrong_confidence
        tokens = () if behaviour.reasoning_only else self._sized(text)
        finish = "stop"
        limit = self._ask.max_tokens
        if limit is not None and len(reasoning) + len(tokens) > limit:
            reasoning, tokens = reasoning[:limit], tokens[: max(0, limit - len(reasoning))]
            finish = "length"
        return Choice(index, tokens, reasoning, finish=_finish(behaviour, finish), confidence=confidence)

    def _text(self) -> tuple[str, bool]:
        behaviour, ask = self._behaviour, self._ask
        if behaviour.wrong and self._turn.chance.random() < behaviour.wrong:
            return self._filled(self._turn.chance.choice(behaviour.wrong_answers)), False
        for question, answer in behaviour.answers:
            if question.search(ask.question):
                return self._filled(answer), True
        if behaviour.answer is not None:
            return self._filled(behaviour.answer), True
        if ask.schema is not None:
            made = {"answer": DEFAULT_ANSWER} if ask.schema is True else instance(ask.schema)
            return msgspec.json.encode(made).decode(), True
        return DEFAULT_ANSWER, True

    def _filled(self, template: str) -> str:
        if "{" not in template:
            return template
        ask = self._ask
        values = {"question": ask.question, "system": ask.system, "model": ask.model, "n": str(self._turn.n)}
        return re.sub(r"\{(question|system|model|n)\}", lambda found: values[found[1]], template)

    def _sized(self, text: str) -> tuple[str, ...]:
        behaviour = self._behaviour
        if behaviour.size is not None:
            return ("a" * behaviour.size,)
        tokens = tokenise(text + _SEPARATORS if behaviour.separators else text)
        if behaviour.loop is not None:
            unit = tokenise(f"{text} ")
            return (unit * (behaviour.loop // len(unit) + 1))[: behaviour.loop]
        if behaviour.tokens is not None:
            return (tokens + _padding(max(0, behaviour.tokens - len(tokens))))[: behaviour.tokens]
        return tokens

    def _tool_uses(self, index: int) -> tuple[ToolUse, ...]:
        wanted = self._wanted()
        if self._behaviour.bad_arguments:
            wanted = [(name, arguments[: max(1, len(arguments) * 2 // 3)]) for name, arguments in wanted]
        return tuple(
            ToolUse(f"{index}{i}{self._turn.digest}"[:24], name, tokenise(arguments))
            for i, (name, arguments) in enumerate(wanted)
        )

    def _wanted(self) -> list[tuple[str, str]]:
        """Return the calls to make: the scripted ones, or one that fits the offered tools."""
        ask, behaviour = self._ask, self._behaviour
        forced = ask.tool_choice == "required"
        if behaviour.tools == "never" or (ask.tool_choice == "none" and behaviour.tools != "always"):
            return []
        if ask.after_tool and not forced and behaviour.tools != "always":
            return []
        if behaviour.call:
            return list(behaviour.call)
        scripted = behaviour.answer is not None or bool(behaviour.answers)
        if not ask.tools or (scripted and not forced and behaviour.tools != "always"):
            return []
        tool = self._tool()
        return [(tool.name, msgspec.json.encode(instance(tool.schema)).decode())]

    def _tool(self) -> Tool:
        tools = self._ask.tools
        return next((tool for tool in tools if tool.name in self._ask.question), tools[0])


def _finish(behaviour: Behaviour, natural: str) -> str | None:
    if behaviour.finish is None:
        return natural
    return None if behaviour.finish == "none" else behaviour.finish


def token_logprobs(count: int, confidence: float, chance: random.Random) -> Iterator[float]:
    """Give log probabilities whose mean is exactly log(confidence), none above 0."""
    centre = math.log(confidence)
    spread = min(0.5, -centre * 0.9)
    noise = [chance.uniform(-spread, spread) for _ in range(count)]
    drift = sum(noise) / count if count else 0.0
    return (centre + (step - drift) / 2 for step in noise)
