"""The Messages API's request as typed structs: `POST /v1/messages` and `/v1/messages/count_tokens`.

Tolerant where Anthropic's API grows: unknown fields are skipped, and of blocks and tools of unknown types only the
type is needed. Wrong types in what is known are refused with the place named. Tool inputs and schemas stay raw
JSON: they are passed on, not read. Source: research/claude-code.md, section 9.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, ValidationError

from gateway.anthropic.errors import InvalidRequest

_NO_RAW: Final = Raw(b"")


class Source(Struct):
    """Where an image or a document comes from: `base64`, `text`, `content`, `url` or `file`."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: str | list["Block"] | None = None


class Block(Struct):
    """A content block of any type; which fields count depends on `type`.

    `content` is that of a tool result (a string or blocks) or, with server tools, an object. `source` is a string in
    `search_result` blocks.
    """

    type: str
    text: str | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = _NO_RAW
    tool_use_id: str | None = None
    content: str | list["Block"] | dict[str, Any] | None = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: Any = None
    tool_name: str | None = None


class Message(Struct):
    """One turn; `content` is a string or blocks. Claude Code sends `system` turns in the middle."""

    role: str
    content: str | list[Block]


class Tool(Struct):
    """A tool; `input_schema` is empty in the ones that Anthropic's servers would run."""

    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: Raw = _NO_RAW
    defer_loading: bool | None = None


class ToolChoice(Struct):
    """`auto`, `any`, `tool` (with `name`) or `none`."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct):
    """`enabled` (with a budget), `adaptive`, `disabled` or a later form."""

    type: str
    budget_tokens: int | None = None


class Format(Struct):
    """An output format; `json_schema` is the one that exists."""

    type: str
    schema: Raw = _NO_RAW


class OutputConfig(Struct):
    """`effort` (low to max) and `format`."""

    effort: str | None = None
    format: Format | None = None


class MessagesRequest(Struct):
    """The body of `POST /v1/messages`; `count_tokens` takes the same without `max_tokens`."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None


class Typed(Struct):
    """Anything that says its type."""

    type: str


# the block types whose fields are read; all others are reduced to their type
KNOWN_BLOCKS: Final = frozenset(
    {
        "text",
        "image",
        "document",
        "search_result",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "tool_reference",
        "server_tool_use",
        "mcp_tool_use",
        "mcp_tool_result",
        "web_search_tool_result",
        "web_fetch_tool_result",
    }
)
# how deep blocks lie in blocks: a text in the source of a document in a tool result
_LEVELS: Final = 4
_ROLES: Final = frozenset({"user", "assistant", "system"})
_PATH: Final = re.compile(r" - at `\$(.*)`\Z", re.DOTALL)
_INDEX: Final = re.compile(r"\[(\d+)\]")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
# any escape in a JSON string; a pair of halves is one
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)

_decode = msgspec.json.Decoder(MessagesRequest).decode
_typed = msgspec.json.Decoder(Typed).decode
_block = msgspec.json.Decoder(Block).decode
_tool = msgspec.json.Decoder(Tool).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def decode_request(body: bytes, *, counting: bool = False) -> MessagesRequest:
    """Read a request's body. Raises InvalidRequest, its message in the form `messages.0.content: …`.

    `counting` is for `count_tokens`, which needs no `max_tokens`.
    """
    try:
        body.decode()  # raw fields and skipped ones are not checked by the decoder
        request = _decode_tolerantly(body)
    except ValidationError as error:
        raise InvalidRequest(_in_words(error)) from None
    except RecursionError:
        raise InvalidRequest("the request body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the request body is not valid JSON in UTF-8: {error}") from None
    _check(request, counting=counting)
    return request


def _check(request: MessagesRequest, *, counting: bool) -> None:
    if not request.model:
        raise InvalidRequest("model: must not be empty")
    if not request.messages:
        raise InvalidRequest("messages: at least one message is required")
    if not counting and (request.max_tokens is None or request.max_tokens < 1):
        said = "Field required" if request.max_tokens is None else "must be at least 1"
        raise InvalidRequest(f"max_tokens: {said}")
    for number, message in enumerate(request.messages):
        if message.role not in _ROLES:
            raise InvalidRequest(
                f"messages.{number}.role: Input should be 'user', 'assistant' or 'system', not {message.role[:40]!r}"
            )


def _in_words(error: ValidationError) -> str:
    """`Expected `str`, got `int` - at `$.messages[0].role`` as `messages.0.role: Expected `str`, got `int``."""
    text, place = str(error), ""
    if match := _PATH.search(text):
        text = text[: match.start()]
        place = _INDEX.sub(r".\1", match[1].replace("[...]", ".*")).lstrip(".")
    if match := _MISSING.fullmatch(text):
        text, place = "Field required", f"{place}.{match[1]}".lstrip(".")
    return f"{place or 'the request body'}: {text}"


def _decode_tolerantly(body: bytes) -> MessagesRequest:
    """Decode; a body that the schema or JSON's rules refuse gets a second chance, as far as that changes no meaning."""
    try:
        return _decode_reduced(body)
    except ValidationError:
        raise
    except msgspec.DecodeError:
        return _decode_reduced(_with_whole_characters(body))


def _with_whole_characters(body: bytes) -> bytes:
    """Halves of surrogate pairs become U+FFFD: clients cut tool results inside a character, write the half that is
    left as an escape, and send it again with each turn.
    """
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape["half"] else escape[0], body)


def _decode_reduced(body: bytes) -> MessagesRequest:
    """Decode; blocks and tools of unknown types that do not fit are reduced to their type: they may hold anything.
    All the rest stays as it was written, byte for byte, and is refused if it does not fit.
    """
    try:
        return _decode(body)
    except ValidationError:
        fields = _fields(body)
    for key, reduced in (("messages", _reduced_inside), ("system", _reduced_block), ("tools", _reduced_tool)):
        if key in fields:
            fields[key] = _each(fields[key], reduced)
    return _decode(msgspec.json.encode(fields))


def _each(raw: Raw, reduced: Callable[[Raw], Raw]) -> Raw:
    """`raw` with its items reduced; as it is if it is no list."""
    try:
        return Raw(msgspec.json.encode([reduced(item) for item in _items(raw)]))
    except ValidationError:
        return raw


def _reduced_inside(raw: Raw, levels: int = _LEVELS) -> Raw:
    """A message, a block or a source with the blocks of its `content` reduced."""
    try:
        fields = _fields(raw)
    except ValidationError:
        return raw
    if levels and "content" in fields:
        fields["content"] = _each(fields["content"], partial(_reduced_block, levels=levels - 1))
    if levels and "source" in fields:
        fields["source"] = _reduced_inside(fields["source"], levels - 1)
    return Raw(msgspec.json.encode(fields))


def _reduced_block(raw: Raw, levels: int = _LEVELS) -> Raw:
    kind = _type_of(raw)
    if kind is None or kind in KNOWN_BLOCKS:
        return _reduced_inside(raw, levels)
    try:
        _block(raw)
    except ValidationError:
        return Raw(msgspec.json.encode({"type": kind}))
    return raw


def _reduced_tool(raw: Raw) -> Raw:
    kind = _type_of(raw)
    try:
        _tool(raw)
    except ValidationError:
        return raw if kind in (None, "custom") else Raw(msgspec.json.encode({"type": kind}))
    return raw


def _type_of(raw: Raw) -> str | None:
    try:
        return _typed(raw).type
    except ValidationError:
        return None
