"""What a provider says when it refuses: the errors in the words of the real ones, and the headers beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal: HTTP status and the members of OpenAI's error object; Anthropic's type follows from the status."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None


_CONTEXT = (
    "This model's maximum context length is {limit} tokens. However, your messages resulted in {used} tokens. "
    "Please reduce the length of the messages."
)
_RATE = (
    "Rate limit reached for {model} in organization org-simulated on requests per min (RPM): "
    "Limit 3, Used 3, Requested 1. Please try again shortly."
)
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_KEY = "Incorrect API key provided: sk-sim*****ated. You can find your API key in your account settings."
_CREDIT = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)
_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
_POLICY = (
    "Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed."
)
_AZURE = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
    "Please modify your prompt and retry."
)

CATALOGUE: dict[str, Problem] = {
    "bad_request": Problem(
        400, "Invalid value for 'temperature': expected a number between 0 and 2.", param="temperature"
    ),
    "context_length": Problem(400, _CONTEXT, code="context_length_exceeded", param="messages"),
    "content_policy": Problem(400, _POLICY, code="content_policy_violation"),
    "content_filter": Problem(400, _AZURE, code="content_filter", param="prompt"),
    "credit": Problem(400, _CREDIT),
    "prefill": Problem(400, _PREFILL, param="messages"),
    "invalid_key": Problem(401, _KEY, code="invalid_api_key"),
    "forbidden": Problem(
        403, "Project `proj_simulated` does not have access to model `{model}`.", code="model_not_found"
    ),
    "model_not_found": Problem(
        404, "The model `{model}` does not exist or you do not have access to it.", code="model_not_found"
    ),
    "timeout": Problem(408, "The request timed out.", "timeout"),
    "too_large": Problem(413, "Request exceeds the maximum size.", code="request_too_large"),
    "unprocessable": Problem(422, "The request could not be processed.", code="unprocessable_entity"),
    "rate_limit": Problem(429, _RATE, "requests", "rate_limit_exceeded"),
    "quota": Problem(429, _QUOTA, "insufficient_quota", "insufficient_quota"),
    "server_error": Problem(
        500, "The server had an error while processing your request. Sorry about that!", "server_error"
    ),
    "bad_gateway": Problem(502, "Bad gateway.", "server_error"),
    "unavailable": Problem(503, "The engine is currently overloaded, please try again later.", "server_error"),
    "gateway_timeout": Problem(504, "The upstream did not answer in time.", "server_error"),
    "overloaded": Problem(529, "Overloaded", "overloaded_error", "overloaded"),
}

_BY_STATUS: dict[int, Problem] = {}
for _problem in CATALOGUE.values():
    _BY_STATUS.setdefault(_problem.status, _problem)

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_type(status: int) -> str:
    """Return the `error.type` that Anthropic's API documents for an HTTP status."""
    return _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def find(name: str | None, status: int | None) -> Problem:
    """Return the named problem, with another status if one is given beside the name, or the usual one of a status."""
    if name is not None:
        return CATALOGUE[name] if status is None else replace(CATALOGUE[name], status=status)
    wanted = status or 500
    kind = "server_error" if wanted >= 500 else "invalid_request_error"
    return _BY_STATUS.get(wanted, Problem(wanted, f"The request failed with status {wanted}.", kind))


def retry_headers(after: float, spelling: str, now: datetime) -> list[tuple[str, str]]:
    """Spell "come back after so many seconds" in one of the ways of real providers; `now` is the provider's clock."""
    match spelling:
        case "ms":
            return [("retry-after-ms", f"{after * 1000:g}")]
        case "date":
            return [("Retry-After", http_date(now + timedelta(seconds=after)))]
        case "duration":
            return [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", _go_duration(after))]
        case "rfc3339":
            moment = (now + timedelta(seconds=after)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return [("anthropic-ratelimit-requests-remaining", "0"), ("anthropic-ratelimit-requests-reset", moment)]
    return [("Retry-After", f"{after:g}")]


def http_date(moment: datetime) -> str:
    """Return an IMF-fixdate (RFC 9110, section 5.6.7), which has whole seconds."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _go_duration(seconds: float) -> str:
    """Spell a duration as Go prints it, the way OpenAI's x-ratelimit-reset-* do: 500ms, 2s, 6m0s, 1h30m0s."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:g}s"
