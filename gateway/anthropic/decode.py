"""Decode and check a request body: JSON to the structs of `gateway.anthropic.request`.

Tolerant where Anthropic's API grows: unknown fields are skipped, and blocks and tools of unknown types are reduced to
their type. A wrong type in a known field is refused, and the error names the field.
"""

import re
from collections.abc import Callable, Iterable, Sized
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError

from gateway.anthropic import long_messages, tool_list_cache
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.long_messages import cut_out_messages
from gateway.anthropic.request import KNOWN_BLOCKS, Block, Message, MessagesRequest, Source, Tool
from gateway.anthropic.server_features import refuse_server_features
from gateway.anthropic.tool_changes import apply_tool_changes
from gateway.anthropic.tool_list_cache import LEAST_BYTES, KnownTools, SharedTools


class Typed(Struct):
    """Any object with a `type`."""

    type: str


# the other top-level fields that clients send: known, but not read (https://docs.claude.com/en/api/messages)
_NOT_READ: Final = (
    "betas",
    "billing_policy",
    "cache_control",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "metadata",
    "safeguards",
    "service_tier",
    "speed",
)
# the deepest nesting of blocks: a text in the source of a document in a tool result
_LEVELS: Final = 4
_ROLES: Final = frozenset({"user", "assistant", "system"})
_PATH: Final = re.compile(r" - at `\$([^`]*)`\Z")
_INDEX: Final = re.compile(r"\[(\d+)\]")
_TOO_LONG: Final = re.compile(r"Expected `str` of length <= (\d+)")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
# bytes allowed for unknown fields and for the whitespace around fields
_MOST_UNKNOWN: Final = 1024 * 1024
# each field is looked at, which takes some microseconds
_MOST_FIELDS: Final = 1000
# messages, content blocks and tools: translating so many takes a second. Anthropic allows as many messages
_MOST_ITEMS: Final = 100_000
# two quotes, a colon, and a comma or brace
_AROUND_FIELD: Final = 4
# the fewest bytes that a repeated key needs: `"tools":1,`, or `"":1,` if it may have any name
_LEAST_REPEATED: Final = 10
_LEAST_UNKNOWN: Final = 5
# all fields of a body up to this size are examined; a longer body may have millions
_SHORT_BYTES: Final = 64 * 1024
_FAULTS: Final = (InvalidRequest, msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BOM: Final = b"\xef\xbb\xbf"
# the decoder's message for an escape such as \ud83d without its other half
_HALF: Final = re.compile(r"(?:surrogate pair|unexpected end of hex escape) \(byte (\d+)\)")
# how far past a half the decoder looks for the other one
_PAIR: Final = b" " * 6
# a top-level key, matched from the end of the previous value
_KEY: Final = re.compile(rb'[ \t\r\n,{]*+("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_END: Final = re.compile(rb"[ \t\r\n]*+}[ \t\r\n]*+\Z")

_decode = msgspec.json.Decoder(MessagesRequest).decode
_text = msgspec.json.Decoder(str).decode
_typed = msgspec.json.Decoder(Typed).decode
_block = msgspec.json.Decoder(Block).decode
_tool = msgspec.json.Decoder(Tool).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_view: Final[Callable[[Raw], Sized]] = memoryview
_every = msgspec.json.Decoder(dict[str, Raw]).decode


def _unread(names: Iterable[str]) -> Callable[[bytes | bytearray | Raw], Struct]:
    """A decoder that keeps the fields with these names as raw JSON and skips all others."""
    return msgspec.json.Decoder(msgspec.defstruct("Unread", [(name, Raw | UnsetType, UNSET) for name in names])).decode


_KNOWN: Final = frozenset([*MessagesRequest.__struct_fields__, *_NOT_READ])
_envelope = _unread(_KNOWN)
_inside = _unread({name for kind in (Message, Block, Source) for name in kind.__struct_fields__})


def _fields(unread: Struct) -> dict[str, Raw]:
    return {name: value for name, value in msgspec.structs.asdict(unread).items() if value is not UNSET}


def _as_written(body: bytes | bytearray) -> dict[str, Raw]:
    """The fields of a body as raw JSON; for a long body, only those with known names."""
    return _every(body) if len(body) <= _SHORT_BYTES else _fields(_envelope(body))


def decode_request(
    body: bytes | bytearray, *, counting: bool = False, known: KnownTools | None = None
) -> MessagesRequest:
    """Decode a request body. Raises InvalidRequest with a message of the form `messages.0.content: …`.

    `counting` is for `count_tokens`, which needs no `max_tokens`. `known` holds the tool lists of earlier requests.
    """
    if not body:
        raise InvalidRequest("the request body is empty")
    request, fields = (len(body) >= LEAST_BYTES and _read_in_parts(body, known)) or _read_whole(body)
    if known is not None and "tools" in fields and not isinstance(request.tools, SharedTools):
        request.tools = known.keep(fields["tools"]) or request.tools
    _check(request, counting=counting)
    apply_tool_changes(request)
    return request


def _read_in_parts(body: bytes | bytearray, known: KnownTools | None) -> tuple[MessagesRequest, dict[str, Raw]] | None:
    """Like `_read`, but with known tools and long messages cut out first. Returns None if the body has neither, or if
    anything is wrong: the error and its position are then determined from the original body.
    """
    rest, tools = (known and known.cut_out(body)) or (body, None)
    try:
        rest, messages = cut_out_messages(rest) or (rest, None)
        if tools is None and messages is None:
            return None
        if messages is not None and not body.isascii():
            body.decode()
        request, fields = _read(rest)
    except _FAULTS:
        return None
    if tools is not None:
        if not tool_list_cache.is_mark(request.tools):
            return None
        request.tools = tools
    if messages is not None:
        if not long_messages.is_mark(request.messages):
            return None
        request.messages = messages
    return request, fields


def _read_whole(body: bytes | bytearray) -> tuple[MessagesRequest, dict[str, Raw]]:
    """Like `_read`, but raises InvalidRequest for every error."""
    try:
        return _read(body)
    except ValidationError as error:
        raise InvalidRequest(_in_words(error)) from None
    except RecursionError:
        raise InvalidRequest("the request body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the request body is not valid JSON in UTF-8: {_what_is_wrong(body, error)}") from None


def _read(body: bytes | bytearray) -> tuple[MessagesRequest, dict[str, Raw]]:
    """The request and its fields as raw JSON. Raises one of _FAULTS."""
    # the decoder does not check the UTF-8 of raw and skipped fields
    if not body.isascii():
        body.decode()
    request, fields = _decode_reduced(body), _as_written(body)
    _refuse_repeated_keys(body, fields)
    return request, fields


def _what_is_wrong(body: bytes | bytearray, error: Exception) -> str:
    if body.startswith(_BOM):
        return "it begins with a byte order mark; remove it"
    if isinstance(error, UnicodeDecodeError):
        return str(error)
    try:
        # near the end of the body, the decoder takes a lone half for a truncated escape
        _envelope(body + _PAIR)
    except (msgspec.DecodeError, RecursionError) as again:
        if half := _HALF.search(str(again)):
            return (
                f"no low surrogate in string: a text was cut inside a character close to byte {half[1]}, which leaves "
                "an escape such as \\ud83d without its other half; cut the text before that character"
            )
    return str(error)


def _refuse_repeated_keys(body: bytes | bytearray, known: dict[str, Raw]) -> None:
    """Refuse a body with a repeated key: another reader, such as a proxy, may have used the other value.

    Only top-level keys are checked: the decoder does not report repeated keys, and searching every message and block
    takes longer than decoding the request. Raises InvalidRequest, and whatever the decoder raises.
    """
    values = sum(map(len, map(_view, known.values())))
    left = len(body) - values - len("".join(known)) - _AROUND_FIELD * len(known) - 1
    # most clients write little or no whitespace: too few bytes are left to hold a second key
    if left < (_LEAST_REPEATED if known.keys() <= _KNOWN else _LEAST_UNKNOWN):
        return
    if left == 2 * len(known) - 1 and body == _with_blanks(known):
        return
    if left > _MOST_UNKNOWN:
        raise InvalidRequest(
            f"the request body holds more than {_MOST_UNKNOWN} bytes outside the known fields: "
            "a field is repeated, or is not part of the Messages API"
        )
    fields = _every(body)
    if len(fields) > _MOST_FIELDS:
        raise InvalidRequest(f"the request body has more than {_MOST_FIELDS} fields: the Messages API has a few dozen")
    seen: set[str] = set()
    at, key = 0, ""
    while found := _KEY.match(body, at):
        key, at = _text(found[1]), found.end()
        value = fields.get(key)
        # of repeated keys, the decoder keeps the last value
        if value is None or key in seen or not body.startswith(value, at):
            break
        seen.add(key)
        at += len(memoryview(value))
    if not _END.match(body, at):
        raise InvalidRequest(f"{key[:40]}: must not appear twice")


def _with_blanks(fields: dict[str, Raw]) -> bytes:
    """A body with a space after each colon and comma, as Python's `json` writes it."""
    return b"{%b}" % b", ".join([b'"%b": %b' % (name.encode(), value) for name, value in fields.items()])


def _check(request: MessagesRequest, *, counting: bool) -> None:
    if request.thread or request.mcp_servers or request.container or request.compaction:
        refuse_server_features(request, counting=counting)
    if not request.model:
        raise InvalidRequest("model: must not be empty")
    if not request.messages:
        raise InvalidRequest("messages: at least one message is required")
    if not counting and (request.max_tokens is None or request.max_tokens < 0):
        said = "Field required" if request.max_tokens is None else "must not be negative"
        raise InvalidRequest(f"max_tokens: {said}")
    items = len(request.messages) + len(request.tools or ())
    if isinstance(request.system, list):
        items += len(request.system)
    for number, message in enumerate(request.messages):
        if isinstance(message.content, list):
            items += len(message.content)
        if message.role not in _ROLES:
            raise InvalidRequest(
                f"messages.{number}.role: Input should be 'user', 'assistant' or 'system', not {message.role[:40]!r}"
            )
    if items > _MOST_ITEMS:
        raise InvalidRequest(
            f"messages: at most {_MOST_ITEMS} messages, content blocks and tools are allowed, and there are {items}"
        )


def _in_words(error: ValidationError) -> str:
    """`Expected `str`, got `int` - at `$.messages[0].role`` as `messages.0.role: Expected `str`, got `int``."""
    text, place = str(error), ""
    if match := _PATH.search(text):
        text = text[: match.start()]
        place = _INDEX.sub(r".\1", match[1].replace("[...]", ".*")).lstrip(".")
    if match := _TOO_LONG.fullmatch(text):
        text = f"String should have at most {match[1]} characters"
    if match := _MISSING.fullmatch(text):
        text, place = "Field required", f"{place}.{match[1]}".lstrip(".")
    return f"{place or 'the request body'}: {text}"


def _decode_reduced(body: bytes | bytearray) -> MessagesRequest:
    """Decode. Blocks and tools of unknown types that do not fit the schema are reduced to their type, as they may hold
    anything. Everything else is kept byte for byte and refused if it does not fit.
    """
    try:
        return _decode(body)
    except ValidationError:
        if body.count(b"{") > 2 * _MOST_ITEMS:
            # reducing them would take seconds
            raise
        fields = _as_written(body)
    for key, reduced in (("messages", _reduced_inside), ("system", _reduced_block), ("tools", _reduced_tool)):
        if key in fields:
            fields[key] = _each(fields[key], reduced)
    return _decode(msgspec.json.encode(fields))


def _each(raw: Raw, reduced: Callable[[Raw], Raw]) -> Raw:
    """`raw` with its items reduced, or unchanged if it is not a list."""
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
