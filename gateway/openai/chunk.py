"""A chat completion, whole or as one chunk of a stream, in every form that backends give it.

The schema names what is read and types loosely what backends disagree on (peers.md, section 4.1): `index` as a
number, a text or nothing; `content` as a string, a list of parts or null; `arguments` as text or an object.
"""

import json
from typing import Any

import msgspec
from msgspec import Struct


class MalformedChunk(Exception):
    """Not a JSON object: what a backend never means to send."""


class Function(Struct):
    """The function part of a tool call: `name` and `arguments`, either of which may be missing or in pieces."""

    name: Any = None
    arguments: Any = None


class ToolCall(Struct):
    """A tool call, whole or a piece of it."""

    index: Any = None
    id: Any = None
    function: Function | None = None


class Delta(Struct):
    """What a chunk adds (`delta`), or the whole of an answer (`message`)."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    refusal: Any = None


class PromptTokensDetails(Struct):
    """What the prompt's tokens were made of."""

    cached_tokens: int | None = None


class Usage(Struct):
    """Tokens as backends count them: `prompt_tokens` includes the cached ones."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    cached_tokens: int | None = None  # Kimi
    prompt_cache_hit_tokens: int | None = None  # DeepSeek


class Choice(Struct):
    """One of the answers; more than the first is never asked for."""

    index: Any = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    stop_reason: Any = None  # vLLM: the stop string that was met, or a token's number
    usage: Usage | None = None  # Kimi


class Chunk(Struct):
    """One event of a stream, or the body of an answer that is not streamed. The last four are error forms."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None
    object: Any = None
    message: Any = None
    detail: Any = None

    @property
    def is_error(self) -> bool:
        """Whether this is an error in one of the forms that servers give it, not a part of an answer."""
        return bool(self.error) or (
            not self.choices and (self.object == "error" or (self.detail is not None and self.usage is None))
        )


_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(data: bytes) -> Chunk:
    """Read one chunk. Raises MalformedChunk if it is no JSON object."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(data)


def _decode_leniently(data: bytes) -> Chunk:
    """The way for chunks that are odd but readable: wrong types are dropped where they stand, NaN and halves of
    surrogate pairs are let through.
    """
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise MalformedChunk(_excerpt(data)) from None
    if not isinstance(value, dict):
        raise MalformedChunk(_excerpt(data))
    chunk: Chunk = _fit(value, Chunk)
    return chunk


def _fit(value: dict[str, Any], shape: type[Any]) -> Any:
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        given = value.get(field.name)
        if given is None:
            continue
        given = _repaired(given)
        try:
            fields[field.name] = msgspec.convert(given, field.type, strict=False)
        except msgspec.ValidationError:
            fields[field.name] = _fit_nested(given, field.type)
    return shape(**fields)


def _fit_nested(value: Any, annotation: Any) -> Any:
    """`value` as the struct, or the list of structs, that `annotation` (optional) asks for; else None."""
    for wanted in getattr(annotation, "__args__", ()):
        items = getattr(wanted, "__args__", None)
        if isinstance(value, dict) and isinstance(wanted, type) and issubclass(wanted, Struct):
            return _fit(value, wanted)
        if isinstance(value, list) and items:
            return [_fit(item, items[0]) for item in value if isinstance(item, dict)]
    return None


def _repaired(value: Any) -> Any:
    """Halves of surrogate pairs become U+FFFD: they cannot be written as UTF-8."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_repaired(key): _repaired(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_repaired(item) for item in value]
    return value


def _excerpt(data: bytes) -> str:
    return repr(data[:80].decode("utf-8", "replace"))
