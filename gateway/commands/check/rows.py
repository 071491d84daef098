"""What a probe finds."""

from typing import Any, Literal

from msgspec import Struct, field

# good: works; partly: works, with a workaround or a loss; bad: does not work; unknown: cannot be told from outside;
# skipped: not tried, since it needs what failed, or since the time was over
Mark = Literal["good", "partly", "bad", "unknown", "skipped"]


class Finding(Struct, frozen=True):
    """What was seen, what to do about it, and the figures behind it."""

    mark: Mark
    said: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Row(Struct, frozen=True, kw_only=True):
    """A line of the report. `needed`: Claude Code cannot work without it. `seconds`: how long the probe took."""

    key: str
    title: str
    needed: bool
    mark: Mark
    said: str
    remedy: str
    seconds: float
    facts: dict[str, Any]

    @property
    def missing(self) -> bool:
        """Whether Claude Code lacks something here, or whether that could not be tried."""
        return self.needed and self.mark in ("bad", "skipped")
