"""What becomes of a model's thinking in the answer.

A client that did not ask for thinking reads `content[0].text`, and a thinking block in front of the text breaks it.
Many models think all the same. Source: https://docs.claude.com/en/docs/build-with-claude/extended-thinking
"""

from io import StringIO
from typing import Final, Literal

from gateway.anthropic.request import MessagesRequest

Display = Literal["shown", "omitted", "left_out"]
"""`omitted`: blocks without the text, which is in their signatures. `left_out`: no blocks; an answer of nothing but
thinking has it as text.
"""

# of what is kept, in characters: the longest answers of models have less than 1 Mi tokens
_MOST_KEPT: Final = 4 * 1024 * 1024


def display_of(request: MessagesRequest) -> Display:
    """How the client wants to see thinking."""
    if request.thinking is None or request.thinking.type == "disabled":
        return "left_out"
    return "omitted" if request.thinking.display == "omitted" else "shown"


class Kept:
    """Text that may be needed at the end of its block, or of the answer."""

    __slots__ = ("_text", "characters")

    def __init__(self) -> None:
        self._text = StringIO()
        # how many came, whether kept or not
        self.characters = 0

    def add(self, text: str) -> None:
        """Keep a piece, unless there is too much already."""
        self.characters += len(text)
        if self.characters <= _MOST_KEPT:
            self._text.write(text)

    def take(self) -> str:
        """All that was kept, which is then forgotten."""
        text = self._text.getvalue()
        self._text = StringIO()
        return text
