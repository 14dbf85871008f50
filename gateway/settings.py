"""What the operator has set: providers, limits, keys; a valid configuration as the rest of the gateway reads it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain import Route


class Secret:
    """A value that is never printed: `repr`, `str` and formatting show stars, `reveal()` the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; call it only where it goes onto the wire."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How to reach one provider.

    `api` is `"openai"` or `"anthropic"` for every upstream that our own wire clients serve; any other word is litellm's
    name of the provider. `options` are further keyword arguments for litellm (`api_version`, `aws_region_name`, ...);
    `concurrency` is how many calls may be in flight at once, `responses` whether an OpenAI-compatible provider has
    `/responses` itself. `ca_certificate` are the authorities (PEM) of which one must have signed the provider's TLS
    certificate, None for those that the system trusts.
    """

    name: str
    api: str = "openai"
    base_url: str | None = None
    api_key: Secret | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 256
    responses: bool = False
    ca_certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process takes upon itself, in seconds and bytes; beyond it, clients are told to come again.

    `in_flight` requests are served at once and `queue` more wait for up to `queue_timeout`. A request's headers and its
    body must have arrived within their times, and a client that takes nothing of its answer for `write_timeout` is cut
    off. A body that is passed on unread is not held, so it may have `upload_bytes`. `loop_lag` is how late the event
    loop may be before new work is refused.
    """

    in_flight: int = 1024
    queue: int = 256
    queue_timeout: float = 0.1
    connections: int = 10_000
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    write_timeout: float = 60.0
    body_bytes: int = 20 * 1024 * 1024
    upload_bytes: int = 512 * 1024 * 1024
    loop_lag: float = 0.5


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole valid configuration.

    `keys` maps a client's name to the SHA-256 hex digest of its key; when it is empty no key is asked for. `notes` are
    sentences for the operator. `traces` is where a collector of OpenTelemetry listens, None for nowhere. `cors` are the
    origins whose pages may call the gateway, `*` for any. `passthrough` is the provider to which goes what the gateway
    does not serve itself. `default_routes` are the routes of requests that name no model, by operation. `redis` is one
    that workers and replicas share. `accounts` are the providers that have several keys, once with each: the first has
    the provider's own name, the second `NAME#2`.
    """

    providers: Mapping[str, ProviderSettings]
    routes: Mapping[str, Route]
    adhoc: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    notes: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    traces: str | None = None
    passthrough: str | None = None
    default_routes: Mapping[str, str] = field(default_factory=dict)
    redis: Secret | None = None
    accounts: Mapping[str, tuple[ProviderSettings, ...]] = field(default_factory=dict)

    @property
    def asked(self) -> dict[str, ProviderSettings]:
        """The providers by name, and once more by the name of an account for each further key."""
        further = {each.name: each for accounts in self.accounts.values() for each in accounts[1:]}
        return {**self.providers, **further} if further else dict(self.providers)
