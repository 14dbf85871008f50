"""A real Redis for tests: started on a free port, frozen and stopped at will."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.support.ports import free_port

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None,
    reason="needs redis-server: on Debian and Ubuntu, apt-get install redis-server",
)


@dataclass(frozen=True)
class RedisServer:
    """A running server that keeps nothing on disk."""

    url: str
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        """Let it be silent, with its connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a server until the end of the block."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            give_up = time.monotonic() + 20
            while not _answers(port):
                assert process.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.02)
            yield RedisServer(f"redis://127.0.0.1:{port}/0", process)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False
