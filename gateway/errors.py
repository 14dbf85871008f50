"""Everything that may be raised at the gateway's edges.

HedgerowError                    status  type
├── InternalError                   500  server_error
├── InvalidRequest                  400  invalid_request_error
├── BodyTooLarge                    413  invalid_request_error
├── UnsupportedCoding               415  invalid_request_error
├── ModelMissing                    400  invalid_request_error
├── KeyReused                       422  invalid_request_error
├── Unauthorized                    401  authentication_error
├── ModelNotFound                   404  invalid_request_error
├── NotFound                        404  invalid_request_error
├── MethodNotAllowed                405  invalid_request_error
├── NotTaken            400 408 414 431  invalid_request_error
├── Overloaded                      503  server_error
├── ShuttingDown                    503  server_error
├── AllTargetsFailed       fused  400 to 504, fused from the branches' failures
│   ├── PartFailed         the same, of one part of a request that was split
│   └── Refused            the upstream's own 4xx, of a request that is passed on
├── Abstained                       502  selector_abstained
└── StreamBroken           in-band, after the first words were sent
"""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.domain import Failure, FailureKind


class HedgerowError(Exception):
    """An error with the HTTP status and the OpenAI `error.type`, `code` and `param` that clients map to exceptions."""

    status = 500
    type = "server_error"
    code: str | None = None
    param: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers beyond the usual ones."""
        return {}

    @property
    def extra(self) -> Mapping[str, Any]:
        """Fields of the error object beyond OpenAI's four."""
        return {}


class InternalError(HedgerowError):
    """A fault of the gateway's own; the log has its traceback under the request's id."""

    code = "internal_error"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"The gateway failed on this request. Its log says why under {request_id}.")


class InvalidRequest(HedgerowError):
    """The request cannot be understood; the message quotes the fault and says the cure."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class BodyTooLarge(InvalidRequest):
    """The request's body is beyond the limit."""

    status = 413


class UnsupportedCoding(InvalidRequest):
    """The request's body is compressed in a way that is not understood."""

    status = 415

    def __init__(self, coding: str, supported: Sequence[str]) -> None:
        super().__init__(
            f"`Content-Encoding: {coding[:40]}` is not understood, expected one of {', '.join(supported)}; "
            "or send the body uncompressed."
        )
        self._supported = supported

    @property
    def headers(self) -> Mapping[str, str]:
        """The codings that are understood (RFC 9110, section 12.5.3)."""
        return {"accept-encoding": ", ".join(self._supported)}


class ModelMissing(InvalidRequest):
    """The request names no model."""

    def __init__(self) -> None:
        super().__init__("`model` is missing, expected the name of a route; GET /v1/models lists them.", param="model")


class KeyReused(InvalidRequest):
    """An idempotency key came back with another request than the one it was first used for."""

    status = 422

    def __init__(self) -> None:
        super().__init__(
            "This `Idempotency-Key` was used for a different request in the last minutes. "
            "Send a new key with a new request, and the same key only with the same body.",
            code="idempotency_key_reused",
        )


class NotFound(InvalidRequest):
    """There is nothing at this path."""

    status = 404


class MethodNotAllowed(InvalidRequest):
    """The path exists, the method does not."""

    status = 405

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self._allowed = allowed

    @property
    def headers(self) -> Mapping[str, str]:
        """The methods that are possible (RFC 9110, section 15.5.6)."""
        return {"allow": self._allowed}


class Unauthorized(HedgerowError):
    """The client's key is missing or wrong."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotTaken(InvalidRequest):
    """The request was not read to its end: it is malformed, too large or too slow."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class Overloaded(HedgerowError):
    """The gateway has more to do than it can do well; who comes again a little later has a better chance."""

    status = 503
    code = "overloaded"

    def __init__(self, why: str) -> None:
        super().__init__(f"The gateway is overloaded: {why}. Try again in a few seconds.")

    @property
    def headers(self) -> Mapping[str, str]:
        """One to three seconds, by chance: clients that were refused together should not come back together."""
        return {"retry-after": str(random.randint(1, 3))}  # noqa: S311 -- no secret


class ShuttingDown(HedgerowError):
    """The gateway is being stopped, and the time for what was in flight is over; another one will answer."""

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The gateway is being restarted before this request was complete; send it again.")

    @property
    def headers(self) -> Mapping[str, str]:
        """When to come again (RFC 9110, section 10.2.3)."""
        return {"retry-after": "1"}


class ModelNotFound(HedgerowError):
    """No route has this name."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"
    param = "model"

    def __init__(self, model: str, routes: Iterable[str]) -> None:
        known = sorted(routes)
        nearest = difflib.get_close_matches(model, known, n=1)
        hint = f" Did you mean `{nearest[0]}`?" if nearest else ""
        listed = ", ".join(f"`{name}`" for name in known[:20])
        super().__init__(f"The model `{model[:200]}` does not exist. This gateway serves {listed}.{hint}")


class AllTargetsFailed(HedgerowError):
    """No target answered: one status fused from all failures, and every one of them in the message."""

    def __init__(self, failures: Sequence[Failure], durations: Mapping[str, float] | None = None) -> None:
        self.failures = tuple(failures)
        self.durations = durations or {}
        self.status, self.type, self.code = _fuse([failure.kind for failure in failures])
        told = next((f for f in failures if f.error and f.kind.caller_should_know), None)
        if self.status == 400 and told and told.error:
            self.status = told.status if told.status in {400, 404, 413, 422} else 400
            self.type = str(told.error.get("type") or self.type)
            self.code = told.error.get("code")
            self.param = told.error.get("param")
            super().__init__(str(told.error.get("message") or told.detail))
        else:
            super().__init__("No target answered. " + " ".join(self._line(failure) for failure in failures))

    def _line(self, failure: Failure) -> str:
        after = self.durations.get(failure.target)
        took = "" if after is None else f" after {after:.2f} s"
        return f"{failure.target}: {failure.kind.value}{took} ({failure.detail})."

    @property
    def headers(self) -> Mapping[str, str]:
        """`Retry-After`, the smallest of the branches', where waiting helps."""
        if self.status not in {429, 503}:
            return {}
        waits = [failure.retry_after for failure in self.failures if failure.retry_after is not None]
        return {"retry-after": str(max(1, math.ceil(min(waits, default=1.0))))}

    @property
    def extra(self) -> Mapping[str, Any]:
        """One line a branch, without any upstream text."""
        return {"hedgerow": {"branches": [branch(failure, self.durations) for failure in self.failures]}}


class PartFailed(AllTargetsFailed):
    """No target answered one part of a request that was split; parts count from 1."""

    def __init__(self, part: int, count: int, failed: AllTargetsFailed) -> None:
        super().__init__(failed.failures, failed.durations)
        self.args = (f"Part {part} of {count}: {failed}",)
        self._part = part

    @property
    def extra(self) -> Mapping[str, Any]:
        """The part and its branches."""
        return {"hedgerow": {"part": self._part, **super().extra["hedgerow"]}}


class Refused(AllTargetsFailed):
    """The one provider that a request is passed on to finds fault with it: its status is the client's."""

    def __init__(self, failure: Failure) -> None:
        super().__init__([failure])
        self.status = failure.status or self.status


def branch(failure: Failure, durations: Mapping[str, float]) -> dict[str, Any]:
    """Describe one failed branch for an error body, an explanation or a log line."""
    described: dict[str, Any] = {"target": failure.target, "kind": failure.kind.value, "detail": failure.detail}
    if failure.target in durations:
        described["ms"] = round(durations[failure.target] * 1000, 1)
    return described


_OPERATORS = {FailureKind.CREDENTIAL, FailureKind.QUOTA, FailureKind.MODEL_GONE}
"""What only the operator can mend: such a branch says nothing about the request, and waiting does not help it."""
_OVERLOADED = {FailureKind.RATE_LIMITED, FailureKind.CIRCUIT_OPEN, FailureKind.BULKHEAD_FULL}
_PASSING = {*_OVERLOADED, FailureKind.TRANSIENT, FailureKind.TIMEOUT, FailureKind.STALLED}


def _fuse(kinds: Sequence[FailureKind]) -> tuple[int, str, str]:
    """Return status, type and code of the most useful answer to a client whose every branch failed.

    The branches that only the operator can mend are left out unless there are no others: if one provider finds fault
    with the request and the other refuses our key, then the request is at fault. A 400 beside a 503 is no 400, since
    the same request may be answered later. Where anybody asked for patience and the others may pass, too, it is 503.
    """
    opinions = [kind for kind in kinds if kind not in _OPERATORS]
    if kinds and not opinions:
        gone = FailureKind.MODEL_GONE in kinds
        return 502, "server_error", "all_targets_failed" if gone else "upstream_credentials_refused"
    if opinions and all(kind.caller_should_know for kind in opinions):
        return 400, "invalid_request_error", "all_targets_refused"
    if opinions and all(kind is FailureKind.RATE_LIMITED for kind in opinions):
        return 429, "rate_limit_error", "rate_limit_exceeded"
    if opinions and all(kind in {FailureKind.TIMEOUT, FailureKind.STALLED} for kind in opinions):
        return 504, "server_error", "deadline_exceeded"
    if not _OVERLOADED.isdisjoint(opinions) and _PASSING.issuperset(opinions):
        return 503, "server_error", "overloaded"
    return 502, "server_error", "all_targets_failed"


class Abstained(HedgerowError):
    """Answers came in, but the route's selector would not choose among them."""

    status = 502
    type = "server_error"
    code = "selector_abstained"

    def __init__(self, selector: str, answered: int, asked: int) -> None:
        self.answered, self.asked = answered, asked
        super().__init__(
            f"{answered} of {asked} targets answered, but `{selector}` chose none of them. "
            "End the route's `select` chain with `priority` to get an answer all the same."
        )


class StreamBroken(HedgerowError):
    """A stream broke off after its first words had been passed on; `failure` says how."""

    status = 502
    code = "stream_broken"

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"The answer broke off: {failure.detail}. What was received is incomplete.")
        self.failure = failure
