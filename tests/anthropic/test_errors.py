"""Anthropic's errors: types, envelope, headers."""

import msgspec
import pytest
from anthropic.types import ErrorResponse
from pydantic import TypeAdapter

from gateway.anthropic.errors import ApiError, InvalidRequest, error_type


@pytest.mark.parametrize(
    ("status", "kind", "retry"),
    [
        (400, "invalid_request_error", "false"),
        (401, "authentication_error", "false"),
        (402, "billing_error", "false"),
        (403, "permission_error", "false"),
        (404, "not_found_error", "false"),
        (405, "invalid_request_error", "false"),
        (408, "timeout_error", "true"),
        (409, "conflict_error", "false"),
        (413, "request_too_large", "false"),
        (415, "invalid_request_error", "false"),
        (418, "invalid_request_error", "false"),
        (422, "invalid_request_error", "false"),
        (429, "rate_limit_error", "true"),
        (500, "api_error", "true"),
        (501, "api_error", "true"),
        (502, "api_error", "true"),
        (503, "overloaded_error", "true"),
        (504, "timeout_error", "true"),
        (529, "overloaded_error", "true"),
    ],
)
def test_a_status_has_its_type_and_its_advice(status: int, kind: str, retry: str) -> None:
    error = ApiError(status, "words")
    assert (error.status, error.type, error_type(status)) == (status, kind, kind)
    assert error.headers() == {"x-should-retry": retry}


def test_the_body_is_the_envelope_that_the_sdk_expects() -> None:
    body = ApiError(404, 'model: "x" é').body("req_1")
    assert msgspec.json.decode(body) == {
        "type": "error",
        "error": {"type": "not_found_error", "message": 'model: "x" é'},
        "request_id": "req_1",
    }
    assert TypeAdapter(ErrorResponse).validate_json(body).error.message == 'model: "x" é'


def test_advice_and_type_can_be_given() -> None:
    error = ApiError(429, "quota", kind="billing_error", retry_after=0, should_retry=False)
    assert error.type == "billing_error"
    assert error.headers() == {"x-should-retry": "false", "retry-after": "0"}
    assert ApiError(400, "later", retry_after=30, should_retry=True).headers() == {
        "x-should-retry": "true",
        "retry-after": "30",
    }


def test_an_invalid_request_is_a_400_with_its_words() -> None:
    error = InvalidRequest("messages: none")
    assert (error.status, error.type, error.message, str(error)) == (
        400,
        "invalid_request_error",
        "messages: none",
        "messages: none",
    )
