"""Values for a JSON schema, taken from a prompt.

`fill(schema, Hints.of(prompt, rest))` gives the smallest value that satisfies the schema's required parts. Words from
the prompt go where they fit: a path into `file_path`, a URL into `url`, quoted strings in order into the other strings,
numbers into numbers. Pure: no I/O, and the same input always gives the same output.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_DEPTH: Final = 8
_MAX_ITEMS: Final = 8
_TRAILING: Final = ".,;:!?)]}>'\"`"

_URL: Final = re.compile(r"https?://[^\s\"'`<>]+")
_QUOTED: Final = re.compile(r"\"([^\"\n]+)\"|`([^`\n]+)`|“([^”\n]+)”|(?<!\w)'([^'\n]+)'(?!\w)")
_NUMBER: Final = re.compile(r"(?<![\w./-])-?\d{1,15}(?:\.\d{1,15})?(?![\w/])")
# In order of certainty: "and/or" looks like a relative path, so that form comes last.
_PATHS: Final = (
    re.compile(r"(?<![\w/:.~-])(?:~|\.{1,2})?/[^\s\"'`<>]+|\b[A-Za-z]:\\[^\s\"'`<>]+"),
    re.compile(r"(?<![\w/.-])(?!e\.g\b|i\.e\b)(?:[\w.-]+/)*[\w-]+\.[A-Za-z]\w{0,9}\b(?!/)"),
    re.compile(r"(?<![\w/.-])[\w.-]+(?:/[\w.-]+)+/?"),
)
_COMMAND: Final = re.compile(
    r"\b(?:run|execute)\s+(?:the\s+)?(?:(?:shell\s+)?command\s+)?:?\s*"
    r"(?:\"([^\"\n]+)\"|'([^'\n]+)'|([^\n]+?)(?=\s+(?:with|using|and|then)\s|,\s|[.!?]?\s*(?:$|\n)|[.!?]\s))",
    re.IGNORECASE,
)
_BACKTICKED: Final = re.compile(r"`([^`\n]+)`")
_PLACE: Final = re.compile(r"\b(?:in|for|at|of)\s+([A-Z][\w-]*(?:,?\s+[A-Z][\w-]*)*)")

_SAFE_COMMAND: Final = "echo 'Hello from the embedded demo backend'"


@dataclass(slots=True)
class Hints:
    """Material from a prompt to fill values with. Quotes and numbers are consumed in order."""

    prompt: str
    rest: str
    urls: list[str]
    paths: list[str]
    quotes: list[str]
    numbers: list[float]

    @classmethod
    def of(cls, prompt: str, rest: str = "") -> Hints:
        """Read `prompt`; `rest` is the part of it that a plain string gets when no quotes are left."""
        urls = [url.rstrip(_TRAILING) for url in _URL.findall(prompt)]
        plain = _URL.sub(" ", prompt)
        paths = find_paths(plain)
        quotes = [quote for quote in quoted(plain) if quote not in paths]
        numbers = [float(number) for number in _NUMBER.findall(plain)]
        return cls(prompt, rest or prompt, urls, paths, quotes, numbers)

    def path(self) -> str:
        """The next path; the last one is used again and again."""
        return self.paths.pop(0) if len(self.paths) > 1 else next(iter(self.paths), "README.md")

    def url(self) -> str:
        """The next URL; the last one is used again and again."""
        return self.urls.pop(0) if len(self.urls) > 1 else next(iter(self.urls), "https://example.com/")

    def words(self) -> str:
        """The next quoted string, or the rest of the prompt if none is left."""
        return self.quotes.pop(0) if self.quotes else self.rest

    def title(self) -> str:
        """The prompt's first words."""
        return title(self.prompt)

    def place(self) -> str:
        """A capitalised name after "in", "for", "at" or "of", unless the prompt quotes a string."""
        found = _PLACE.search(self.prompt)
        return found[1] if found and not self.quotes else self.words()

    def command(self) -> str:
        """A command that the prompt spells out, or a harmless one. Never prose: a client may run this unprompted."""
        if found := _BACKTICKED.search(self.prompt):
            return found[1]
        if found := _COMMAND.search(self.prompt):
            return next(part for part in found.groups() if part)
        return self.quotes.pop(0) if self.quotes else _SAFE_COMMAND


# The first rule whose pattern matches the property's name (in snake_case) decides where a string comes from.
_STRINGS: Final[tuple[tuple[re.Pattern[str], Callable[[Hints], str]], ...]] = (
    (re.compile(r"ur[li]s?$|^ur[li]|link"), Hints.url),
    (re.compile(r"path|(?<!pro)file|folder|directory"), Hints.path),
    (re.compile(r"command|^cmd"), Hints.command),
    (re.compile(r"title|description|summary|subject|label"), Hints.title),
    (re.compile(r"city|location|place$"), Hints.place),
)


def quoted(text: str) -> list[str]:
    """The strings in quotes or backticks, in order; an apostrophe inside a word is not a quote."""
    return [next(part for part in match if part) for match in _QUOTED.findall(text)]


def find_paths(text: str) -> list[str]:
    """What looks like a file path in `text`: all matches of the most certain form, with quoted paths first."""
    absolute, with_suffix, _ = _PATHS
    in_quotes = [quote for quote in quoted(text) if absolute.match(quote) or with_suffix.fullmatch(quote)]
    for form in _PATHS:
        if found := [path.rstrip(_TRAILING) for path in form.findall(text)]:
            return list(dict.fromkeys(in_quotes + found))
    return in_quotes


def title(text: str, words: int = 6) -> str:
    """The first few words of `text` without markup, as a heading."""
    plain = re.sub(r"<[^<>]*>|https?://\S+", " ", text)
    heading = " ".join(re.findall(r"\w[\w'\u2019-]*", plain)[:words])
    return heading[:1].upper() + heading[1:] or "Untitled"


def needs_target(schema: Any, prompt: str) -> bool:
    """Whether `schema` requires a path or a URL that `prompt` does not contain."""
    required = schema.get("required") if isinstance(schema, dict) else None
    rules = [_string_rule(name) for name in required or () if isinstance(name, str)]
    hints = Hints.of(prompt)
    return (Hints.path in rules and not hints.paths) or (Hints.url in rules and not hints.urls)


def fill(schema: Any, hints: Hints) -> Any:
    """The smallest value for `schema` (a JSON schema, any draft), filled from `hints` where they fit."""
    return _value(schema, hints, "", schema, 0)


def _value(schema: Any, hints: Hints, name: str, root: Any, depth: int) -> Any:
    schema = _resolve(schema, root)
    if depth > _DEPTH:
        return None
    options = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(options, list) and options:
        return _option(options, hints.prompt)
    kind = _kind(schema)
    if kind == "object":
        return _object(schema, hints, root, depth)
    if kind == "array":
        wanted = schema.get("minItems", 0)
        count = min(wanted, _MAX_ITEMS) if isinstance(wanted, int) else 0
        return [_value(schema.get("items"), hints, name, root, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        return _number(schema, hints, kind)
    return {"boolean": False, "null": None}[kind] if kind in ("boolean", "null") else _string(name, hints)


def _object(schema: dict[str, Any], hints: Hints, root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    return {name: _value(known.get(name), hints, name, root, depth + 1) for name in names}


def _resolve(schema: Any, root: Any) -> dict[str, Any]:
    """Follow local `$ref`s in `schema`, and take the first alternative that is not null."""
    for _ in range(_DEPTH):
        if not isinstance(schema, dict):
            return {}
        if isinstance(ref := schema.get("$ref"), str):
            schema = _pointer(ref, root)
            continue
        choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if not isinstance(choices, list) or _kind(schema) == "object":
            return schema
        schema = next((c for c in choices if not (isinstance(c, dict) and c.get("type") == "null")), {})
    return {}


def _pointer(ref: str, root: Any) -> Any:
    """What a local reference such as `#/$defs/item` points to; `#` is the whole schema."""
    for key in ref.removeprefix("#").strip("/").split("/") if ref != "#" else ():
        root = root.get(key) if isinstance(root, dict) else None
    return root


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _option(options: list[Any], prompt: str) -> Any:
    places = {
        option: found.start()
        for option in options
        if isinstance(option, str) and (found := _word(option).search(prompt))
    }
    return min(places, key=places.__getitem__) if places else options[0]


def _word(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)", re.IGNORECASE)


def _number(schema: dict[str, Any], hints: Hints, kind: str) -> float:
    if hints.numbers:
        value = hints.numbers.pop(0)
    else:
        given = schema.get("default", schema.get("minimum", 1))
        value = given if isinstance(given, int | float) else 1
    low, above, high = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if isinstance(low, int | float):
        value = max(value, low)
    if isinstance(above, int | float) and not isinstance(above, bool) and value <= above:
        value = above + 1
    if isinstance(high, int | float):
        value = min(value, high)
    if not math.isfinite(value):
        return 1
    return int(value) if kind == "integer" or value == int(value) else value


def _string(name: str, hints: Hints) -> str:
    return _string_rule(name)(hints)


def _string_rule(name: str) -> Callable[[Hints], str]:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return next((rule for pattern, rule in _STRINGS if pattern.search(snake)), Hints.words)
