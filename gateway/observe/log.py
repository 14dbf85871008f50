"""Structured logs: one JSON line per request, secrets masked on the finished line, written in batches.

The only file that knows structlog. Prompts and answers are never logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec
import structlog

from gateway.engine.events import (
    Answered,
    Event,
    Failed,
    Finished,
    KeyDisabled,
    KeyEnabled,
    Listener,
    MadeUp,
    Selected,
    SelectorFaulted,
    Superseded,
)
from gateway.observe.console import line as console_line
from gateway.settings import Secret

_encode = msgspec.json.Encoder(enc_hook=str).encode

FLUSH_EVERY = 0.1
"""Seconds that a line may wait to be written together with others."""

_GENERIC = {
    rb"\b(?:sk|pk|rk|xai)-[\w-]{8,}": (b"sk-", b"pk-", b"rk-", b"xai-"),
    rb"\b(?:gsk|hf)_\w{8,}": (b"gsk_", b"hf_"),
    rb"\bAIza[\w-]{20,}": (b"AIza",),
    rb"\b(?:[Bb]earer|BEARER)\s+[\w.~+/-]{8,}=*": (b"earer", b"EARER"),
}
"""What credentials look like, each with the words that stand in every match."""


class Log:
    """The log of one process."""

    def __init__(
        self,
        stream: BinaryIO | None = None,
        secrets: Iterable[Secret] = (),
        *,
        console: bool = False,
        turn: int | None = None,
    ) -> None:
        """Make a log; `turn` is the descriptor of a file whose lock says which process may write."""
        self._lines = _Batch(stream or sys.stdout.buffer, turn)
        self._spelled: set[bytes] = set()
        self.learn(secrets)
        self._render: Callable[[MutableMapping[str, Any]], bytes] = console_line if console else _encode
        self._log = structlog.wrap_logger(
            self._lines,
            processors=[self._line],
            wrapper_class=structlog.make_filtering_bound_logger("info"),
        ).bind()  # without it structlog would bind anew for every line

    def _line(self, _: Any, level: str, event: MutableMapping[str, Any]) -> bytes:
        """Return the line of an event; masked when it is finished, so that no field, message or traceback slips by."""
        event["level"], event["timestamp"] = level, datetime.now(UTC)
        exc = event.pop("exc", None)
        if exc is not None:
            event["traceback"] = "".join(traceback.format_exception(exc))
        line = self._render(event)
        # Looking for the words that every match begins with costs a twentieth of looking for a match, and `find` a
        # third of `in`, which would first try each of them as a number.
        for hint in self._hints:
            if line.find(hint) >= 0:
                return self._mask.sub(b"***", line)
        return line

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Mask these too from now on, beside those known before: they may still be in use."""
        self._spelled |= {form for secret in secrets if secret.reveal() for form in _spellings(secret.reveal())}
        known = sorted(self._spelled, key=len, reverse=True)
        self._mask = re.compile(b"|".join((*map(re.escape, known), *_GENERIC)))
        self._hints = (*known, *(hint for hints in _GENERIC.values() for hint in hints))

    def listener(self, route: str, request_id: str) -> Listener:
        """Return the listener of one request, which writes its line at the end."""
        return _RequestLine(self, route, request_id).hear

    def finished(self, level: str, line: dict[str, Any]) -> None:
        """Write a request's line as structlog would, whose own share is a quarter of what that costs."""
        line["event"] = "request.finished"
        self._lines.msg(self._line(None, level, line))

    def fault(self, request_id: str, exc: BaseException, event: str = "gateway.faulted", **fields: Any) -> None:
        """Log a fault of our own with its traceback."""
        self._log.error(event, request_id=request_id, exc=exc, **fields)

    def say(self, event: str, **fields: Any) -> None:
        """Log something of the process's own life."""
        self._log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log something of the process's own life that somebody should look at."""
        self._log.warning(event, **fields)

    def key(self, event: KeyDisabled | KeyEnabled) -> None:
        """Log, once, that a provider's key was refused or works again."""
        if isinstance(event, KeyDisabled):
            self._log.error("provider.key_disabled", provider=event.provider, reason=event.reason)
        else:
            self._log.info("provider.key_enabled", provider=event.provider)

    def hear_libraries(self) -> None:
        """Write from now on what libraries log by Python's `logging`: by itself it goes to stderr, unmasked."""
        logging.getLogger().addHandler(_Libraries(self._log))

    def close(self) -> None:
        """Write what is still held back."""
        self._lines.write_out()


class _Libraries(logging.Handler):
    """Makes lines of ours of the warnings and errors of libraries, asyncio and uvicorn among them."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write("library", logger=record.name, message=record.getMessage(), exc=(record.exc_info or (None, None))[1])


class _RequestLine:
    """Gathers the events of one request into one line."""

    __slots__ = ("_branches", "_fields", "_log", "_selected")

    def __init__(self, log: Log, route: str, request_id: str) -> None:
        self._log = log
        self._fields: dict[str, Any] = {"request_id": request_id, "route": route}
        self._branches: list[dict[str, Any]] = []
        self._selected: Selected | None = None

    def hear(self, event: Event) -> None:
        note = _NOTES.get(type(event))
        if note is not None:
            note(self, event)

    def answered(self, event: Answered) -> None:
        self._branch(event.target, "answered", event.duration)

    def superseded(self, event: Superseded) -> None:
        self._branch(event.target, "superseded", event.duration)

    def failed(self, event: Failed) -> None:
        self._branch(event.failure.target, event.failure.kind.value, event.duration)
        if event.cause is not None:
            self._log.fault(exc=event.cause, event="target.faulted", **self._fields)

    def selector_faulted(self, event: SelectorFaulted) -> None:
        self._log.fault(exc=event.cause, event="selector.faulted", selector=event.selector, **self._fields)

    def selected(self, event: Selected) -> None:
        self._selected = event

    def made_up(self, event: MadeUp) -> None:
        """Note who gives the choices of a target that failed."""
        share = {"target": event.target, "by": event.by, "choices": event.choices}
        self._fields.setdefault("made_up", []).append(share)

    def _branch(self, target: str, outcome: str, duration: float) -> None:
        self._branches.append({"target": target, "outcome": outcome, "ms": round(duration * 1000, 1)})

    def finished(self, event: Finished) -> None:
        line = self._fields
        line["status"] = event.status
        line["ms"] = round(event.duration * 1000, 1)
        if event.overhead is not None:
            line["overhead_ms"] = round(event.overhead * 1000, 2)
        if self._selected is not None:
            selection = self._selected.selection
            line["winner"], line["selector"] = selection.winner.target, selection.selector
            line["reason"], line["agreement"] = selection.reason, selection.agreement
            line["rescued"] = self._selected.rescued
        if event.error is not None:
            line["error"] = event.error
        line["branches"] = self._branches
        self._log.finished("warning" if event.status >= 500 else "info", line)


_NOTES: dict[type, Callable[[_RequestLine, Any], None]] = {
    Answered: _RequestLine.answered,
    Superseded: _RequestLine.superseded,
    Failed: _RequestLine.failed,
    SelectorFaulted: _RequestLine.selector_faulted,
    MadeUp: _RequestLine.made_up,
    Selected: _RequestLine.selected,
    Finished: _RequestLine.finished,
}


def _spellings(secret: str) -> tuple[bytes, bytes]:
    """Return a secret as it is, and as it stands inside a JSON string."""
    return secret.encode(), msgspec.json.encode(secret)[1:-1]


class _Batch:
    """A logger for structlog that holds lines back for a moment and writes them in one call.

    A pipe takes no more than 4 kB at once (PIPE_BUF): where several processes write to one, they take turns by a lock.
    It is the process's own (fcntl), so that one that is killed gives its turn back.
    """

    def __init__(self, stream: BinaryIO, turn: int | None = None) -> None:
        self._stream = stream
        self._turn = turn
        self._lines: list[bytes] = []

    def msg(self, line: bytes) -> None:
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_later(FLUSH_EVERY, self.write_out)
            except RuntimeError:  # no loop: start-up and shut-down
                self.write_out()

    debug = info = warning = error = critical = msg

    def write_out(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            # A reader that went away must not take the gateway with it.
            with contextlib.suppress(BrokenPipeError), self._my_turn():
                self._stream.write(b"\n".join((*lines, b"")))
                self._stream.flush()

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        import fcntl  # noqa: PLC0415 -- not on Windows, where there are no workers

        fcntl.lockf(self._turn, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._turn, fcntl.LOCK_UN)
