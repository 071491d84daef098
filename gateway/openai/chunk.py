"""A chat completion, complete or as one chunk of a stream, in every form that backends send.

The schema lists only the fields that are read, and types loosely what backends disagree on: `index` may be a number, a
string or absent; `content` a string, a list of parts or null; `arguments` a string or an object.

Source: https://platform.openai.com/docs/api-reference/chat/object and the recordings in `tests/samples/backends/`
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.openai import lenient
from gateway.openai.errors import is_refusal


class MalformedChunk(Exception):
    """The data is not a JSON object, and so not a chunk."""


class Function(Struct):
    """The function of a tool call; `name` and `arguments` may each be missing or come in pieces."""

    name: Any = None
    arguments: Any = None


class ToolCall(Struct):
    """A tool call, or a piece of one."""

    index: Any = None
    id: Any = None
    function: Function | None = None
    extra_content: Any = None  # Gemini


class Delta(Struct):
    """What a chunk adds (`delta`), or a complete answer (`message`)."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    refusal: Any = None


class PromptTokensDetails(Struct):
    """The breakdown of the prompt tokens."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None  # OpenRouter
    cache_creation_input_tokens: int | None = None  # DashScope
    created_cache_tokens: int | None = None  # vLLM


class Usage(Struct):
    """Token counts as backends give them: `prompt_tokens` includes cached tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    cached_tokens: int | None = None  # Kimi
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    cache_read_input_tokens: int | None = None  # LiteLLM
    cache_creation_input_tokens: int | None = None  # LiteLLM


class Choice(Struct):
    """One of the answers; the gateway never requests more than one."""

    index: Any = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    native_finish_reason: Any = None  # OpenRouter
    # the stop string that matched, or a token id
    stop_reason: Any = None  # vLLM
    matched_stop: Any = None  # SGLang
    usage: Usage | None = None  # Kimi
    error: Any = None  # OpenRouter


class Groq(Struct):
    """Groq's extension of a chunk."""

    usage: Usage | None = None


class Chunk(Struct):
    """One event of a stream, or the body of a non-streaming answer. The last six fields occur in errors."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    x_groq: Groq | None = None
    error: Any = None
    object: Any = None
    message: Any = None
    msg: Any = None
    detail: Any = None
    base_resp: Any = None  # MiniMax

    @property
    def is_error(self) -> bool:
        """Whether this is an error, in any of the forms that servers use, rather than part of an answer."""
        if self.error or is_refusal(self.base_resp):
            return True
        said = self.message or self.msg or self.detail
        return not self.choices and (self.object == "error" or (bool(said) and self.usage is None))


class BrokenChunk(Chunk):
    """A chunk that was decoded leniently: a text in it may be a Piece, with half of a character at an end."""


class _Named(Struct):
    model: Any = None


# Data beyond this size are decoded only if most of them are in few strings: each value takes up to a hundred bytes and
# a microsecond, and the decoder does not let others run. Models' answers are smaller; images are single strings.
_SMALL_BYTES: Final = 1024 * 1024
_MOST_VALUES: Final = 250_000
# the lenient decoder takes fifty times as long
_MOST_LENIENT_VALUES: Final = 50_000
_IN_PIECES: Final = ("content", "reasoning_content", "reasoning", "arguments")
_FIRST_DATA: Final = re.compile(rb"^data: ?(\{[^\r\n]*)", re.MULTILINE)
_decode_named = msgspec.json.Decoder(_Named).decode
_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(data: bytes, *, halves: bool = False) -> Chunk:
    """Decode one chunk. Raises MalformedChunk if it is not a JSON object, or if it has too many values.

    `halves`: keep halves of characters at the ends of texts, in a BrokenChunk.
    """
    if len(data) > _SMALL_BYTES and _values(data) > _MOST_VALUES:
        raise MalformedChunk(f"more than {_MOST_VALUES} values")
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(data, halves=halves)


def answering_model(data: bytes) -> str | None:
    """The `model` that a backend names at the beginning of its answer, which is either events or one JSON body."""
    match = None if data.lstrip()[:1] == b"{" else _FIRST_DATA.search(data)
    try:
        model = _decode_named(match[1] if match else data).model
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return model if isinstance(model, str) and model else None


def _values(data: bytes) -> int:
    """At least the number of values in JSON."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _mark_pieces(value: Any) -> None:
    """Mark the texts that come in pieces, and so may end within a character."""
    choices = value.get("choices") if isinstance(value, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            continue
        holders, calls = [delta], delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                holders.append(function)
        for holder in holders:
            for name in _IN_PIECES:
                if isinstance(text := holder.get(name), str) and not text.isascii():
                    holder[name] = lenient.Piece(text)


def _decode_leniently(data: bytes, *, halves: bool) -> Chunk:
    """Decode a chunk that is malformed but readable."""
    if _values(data) > _MOST_LENIENT_VALUES:
        raise MalformedChunk(repr(data[:80].decode("utf-8", "replace")))
    try:
        value = lenient.parse(data, _mark_pieces if halves else None)
        if isinstance(value, list) and value:
            value = value[0]  # Gemini wraps an error in a list
        if isinstance(value, dict):
            return lenient.fit(value, BrokenChunk if halves else Chunk)
    except (ValueError, RecursionError):
        pass
    raise MalformedChunk(repr(data[:80].decode("utf-8", "replace")))
