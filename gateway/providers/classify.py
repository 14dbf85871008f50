"""Everything we know about provider errors: an answer, an error object or an exception becomes a Failure.

Pure functions that raise for nothing an upstream may send. Header mappings have lower-case keys: HTTP headers know no
case, plain dictionaries do. `Failure.detail` is always our own sentence; the upstream's words survive only in
`Failure.error`, only where they help the client to mend its request, and scrubbed.
"""

from __future__ import annotations

import errno
import json
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import msgspec

from gateway.domain import Failure, FailureKind
from gateway.providers.error_report import Report, report_of
from gateway.providers.retry_after import explicit, retry_after
from gateway.providers.scrub import scrub
from gateway.providers.sse import EventTooLarge


def from_response(target: str, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Classify an HTTP error answer by its status and whatever error object its body holds."""
    report = report_of(parsed(body))
    kind = _kind(status, report)
    wait = None
    if kind is FailureKind.RATE_LIMITED:
        wait = retry_after(headers, datetime.now(UTC))
        wait = report.retry_after if wait is None else wait
    elif kind is FailureKind.TRANSIENT:
        # Answers of every status carry rate-limit resets; only an explicit Retry-After speaks about this failure.
        wait = explicit(headers, datetime.now(UTC))
    failure = _failure(target, kind, report, status, wait)
    again = _AGAIN.get(headers.get("x-should-retry", ""))
    return failure if again is None else replace(failure, again=again)


_AGAIN = {"true": True, "false": False}


def from_error_object(target: str, error: object, status: int | None) -> Failure:
    """Classify an error that came inside a success: a 200 with an error body, or an event of a stream.

    `status` is the HTTP status where it says something; an integer code inside the object counts as one.
    """
    report = report_of(error)
    if status is None or 200 <= status < 300:
        status = report.status
    kind = _kind(status, report)
    wait = report.retry_after if kind is FailureKind.RATE_LIMITED else None
    return _failure(target, kind, report, status, wait)


def from_exception(target: str, exc: BaseException) -> Failure:
    """Classify what a call raised; anything we do not know is a fault of ours (UNKNOWN)."""
    if isinstance(exc, OSError) and exc.errno in _OUR_LACK:
        # Nothing against the provider: the gateway has run out of file descriptors, ports or memory.
        return Failure(target, FailureKind.UNKNOWN, "the gateway lacks a resource for another connection")
    for types, kind, detail in _EXCEPTIONS:
        if isinstance(exc, types):
            # A certificate that is not valid now will not be in half a second.
            return Failure(target, kind, detail, again=False if types is _CERTIFICATE else None)
    return Failure(target, FailureKind.UNKNOWN, f"a fault inside the gateway ({type(exc).__name__})")


def parsed(body: bytes) -> object:
    """Return the JSON value, or None for HTML, text, half an object, or an error as long as a book."""
    if len(body) > 64 * 1024:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


_SENTENCES = {
    FailureKind.TRANSIENT: "the provider answered {status}",
    FailureKind.MALFORMED: "the provider answered {status}, which is neither an answer nor an error",
    FailureKind.RATE_LIMITED: "the provider limits the rate of calls ({status})",
    FailureKind.QUOTA: "the provider says that credit or quota is used up ({status})",
    FailureKind.CREDENTIAL: "the provider refused the gateway's own credential ({status})",
    FailureKind.MODEL_GONE: "the provider does not serve this model ({status})",
    FailureKind.CONTEXT_LENGTH: "the prompt does not fit this model ({status})",
    FailureKind.FILTERED: "the provider's content policy refused the request ({status})",
    FailureKind.CALLER_FAULT: "the provider found fault with the request ({status})",
}
_CODES = {FailureKind.CONTEXT_LENGTH: "context_length_exceeded", FailureKind.FILTERED: "content_filter"}
"""OpenAI's codes, which clients act upon, for providers that say the same thing in prose."""
_BAD_GENERATION = {"tool_use_failed", "json_validate_failed"}
"""Groq's 400 about its own model's output: another attempt may do better."""


_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _failure(target: str, kind: FailureKind, report: Report, status: int | None, wait: float | None) -> Failure:
    if report.words & _BAD_GENERATION:
        detail = "the model's own output broke the rules it was given"
    else:
        detail = _SENTENCES[kind].format(status=status or "an error inside its answer")
    if kind is FailureKind.CALLER_FAULT and _FIELD.fullmatch(report.param):
        detail = f"the provider found fault with `{report.param}` ({status or 'an error inside its answer'})"
    if not kind.caller_should_know:
        return Failure(target, kind, detail, retry_after=wait, status=status)
    error = {
        "message": scrub(report.message) or f"{detail[0].upper()}{detail[1:]}.",
        "type": report.type or "invalid_request_error",
        "param": scrub(report.param) or None,
        "code": report.code or _CODES.get(kind),
    }
    return Failure(target, kind, detail, retry_after=wait, status=status, error=error)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS = (
    (FailureKind.MALFORMED, frozenset(_BAD_GENERATION)),
    (
        FailureKind.QUOTA,
        _set(
            """insufficient_quota billing_hard_limit_reached billing_not_active billing_error insufficient_credits
            insufficient_balance insufficient_user_quota payment_required exceeded_current_quota_error arrearage"""
        ),
    ),
    (FailureKind.CONTEXT_LENGTH, _set("context_length_exceeded context_window_exceeded prompt_too_long")),
    (
        FailureKind.FILTERED,
        _set(
            """content_filter content_filtered content_policy_violation responsibleaipolicyviolation invalid_prompt
            data_inspection_failed moderation_blocked safety"""
        ),
    ),
    (
        FailureKind.MODEL_GONE,
        _set(
            """model_not_found model_not_available model_not_supported model_decommissioned invalid_model
            deploymentnotfound"""
        ),
    ),
    (FailureKind.RATE_LIMITED, _set("ratelimitexceeded userratelimitexceeded throttlingexception")),
    (
        FailureKind.CREDENTIAL,
        _set("authentication_error permission_error invalid_api_key api_key_invalid api_key_expired"),
    ),
)
"""What a provider's machine words say, whatever the 4xx is. The first match counts."""


def _phrase(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.VERBOSE | re.DOTALL)


_PHRASES = (
    (
        FailureKind.QUOTA,
        _phrase(
            r"""credit\ balance\ is\ too\ low | insufficient\ (balance|credits?|quota|funds) | run\ out\ of\ credits
            | specified\ (workspace\ )?api\ usage\ limits"""
        ),
    ),
    (
        FailureKind.CREDENTIAL,
        _phrase(r"(invalid|incorrect|expired|missing)\ api[ _-]?key | api\ key\ (not\ valid|not\ found|expired)"),
    ),
    (
        FailureKind.CONTEXT_LENGTH,
        _phrase(
            r"""context[ _-]?(length|window) | (prompt|input)\ is\ too\ long | maximum\ (input|prompt)\ length
            | exceeds?\ the\ maximum\ (allowed\ )?(number\ of\ )?(input\ )?tokens | reduce\ the\ length
            | input\ token\ count\ .{0,99}exceeds | request\ too\ large\ for\ model"""
        ),
    ),
    (
        FailureKind.FILTERED,
        _phrase(
            r"""content\ management\ policy | content[ _]polic(y|ies) | content[ _]filter | usage\ polic(y|ies)
            | safety\ (system|filter|settings) | requires\ moderation
            | (input|prompt|content|request)\ (was|has\ been)\ (flagged|blocked)"""
        ),
    ),
    (
        FailureKind.MODEL_GONE,
        _phrase(
            r"""\bmodel\b.{0,200}\b(not\ (exist|found|available|a\ valid)|decommissioned|deprecated|retired)
            | \bmodel\ \S{1,200}\ is\ not\ supported | (invalid|unknown|no\ such)\ model\b | no\ endpoints\ found"""
        ),
    ),
)
"""What a provider says in prose only."""

_TALKATIVE = {None, 400, 403, 404, 413, 422, 424, 429}
"""Statuses that mean many things: there the message decides."""

_STATUSES = {
    401: FailureKind.CREDENTIAL,
    402: FailureKind.QUOTA,
    403: FailureKind.CREDENTIAL,
    407: FailureKind.CREDENTIAL,
    408: FailureKind.TRANSIENT,
    409: FailureKind.TRANSIENT,  # a lock that was not got in time; openai-python retries it, too
    410: FailureKind.MODEL_GONE,
    425: FailureKind.TRANSIENT,
    429: FailureKind.RATE_LIMITED,
    498: FailureKind.TRANSIENT,  # Groq: no capacity in the flexible tier
}
_STATUS_OF_WORD = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "too_many_requests": 429,
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "badrequesterror": 400,
    "request_too_large": 413,
    "not_found_error": 404,
    "not_found": 404,
    "unauthenticated": 401,
    "permission_denied": 403,
}
"""What a word means where no status tells, inside a stream; the rest (`overloaded_error`, ...) is a 5xx."""


def _kind(status: int | None, report: Report) -> FailureKind:
    if status is not None and status >= 500:
        return FailureKind.TRANSIENT
    for kind, words in _WORDS:
        if report.words & words:
            return kind
    said = _said(status, report) if status in _TALKATIVE else None
    if said is not None:
        return said
    if status is None:
        status = next((_STATUS_OF_WORD[word] for word in sorted(report.words) if word in _STATUS_OF_WORD), 500)
    return _by_status(status, report)


def _said(status: int | None, report: Report) -> FailureKind | None:
    message = report.message[:4000]
    kind = next((kind for kind, phrase in _PHRASES if phrase.search(message)), None)
    return kind if status != 429 or kind is FailureKind.QUOTA else None


def _by_status(status: int, report: Report) -> FailureKind:
    if status in _STATUSES:
        return _STATUSES[status]
    if status == 404:
        # A wrong path answers with HTML or {"detail": "Not Found"}: the operator's matter, no client can mend it.
        about_something_else = report.words and "model" not in report.message.lower()
        return FailureKind.CALLER_FAULT if about_something_else else FailureKind.MODEL_GONE
    if status >= 500:
        return FailureKind.TRANSIENT
    return FailureKind.CALLER_FAULT if status >= 400 else FailureKind.MALFORMED


_OUR_LACK = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
_CERTIFICATE = (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)
_EXCEPTIONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], FailureKind, str], ...] = (
    (aiohttp.ConnectionTimeoutError, FailureKind.TIMEOUT, "no connection to the provider in time"),
    (TimeoutError, FailureKind.TIMEOUT, "no answer from the provider in time"),
    (
        _CERTIFICATE,
        FailureKind.TRANSIENT,
        "the provider's TLS certificate is not valid",
    ),
    ((aiohttp.ClientSSLError, ssl.SSLError), FailureKind.TRANSIENT, "no secure connection to the provider"),
    (
        (aiohttp.ClientConnectorDNSError, socket.gaierror),
        FailureKind.TRANSIENT,
        "the provider's host name cannot be resolved",
    ),
    (
        (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError),
        FailureKind.TRANSIENT,
        "the HTTP proxy failed",
    ),
    (aiohttp.InvalidURL, FailureKind.UNKNOWN, "the provider's address is not a URL"),
    (aiohttp.ClientConnectorError, FailureKind.TRANSIENT, "no connection to the provider"),
    (ConnectionRefusedError, FailureKind.TRANSIENT, "the provider refused the connection"),
    (
        (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError),
        FailureKind.TRANSIENT,
        "the connection broke before an answer came",
    ),
    (aiohttp.ClientConnectionError, FailureKind.TRANSIENT, "the connection to the provider failed"),
    ((aiohttp.ClientPayloadError, EOFError), FailureKind.TRUNCATED, "the connection broke inside the answer"),
    (aiohttp.ClientResponseError, FailureKind.MALFORMED, "the provider's answer is not valid HTTP"),
    (
        (EventTooLarge, json.JSONDecodeError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError),
        FailureKind.MALFORMED,
        "the provider's answer cannot be read",
    ),
    (OSError, FailureKind.TRANSIENT, "the connection to the provider failed"),
)
