"""Thinking that a backend leaves in the text, between tags such as `<think>` and `</think>`.

A tag counts only at the beginning of a text, after nothing but whitespace: a model that writes about tags is not
thinking. A tag may be split anywhere; text that may become a tag is held back until that is known.
"""

import re
from typing import Final

# the tags of a model's template, by how they open: most models', Gemma's, ByteDance's, Mistral's, Kimi-VL's, Cohere's
_TAGS: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
}
_OPENINGS: Final = tuple(_TAGS)
_FIRST: Final = frozenset(opening[0] for opening in _OPENINGS)
_LONGEST: Final = max(map(len, _OPENINGS))

_LINE_ENDS: Final = re.compile("\n*+")
_BLANKS: Final = re.compile(r"\s*+")

# (whether it is thinking, the text)
Piece = tuple[bool, str]


class ThinkTags:
    """Splits incoming text into thinking and text."""

    __slots__ = ("_at_start", "_behind_tag", "_close", "_held", "_inside")

    def __init__(self) -> None:
        self._held = ""
        self._at_start = True
        self._inside = False
        self._close = ""
        self._behind_tag = False

    @property
    def inside(self) -> bool:
        """Whether a tag is open."""
        return self._inside

    def split(self, text: str) -> list[Piece]:
        """Add `text`. Returns the pieces that are then known."""
        text = self._held + text
        self._held = ""
        pieces: list[Piece] = []
        at = 0
        while at < len(text):
            if self._inside:
                at = self._split_inside(text, at, pieces)
            elif self._at_start:
                at = self._split_start(text, at, pieces)
            else:
                pieces.append((False, text[at:]))
                break
        return pieces

    def restart(self) -> list[Piece]:
        """End the text, as something else follows. Returns what was held back; the next text begins anew."""
        held = [(self._inside, self._held)] if self._held else []
        self._held, self._at_start, self._inside, self._behind_tag = "", True, False, False
        return held

    def _split_start(self, text: str, at: int, pieces: list[Piece]) -> int:
        """Add what is known of `text` from `at` on, up to behind an opening tag. Returns where that ends."""
        if self._behind_tag:
            # line ends after a tag belong to it
            at = _end(_LINE_ENDS, text, at)
            self._behind_tag = at == len(text)
        start = _end(_BLANKS, text, at)
        if start < len(text) and text[start] not in _FIRST:
            self._at_start = False
            return at
        opening = ""
        if text.startswith(_OPENINGS, start):
            opening = next(tag for tag in _OPENINGS if text.startswith(tag, start))
            self._inside, self._close = True, _TAGS[opening]
        elif len(text) - start < _LONGEST and any(tag.startswith(text[start:]) for tag in _OPENINGS):
            self._held = text[start:]
        else:
            self._at_start = False
            return at
        if start > at:
            pieces.append((False, text[at:start]))
        return start + len(opening) if opening else len(text)

    def _split_inside(self, text: str, at: int, pieces: list[Piece]) -> int:
        """Add the thinking of `text` from `at` on, up to behind the closing tag. Returns where that ends."""
        end = text.find(self._close, at)
        closed = end >= 0
        if not closed:
            end = len(text) - _overlap(text, at, self._close)
            self._held = text[end:]
        if end > at:
            pieces.append((True, text[at:end]))
        if not closed:
            return len(text)
        self._inside, self._at_start, self._behind_tag = False, True, True
        return end + len(self._close)


def _overlap(text: str, at: int, close: str) -> int:
    """The number of characters at the end of `text`, from `at` on, that may begin the closing tag."""
    most = min(len(close) - 1, len(text) - at)
    return next((size for size in range(most, 0, -1) if text.endswith(close[:size])), 0)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the match of `pattern`, which may be empty, at `at` ends."""
    found = pattern.match(text, at)
    return found.end() if found else at
