"""What a parent and its workers say to each other: lines of JSON over the worker's stdin and one more pipe.

A worker whose stdin ends has lost its parent, and drains: nothing is left behind when the parent is killed.
"""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from gateway.serving.listening import Addresses
from gateway.serving.options import Options

_CHUNK = 65536


class Job(Struct, frozen=True):
    """What a worker is started with: the descriptors it inherits, and the configuration as the parent read it."""

    listener: int
    status: int
    turn: int
    file: str | None
    contents: dict[str, bytes]
    addresses: Addresses
    options: Options


class Update(Struct, frozen=True):
    """A new configuration, which the parent has found good."""

    contents: dict[str, bytes]


class Status(Struct, frozen=True):
    """What a worker says: that it is `ready`, that it is `alive` (its loop turns), or what it could not do."""

    word: str
    detail: str = ""


class Lines:
    """The reading end of a pipe, line by line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self.ended = False

    def wait_for_one(self) -> bytes:
        """Return the next line, waiting for it; empty when the other side has closed."""
        while not (lines := self.read(most=1)) and not self.ended:
            pass
        return lines[0] if lines else b""

    def read(self, most: int | None = None) -> list[bytes]:
        """Return the whole lines that are there; of a pipe that does not block, without waiting."""
        try:
            chunk = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return []
        self.ended = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if most is not None:
            self._rest = b"\n".join([*lines[most:], self._rest])
            lines = lines[:most]
        return lines


def line(message: Struct) -> bytes:
    """Return a message as it is sent."""
    return msgspec.json.encode(message) + b"\n"
