"""What a backend gives to be sent back unread: signed or encrypted reasoning.

Gemini signs tool calls (`extra_content.google.thought_signature`) and refuses a history without the signatures;
OpenRouter gives `reasoning_details`, whose signed and encrypted items the models behind it want back unchanged.
Clients have a place for such things: a `redacted_thinking` block is kept and returned byte for byte
(research/claude-code.md, section 4.1). So the conversation itself carries them, and any replica can read them.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.anthropic.request import Block

# Clients send the signature of a thinking block back byte for byte and do not check it. Ours says which thinking is a
# backend's and never was Anthropic's.
SIGNATURE: Final = "claude-gateway"
_MARK: Final = "claude-gateway:"
# what of an item comes in pieces in a stream; of its other fields the last value that is not null counts
_IN_PIECES: Final = frozenset({"text", "summary", "data"})
# an item with one of these cannot be replaced by the text that the client keeps
_OPAQUE: Final = ("data", "signature")


class SignedReasoning(Struct, omit_defaults=True):
    """What one turn of the assistant carries: reasoning, and what came with tool calls, by the client's id of each."""

    reasoning_details: list[dict[str, Any]] = []
    extra_content: dict[str, dict[str, Any]] = {}


_decode = msgspec.json.Decoder(SignedReasoning).decode


class ReasoningDetails:
    """The `reasoning_details` of one answer, put together from the pieces of a stream: pieces of one type and index
    are one item, a piece without an index is an item of its own.
    """

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[object, dict[str, Any]] = {}

    def add(self, details: Any) -> None:
        """Take what a chunk holds."""
        for piece in details if isinstance(details, list) else ():
            if isinstance(piece, dict):
                index = piece.get("index")
                key = len(self._items) if index is None else (str(piece.get("type")), str(index))
                _extend(self._items.setdefault(key, {}), piece)

    def take(self) -> str | None:
        """The data of a block for what has gathered, which is then forgotten; None where text alone says it all."""
        if not self._items:
            return None
        items = list(self._items.values())
        self._items = {}
        if any(item.get(name) for item in items for name in _OPAQUE):
            return _pack(SignedReasoning(reasoning_details=items))
        return None


def pack_extra_content(call_id: str, extra_content: dict[str, Any]) -> str:
    """The data of a block for what came with the tool call that has this id for the client."""
    return _pack(SignedReasoning(extra_content={call_id: extra_content}))


def unpack(blocks: Sequence[Block]) -> SignedReasoning:
    """All that the blocks of a turn carry. What is not ours, or was changed, counts for nothing."""
    found = SignedReasoning()
    for block in blocks:
        if block.type == "redacted_thinking" and isinstance(block.data, str) and block.data.startswith(_MARK):
            try:
                part = _decode(block.data.removeprefix(_MARK))
            except (msgspec.DecodeError, RecursionError):
                continue
            found.reasoning_details += part.reasoning_details
            found.extra_content |= part.extra_content
    return found


def _pack(signed: SignedReasoning) -> str:
    return _MARK + msgspec.json.encode(signed).decode()


def _extend(item: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        if name in _IN_PIECES and isinstance(value, str) and isinstance(item.get(name), str):
            item[name] += value
        elif value is not None:
            item[name] = value
