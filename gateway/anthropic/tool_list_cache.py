"""A cache of the tool lists that clients send with every turn.

A client sends the same tools with each turn: tens of kilobytes, most of a short conversation's request. They are
recognised by their bytes, and so neither decoded nor translated again. The cache is bounded. It reveals nothing across
clients: only a request with the same bytes finds a list.
"""

import secrets
from collections.abc import Hashable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, ValidationError

from gateway.anthropic.request import Tool

_MOST_LISTS: Final = 32
_MOST_BYTES: Final = 8 * 1024 * 1024
# a shorter list is decoded in less time than the search takes
LEAST_BYTES: Final = 2048
# Claude Code sends at most one short list after its tools
_LISTS_BEHIND: Final = 4

# a random name, which no client can have sent
_NAME: Final = secrets.token_hex(16)
_MARK: Final = b'[{"name":"%b"}]' % _NAME.encode()

_decode = msgspec.json.Decoder(list[Tool]).decode


def is_mark(tools: Sequence[Tool] | None) -> bool:
    """Whether these tools are the mark that `KnownTools.cut_out` left."""
    return tools is not None and len(tools) == 1 and tools[0].name == _NAME


class SharedTools(list[Tool]):
    """Tools shared by requests; must not be changed. `made` caches what was derived from them."""

    __slots__ = ("made", "written")

    def __init__(self, written: bytes) -> None:
        """Decode the tools from their JSON. Raises what the decoder raises."""
        super().__init__(_decode(written))
        self.written = written
        self.made: dict[Hashable, Any] = {}


class KnownTools:
    """Finds known tool lists in request bodies; thread-safe."""

    def __init__(self) -> None:
        # most recently used first; the tuple is replaced, never changed
        self._kept: tuple[SharedTools, ...] = ()

    def cut_out(self, body: bytes | bytearray) -> tuple[bytes, SharedTools] | None:
        """The body with a mark in place of a known list, and that list; None if the body holds none.

        The mark may have replaced something other than `tools`: check the decoded body with `is_mark`.
        """
        end = len(body)
        if end < LEAST_BYTES:
            return None
        for _ in range(_LISTS_BEHIND):
            last = body.rfind(b"]", 0, end)
            for tools in self._kept:
                start = last + 1 - len(tools.written)
                if start > 0 and body.startswith(tools.written, start):
                    self._keep(tools)
                    view = memoryview(body)
                    return b"".join((view[:start], _MARK, view[last + 1 :])), tools
            end = last
        return None

    def keep(self, raw: Raw) -> SharedTools | None:
        """Cache the tool list with these bytes and return it; None if it is too short, too long or does not decode."""
        if not LEAST_BYTES <= len(memoryview(raw)) <= _MOST_BYTES:
            return None
        written = bytes(raw)
        tools = next((tools for tools in self._kept if tools.written == written), None)
        if tools is None:
            try:
                tools = SharedTools(written)
            except ValidationError:
                # a tool of an unknown type does not fit the schema: such a list is not cached
                return None
        self._keep(tools)
        return tools

    def _keep(self, tools: SharedTools) -> None:
        if self._kept and self._kept[0] is tools:
            return
        kept, left = [], _MOST_BYTES
        for each in (tools, *(other for other in self._kept if other is not tools)):
            left -= len(each.written)
            if left >= 0:
                kept.append(each)
        self._kept = tuple(kept[:_MOST_LISTS])
