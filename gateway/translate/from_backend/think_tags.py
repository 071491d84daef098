"""Thinking that a backend leaves in the text, between `<think>` and `</think>`.

A tag counts only at the beginning of a text, after nothing but whitespace: a model that writes about tags is not
thinking. A tag may be split anywhere; text that may become a tag is held back until that is known.
"""

from typing import Final

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"

# (whether it is thinking, the text)
Piece = tuple[bool, str]


class ThinkTags:
    """Splits incoming text into thinking and text."""

    __slots__ = ("_at_start", "_behind_tag", "_held", "_inside")

    def __init__(self) -> None:
        self._held = ""
        self._at_start = True
        self._inside = False
        self._behind_tag = False

    def split(self, text: str) -> list[Piece]:
        """Add `text`. Returns the pieces that are then known."""
        text = self._held + text
        self._held = ""
        if self._inside:
            return self._split_inside(text)
        if self._at_start:
            return self._split_start(text)
        return [(False, text)]

    def restart(self) -> list[Piece]:
        """End the text, as something else follows. Returns what was held back; the next text begins anew."""
        held = [(self._inside, self._held)] if self._held else []
        self._held, self._at_start, self._inside, self._behind_tag = "", True, False, False
        return held

    def _split_start(self, text: str) -> list[Piece]:
        if self._behind_tag:
            # line ends after a tag belong to it
            text = text.lstrip("\n")
            self._behind_tag = not text
        start = text.lstrip()
        blanks = text[: len(text) - len(start)]
        pieces = [(False, blanks)] if blanks else []
        if start.startswith(_OPEN):
            self._inside = True
            return pieces + self._split_inside(start[len(_OPEN) :])
        if _OPEN.startswith(start):
            self._held = start
            return pieces
        self._at_start = False
        return [(False, text)]

    def _split_inside(self, text: str) -> list[Piece]:
        thinking, tag, rest = text.partition(_CLOSE)
        if not tag:
            keep = _overlap(text)
            thinking, self._held = text[: len(text) - keep], text[len(text) - keep :]
            return [(True, thinking)] if thinking else []
        self._inside, self._at_start, self._behind_tag = False, True, True
        pieces = [(True, thinking)] if thinking else []
        return pieces + self._split_start(rest)


def _overlap(text: str) -> int:
    """The number of characters at the end of `text` that may begin the closing tag."""
    return next((size for size in range(min(len(_CLOSE) - 1, len(text)), 0, -1) if text.endswith(_CLOSE[:size])), 0)
