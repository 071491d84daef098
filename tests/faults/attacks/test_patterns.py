"""No text makes a regular expression slow: every pattern of the gateway reads a megabyte of its worst inputs in time.

A pattern that needs time quadratic in its input takes minutes for a megabyte; the others take milliseconds.
"""

import importlib
import pkgutil
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from re import _constants, _parser  # type: ignore[attr-defined]  # the only way to see what a pattern is made of
from typing import Any

import pytest

import gateway

pytestmark = pytest.mark.attacks

SIZE = 1_000_000
# of this size, all inputs are tried, to find the slowest
SAMPLE = 5_000
SLOWEST = 1
SECONDS = 4.0
ANY = "1aZ" + "".join(map(chr, range(32, 127))) + "\n\té\ud800"

# Patterns that would be slow for a megabyte, with the length of the longest text that they are applied to.
_MESSAGE = 4096  # `ErrorBody.message`
BOUNDED: dict[str, int] = {
    "translate.refusals.faults._NO_MODEL": _MESSAGE,
}
# Patterns that are only ever applied at one given place of a text: `match` and `fullmatch`, never `search`.
AT_ONE_PLACE = {
    "anthropic.decode._END",
    "anthropic.decode._KEY",
    "backend.trace_context._MEMBER",
    "commands.setup.json_text._STRING",
    "observability.tracing.configuration._NUMBER",
}
# The demo's embedded backend: what its one user types, on a loopback address.
DEMO = "commands.demo."


def patterns() -> dict[str, re.Pattern[Any]]:
    """Every compiled pattern in a module of the gateway, also inside of tables, by its module and name."""
    found: dict[tuple[Any, int], tuple[str, re.Pattern[Any]]] = {}

    def look(value: Any, where: str) -> None:
        if isinstance(value, re.Pattern):
            found.setdefault((value.pattern, value.flags), (where, value))
        elif isinstance(getattr(value, "__self__", None), re.Pattern):
            look(value.__self__, where)
        elif isinstance(value, dict):
            for number, item in enumerate([*value.keys(), *value.values()]):
                look(item, f"{where}.{number}")
        elif isinstance(value, tuple | list | set | frozenset):
            for number, item in enumerate(value):
                look(item, f"{where}.{number}")

    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                look(value, f"{module.name.removeprefix('gateway.')}.{name}")
    return dict(found.values())


class Sampler:
    """Texts that a pattern matches, and its pumps: what comes before a repetition, with one round of it."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self.pumps: set[tuple[str, str]] = set()
        source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
        self.sample = self._write(_parser.parse(source, pattern.flags & ~re.UNICODE), "")

    def _write(self, parsed: Any, before: str) -> str:
        text = ""
        for kind, value in parsed:
            text += self._one(kind, value, before + text)
        return text

    def _one(self, kind: Any, value: Any, before: str) -> str:
        match kind:
            case _constants.LITERAL:
                return chr(value)
            case _constants.NOT_LITERAL:
                return "x" if value != ord("x") else "y"
            case _constants.ANY:
                return "x"
            case _constants.IN:
                return next(char for char in ANY if _in_set(value, char))
            case _constants.BRANCH:
                ways = [self._write(way, before) for way in value[1]]
                self.pumps |= {(before, way) for way in ways}
                return ways[-1]
            case _constants.SUBPATTERN:
                return self._write(value[3], before)
            case _constants.ATOMIC_GROUP:
                return self._write(value, before)
            case _constants.MAX_REPEAT | _constants.MIN_REPEAT | _constants.POSSESSIVE_REPEAT:
                least, most, item = value
                once = self._write(item, before)
                if most > 1:
                    self.pumps.add((before, once))
                return once * max(least, 1)
            case _:
                return ""


def _in_set(parts: Any, char: str) -> bool:
    negated = parts[0][0] is _constants.NEGATE
    return negated != any(_in_part(kind, value, char) for kind, value in parts)


def _in_part(kind: Any, value: Any, char: str) -> bool:
    match kind:
        case _constants.LITERAL:
            return ord(char) == value
        case _constants.RANGE:
            return bool(value[0] <= ord(char) <= value[1])
        case _constants.CATEGORY:
            name = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[str(value).rpartition("_")[2]]
            return ("_NOT_" in str(value)) != bool(re.match(name, char))
        case _:
            return False


def worst_inputs(pattern: re.Pattern[Any], size: int) -> list[str]:
    """Of single characters, of what the pattern is made of, and of what it almost matches."""
    sampler = Sampler(pattern)
    units = {"1", "a", " ", "\n", '"', "'", "\\", "\\\\", "{", "[", "<", ",", "1,", "a ", "a.", ".", "/", "a/", "://"}
    units |= {sampler.sample[:end] for end in range(max(1, len(sampler.sample) - 3), len(sampler.sample) + 1)}
    for before, once in sampler.pumps:
        units |= {before, once, before + once, before + once * 40}
    texts = [unit * (size // len(unit) + 1) for unit in sorted(units) if unit]
    texts += [before + once * (size // len(once) + 1) for before, once in sorted(sampler.pumps) if once]
    return [text[: size - len(end)] + end for text in texts for end in ("", "\0")]


def read(where: str, text: str) -> None:
    pattern = PATTERNS[where]
    given: Any = text if isinstance(pattern.pattern, str) else text.encode("utf-8", "replace")
    pattern.fullmatch(given)
    if where not in AT_ONE_PLACE:
        pattern.search(given)


def seconds(where: str, text: str) -> float:
    started = time.process_time()
    read(where, text)
    return time.process_time() - started


@contextmanager
def time_limit(seconds: float, message: str) -> Iterator[None]:
    def too_long(*_: object) -> None:
        pytest.fail(message)

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


PATTERNS = {where: pattern for where, pattern in patterns().items() if not where.startswith(DEMO)}


@pytest.mark.parametrize("where", sorted(PATTERNS))
def test_a_pattern_reads_its_worst_inputs_in_time(where: str) -> None:
    took = {}
    for number, text in enumerate(worst_inputs(PATTERNS[where], SAMPLE)):
        with time_limit(SECONDS, f"{PATTERNS[where].pattern!r} takes too long for {text[:60]!r}…"):
            took[number] = seconds(where, text)
    worst = worst_inputs(PATTERNS[where], BOUNDED.get(where, SIZE))
    for number in sorted(took, key=lambda number: -took[number])[:SLOWEST]:
        with time_limit(SECONDS, f"{PATTERNS[where].pattern!r} takes too long for {worst[number][:60]!r}…"):
            read(where, worst[number])


def test_every_exception_is_a_pattern() -> None:
    assert BOUNDED.keys() | AT_ONE_PLACE <= PATTERNS.keys()
