"""A worker as its parent sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import msgspec

from gateway.serving.configuration import Configuration
from gateway.serving.control import Job, Lines, Status, Update, line
from gateway.serving.listening import Addresses
from gateway.serving.options import Options


class Child:
    """One worker: a fresh interpreter, so that a restart brings new code, and no lock is inherited half-held."""

    def __init__(self, job: Job) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway.serving.worker"],
            stdin=subprocess.PIPE,
            pass_fds=(job.listener, job.turn, writing),
        )
        os.close(writing)
        assert self._process.stdin is not None  # noqa: S101 -- it is a pipe
        self._stdin = self._process.stdin.fileno()
        os.set_blocking(self._stdin, False)
        self._status, self._lines = reading, Lines(reading)
        self.born = self.heard = time.monotonic()
        self.ready = self.leaving = False
        self._unsent = bytearray(line(msgspec.structs.replace(job, status=writing)))
        self.look()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended (negative: by which signal); None while it lives."""
        return self._process.poll()

    def look(self) -> list[Status]:
        """Send what is still to be sent, and return what it said."""
        try:
            if self._unsent:
                del self._unsent[: os.write(self._stdin, self._unsent)]
        except BlockingIOError:
            pass  # it is busy; the rest goes the next time
        except BrokenPipeError:
            self._unsent.clear()  # it has ended, which `code` will say
        said = [msgspec.json.decode(each, type=Status) for each in self._lines.read()]
        if said:
            self.heard = time.monotonic()
            self.ready = self.ready or any(each.word == "ready" for each in said)
        return said

    def update(self, contents: dict[str, bytes]) -> None:
        """Give it a new configuration."""
        self._unsent += line(Update(contents))
        self.look()

    def drain(self) -> None:
        """Ask it to stop; asked again, it hurries."""
        self.leaving = True
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        """Let go of a worker that has ended."""
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        os.close(self._status)


class Children:
    """All workers: those that serve, and those that are draining."""

    def __init__(
        self,
        configuration: Configuration,
        listener: socket.socket,
        turn: int,
        addresses: Addresses,
        options: Options,
    ) -> None:
        self._configuration, self._listener, self._turn = configuration, listener, turn
        self._addresses, self._options = addresses, options
        self.all: list[Child] = []

    @property
    def serving(self) -> list[Child]:
        """Those that have not been asked to stop."""
        return [child for child in self.all if not child.leaving]

    def start(self) -> Child:
        """Start one more, with the configuration that runs: it may be newer than what the file says, if that is bad."""
        file = self._configuration.path
        child = Child(
            Job(
                listener=self._listener.fileno(),
                status=-1,
                turn=self._turn,
                file=None if file is None else str(file),
                contents=self._configuration.files.contents,
                addresses=self._addresses,
                options=self._options,
            )
        )
        self.all.append(child)
        return child

    def update(self) -> None:
        """Give all that serve the configuration that runs."""
        for child in self.serving:
            child.update(self._configuration.files.contents)

    def ended(self) -> list[Child]:
        """Return those that have ended since the last call, and let go of them."""
        gone = [child for child in self.all if child.code is not None]
        self.all = [child for child in self.all if child not in gone]
        for child in gone:
            child.close()
        return gone

    def kill(self) -> None:
        """End all at once."""
        for child in self.all:
            child.kill()
            child.close()
        self.all = []
