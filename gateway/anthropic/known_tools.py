"""Lists of tools that came before.

A client sends the same tools with each turn: tens of kilobytes, most of a short conversation's request. They are found
by their bytes, so that they are neither read nor translated again. What is kept is bounded, and is no secret to who
finds it: only the same bytes do.
"""

import secrets
from collections.abc import Hashable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, ValidationError

from gateway.anthropic.request import Tool

_MOST_LISTS: Final = 32
_MOST_BYTES: Final = 8 * 1024 * 1024
# a shorter list is read in less time than it is looked for
LEAST_BYTES: Final = 2048
# Claude Code's tools are followed by one short list at most
_LISTS_BEHIND: Final = 4

# what no client can have written
_NAME: Final = secrets.token_hex(16)
_MARK: Final = b'[{"name":"%b"}]' % _NAME.encode()

_decode = msgspec.json.Decoder(list[Tool]).decode


def is_mark(tools: Sequence[Tool] | None) -> bool:
    """Whether these tools are what `KnownTools.cut_out` left."""
    return tools is not None and len(tools) == 1 and tools[0].name == _NAME


class SharedTools(list[Tool]):
    """Tools that requests share: nobody may change them. `made`: what was made of them, for the next one."""

    __slots__ = ("made", "written")

    def __init__(self, written: bytes) -> None:
        """Read them from their JSON. Raises what the decoder raises."""
        super().__init__(_decode(written))
        self.written = written
        self.made: dict[Hashable, Any] = {}


class KnownTools:
    """Finds lists of tools in the bodies of requests; safe to use from several threads."""

    def __init__(self) -> None:
        # the most recent ones first; replaced, never changed
        self._kept: tuple[SharedTools, ...] = ()

    def cut_out(self, body: bytes | bytearray) -> tuple[bytes, SharedTools] | None:
        """The body with a mark in place of a list that is known, and that list; None if there is none in it.

        The mark may have come to stand in another place than `tools`: `is_mark` tells, once the body has been read.
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
        """The list of tools with these bytes, from now on a known one; None if it is not worth it, or cannot be."""
        if not LEAST_BYTES <= len(memoryview(raw)) <= _MOST_BYTES:
            return None
        written = bytes(raw)
        tools = next((tools for tools in self._kept if tools.written == written), None)
        if tools is None:
            try:
                tools = SharedTools(written)
            except ValidationError:
                # some are of types that are not known here: such a list is read in another way
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
