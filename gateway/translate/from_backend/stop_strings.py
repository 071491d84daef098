"""Ends an answer at a stop string, for a model that refuses `stop` in requests.

A stop string may come in pieces of any size, so text that may become one is held back until that is known. What comes
after it is dropped, as the answer of a backend that knows stop strings would end there.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import structs

from gateway.anthropic.writer import BlockWriter, Finish

_TEXT: Final = "text"
_OTHER: Final = "other"


class StopStrings:
    """A writer in front of another, which gets the answer up to the first stop string in its text."""

    __slots__ = ("_held", "_open", "_stops", "_writer", "matched")

    def __init__(self, writer: BlockWriter, stops: Sequence[str]) -> None:
        """`stops`: the stop strings; empty ones do not count."""
        self._writer = writer
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        # the kind of the open block; a text block is opened at its first character
        self._open: str | None = None
        # the stop string at which the answer ended
        self.matched: str | None = None

    def begin_text(self) -> None:
        """Open a text block, once there is text."""

    def text(self, text: str) -> None:
        """Pass text on, except for what may belong to a stop string."""
        if self.matched is not None:
            return
        text, self._held = self._held + text, ""
        ends = ((text.find(stop) + len(stop), -len(stop), stop) for stop in self._stops if stop in text)
        found = min(ends, default=None)
        if found is not None:
            end, _, self.matched = found
            self._write(text[: end - len(self.matched)])
            return
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        self._write(text[: len(text) - held])

    def begin_thinking(self) -> None:
        """Open a thinking block."""
        if self._begin():
            self._writer.begin_thinking()

    def begin_tool_use(self, tool_use_id: str, name: str) -> None:
        """Open a tool_use block."""
        if self._begin():
            self._writer.begin_tool_use(tool_use_id, name)

    def begin_server_tool_use(self, tool_use_id: str, name: str) -> None:
        """Open a server_tool_use block."""
        if self._begin():
            self._writer.begin_server_tool_use(tool_use_id, name)

    def redacted_thinking(self, data: str) -> None:
        """Add a complete block."""
        if self.matched is None:
            self._writer.redacted_thinking(data)

    def web_search_error(self, tool_use_id: str, code: str) -> None:
        """Add a complete block."""
        if self.matched is None:
            self._writer.web_search_error(tool_use_id, code)

    def thinking(self, thinking: str) -> None:
        """Add to the open thinking block."""
        if self._open == _OTHER:
            self._writer.thinking(thinking)

    def signature(self, signature: str) -> None:
        """Sign the open thinking block."""
        if self._open == _OTHER:
            self._writer.signature(signature)

    def input_json(self, partial_json: str) -> None:
        """Add to the open tool_use block's input."""
        if self._open == _OTHER:
            self._writer.input_json(partial_json)

    def end_block(self) -> None:
        """Close the open block. What was held back belongs to it: no stop string goes on in another block."""
        held, self._held = self._held, ""
        self._write(held)
        if self._open is not None:
            self._writer.end_block()
            self._open = None

    def finish(self, finish: Finish) -> None:
        """End the answer."""
        self._writer.finish(self.finished(finish))

    def finished(self, finish: Finish) -> Finish:
        """How the answer ended for the client."""
        if self.matched is None:
            return finish
        return structs.replace(finish, stop_reason="stop_sequence", stop_sequence=self.matched)

    def _begin(self) -> bool:
        if self.matched is not None:
            return False
        self._open = _OTHER
        return True

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._open is None:
            self._writer.begin_text()
            self._open = _TEXT
        self._writer.text(text)


def _overlap(text: str, stop: str) -> int:
    """The number of characters at the end of `text` that may begin the stop string."""
    most = min(len(stop) - 1, len(text))
    return next((size for size in range(most, 0, -1) if text.endswith(stop[:size])), 0)
