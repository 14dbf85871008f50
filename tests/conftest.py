"""What every test may rely on: asyncio as the only backend, and sockets that reach no further than this machine."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow: how long an example takes says nothing about the code. And whether a change passes is no
# matter of luck: the examples are always the same. `make test ARGS=--hypothesis-profile=looking` looks for others.
_current = settings.get_profile(settings.get_current_profile_name())
_unhurried = settings(_current, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("looking", _unhurried, derandomize=False)
settings.register_profile("same for all", _unhurried, derandomize=True, database=None)
settings.load_profile("same for all")


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse any connection that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and not ipaddress.ip_address(address[0]).is_loopback:
            pytest.fail(f"a test tried to reach {address!r}: only loopback is allowed")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
