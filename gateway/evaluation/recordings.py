"""Read recorded answers: one JSON object a line, gzipped or not, in a form of our own or one of published recordings.

Our own form is `{"id": "q1", "gold": "4", "answers": {"openai/gpt-5-mini": {"answer": "4", "latency_s": 0.8}, …}}`.
Of an answer, `answer` is what it comes to, compared as it stands (null: the target answered, but nothing could be read
from it); or `text` is what the target wrote, compared by the key of the selector; or `calls` are its tool calls
(`[{"name": …, "arguments": {…}}]`). `correct` says whether it is right (else it is held against `gold`), `confidence`
how sure the target was (0 to 1), `latency_s` how long it took.

Published recordings have a list of answers, each with its `model`; there `answer_key` or `key` is what an answer comes
to, and `verbal_conf`, `seq_prob` and `ling_conf` are confidences of different origin. Repeated samples of one model
have `samples` and `correct`, two lists; each place in them is a target, `sample-1` the first.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from fanin import ToolCall
from fanin.keys.cleaning import plain
from fanin.keys.whole_text import normal
from gateway.evaluation.faults import CannotEvaluate, unknown_target

CONFIDENCES = ("confidence", "verbal_conf", "seq_prob", "ling_conf")
"""Where an answer may say how sure it is, the first to be believed first: said outright, in words, by its tokens."""

_KEYS = ("answer_key", "key")
_FORMS = "`answers` by target, a list of `answers` with a `model` each, or `samples`"


@dataclass(frozen=True, slots=True)
class Answer:
    """One target's recorded answer.

    `key` is what it comes to, if the recording says so (`keyed`); None abstains. `latency` is in seconds.
    """

    text: str = ""
    key: str | None = None
    keyed: bool = False
    calls: tuple[ToolCall, ...] = ()
    correct: bool | None = None
    confidences: Mapping[str, float] = field(default_factory=dict)
    latency: float | None = None

    def confidence(self, names: Sequence[str] = CONFIDENCES) -> float | None:
        """Return the first confidence of these names that the answer has."""
        return next((self.confidences[name] for name in names if name in self.confidences), None)


@dataclass(frozen=True, slots=True)
class Row:
    """One question with the recorded answers by target; a target without one counts as failed."""

    id: str
    answers: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class Recording:
    """The rows of a file, for the targets that were asked for, in order of priority."""

    source: str
    targets: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def timed(self) -> bool:
        """Whether every answer has a latency."""
        return all(answer.latency is not None for row in self.rows for answer in row.answers.values())

    @property
    def labelled(self) -> bool:
        """Whether it is known of every answer if it is right."""
        return all(answer.correct is not None for row in self.rows for answer in row.answers.values())

    def only(self, targets: Iterable[str]) -> Recording:
        """Return the same rows with these targets only, in this order of priority."""
        chosen = tuple(targets)
        known = list(dict.fromkeys(target for row in self.rows for target in row.answers))
        for target in chosen:
            if target not in known:
                raise unknown_target(target, known, self.source)
            if chosen.count(target) > 1:
                raise CannotEvaluate(f"the target {target!r} is named twice: name every target once")
        if not chosen:
            raise CannotEvaluate(f"no target is named: name some of {', '.join(known)}")
        rows = (Row(row.id, {name: row.answers[name] for name in chosen if name in row.answers}) for row in self.rows)
        return Recording(self.source, chosen, tuple(rows))

    def subset(self, rows: Iterable[Row]) -> Recording:
        """Return some of the rows."""
        return Recording(self.source, self.targets, tuple(rows))


def read(path: Path) -> Recording:
    """Return what a file holds, with its targets in the order in which they first appear.

    Raises:
        CannotEvaluate: when it cannot be read, or a line is no recorded row.
    """
    rows = tuple(_row(line, number, path.name) for number, line in _lines(path))
    if not rows:
        raise CannotEvaluate(f"{path.name} holds no rows, expected one JSON object a line")
    return Recording(path.name, tuple(dict.fromkeys(target for row in rows for target in row.answers)), rows)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise CannotEvaluate(f"{path.name} is a damaged gzip file: fetch it again") from None
    except OSError as error:
        raise CannotEvaluate(f"{path} cannot be read ({error.strerror}), expected a .jsonl or .jsonl.gz file") from None
    return ((number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip())


def _row(line: bytes, number: int, source: str) -> Row:
    place = f"line {number} of {source}"
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotEvaluate(f"{place} is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise CannotEvaluate(f"{place} is not a JSON object, expected one with {_FORMS}")
    answers = {target: _answer(entry, row.get("gold"), place) for target, entry in _entries(row, place)}
    return Row(str(row.get("id", number)), answers)


def _entries(row: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each target of a row with what is recorded of it, whatever the form."""
    answers, samples = row.get("answers"), row.get("samples")
    if isinstance(answers, dict) and all(isinstance(entry, dict) for entry in answers.values()):
        yield from answers.items()
    elif isinstance(answers, list) and all(isinstance(entry, dict) and "model" in entry for entry in answers):
        for entry in answers:
            free_text = "text" in entry and "answer" in entry and not any(key in entry for key in _KEYS)
            # A free answer is compared as text; what stands around it ("Guess: …, Probability: …") is not part of it.
            yield str(entry["model"]), ({**entry, "text": entry["answer"], "answer": ...} if free_text else entry)
    elif isinstance(samples, list) and isinstance(row.get("correct"), list) and len(samples) == len(row["correct"]):
        for place_in_row, (sample, correct) in enumerate(zip(samples, row["correct"], strict=True), 1):
            yield f"sample-{place_in_row}", {"answer": sample, "correct": correct}
    else:
        held = ", ".join(row) or "nothing"
        raise CannotEvaluate(f"{place} holds {held}, expected {_FORMS}")


def _answer(entry: dict[str, Any], gold: Any, place: str) -> Answer:
    named = next((name for name in (*_KEYS, "answer") if entry.get(name, ...) is not ...), None)
    if named is None and not {"text", "calls"} & entry.keys():
        raise CannotEvaluate(f"an answer in {place} has neither `answer` nor `text` nor `calls`")
    key = None if named is None or entry[named] is None else _written(entry[named])
    text = next((entry[name] for name in ("text", "raw_answer", "answer") if isinstance(entry.get(name), str)), key)
    answer = Answer(
        text=text or "",
        key=key,
        keyed=named is not None,
        calls=tuple(_call(call, place) for call in entry.get("calls") or ()),
        confidences=_confidences(entry, place),
        latency=_latency(entry, place),
    )
    if entry.get("correct") is not None:
        return replace(answer, correct=bool(entry["correct"]))
    return answer if gold is None else replace(answer, correct=_agrees(answer, gold))


def _call(call: Any, place: str) -> ToolCall:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise CannotEvaluate(f'a tool call in {place} has no name, expected {{"name": …, "arguments": {{…}}}}')
    return ToolCall(call["name"], _written(call.get("arguments", {})))


def _agrees(answer: Answer, gold: Any) -> bool:
    if answer.keyed:
        return answer.key == _written(gold)
    return normal(plain(answer.text)) == normal(_written(gold))


def _written(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _confidences(entry: dict[str, Any], place: str) -> dict[str, float]:
    """Return the confidences by name; a negative one, as published recordings have it, means that none was given."""
    found = {name: _number(entry[name], name, place) for name in CONFIDENCES if entry.get(name) is not None}
    return {name: value for name, value in found.items() if value >= 0}


def _latency(entry: dict[str, Any], place: str) -> float | None:
    if entry.get("latency_s") is None:
        return None
    seconds = _number(entry["latency_s"], "latency_s", place)
    if seconds < 0:
        raise CannotEvaluate(f"`latency_s` in {place} is {seconds:g}, expected seconds of at least 0")
    return seconds


def _number(value: Any, name: str, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CannotEvaluate(f"`{name}` in {place} is {value!r}, expected a number")
    return float(value)
