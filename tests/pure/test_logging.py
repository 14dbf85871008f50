"""The log: one line a request, nothing secret in it, nothing of the prompt or the answer either."""

from __future__ import annotations

import io
import json
import logging

import pytest

from fanin import Ballot, Candidate, Selection
from gateway.domain import Failure, FailureKind
from gateway.engine import events
from gateway.observe.log import Log
from gateway.settings import Secret

CANARY = "sk-canary-0123456789"


def lines(log: Log, stream: io.BytesIO) -> list[dict[str, object]]:
    log.close()
    return [json.loads(line) for line in stream.getvalue().split(b"\n") if line]


def test_a_request_is_one_line_with_its_branches() -> None:
    """Route, winner, reason, and each branch with its outcome and milliseconds; not a word of the answer."""
    stream = io.BytesIO()
    log = Log(stream)
    listen = log.listener("vote", "req-1")
    winner = Candidate("b", "a secret answer")
    listen(events.Launched("a", 0.0))
    listen(events.Failed(Failure("a", FailureKind.TRANSIENT, "503"), 1.0, 0.5))
    listen(events.Answered("b", 1.0, 0.25))
    listen(events.Superseded("c", 1.0, 0.251))
    listen(events.Selected(Selection(winner, "2 of 3 agree", 0.67, {"x": 2}, "majority"), Ballot(3), 1.0, rescued=True))
    listen(events.Finished(200, 0.26, 0.001))

    [line] = lines(log, stream)
    assert line.pop("timestamp")
    assert line == {
        "event": "request.finished",
        "level": "info",
        "request_id": "req-1",
        "route": "vote",
        "status": 200,
        "ms": 260.0,
        "overhead_ms": 1.0,
        "winner": "b",
        "selector": "majority",
        "reason": "2 of 3 agree",
        "agreement": 0.67,
        "rescued": True,
        "branches": [
            {"target": "a", "outcome": "transient", "ms": 500.0},
            {"target": "b", "outcome": "answered", "ms": 250.0},
            {"target": "c", "outcome": "superseded", "ms": 251.0},
        ],
    }


def test_secrets_are_masked_wherever_they_turn_up() -> None:
    """Configured keys and anything that looks like one: in fields, names, messages and tracebacks."""
    stream = io.BytesIO()
    log = Log(stream, [Secret("plain-but-secret"), Secret(""), Secret('pa"ss\\word')])
    try:
        msg = f"upstream said {CANARY} to plain-but-secret"
        raise ValueError(msg)
    except ValueError as exc:
        log.fault("req-1", exc)
    log.say("x", note="Bearer abcdefghijklmnop", plain_but="plain-but-secret", quoted='pa"ss\\word')

    written = stream.getvalue().decode()
    log.close()
    written = stream.getvalue().decode()
    assert "ValueError: upstream said *** to ***" in written
    for secret in (CANARY, "plain-but-secret", "abcdefghijklmnop", "word"):
        assert secret not in written


def test_what_libraries_log_is_a_masked_line_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's exception that nobody took shows a traceback, with keys in it; by itself it would go to stderr."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    out = io.BytesIO()
    log = Log(out, [Secret(CANARY)])
    log.hear_libraries()
    try:
        raise ValueError(f"Bearer {CANARY}")
    except ValueError as exc:
        logging.getLogger("asyncio").exception("Task exception was never retrieved", exc_info=exc)
    logging.getLogger("aiohttp.client").warning("it has %s", CANARY)  # litellm masks those of uvicorn itself
    logging.getLogger("aiohttp.client").info("nobody needs this")
    log.close()
    fault, warning = (json.loads(line) for line in out.getvalue().splitlines())
    assert (fault["event"], fault["level"], fault["logger"]) == ("library", "error", "asyncio")
    assert "ValueError" in fault["traceback"]
    assert warning["message"] == "it has ***"
    assert CANARY.encode() not in out.getvalue()


@pytest.mark.parametrize(("status", "level"), [(200, "info"), (404, "info"), (499, "info"), (502, "warning")])
def test_levels_say_what_deserves_a_look(status: int, level: str) -> None:
    """A client's mistake is no warning, a failed request is."""
    stream = io.BytesIO()
    log = Log(stream)
    log.listener("r", "1")(events.Finished(status, 0.1, None))
    assert lines(log, stream)[0]["level"] == level


def test_a_newline_or_escape_in_a_value_cannot_forge_a_line() -> None:
    """JSON escapes what a client put into a name."""
    stream = io.BytesIO()
    log = Log(stream)
    log.listener("a\nb\x1b[31m", "1")(events.Finished(200, 0.1, None))
    [line] = lines(log, stream)
    assert line["route"] == "a\nb\x1b[31m"


def test_the_console_format_is_for_people() -> None:
    """One readable line, masked all the same."""
    stream = io.BytesIO()
    log = Log(stream, console=True)
    log.say("gateway.ready", key=CANARY)
    log.close()
    text = stream.getvalue().decode()
    assert "gateway.ready" in text
    assert CANARY not in text
    assert not text.startswith("{")


def test_a_request_on_the_console_is_read_from_left_to_right() -> None:
    """Status, route, time, winner and why, branches, id; a client's newline cannot forge a line."""
    stream = io.BytesIO()
    log = Log(stream, console=True)
    listen = log.listener("vote", "req-1\n00:00:00 INFO    forged")
    listen(events.Failed(Failure("a", FailureKind.TRANSIENT, "503"), 1.0, 0.5))
    listen(events.Answered("b", 1.0, 0.25))
    winner = Candidate("b", "a secret answer")
    listen(events.Selected(Selection(winner, "2 of 3 agree", 0.67, {}, "majority"), Ballot(3), 1.0, rescued=True))
    listen(events.Finished(200, 0.26, 0.001))
    log.close()
    [line] = stream.getvalue().decode().splitlines()
    assert line[8:] == (
        " INFO    200  vote  260 ms  b (majority: 2 of 3 agree, rescued)  [a transient 500, b answered 250]"
        "  req-1\\x0a00:00:00 INFO    forged"
    )


def test_a_traceback_on_the_console_stands_below_its_line() -> None:
    """As people are used to read it."""
    stream = io.BytesIO()
    log = Log(stream, console=True)
    try:
        raise ValueError(CANARY)
    except ValueError as exc:
        log.fault("req-1", exc)
    log.close()
    first, *below = stream.getvalue().decode().splitlines()
    assert first[8:] == " ERROR   gateway.faulted  request_id=req-1"
    assert below[0] == "    Traceback (most recent call last):"
    assert below[-1] == "    ValueError: ***"
