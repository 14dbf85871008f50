"""The `providers` of the configuration → `ProviderSettings`."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from gateway.config.catalog import OURS, PROFILES, PROJECT, REGION, Profile
from gateway.config.credentials import credential
from gateway.config.faults import Faults, did_you_mean
from gateway.config.node import Node, masked, step
from gateway.config.schema.terms import CONCURRENCY
from gateway.settings import ProviderSettings, Secret

_V = TypeVar("_V")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_OURS = frozenset({"connection", "content-length", "content-type", "host", "transfer-encoding"})
_OUR_WIRE = "headers and query for a server that our own client asks"


class Masked(dict[str, _V]):
    """A mapping whose `repr` shows its keys and no value: headers, query and options may hold credentials."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{masked(key)!r}: '***'" for key in self) + "}"


def provider(name: str, node: Node, faults: Faults) -> tuple[ProviderSettings, ...]:
    """Return the settings of one provider, once for each of its keys; none when we cannot even tell what it speaks."""
    profile = _profile(name, node, faults)
    if profile is None:
        return ()
    keys = _keys(node.child("api_key"), faults)
    headers, query = _headers(node, faults), dict(node.get("query", {}))
    azure = node.get("api", name) == "azure"
    if node.has("api_version") and profile.api == "openai":
        query = {"api-version": node.get("api_version", ""), **query}
    settings = ProviderSettings(
        name=name,
        api=profile.api,
        base_url=_base_url(node, profile, faults, azure=azure),
        headers=Masked(headers),
        query=Masked(query),
        options=Masked(_options(node, profile, faults)),
        concurrency=node.get("concurrency", CONCURRENCY),
        responses=_responses(name, node, profile, faults),
        ca_certificate=_authorities(node, profile, faults),
    )
    if not keys:
        return (settings,)
    return tuple(_with_key(settings, number, key, azure=azure) for number, key in enumerate(keys, 1))


def _keys(node: Node | None, faults: Faults) -> list[str]:
    """Return one key or several, each once."""
    if node is None:
        return []
    keys: list[str] = []
    for each in node.value if isinstance(node.value, list) else (node,):
        key = None if each.faulty else credential(each, faults)
        if key is not None and key in keys:
            faults.add(each, "the same key once more (not shown)", "each key once")
        elif key is not None:
            keys.append(key)
    return keys


def _with_key(settings: ProviderSettings, number: int, key: str, *, azure: bool) -> ProviderSettings:
    """Return the provider with one of its keys: the first under its own name."""
    name = settings.name if number == 1 else f"{settings.name}#{number}"
    if azure:
        return replace(settings, name=name, headers=Masked({"api-key": key, **settings.headers}))
    return replace(settings, name=name, api_key=Secret(key))


def _profile(name: str, node: Node, faults: Faults) -> Profile | None:
    """Return what we know about the provider: by its `api`, else by its name, else that it has an address."""
    api = node.get("api", name)
    if node.has("api") and node.child("api") is None:
        return None
    profile = PROFILES.get(api, Profile(api))
    if api not in PROFILES and not node.has("api"):
        if not node.has("base_url"):
            cure = did_you_mean(Node(name), name, PROFILES) or "with `api: openai` it is any OpenAI-compatible server"
            faults.add(node, "not a provider we know by name", "an `api` or a `base_url`", cure)
            return None
        profile = Profile("openai")
    if profile.keys and not any(node.has(key) for key in ("api_key", "base_url", "headers", "options")):
        faults.missing(step(node.path, "api_key"), node, f'a key such as "${{{profile.keys[0]}}}"')
    return profile


def _base_url(node: Node, profile: Profile, faults: Faults, *, azure: bool) -> str | None:
    given = node.child("base_url")
    if given is None:
        if azure and not node.has("base_url"):
            expected = "the resource's address such as https://NAME.openai.azure.com"
            faults.missing(step(node.path, "base_url"), node, expected)
        return profile.base_url
    address = given.value.rstrip("/")
    try:
        port_fits = urlsplit(address).port != 0
    except ValueError:
        port_fits = False
    if not port_fits:
        faults.found(given, "an address with a port from 1 to 65535, or without a port")
    for path in ("/chat/completions", "/messages"):
        if address.endswith(path):
            faults.found(given, f"the address without {path}")
    if azure and not urlsplit(address).path:
        # The v1 API needs no dated api-version: learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
        return f"{address}/openai/v1"
    return str(address)


def _headers(node: Node, faults: Faults) -> dict[str, str]:
    headers = {}
    given = node.child("headers")
    for name, value in given.children().items() if given else ():
        text = value.value.strip()
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS:
            faults.add(value, "a header that cannot be set", f"a header name other than {', '.join(sorted(_OURS))}")
        elif not text.isascii() or not text.isprintable():
            faults.add(value, "a header with line breaks or non-ASCII characters (not shown)", "printable ASCII")
        elif name.lower() == "authorization" and node.has("api_key"):
            faults.add(value, "a second credential besides api_key", "one of them")
        else:
            headers[name.lower()] = text
    return headers


def _responses(name: str, node: Node, profile: Profile, faults: Faults) -> bool:
    """Return whether the provider serves `/responses`; of OpenAI's own address we know."""
    given = node.child("responses")
    if given is not None and given.value and profile.api != "openai":
        faults.add(given, "not used with this api", "`responses: true` on an OpenAI-compatible server")
    return bool(node.get("responses", node.get("api", name) == "openai" and not node.has("base_url")))


def _authorities(node: Node, profile: Profile, faults: Faults) -> str | None:
    given = node.child("ca_certificate")
    if given is None:
        return None
    if profile.api not in OURS:
        faults.add(given, "not used with this api", "a provider that our own client asks; for litellm, SSL_CERT_FILE")
    try:
        ssl.create_default_context(cadata=given.value)
    except (ssl.SSLError, ValueError):
        faults.add(given, "not certificates that can be read", 'text in PEM, such as "${file:ca.pem}"')
    return str(given.value)


def _options(node: Node, profile: Profile, faults: Faults) -> Mapping[str, Any]:
    """Return litellm's keyword arguments; the wire client of our own has no use for any of them."""
    options: dict[str, Any] = dict(node.get("options", {}))
    names = {"region": REGION.get(profile.api), "project": PROJECT.get(profile.api), "api_version": "api_version"}
    for key, option in names.items():
        given = node.child(key)
        if given is None or (profile.api == "openai" and key == "api_version"):
            continue
        if profile.api in OURS:
            faults.add(given, "not used with this api", _OUR_WIRE)
        elif option is None:
            faults.add(given, f"not used with api {profile.api}", "litellm's own name for it under options")
        else:
            options[option] = given.value
    if profile.api in OURS and (given := node.child("options")) is not None:
        faults.add(given, "not used with this api", _OUR_WIRE)
    return options
