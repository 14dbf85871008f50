"""Clean an upstream's words of whatever must not reach a client: credentials, host names, addresses."""

from __future__ import annotations

import re

LONGEST = 1000
"""Characters of an upstream's message that are passed on."""

_REMOVED = "[removed]"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Every repetition that may start at many places is bounded: a hostile message must not cost quadratic time.
_SECRETS = re.compile(
    r"""
      (?:https?|wss?)://[^\s"'<>)\]]+                                                   # addresses
    | \beyJ[\w-]{8,}(?:\.[\w-]*){0,2}                                                   # JSON web tokens
    | \bbearer\s+[^\s"',]+
    | \b(?:api[-_ ]?key|token|secret|password|authorization)(?:\s+provided)?["']?\s*[:=]
      \s*["']?(?:(?:bearer|basic)\s+)?[^\s"',]+
    | \b(?:sk|pk|rk|ak|gsk|xai|nvapi|pplx|csk|hf|r8|fw|tgp|sess|gh[pousr]|glpat|xox[a-z])[-_][\w*.-]{4,}
    | \b(?:AIza|ya29\.|AKIA|ASIA)[\w*.-]{8,}
    | \b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b
    | (?<![a-z0-9])(?=[a-z]{0,99}\d)(?=\d{0,99}[a-z])[a-z0-9]{20,}                      # letters mixed with digits
    | (?-i:(?<![\w+/])(?=\S{0,99}\d)(?=\S{0,99}[a-z])(?=\S{0,99}[A-Z])[\w+/]{32,})      # base64
    | \b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b
    | \[[0-9a-f:]{0,39}:[0-9a-f:]{1,39}\](?::\d+)?
    | \blocalhost(?::\d+)?\b
    | \b(?:[a-z0-9_-]{1,63}\.){1,8}
      (?:com|net|org|ai|io|dev|app|cloud|co|cn|eu|us|uk|de|fr|jp|ru|info|internal|intranet|local|lan|corp|home|svc
        |test|example|invalid)(?::\d+)?\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def scrub(message: str, known: str = "") -> str:
    """Return a message as one short line without anything that looks like a credential, a host or an address.

    What stands in `known` is no news to whoever reads it, and stays.
    """
    line = _CONTROL.sub(" ", message[: 4 * LONGEST]).strip()
    line = _SECRETS.sub(lambda found: found[0] if found[0] in known else _REMOVED, line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
