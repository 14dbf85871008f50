"""The journal and the ledger: what was asked, how it ended and what was really generated for it."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

RUNNING, COMPLETED, DISCONNECTED, RESET = "running", "completed", "disconnected", "reset"


@dataclass(slots=True)
class Entry:
    """One call. Times are seconds on a monotonic clock that starts with the server.

    `outcome` is `completed` (the scripted answer, also a refusal, was sent whole), `reset` (the script broke the answer
    off), `disconnected` (the client went away first) or `running`. `generated` counts completion tokens, also the ones
    that nobody received. `connection` numbers the TCP connections.
    """

    path: str
    connection: int
    started: float
    raw_headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    n: int = 0
    model: str = ""
    stream: bool = False
    status: int | None = None
    first_byte: float | None = None
    ended: float | None = None
    outcome: str = RUNNING
    prompt_tokens: int = 0
    generated: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """The request's header fields by lower-case name; repeated ones are joined by a comma."""
        fields: dict[str, str] = {}
        for raw_name, raw_value in self.raw_headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return fields

    @property
    def json(self) -> Any:
        """The request's body decoded, or its text where it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError):
            return self.body.decode("utf-8", "replace")

    def record(self) -> dict[str, Any]:
        """Return the entry as the journal's endpoint shows it."""
        shown = {name: value for name, value in asdict(self).items() if name not in {"raw_headers", "body"}}
        return {**shown, "headers": self.headers, "body": self.json}


@dataclass(slots=True)
class Account:
    """The totals of one model: calls by outcome, and tokens."""

    calls: int = 0
    completed: int = 0
    disconnected: int = 0
    reset: int = 0
    prompt_tokens: int = 0
    generated: int = 0


class Journal:
    """The last calls in order of arrival, and the totals of every call since the start or the last reset."""

    def __init__(self, keep: int) -> None:
        self.entries: deque[Entry] = deque(maxlen=keep)
        self.accounts: dict[str, Account] = {}
        self.running = 0
        self._n = 0

    def open(self, entry: Entry) -> Account:
        """Enter a call that has just begun and return its model's account."""
        self._n += 1
        entry.n = self._n
        self.entries.append(entry)
        self.running += 1
        account = self.accounts.setdefault(entry.model, Account())
        account.calls += 1
        account.prompt_tokens += entry.prompt_tokens
        return account

    def close(self, entry: Entry, account: Account, ended: float) -> None:
        """Enter the end of a call whose outcome is known."""
        self.running -= 1
        entry.ended = ended
        account.generated += entry.generated
        setattr(account, entry.outcome, getattr(account, entry.outcome) + 1)

    def clear(self) -> None:
        """Forget all calls; those still running end unnoticed by the totals."""
        self.entries.clear()
        self.accounts.clear()
        self._n = 0
