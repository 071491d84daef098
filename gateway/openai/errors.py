"""Error bodies of backends, in all the forms that they take (peers.md, sections 4.1 and 4.2)."""

from typing import Any

import msgspec
from msgspec import Struct


class ErrorBody(Struct):
    """What a backend says went wrong. `message` is never empty; `code` and `type` are as given, in text."""

    message: str
    type: str = ""
    code: str = ""


def read_error(body: bytes) -> ErrorBody:
    """The error in a body: nested or flat object, string, array, `{"detail":…}`, plain text, HTML or nothing."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _from_text(body)
    return error_from(value)


def error_from(value: Any) -> ErrorBody:
    """The error in a JSON value that was read already."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, str):
        return ErrorBody(message=value.strip() or "no message")
    if not isinstance(value, dict):
        return ErrorBody(message="no message")
    inner = value.get("error")
    if isinstance(inner, dict):
        found = error_from(inner)
        # OpenRouter hides the provider's own words here
        metadata = inner.get("metadata")
        raw = metadata.get("raw") if isinstance(metadata, dict) else None
        if isinstance(raw, str) and raw.strip():
            found.message = f"{found.message}: {_inner_message(raw)}"
        return found
    if isinstance(inner, str) and inner.strip():
        return ErrorBody(message=inner.strip(), type=_text(value.get("type")), code=_text(value.get("code")))
    return ErrorBody(
        message=_message(value), type=_text(value.get("type")), code=_text(value.get("code"))
    )


def _message(value: dict[str, Any]) -> str:
    for key in ("message", "detail", "msg", "error_description"):
        said = value.get(key)
        if isinstance(said, str) and said.strip():
            return said.strip()
        if said and not isinstance(said, str):
            return msgspec.json.encode(said).decode()
    return "no message"


def _inner_message(raw: str) -> str:
    found = read_error(raw.encode()).message
    return raw.strip() if found == "no message" else found


def _from_text(body: bytes) -> ErrorBody:
    text = body.decode("utf-8", "replace").strip()
    if not text or text[:1] == "<":
        # a proxy's page: its markup helps nobody
        return ErrorBody(message="no message")
    return ErrorBody(message=text[:2000])


def _text(value: Any) -> str:
    return "" if value is None else str(value)
