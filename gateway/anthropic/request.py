"""The Messages API's request as typed structs: `POST /v1/messages` and `/v1/messages/count_tokens`.

Tolerant where Anthropic's API grows: unknown fields are skipped, and blocks and tools of unknown types are kept by
their type alone. Wrong types in what is known are refused with the place named. Tool inputs and schemas stay raw
JSON: they are passed on, not read. Source: research/claude-code.md, section 9.
"""

import re
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
_ROLES: Final = frozenset({"user", "assistant", "system"})
_PATH: Final = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_INDEX: Final = re.compile(r"\[(\d+)\]")

_decode = msgspec.json.Decoder(MessagesRequest).decode


def decode_request(body: bytes, *, counting: bool = False) -> MessagesRequest:
    """Read a request's body. Raises InvalidRequest, its message in the form `messages.0.content: …`.

    `counting` is for `count_tokens`, which needs no `max_tokens`.
    """
    try:
        try:
            request = _decode(body)
        except ValidationError:
            request = _decode_with_unknown_blocks(body)
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
    text = str(error)
    if match := _PATH.search(text):
        place = _INDEX.sub(r".\1", match[1]).lstrip(".")
        return f"{place}: {text[: match.start()]}" if place else text[: match.start()]
    return text if text.startswith("Object missing") else f"the request body: {text}"


def _decode_with_unknown_blocks(body: bytes) -> MessagesRequest:
    """The way for bodies that do not fit the schema: a block of an unknown type may hold anything, so only its type
    is kept; whatever else does not fit is refused as before.
    """
    value = msgspec.json.decode(body)
    if isinstance(value, dict):
        _reduce_unknown(value.get("system"))
        for message in _dicts(value.get("messages")):
            _reduce_unknown(message.get("content"))
    return _decode(msgspec.json.encode(value))


def _reduce_unknown(blocks: Any) -> None:
    for block in _dicts(blocks):
        kind = block.get("type")
        if isinstance(kind, str) and kind not in KNOWN_BLOCKS:
            block.clear()
            block["type"] = kind
        else:
            _reduce_unknown(block.get("content"))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
