"""Processes: started, waited for until they answer, read by the operating system's accounts, stopped."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN = 30.0
"""Seconds."""
_POLL = 0.002


class NotReady(Exception):
    """A process ended or did not answer in time; the message holds the end of what it wrote."""


class Server:
    """A running server on a port of this machine; `started_in` is the seconds from its start to its first 200."""

    def __init__(self, pid: int, port: int, started_in: float) -> None:
        self.port = port
        self.started_in = started_in
        self._root = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, that the process and its children have taken so far."""
        return sum(map(_cpu_seconds, self._tree()))

    def memory(self) -> int:
        """Return the resident memory of the process and its children in bytes."""
        return sum(int(process.memory_info().rss) for process in self._tree())

    def descriptors(self) -> int:
        """Return the open descriptors of the process and its children."""
        return sum(int(process.num_fds()) for process in self._tree())

    def threads(self) -> int:
        """Return the threads of the process and its children."""
        return sum(int(process.num_threads()) for process in self._tree())

    def _tree(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    if psutil.LINUX:
        # The clock of clock_getcpuclockid(3) counts nanoseconds, /proc only hundredths of a second.
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def server(command: Sequence[str], port: int, ready: str, log: Path) -> Iterator[Server]:
    """Run a command as long as the block runs, which begins when a GET of the path `ready` is answered with 200.

    What the command writes goes to the file `log`.

    Raises:
        NotReady: it ended, or gave no 200 within 30 seconds.
    """
    start = time.perf_counter()
    with log.open("wb") as written:
        process = subprocess.Popen(command, cwd=ROOT, stdout=written, stderr=subprocess.STDOUT)
    try:
        while not _answers(port, ready):
            if process.poll() is not None or time.perf_counter() - start > READY_WITHIN:
                raise NotReady(f"{' '.join(command)}\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL)
        yield Server(process.pid, port, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait(READY_WITHIN)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
