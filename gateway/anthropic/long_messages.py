"""The messages of a long request, cut out of its body before the body is decoded.

Decoding makes two passes over a body: one for its values and one for its raw fields (`gateway.anthropic.decode`).
Messages, which may be megabytes, skip the second pass if they are decoded separately. Where they are long plain
strings, user messages stay encoded: decoding a string and encoding it again takes as long as everything else that is
done with it.
"""

import re
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from gateway.anthropic.request import Block, Message

# for shorter messages, two passes take less time than the search
_LEAST_BYTES: Final = 64 * 1024
# how far from the start clients begin their messages, and how much they send after them
_FRONT_BYTES: Final = 4096
_BACK_BYTES: Final = 64 * 1024
_BEGIN: Final = re.compile(rb'"messages"[ \t\r\n]*+:[ \t\r\n]*+(?=\[)')
# the key after `messages`, if more lists follow: Claude Code, Anthropic's Python SDK, its TypeScript SDK
_NEXT: Final = (b'"system"', b'"model"', b'"tools"')
# a random role, which no client can have sent
_ROLE: Final = secrets.token_hex(16)
_MARK: Final = b'[{"role":"%b","content":""}]' % _ROLE.encode()

# the beginning of a list whose first message is a plain string
_PLAIN: Final = re.compile(rb'\[\s*+\{\s*+"role"\s*+:\s*+"user"\s*+,\s*+"content"\s*+:\s*+"')
# a shorter text is decoded in less time than handling two kinds of text takes
_LONG_TEXT: Final = 4096
# messages are sampled: one window in every _SPACING bytes (not a power of two, as message sizes may be) is searched for
# the beginning of a message; if few windows hold one, the messages are long
_SPACING: Final = 60_013
_WINDOW: Final = 2048
_FEW: Final = 1 / 16
_QUOTE: Final = ord('"')


class _Unread(Struct, gc=False):
    role: str
    content: Raw


_decode = msgspec.json.Decoder(list[Message]).decode
_decode_unread = msgspec.json.Decoder(list[_Unread]).decode
_decode_content = msgspec.json.Decoder(str | list[Block]).decode


def cut_out_messages(body: bytes | bytearray) -> tuple[bytes, list[Message]] | None:
    """The body with a mark in place of its messages, and the messages; None if they are short, or not found.

    The mark may have replaced something other than `messages`: check the decoded body with `is_mark`. Raises what the
    decoder raises if what was found is not a list of messages.
    """
    if len(body) < _LEAST_BYTES or (begin := _BEGIN.search(body, 0, _FRONT_BYTES)) is None:
        return None
    start, end = begin.end(), _end(body)
    if end - start < _LEAST_BYTES:
        return None
    view = memoryview(body)
    written = view[start:end]
    long = _PLAIN.match(written) is not None and _are_long(body, start, end)
    messages = list(map(_read, _decode_unread(written))) if long else _decode(written)
    return b"".join((view[:start], _MARK, view[end:])), messages


def _are_long(body: bytes | bytearray, start: int, end: int) -> bool:
    """Whether the messages between these positions are long, judging by a sample."""
    places = range(start + _SPACING, end, _SPACING)
    few = round(_FEW * len(places))
    for at in places:
        few -= body.find(b'"role"', at, at + _WINDOW) > 0
        if few < 0:
            return False
    return True


def _read(message: _Unread) -> Message:
    content = memoryview(message.content)
    as_written = message.role == "user" and len(content) > _LONG_TEXT and content[0] == _QUOTE
    return Message(message.role, message.content if as_written else _decode_content(content))


def is_mark(messages: Sequence[Message]) -> bool:
    """Whether these messages are the mark that `cut_out_messages` left."""
    return len(messages) == 1 and messages[0].role == _ROLE


def _end(body: bytes | bytearray) -> int:
    """The likely end of the messages."""
    for key in _NEXT:
        at = body.rfind(key, -_BACK_BYTES)
        end = body.rfind(b"]", 0, at) + 1 if at > 0 else 0
        if end and body[end:at].strip() == b",":
            return end
    return body.rfind(b"]") + 1
