"""Characters that a backend has cut in half.

A tokenizer may end a token within an emoji, and some servers write each half, a surrogate, into an event of its own.
The decoder passes such texts on as `Piece`.
"""

import re
from typing import Any, Final

from gateway.openai.lenient import Piece

ALONE: Final = "\ufffd"
"""What stands for half a character."""
HalfKey = tuple[Any, str, str | None]
"""Which text a half belongs to: the choice, the field, and the index of the call."""
_FIRST_HALF: Final = re.compile("[\ud800-\udbff]$")


class Halves:
    """Joins the halves in the pieces of several texts."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        # the first halves that wait for the second ones
        self.held: dict[HalfKey, str] = {}

    def join(self, key: HalfKey, text: str, held: dict[HalfKey, str]) -> str:
        """The next piece of a text, with the half that was `held` back before it, and without one at its end."""
        first = held.pop(key, "")
        if not (first or isinstance(text, Piece)):
            return text
        text = first + text
        if _FIRST_HALF.search(text):
            self.held[key] = text[-1]
            text = text[:-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
