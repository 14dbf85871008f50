"""Credentials: the gateway's own towards the providers, and the clients' towards the gateway."""

from __future__ import annotations

import hashlib
import re

from gateway.config.faults import Faults
from gateway.config.node import Node, masked

SHORTEST_KEY = 32
_LEAST_DISTINCT = 8
_PLACEHOLDER = re.compile(
    r"change.?me|your.?(?:api.?)?(?:key|secret)|example|placeholder|password|x{8}|1234567", re.IGNORECASE
)
_CURE = "make one with `openssl rand -hex 32`"


def credential(node: Node | None, faults: Faults) -> str | None:
    """Return a key without the newline that files and `echo` leave at its end; None when there is none to use."""
    if node is None:
        return None
    key: str = node.value.strip()
    if not key:
        faults.add(node, "found an empty text", "a key")
    elif not all("!" <= character <= "~" for character in key):
        faults.add(node, "a key with spaces, line breaks or non-ASCII characters (not shown)", "the key alone")
    else:
        return key
    return None


def digests(node: Node | None, faults: Faults) -> dict[str, str]:
    """Return the SHA-256 hex digest of every client's key.

    The keys themselves are forgotten here. One that can be guessed is a fault, and is told without the key.
    """
    clients: dict[str, str] = {}
    for name, key_node in node.children().items() if node else ():
        key = credential(key_node, faults)
        if key is None:
            continue
        digest = hashlib.sha256(key.encode()).hexdigest()
        twin = next((client for client, known in clients.items() if known == digest), None)
        if len(key) < SHORTEST_KEY:
            faults.add(key_node, "a key that is too short (not shown)", f"at least {SHORTEST_KEY} characters", _CURE)
        elif len(set(key)) < _LEAST_DISTINCT or _PLACEHOLDER.search(key):
            faults.add(key_node, "a key that can be guessed (not shown)", "a random one", _CURE)
        elif twin is not None:
            faults.add(
                key_node, f"the same key as {masked(twin)}'s (not shown)", "a key of its own for each client", _CURE
            )
        clients[name] = digest
    return clients
