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


# keys by what they hold, in lower case without separators, for bodies that lack the usual ones
_MESSAGE_KEYS: Final = (
    *("errormessage", "errormsg", "errmsg", "statusmsg", "faultstring"),
    *("message", "msg", "description", "title", "data"),
)
_TYPE_KEYS: Final = ("errortype", "type")
_CODE_KEYS: Final = ("errorcode", "errcode", "statuscode", "code", "status")
# objects that hold the error: MiniMax's, Spark's, Volcengine's, Tencent's, and a proxy's lists and faults
_INNER_KEYS: Final = ("errors", "baseresp", "header", "responsemetadata", "response", "fault", "exception", "error")
_SIGNS: Final = frozenset(_MESSAGE_KEYS[:3]) | {"errortype", "errorcode", "errcode", "errors", "fault", "exception"}
_NO_ERROR: Final = ("0", "0000", "200", "ok", "success", "none", "")
_FAILED: Final = ("error", "failed", "failure", "exception")
# where an error may say that it is one
_STATE_KEYS: Final = ("type", "event", "status", "object")
BASE_RESP: Final = "base_resp"
"""The `type` of MiniMax's errors, whose codes are numbers of its own."""


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


def tells_error(value: Any) -> bool:
    """Whether a decoded value without an answer is an error, in a form that has no `error`."""
    if not isinstance(value, dict):
        return False
    if value.get("success") is False or any(_says_failed(value.get(key)) for key in _STATE_KEYS):
        return True
    for key, said in value.items():
        folded = _folded(key)
        if folded in _SIGNS and said and str(said).lower() not in _NO_ERROR:
            return True
        if folded in _INNER_KEYS and isinstance(said, dict) and (is_refusal(said) or said.get("Error")):
            return True
    return False


def is_refusal(status: Any) -> bool:
    """Whether a part of an answer that always tells how it went (MiniMax's `base_resp`) tells of an error."""
    if not isinstance(status, dict):
        return False
    return any(_text(status.get(key)).lower() not in _NO_ERROR for key in ("status_code", "code", "error"))


def _says_failed(value: Any) -> bool:
    return isinstance(value, str) and value.lower() in _FAILED


def _folded(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


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
    kind, code, message = _text(value.get("type") or value.get("__type")), _text(value.get("code")), _message(value)
    inner = value.get("error")
    if not isinstance(inner, dict | list | str) or not inner:
        if message == _NO_MESSAGE:
            return _unusual_error(value)
        return _unpacked(ErrorBody(message, kind, code or _text(value.get("error_code") or value.get("status"))))
    found = _error_from(inner)
    return ErrorBody(_joined(_with_raw(found.message, inner), message), found.type or kind, found.code or code)


def _unusual_error(value: dict[str, Any]) -> ErrorBody:
    """The error in an object without any of the usual keys."""
    folded = {_folded(key): item for key, item in value.items()}
    message = next((str(folded[key]).strip() for key in _MESSAGE_KEYS if _is_text(folded.get(key))), _NO_MESSAGE)
    kind = next(filter(None, (_text(folded.get(key)) for key in _TYPE_KEYS)), "")
    code = next(filter(None, (_text(folded.get(key)) for key in _CODE_KEYS)), "")
    if message != _NO_MESSAGE:
        return _unpacked(ErrorBody(message, kind, code))
    for key in _INNER_KEYS:
        if isinstance(inner := folded.get(key), dict | list | str) and inner:
            found = _error_from(inner)
            kind = BASE_RESP if key == "baseresp" else found.type or kind
            return ErrorBody(found.message, kind, found.code or code)
    return ErrorBody(message, kind, code)


def _unpacked(error: ErrorBody) -> ErrorBody:
    """An error whose message is another error's JSON, read to its words."""
    if not (error.message.startswith("{") and error.message.endswith("}")):
        return error
    try:
        inner = msgspec.json.decode(error.message)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return error
    found = _error_from(inner)
    if found.message == _NO_MESSAGE:
        return error
    return ErrorBody(found.message, found.type or error.type, found.code or error.code)


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
