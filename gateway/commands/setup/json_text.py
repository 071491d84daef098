"""Edits JSON as text. Everything else keeps its bytes, order and layout.

The files belong to the user and to Claude Code, so numbers of any size, duplicate keys and the user's indentation must
survive. A path is a tuple of one or two keys; a value is JSON text.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

Path = tuple[str, ...]

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_SCALAR: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_GAP: Final = re.compile(r"(\r?\n)([ \t]*)")
# deeper than any settings file, and well within the interpreter's stack
_DEEPEST: Final = 200


class InvalidJson(ValueError):
    """The text is not a JSON object. The message says where, and what was expected."""


@dataclass(slots=True)
class Value:
    """A value's position in the text: `[start, end)`. `members` is None unless it is an object; `items` are an array's
    values.
    """

    start: int
    end: int = 0
    members: "list[Member] | None" = None
    items: "list[Value]" = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Member:
    """An object's member; its key begins at `start`."""

    key: str
    start: int
    value: Value


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def document(self) -> Value:
        # some editors write a byte order mark
        self.at = 1 if self.text.startswith("\ufeff") else 0
        self.eat(_SPACE)
        if not self.text.startswith("{", self.at):
            self.fail("an object, {…}")
        root = self.value()
        self.eat(_SPACE)
        if self.at < len(self.text):
            self.fail("the end")
        return root

    def value(self) -> Value:
        found = Value(self.at)
        if self.depth == _DEEPEST:
            self.fail("less nesting")
        self.depth += 1
        if self.text.startswith("{", self.at):
            members = found.members = []
            self.sequence("}", lambda: members.append(self.member()))
        elif self.text.startswith("[", self.at):
            self.sequence("]", lambda: found.items.append(self.value()))
        elif self.eat(_STRING) is None and self.eat(_SCALAR) is None:
            self.fail("a value")
        self.depth -= 1
        found.end = self.at
        return found

    def sequence(self, close: str, take: Callable[[], None]) -> None:
        self.at += 1
        self.eat(_SPACE)
        if self.text.startswith(close, self.at):
            self.at += 1
            return
        while True:
            take()
            self.eat(_SPACE)
            mark = self.text[self.at : self.at + 1]
            if mark not in (",", close) or not mark:
                self.fail(f"a comma or {close}")
            self.at += 1
            if mark == close:
                return
            self.eat(_SPACE)

    def member(self) -> Member:
        start = self.at
        key = self.eat(_STRING)
        if key is None:
            self.fail('a key in double quotes, "…"')
        self.eat(_SPACE)
        if not self.text.startswith(":", self.at):
            self.fail("a colon")
        self.at += 1
        self.eat(_SPACE)
        return Member(json.loads(key or ""), start, self.value())

    def eat(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match[0]

    def fail(self, expected: str) -> None:
        line = self.text.count("\n", 0, self.at) + 1
        column = self.at - self.text.rfind("\n", 0, self.at)
        raise InvalidJson(f"line {line}, column {column}: {expected} expected")


def parse(text: str) -> Value:
    """The positions of all values in the text. Raises InvalidJson unless it is one JSON object."""
    return _Parser(text).document()


def get(text: str, path: Path) -> str | None:
    """The value at `path` as written in the text, or None. The last of duplicate keys counts. Raises InvalidJson."""
    value: Value | None = parse(text)
    for key in path:
        value = _find(value, key) if value else None
    return text[value.start : value.end] if value else None


def put(text: str, path: Path, value: str) -> str:
    """Set `path` to `value`. A new member is added at the end and laid out like the first one. Raises InvalidJson."""
    root = parse(text)
    outer = _find(root, path[0])
    if len(path) > 1 and outer is None:
        return put(put(text, path[:1], "{}"), path, value)
    place = outer if len(path) == 1 else _find(outer, path[1]) if outer else None
    if place:
        return text[: place.start] + value + text[place.end :]
    target = outer if outer and len(path) > 1 else root
    members = target.members
    if members is None:
        raise InvalidJson(f"`{path[0]}` is not an object, {{…}}")
    member = f"{json.dumps(path[-1], ensure_ascii=False)}: {value}"
    if members:
        gap = text[target.start + 1 : members[0].start]
        return f"{text[: members[-1].value.end]},{gap}{member}{text[members[-1].value.end :]}"
    before, after = _gaps(text, root, nested=target is not root)
    return f"{text[: target.start]}{{{before}{member}{after}}}{text[target.end :]}"


def delete(text: str, path: Path) -> str:
    """Remove `path`, including duplicates. Raises InvalidJson."""
    while get(text, path) is not None:
        root = parse(text)
        target = root if len(path) == 1 else _find(root, path[0])
        members = (target.members if target else None) or []
        index = max(i for i, member in enumerate(members) if member.key == path[-1])
        if len(members) == 1 and target:
            start, end, rest = target.start, target.end, "{}"
        elif index:
            start, end, rest = members[index - 1].value.end, members[index].value.end, ""
        else:
            start, end, rest = members[0].start, members[1].start, ""
        text = text[:start] + rest + text[end:]
    return text


def canonical(text: str) -> str:
    """A form for comparing values: no whitespace, keys sorted, strings re-encoded, numbers as written. Raises
    InvalidJson.
    """
    body = text.removeprefix("\ufeff").strip()
    # the parser reads objects only, so wrap the value in one
    root = parse(f'{{"":{body}}}').members
    return _canonical(f'{{"":{body}}}', root[0].value) if root else ""


def _canonical(text: str, value: Value) -> str:
    if value.members is not None:
        last = {member.key: _canonical(text, member.value) for member in value.members}
        return "{" + ",".join(f"{json.dumps(key)}:{last[key]}" for key in sorted(last)) + "}"
    if value.items:
        return "[" + ",".join(_canonical(text, item) for item in value.items) + "]"
    raw = text[value.start : value.end]
    return json.dumps(json.loads(raw)) if raw.startswith('"') else "[]" if raw.startswith("[") else raw


def _find(value: Value, key: str) -> Value | None:
    found = [member.value for member in value.members or () if member.key == key]
    return found[-1] if found else None


def _gaps(text: str, root: Value, *, nested: bool) -> tuple[str, str]:
    """The whitespace to put before and after the first member of an empty object."""
    if not nested:
        return "\n  ", "\n"
    first = (root.members or [])[0]
    gap = _GAP.fullmatch(text[root.start + 1 : first.start])
    return (f"{gap[1]}{gap[2]}{gap[2]}", f"{gap[1]}{gap[2]}") if gap else ("", "")
