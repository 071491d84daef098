"""The Messages API's request as typed structs: `POST /v1/messages` and `/v1/messages/count_tokens`.

Tolerant where Anthropic's API grows: unknown fields are skipped, and of blocks and tools of unknown types only the
type is needed. Wrong types in what is known are refused with the place named. Tool inputs and schemas stay raw
JSON: they are passed on, not read. Source: research/claude-code.md, section 9.

Structs of which a conversation has thousands are not the garbage collector's (`gc=False`): they form no cycles.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError

from gateway.anthropic.errors import InvalidRequest

_NO_RAW: Final = Raw(b"")


class Source(Struct, gc=False):
    """Where an image or a document comes from: `base64`, `text`, `content`, `url` or `file`."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: str | list["Block"] | None = None


class Block(Struct, gc=False):
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


class Message(Struct, gc=False):
    """One turn; `content` is a string or blocks. Claude Code sends `system` turns in the middle."""

    role: str
    content: str | list[Block]


class Tool(Struct, gc=False):
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
# what else clients send in the body (research/claude-code.md, sections 3.2 and 9)
_NOT_READ: Final = (
    "betas",
    "billing_policy",
    "cache_control",
    "compaction",
    "container",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "metadata",
    "service_tier",
    "speed",
    "thread",
)
# how deep blocks lie in blocks: a text in the source of a document in a tool result
_LEVELS: Final = 4
_ROLES: Final = frozenset({"user", "assistant", "system"})
_PATH: Final = re.compile(r" - at `\$(.*)`\Z", re.DOTALL)
_INDEX: Final = re.compile(r"\[(\d+)\]")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
# bytes of fields that are not known, and of the blanks around fields
_MOST_UNKNOWN: Final = 1024 * 1024
# quotes, colon and comma, or brace
_AROUND_FIELD: Final = 4
# what a key takes at least to be there once more: `"tools":1,`, or `"":1,"":1,` where nobody knows it
_LEAST_REPEATED: Final = 10
_BOM: Final = b"\xef\xbb\xbf"
# the decoder's words for an escape such as \ud83d that stands without its other half
_HALF: Final = re.compile(r"(?:surrogate pair|unexpected end of hex escape) \(byte (\d+)\)")
# how far behind a half the decoder looks for the other one
_PAIR: Final = b" " * 6
# a key of the body itself, from the end of the value before it
_KEY: Final = re.compile(rb'[ \t\r\n,{]*+("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{\]}]|[^\[{\]}",]++|,', re.DOTALL)
_OPENED: Final = (b"[", b"{")
_CLOSED: Final = (b"]", b"}")
_END: Final = re.compile(rb"[ \t\r\n]*+}[ \t\r\n]*+\Z")

_decode = msgspec.json.Decoder(MessagesRequest).decode
_text = msgspec.json.Decoder(str).decode
_typed = msgspec.json.Decoder(Typed).decode
_block = msgspec.json.Decoder(Block).decode
_tool = msgspec.json.Decoder(Tool).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def _unread(*kinds: type[Struct], names: Iterable[str] = ()) -> Callable[[bytes | bytearray | Raw], Struct]:
    """A decoder that leaves the fields of these structs and `names` raw. Others are skipped: there may be millions."""
    names = dict.fromkeys([*(name for kind in kinds for name in kind.__struct_fields__), *names])
    return msgspec.json.Decoder(msgspec.defstruct("Unread", [(name, Raw | UnsetType, UNSET) for name in names])).decode


_envelope = _unread(MessagesRequest, names=_NOT_READ)
_inside = _unread(Message, Block, Source)


def _fields(unread: Struct) -> dict[str, Raw]:
    return {name: value for name, value in msgspec.structs.asdict(unread).items() if value is not UNSET}


def decode_request(body: bytes | bytearray, *, counting: bool = False) -> MessagesRequest:
    """Read a request's body. Raises InvalidRequest, its message in the form `messages.0.content: …`.

    `counting` is for `count_tokens`, which needs no `max_tokens`.
    """
    if not body:
        raise InvalidRequest("the request body is empty")
    try:
        # raw fields and skipped ones are not checked by the decoder
        if not body.isascii():
            body.decode()
        request = _decode_reduced(body)
        _refuse_repeated_keys(body)
    except ValidationError as error:
        raise InvalidRequest(_in_words(error)) from None
    except RecursionError:
        raise InvalidRequest("the request body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the request body is not valid JSON in UTF-8: {_what_is_wrong(body, error)}") from None
    _check(request, counting=counting)
    return request


def _what_is_wrong(body: bytes | bytearray, error: Exception) -> str:
    if body.startswith(_BOM):
        return "it begins with a byte order mark; send it without"
    if isinstance(error, UnicodeDecodeError):
        return str(error)
    try:
        # the decoder takes a half close to the end for one that was cut
        _envelope(body + _PAIR)
    except (msgspec.DecodeError, RecursionError) as again:
        if half := _HALF.search(str(again)):
            return (
                f"no low surrogate in string: a text was cut inside a character close to byte {half[1]}, which leaves "
                "an escape such as \\ud83d without its other half; cut the text in front of it"
            )
    return str(error)


def _refuse_repeated_keys(body: bytes | bytearray) -> None:
    """Whoever has looked at the body before may have gone by the other one of two equal keys.

    Only the keys of the body itself are looked at: the decoder does not tell of repeated keys, and to look for them
    in each message and block takes longer than to read the request. Raises InvalidRequest, and what the decoder raises.
    """
    known = _fields(_envelope(body))
    lengths = {name: len(memoryview(value)) for name, value in known.items()}
    values = sum(lengths.values())
    # as most clients write it, with few blanks or none: nothing is left that a second key could stand in
    if len(body) - values - sum(map(len, known)) - _AROUND_FIELD * len(known) - 1 < _LEAST_REPEATED:
        return
    if len(body) - values > _MOST_UNKNOWN:
        raise InvalidRequest(
            f"the request body holds more than {_MOST_UNKNOWN} bytes beside the fields that are known here: "
            "one is given twice, or is not of the Messages API"
        )
    seen: set[str] = set()
    at, key = 0, ""
    while found := _KEY.match(body, at):
        key, at = _text(found[1]), found.end()
        value = known.get(key)
        # of equal keys the decoder keeps the last value
        if key in seen or (value is not None and not body.startswith(value, at)):
            break
        seen.add(key)
        at = _end_of_value(body, at) if value is None else at + lengths[key]
    if not _END.match(body, at):
        raise InvalidRequest(f"{key[:40]}: must not be given twice")


def _end_of_value(body: bytes | bytearray, at: int) -> int:
    """Where a JSON value ends that is known to be valid."""
    depth = 0
    while token := _TOKEN.match(body, at):
        at = token.end()
        depth += (token[0] in _OPENED) - (token[0] in _CLOSED)
        if depth == 0:
            break
    return at


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


def _decode_reduced(body: bytes | bytearray) -> MessagesRequest:
    """Decode; blocks and tools of unknown types that do not fit are reduced to their type: they may hold anything.
    All the rest stays as it was written, byte for byte, and is refused if it does not fit.
    """
    try:
        return _decode(body)
    except ValidationError:
        fields = _fields(_envelope(body))
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
        fields = _fields(_inside(raw))
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
