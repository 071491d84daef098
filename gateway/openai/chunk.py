"""A chat completion, whole or as one chunk of a stream, in every form that backends give it.

The schema names what is read and types loosely what backends disagree on (peers.md, section 4.1): `index` as a
number, a text or nothing; `content` as a string, a list of parts or null; `arguments` as text or an object.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.openai import lenient


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
    extra_content: Any = None  # Gemini


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
    # the stop string that was met, or a token's number
    stop_reason: Any = None  # vLLM
    matched_stop: Any = None  # SGLang
    usage: Usage | None = None  # Kimi


class Groq(Struct):
    """Groq's own part of a chunk."""

    usage: Usage | None = None


class Chunk(Struct):
    """One event of a stream, or the body of an answer that is not streamed. The last five are error forms."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    x_groq: Groq | None = None
    error: Any = None
    object: Any = None
    message: Any = None
    msg: Any = None
    detail: Any = None

    @property
    def is_error(self) -> bool:
        """Whether this is an error in one of the forms that servers give it, not a part of an answer."""
        if self.error:
            return True
        said = self.message or self.msg or self.detail
        return not self.choices and (self.object == "error" or (bool(said) and self.usage is None))


class _Named(Struct):
    model: Any = None


_FIRST_DATA: Final = re.compile(rb"^data: ?(\{[^\r\n]*)", re.MULTILINE)
_decode_named = msgspec.json.Decoder(_Named).decode
_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(data: bytes) -> Chunk:
    """Read one chunk. Raises MalformedChunk if it is no JSON object."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(data)


def answering_model(data: bytes) -> str | None:
    """The `model` that a backend says it is, from the beginning of its answer: events, or one JSON body."""
    match = None if data.lstrip()[:1] == b"{" else _FIRST_DATA.search(data)
    try:
        model = _decode_named(match[1] if match else data).model
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return model if isinstance(model, str) and model else None


def _decode_leniently(data: bytes) -> Chunk:
    """The way for chunks that are odd but readable."""
    try:
        value = lenient.parse(data)
        if isinstance(value, list) and value:
            value = value[0]  # Gemini puts an error into a list
        if isinstance(value, dict):
            return lenient.fit(value, Chunk)
    except (ValueError, RecursionError):
        pass
    raise MalformedChunk(repr(data[:80].decode("utf-8", "replace")))
