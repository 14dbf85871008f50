"""The behaviour: every word a script knows, what it means and how its value is read."""

# ruff: noqa: RUF009 -- `_word` is a dataclasses.field

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from gateway.providers.simulator import readers
from gateway.providers.simulator.coding import PACKERS
from gateway.providers.simulator.problems import CATALOGUE
from gateway.providers.simulator.readers import NO_WAIT, Reader, Wait

DEFAULT_ANSWER = "This is a scripted answer."


def _word(default: Any, read: Reader, says: str, *, fault: bool = False) -> Any:
    return field(default=default, metadata={"read": read, "says": says, "fault": fault})


def _fault(default: Any, read: Reader, says: str) -> Any:
    return _word(default, read, says, fault=True)


@dataclass(frozen=True)  # without slots: the cached properties need a __dict__
class Behaviour:
    """How one call goes. All durations are seconds, all positions count generated tokens.

    Faults strike on every call unless `first`, `rate`, `after`, `until` or `every` limits them; a call that is spared
    goes as if the fault words were not there. A position beyond the end of the answer means its last token.
    """

    # What is said.
    answer: str | None = _word(None, readers.text, "the text; {question}, {system}, {model} and {n} are filled in")
    answers: tuple[tuple[re.Pattern[str], str], ...] = _word((), readers.table, "a table of question regex to answer")
    wrong: float = _word(0.0, readers.share, "the probability of a wrong answer")
    wrong_answers: tuple[str, ...] = _word((), readers.texts, "the wrong answers to choose from")
    tokens: int | None = _word(None, readers.count, "the exact length of the answer: it is cut, or padded with words")
    size: int | None = _word(None, readers.count, "the answer is this many bytes, sent as one token")
    separators: bool = _word(False, readers.flag, "the answer contains U+2028, U+2029 and U+0085")
    reasoning: str | None = _word(None, readers.text, "the reasoning that goes before the answer")
    call: tuple[tuple[str, str], ...] = _word((), readers.calls, "the tool calls to make instead of an answer")
    tools: str = _word("auto", readers.one_of("auto", "always", "never"), "whether to call the tools that are offered")
    answer_model: str | None = _word(None, readers.text, "the model that the answer names, instead of the one asked")
    confidence: float = _word(0.9, readers.certainty, "the mean token probability of an answer")
    wrong_confidence: float = _word(0.6, readers.certainty, "the mean token probability of a wrong answer")
    logprobs: bool = _word(True, readers.flag, "whether logprobs are given when the request asks for them")
    usage: str = _word("asked", readers.one_of("asked", "always", "last", "never"), "when a stream tells its usage")
    usage_tokens: int | None = _word(None, readers.count, "completion tokens to claim, whatever was generated")
    unsupported: tuple[str, ...] = _word((), readers.texts, "the fields that a request must not have")

    # When it is said.
    latency: Wait = _word(NO_WAIT, readers.wait, "the wait before anything is answered")
    ttft: Wait = _word(NO_WAIT, readers.wait, "the further wait until the first token")
    gap: Wait = _word(NO_WAIT, readers.wait, "the wait between two tokens")
    tps: float | None = _word(None, readers.number, "tokens per second, instead of gap")
    early: str = _word("none", readers.one_of("none", "headers", "role"), "what a stream sends before the first token")
    ping: float | None = _word(None, readers.seconds, "the interval of pings while an open stream waits")

    # Which calls the faults strike.
    first: int | None = _word(None, readers.count, "only the first so many calls of this model")
    rate: float = _word(1.0, readers.share, "only with this probability")
    after: float = _word(0.0, readers.seconds, "only from this moment of the script on")
    until: float = _word(math.inf, readers.seconds, "only until this moment of the script")
    every: float | None = _word(None, readers.seconds, "the moments repeat with this period")

    # Refusals.
    status: int | None = _fault(None, readers.status, "the HTTP status of a refusal")
    error: str | None = _fault(None, readers.one_of(*CATALOGUE), "the error that a refusal names")
    message: str | None = _fault(None, readers.text, "the message of the error, instead of the usual one")
    error_in: str = _fault(
        "status", readers.one_of("status", "body", "stream"), "in the status, a 200 body, or a stream"
    )
    error_at: int = _fault(0, readers.count, "the number of tokens before an error in the stream")
    error_shape: str = _fault(
        "native", readers.one_of("native", "openrouter", "detail", "text", "none"), "the form of the error body"
    )
    retry_after: float | None = _fault(None, readers.seconds, "when a refused client may come back")
    retry_as: str = _fault(
        "seconds", readers.one_of("seconds", "ms", "date", "duration", "rfc3339"), "how retry_after is spelled"
    )
    redirect: str | None = _fault(None, readers.text, "the address that a redirect names")
    key: str | None = _word(None, readers.text, "the API key to insist on: any other gets a 401")
    context: int | None = _word(None, readers.count, "the context window: a longer prompt gets a 400")
    prefill: bool = _word(
        True, readers.flag, "whether the last message may be the assistant's: otherwise it gets a 400"
    )
    concurrency: int | None = _word(None, readers.count, "the calls that may run at once: one more gets a 429")

    # Answers that are no answers.
    empty: str | None = _fault(
        None, readers.one_of("null", "text", "choices"), "content null, content '' or no choices"
    )
    refusal: str | None = _fault(None, readers.text, "the model refuses with this text")
    finish: str | None = _fault(
        None, readers.one_of("stop", "length", "content_filter", "tool_calls", "none"), "the finish_reason to tell"
    )
    reasoning_only: bool = _fault(False, readers.flag, "reasoning and no answer")
    bad_arguments: bool = _fault(False, readers.flag, "the arguments of tool calls end in the middle of the JSON")
    loop: int | None = _fault(None, readers.count, "the answer repeats itself up to so many tokens")
    html: bool = _fault(False, readers.flag, "an HTML page instead of JSON")
    truncated: bool = _fault(False, readers.flag, "the JSON ends in the middle, the HTTP message is whole")
    short: bool = _fault(False, readers.flag, "Content-Length promises more than is sent")

    # Connections that break, streams that lie.
    silent: float = _fault(0.0, readers.duration, "nothing is sent for so long; the bare word means forever")
    reset: bool = _fault(False, readers.flag, "the connection is reset before the headers")
    stale: bool = _fault(False, readers.flag, "a request on a connection that has been used before is reset")
    cut: int | None = _fault(None, readers.count, "the answer breaks off after so many tokens")
    cut_by: str = _fault("rst", readers.one_of("rst", "fin", "eof"), "by a reset, by a FIN, or by a clean end")
    stall: float = _fault(0.0, readers.duration, "the answer pauses for so long; the bare word means forever")
    stall_at: int = _fault(1, readers.count, "the number of tokens before the pause")
    malformed: int | None = _fault(None, readers.count, "the chunk of this token is not JSON")
    no_done: bool = _fault(False, readers.flag, "a stream ends without [DONE] or message_stop")

    # How it is dressed.
    newline: str = _word("lf", readers.one_of("lf", "crlf", "cr"), "how lines of a stream end")
    bom: bool = _word(False, readers.flag, "a stream begins with a byte order mark")
    comments: bool = _word(False, readers.flag, "a comment goes before every event")
    multiline: bool = _word(False, readers.flag, "the data of every event is spread over two lines")
    tight: bool = _word(False, readers.flag, "no space follows the colon of `data:`")
    metadata_chunk: bool = _word(False, readers.flag, "a chunk without choices goes before the first token")
    split: int | None = _word(None, readers.count, "the body is sent in pieces of so many bytes")
    split_gap: float = _word(0.0, readers.seconds, "the wait between two pieces")
    encoding: str = _word(
        "none", readers.one_of("none", *PACKERS), "how the body is compressed, whether asked for or not"
    )
    headers: tuple[tuple[str, str], ...] = _word((), readers.headers, "further header fields of the answer")
    vendor_headers: bool = _word(False, readers.flag, "the cookies and server headers that providers send")
    skew: float = _word(0.0, readers.offset, "how far the provider's clock is ahead")

    def __post_init__(self) -> None:
        """Refuse words that contradict each other: raises ValueError naming them."""
        if self.tps is not None and self.gap != NO_WAIT:
            raise ValueError("`tps` and `gap` say the same thing: give one of them")
        if self.tps == 0:
            raise ValueError("`tps` must be above 0; for an answer that never comes say `stall`")
        if self.wrong and not self.wrong_answers:
            raise ValueError("`wrong` needs `wrong_answers` to choose from")
        if self.split == 0:
            raise ValueError("`split` needs at least 1 byte")
        if self.every == 0:
            raise ValueError("`every` must be above 0")
        if self.error_in != "status" and self.error is None and self.status is None:
            raise ValueError("`error_in` needs an `error`, such as error=overloaded")

    @cached_property
    def pace(self) -> Wait:
        """The wait between two tokens, however it was spelled."""
        return self.gap if self.tps is None else Wait("fixed", (1 / self.tps,))

    @cached_property
    def refuses(self) -> bool:
        """Whether an error is told at all."""
        return self.error is not None or (self.status is not None and self.redirect is None and not self.html)

    @cached_property
    def limited(self) -> bool:
        """Whether the faults strike some calls only."""
        return (self.first, self.rate, self.after, self.until) != (None, 1.0, 0.0, math.inf)

    @cached_property
    def spared(self) -> Behaviour:
        """The same behaviour without its faults."""
        return replace(self, **_FAULTLESS)

    def for_call(self, n: int, moment: float, chance: random.Random) -> Behaviour:
        """Return the behaviour of call number `n` (from 1) at `moment` seconds of the script: itself, or spared."""
        if not self.limited:
            return self
        if self.every is not None:
            moment %= self.every
        struck = (self.first is None or n <= self.first) and self.after <= moment < self.until
        return self if struck and (self.rate == 1 or chance.random() < self.rate) else self.spared


WORDS = {word.name: word for word in fields(Behaviour)}
"""The vocabulary: each field of Behaviour with its reader, its sentence and whether it is a fault."""

_FAULTLESS: dict[str, Any] = {name: word.default for name, word in WORDS.items() if word.metadata["fault"]}


def vocabulary() -> Iterator[str]:
    """Give one line a word: the word, what it means, and whether `first`, `rate` and their like limit it."""
    for name, word in WORDS.items():
        yield f"{name:17} {word.metadata['says']}{' (a fault)' if word.metadata['fault'] else ''}"
