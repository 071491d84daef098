"""Completes JSON that was cut off, as a client's own incremental parser would."""

import re
from typing import Final

_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?P<closed>"?)|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
_CLOSER: Final = {"{": "}", "[": "]"}
_LITERALS: Final = frozenset({"true", "false", "null"})
# a truncated escape, or the first half of a surrogate pair, after any number of complete `\\`
_CUT_ESCAPE: Final = re.compile(r"(?<!\\)((?:\\\\)*)(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")


def complete(text: str) -> str:
    """Close every open string, list and object in `text`; drop an incomplete key, number or word at its end.

    The result is not JSON if the text was malformed rather than truncated: the caller has to parse it.
    """
    closers: list[str] = []
    end = 0  # up to here the text is complete, except for the closers
    before = ""
    for token in _TOKEN.finditer(text):
        mark = token[0][0]
        stands = mark not in ",:"
        if mark in _CLOSER:
            closers.append(_CLOSER[mark])
        elif mark in "}]":
            if not closers or closers.pop() != mark:
                return text
        elif mark == '"':
            is_key = closers[-1:] == ["}"] and before != ":"
            if not token["closed"]:
                return _closed(text[:end] if is_key else _CUT_ESCAPE.sub(r"\1", text, count=1) + '"', closers)
            stands = not is_key
        elif stands:
            stands = token.end() < len(text) or token[0] in _LITERALS
        if stands:
            end = token.end()
        before = mark
    return _closed(text[:end], closers)


def _closed(text: str, closers: list[str]) -> str:
    return text + "".join(reversed(closers))
