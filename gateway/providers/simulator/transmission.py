"""Puts an answer on the connection: headers, bytes in the scripted pieces, and the several ways in which it can end."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from aiohttp import web
from multidict import CIMultiDict

from gateway.providers.simulator.behaviour import Behaviour
from gateway.providers.simulator.coding import PACKERS
from gateway.providers.simulator.journal import COMPLETED, RESET, Entry
from gateway.providers.simulator.problems import http_date

WHOLE, EOF, FIN, RST = "whole", "eof", "fin", "rst"
"""How an answer ends: as it should, too early but cleanly, by a closed connection, by a reset one."""

_NO_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: closing then sends RST instead of FIN
_SETTLE = 0.01  # seconds before a reset, so that what was sent is read before the reset overtakes it
_MISSING = 64  # bytes that Content-Length promises beyond a short body
_VENDOR_HEADERS = (
    ("server", "cloudflare"),
    ("set-cookie", "__cf_bm=simulated; path=/; HttpOnly; Secure; SameSite=None"),
    ("set-cookie", "_cfuvid=simulated; path=/; HttpOnly; Secure; SameSite=None"),
    ("cf-ray", "0000000000000000-SIM"),
    ("cf-cache-status", "DYNAMIC"),
    ("openai-organization", "org-simulated"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-reset-requests", "6ms"),
)

Fields = Sequence[tuple[str, str]]


async def pause(seconds: float) -> None:
    """Sleep, also for ever."""
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)


class Transmission:
    """One answer on its way; `epoch` is the reading of `time.monotonic` at which the journal's clock starts."""

    def __init__(self, request: web.BaseRequest, behaviour: Behaviour, entry: Entry, epoch: float) -> None:
        self._request = request
        self._behaviour = behaviour
        self._entry = entry
        self._epoch = epoch
        self._packer = PACKERS[behaviour.encoding]() if behaviour.encoding != "none" else None
        self.response: web.StreamResponse | None = None

    @property
    def now(self) -> datetime:
        """The provider's own idea of the time."""
        return datetime.now(UTC) + timedelta(seconds=self._behaviour.skew)

    async def open(self, status: int, fields: Fields, length: int | None = None) -> None:
        """Send the headers; without a length the body goes in chunks."""
        response = web.StreamResponse(status=status, headers=self._headers(fields))
        response.content_length = length
        await self._start(response)

    async def write(self, data: bytes) -> None:
        """Send a part of the body so that it can be read at once."""
        if self._packer is not None:
            data = self._packer.pack(data)
        await self._pieces(data)

    async def send(self, status: int, body: bytes, fields: Fields) -> None:
        """Send a whole body with its length, or a `short` one with a length that is not its own, and end."""
        behaviour = self._behaviour
        if self._packer is not None:
            body = self._packer.pack(body) + self._packer.end()
            self._packer = None
            fields = [*fields, ("Content-Encoding", behaviour.encoding)]
        if behaviour.short or behaviour.split is not None:
            await self.open(status, fields, len(body) + (_MISSING if behaviour.short else 0))
            await self._pieces(body)
        else:
            await self._start(web.Response(status=status, body=body, headers=self._headers(fields)))
        await self.end(FIN if behaviour.short else WHOLE)

    async def end(self, how: str) -> None:
        """End the answer; one that breaks the connection never returns, it is cancelled when the connection is lost."""
        if how in {RST, FIN}:
            await self._break_off(how)
        if self.response is not None:
            if self._packer is not None and how == WHOLE:
                await self.response.write(self._packer.end())
            await self.response.write_eof()
        self._entry.outcome = COMPLETED if how == WHOLE else RESET

    async def _start(self, response: web.StreamResponse) -> None:
        self.response = response
        self._entry.status = response.status
        self._entry.first_byte = time.monotonic() - self._epoch
        await response.prepare(self._request)

    async def _pieces(self, data: bytes) -> None:
        response, size = self.response, self._behaviour.split
        if response is None:
            raise RuntimeError("nothing can be written before the headers")
        if size is None:
            await response.write(data)
            return
        for at in range(0, len(data), size):
            await response.write(data[at : at + size])
            await asyncio.sleep(self._behaviour.split_gap)

    async def _break_off(self, how: str) -> NoReturn:
        transport = self._request.transport
        if transport is not None and how == RST and self.response is not None:
            while transport.get_write_buffer_size():  # noqa: ASYNC110 -- the transport tells only aiohttp
                await asyncio.sleep(0.001)
            await asyncio.sleep(_SETTLE)
        self._entry.outcome = RESET
        if transport is not None and how == RST:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
        elif transport is not None:
            transport.close()
        await pause(math.inf)
        raise AssertionError("unreachable: a lost connection cancels its call")

    def _headers(self, fields: Fields) -> CIMultiDict[str]:
        behaviour = self._behaviour
        headers = CIMultiDict(fields)
        if self._packer is not None:
            headers["Content-Encoding"] = behaviour.encoding
        if behaviour.skew:
            headers["Date"] = http_date(self.now)
        extra = (*(_VENDOR_HEADERS if behaviour.vendor_headers else ()), *behaviour.headers)
        for name, _ in extra:
            headers.popall(name, None)
        headers.extend(extra)
        return headers
