"""Which refusals name a parameter, in the words of the providers."""

# ruff: noqa: E501 -- a row of the table is one case

from __future__ import annotations

import json

import pytest

from gateway.providers import classify
from gateway.providers.shaping import refused_field

SENT = ("model", "messages", "seed", "max_tokens", "temperature", "store")


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (400, {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"}}, "max_tokens"),
        (400, {"error": {"message": "Unsupported value: 'temperature' does not support 0.2 with this model.", "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value"}}, "temperature"),
        (400, {"error": {"message": "Unrecognized request argument supplied: seed", "type": "invalid_request_error", "param": None, "code": None}}, "seed"),
        (400, {"error": {"message": "property 'store' is unsupported", "type": "invalid_request_error"}}, "store"),
        (422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}}, None),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "seed"),
        (400, {"error": {"message": "Invalid value for 'temperature': expected a number between 0 and 2.", "param": "temperature", "code": "invalid_value"}}, None),
        (400, {"error": {"message": "max_tokens and seed are not supported together", "code": None}}, None),
        (401, {"error": {"message": "Unsupported parameter: seed", "param": "seed", "code": "unsupported_parameter"}}, None),
        (500, {"error": {"message": "Unsupported parameter: seed", "param": "seed"}}, None),
    ],
)  # fmt: skip
def test_a_refusal_names_its_parameter_in_the_words_of_many_providers(
    status: int, body: object, named: str | None
) -> None:
    """A code or a phrase says that it is about a field, `param` or the only name in the message says which."""
    failure = classify.from_response("a/b", status, {}, json.dumps(body).encode())
    assert refused_field(failure, SENT) == named
