"""The messages of a long request, cut out of its body before that is read.

To read a body means to walk through it twice: once for what it says, and once for how it is written
(`gateway.anthropic.decode`). Messages, which may be megabytes, are spared the second walk if they are read on their
own. Where they are long plain texts, a user's stay as they were written: to read a string and to write it again takes
as long as all else that is done with it.
"""

import re
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from gateway.anthropic.request import Block, Message

# shorter ones are walked through twice in less time than they are looked for
_LEAST_BYTES: Final = 64 * 1024
# where clients begin their messages, and how much they send behind them
_FRONT_BYTES: Final = 4096
_BACK_BYTES: Final = 64 * 1024
_BEGIN: Final = re.compile(rb'"messages"[ \t\r\n]*+:[ \t\r\n]*+(?=\[)')
# what clients send next, if they send more lists: Claude Code; Anthropic's SDK for Python; that for TypeScript
_NEXT: Final = (b'"system"', b'"model"', b'"tools"')
# what no client can have written
_ROLE: Final = secrets.token_hex(16)
_MARK: Final = b'[{"role":"%b","content":""}]' % _ROLE.encode()

# how a list begins whose first message is a plain text
_PLAIN: Final = re.compile(rb'\[\s*+\{\s*+"role"\s*+:\s*+"user"\s*+,\s*+"content"\s*+:\s*+"')
# a shorter text is read in less time than it takes to have two kinds of them
_LONG_TEXT: Final = 4096
# beginnings of messages are looked for in a window each so many bytes (no power of two, as sizes of messages may be);
# where few windows hold one, the messages are long
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
    """The body with a mark in place of its messages, and these; None if they are short, or not where they are sought.

    The mark may have come to stand in another place than `messages`: `is_mark` tells, once the body has been read.
    Raises what the decoder raises, where what was found turns out not to be a list of messages.
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
    """Whether the messages between these bytes are long ones, as far as some places tell."""
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
    """Whether these messages are what `cut_out_messages` left."""
    return len(messages) == 1 and messages[0].role == _ROLE


def _end(body: bytes | bytearray) -> int:
    """Where the messages end, unless they end elsewhere."""
    for key in _NEXT:
        at = body.rfind(key, -_BACK_BYTES)
        end = body.rfind(b"]", 0, at) + 1 if at > 0 else 0
        if end and body[end:at].strip() == b",":
            return end
    return body.rfind(b"]") + 1
