"""What a probe finds."""

from typing import Any, Literal

from msgspec import Struct, field

# good: works; partly: works with a workaround or a limitation; bad: does not work; unknown: cannot be determined from
# outside; skipped: not tried, because a row it needs failed or the time ran out
Mark = Literal["good", "partly", "bad", "unknown", "skipped"]


class Finding(Struct, frozen=True):
    """What was seen (`said`), what to do about it (`remedy`), and the figures behind it (`facts`)."""

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
        """Whether Claude Code lacks something it needs, or whether that was not tried."""
        return self.needed and self.mark in ("bad", "skipped")
