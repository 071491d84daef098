"""Signed or encrypted reasoning, which a backend sends and expects back unchanged.

Gemini signs tool calls (`extra_content.google.thought_signature`) and refuses a history without the signatures
(https://ai.google.dev/gemini-api/docs/thought-signatures). OpenRouter sends `reasoning_details`, whose signed and
encrypted items the underlying models want back (https://openrouter.ai/docs/use-cases/reasoning-tokens). Clients keep
`redacted_thinking` blocks and return them byte for byte, so the conversation itself carries these data in such blocks,
and any replica can read them.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.anthropic.request import Block

# Clients return the signature of a thinking block byte for byte and do not check it. This one marks thinking that came
# from a backend, not from Anthropic.
SIGNATURE: Final = "claude-gateway"
_MARK: Final = "claude-gateway:"
_OMITTED: Final = "claude-gateway:thinking:"
# the fields of an item that a stream sends in pieces; for other fields, the last value that is not null counts
_IN_PIECES: Final = frozenset({"text", "summary", "data"})
# the client's copy of the text cannot replace an item with one of these fields
_OPAQUE: Final = ("data", "signature")


class SignedReasoning(Struct, omit_defaults=True):
    """The data of one assistant turn: reasoning, and the extra content of tool calls by the client's call id."""

    reasoning_details: list[dict[str, Any]] = []
    extra_content: dict[str, dict[str, Any]] = {}


_decode = msgspec.json.Decoder(SignedReasoning).decode


def thinking_signature(thinking: str) -> str:
    """The signature of a thinking block whose text is omitted: it carries the text, as Anthropic's own does."""
    return f"{_OMITTED}{base64.b64encode(thinking.encode()).decode()}" if thinking else SIGNATURE


def omitted_thinking(signature: str | None) -> str:
    """The text that a signature carries; empty if there is none, or if the signature is not from this gateway."""
    if not signature or not signature.startswith(_OMITTED):
        return ""
    try:
        return base64.b64decode(signature.removeprefix(_OMITTED), validate=True).decode()
    except ValueError:
        return ""


class ReasoningDetails:
    """The `reasoning_details` of one answer, assembled from the pieces of a stream: pieces with the same type and index
    form one item; a piece without an index is a separate item.
    """

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[object, dict[str, Any]] = {}

    def add(self, details: Any) -> None:
        """Add the `reasoning_details` of a chunk."""
        for piece in details if isinstance(details, list) else ():
            if isinstance(piece, dict):
                index = piece.get("index")
                key = len(self._items) if index is None else (str(piece.get("type")), str(index))
                _extend(self._items.setdefault(key, {}), piece)

    def take(self) -> str | None:
        """The block data for the items so far, which are then cleared; None if plain text can replace them."""
        if not self._items:
            return None
        items = [_joined(item) for item in self._items.values()]
        self._items = {}
        if any(item.get(name) for item in items for name in _OPAQUE):
            return _pack(SignedReasoning(reasoning_details=items))
        return None


def pack_extra_content(call_id: str, extra_content: dict[str, Any]) -> str:
    """The block data for the extra content of the tool call with this client id."""
    return _pack(SignedReasoning(extra_content={call_id: extra_content}))


def unpack(blocks: Sequence[Block]) -> SignedReasoning:
    """The data in the blocks of a turn. Blocks that are not from this gateway, or were altered, are ignored."""
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
        if name in _IN_PIECES and isinstance(value, str):
            pieces = item.get(name)
            if isinstance(pieces, _Pieces):
                pieces.append(value)
            else:
                item[name] = _Pieces([value])
        elif value is not None:
            item[name] = value


class _Pieces(list[str]):
    """The pieces of one string, joined once at the end: to append to a string copies all of it each time."""


def _joined(item: dict[str, Any]) -> dict[str, Any]:
    return {name: "".join(value) if isinstance(value, _Pieces) else value for name, value in item.items()}
