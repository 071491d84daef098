"""Anthropic's errors: types by status, the envelope, the headers that steer a client's retries.

    ApiError                 an answer for the client: status, type, message, retry advice
      InvalidRequest         400, the client's own fault

Source: https://docs.claude.com/en/api/errors
"""

from collections.abc import Mapping
from typing import Final

import msgspec

TYPES: Final[dict[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_RETRYABLE: Final = frozenset({408, 429})


def error_type(status: int) -> str:
    """The error type that belongs to an HTTP status."""
    return TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


class ApiError(Exception):
    """An error that the client receives.

    `details` is for programs: the SDKs read it. `retry_after` is in seconds. With `should_retry` None, the status
    decides: 408, 429 and 5xx are retryable.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        retry_after: int | None = None,
        should_retry: bool | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = kind or error_type(status)
        self.details = details
        self.retry_after = retry_after
        self.should_retry = (status in _RETRYABLE or status >= 500) if should_retry is None else should_retry

    def body(self, request_id: str) -> bytes:
        """The JSON envelope: `{"type":"error","error":{"type","message","details"?},"request_id"}`."""
        error: dict[str, object] = {"type": self.type, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})

    def headers(self) -> dict[str, str]:
        """`retry-after`, and `x-should-retry`, which keeps a client from retrying a permanent error for minutes."""
        headers = {"x-should-retry": "true" if self.should_retry else "false"}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        return headers


class InvalidRequest(ApiError):
    """The request is not valid for the Messages API; `message` names the field and the error."""

    def __init__(self, message: str, *, details: Mapping[str, object] | None = None) -> None:
        super().__init__(400, message, details=details)
