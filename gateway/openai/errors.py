"""Error bodies of backends, in every known form; recordings are in `tests/samples/backends/` (`err_*.http`)."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.openai import lenient

_NO_MESSAGE: Final = "no message"
# a message may echo the whole request; with this limit, whatever reads it takes little time
_MOST_CHARACTERS: Final = 4096
# the same for `type` and `code`, which are single words
_MOST_WORD: Final = 200


class ErrorBody(Struct):
    """A backend's error. `message` is never empty; `code` and `type` are as given, converted to strings.

    `message` has at most 4096 characters, the others 200.
    """

    message: str
    type: str = ""
    code: str = ""


def read_error(body: bytes) -> ErrorBody:
    """The error in a body: nested or flat object, string, array, `{"detail":…}`, plain text, HTML or nothing."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            value = lenient.parse(body)
        except ValueError:
            return ErrorBody(message=_cut(_words(body.decode("utf-8", "replace"))))
    return error_from(value)


def error_from(value: Any) -> ErrorBody:
    """The error in a decoded JSON value."""
    try:
        error = _error_from(value)
    except RecursionError:
        return ErrorBody(message=_NO_MESSAGE)
    return ErrorBody(_cut(error.message), error.type[:_MOST_WORD], error.code[:_MOST_WORD])


def _error_from(value: Any) -> ErrorBody:
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, str):
        return ErrorBody(message=value.strip() or _NO_MESSAGE)
    if not isinstance(value, dict):
        return ErrorBody(message=_NO_MESSAGE)
    kind, code, message = _text(value.get("type")), _text(value.get("code")), _message(value)
    inner = value.get("error")
    if not isinstance(inner, dict | list | str) or not inner:
        return ErrorBody(message, kind, code)
    found = _error_from(inner)
    return ErrorBody(_joined(_with_raw(found.message, inner), message), found.type or kind, found.code or code)


def _with_raw(message: str, error: Any) -> str:
    """`message` and the error of the provider behind OpenRouter, which is in `metadata.raw`."""
    metadata = error.get("metadata") if isinstance(error, dict) else None
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str) or not raw.strip():
        return message
    words = read_error(raw.encode("utf-8", "replace")).message
    if words == _NO_MESSAGE:
        words = _words(raw)
    return _joined(message, words)


def _joined(message: str, more: str) -> str:
    if more in (message, _NO_MESSAGE):
        return message
    return more if message == _NO_MESSAGE else f"{message}: {more}"


def _message(value: dict[str, Any]) -> str:
    for key in ("message", "detail", "msg", "error_description"):
        said = value.get(key)
        if _is_text(said):
            return str(said).strip() + _context_sizes(value, str(said))
        if said and not isinstance(said, str):
            return _in_words(said)
    return _NO_MESSAGE


def _context_sizes(value: dict[str, Any], said: str) -> str:
    """The numbers that llama.cpp gives besides the words for a prompt that is too long, if the words lack them."""
    sizes = {name: value.get(name) for name in ("n_prompt_tokens", "n_ctx")}
    if not all(type(size) is int and str(size) not in said for size in sizes.values()):
        return ""
    return f" ({', '.join(f'{name}: {size}' for name, size in sizes.items())})"


def _in_words(value: Any) -> str:
    """The text of a `message` that is not a string: FastAPI's list of `{"loc","msg","input"}` without the inputs, which
    repeat the request; a nested error; or anything else as JSON.
    """
    problems = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    if said := [_place(item.get("loc")) + item["msg"] for item in problems if _is_text(item.get("msg"))]:
        return "; ".join(said)
    if isinstance(value, dict) and (found := _error_from(value).message) != _NO_MESSAGE:
        return found
    return msgspec.json.encode(value).decode()


def _place(loc: Any) -> str:
    return ".".join(map(str, loc)) + ": " if isinstance(loc, list) and loc else ""


def _words(text: str) -> str:
    text = text.strip()
    # text that begins with `<` is a proxy's HTML page, which does not help the user
    return _NO_MESSAGE if not text or text[0] == "<" else text[:2000]


def _cut(message: str) -> str:
    return message if len(message) <= _MOST_CHARACTERS else f"{message[: _MOST_CHARACTERS - 1]}…"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ""
