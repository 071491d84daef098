"""Formats numbers and outcomes for the terminal."""

from gateway.observability.status.state import Finished, ModelStatus

_OUTCOMES = {"ok": "done", "client_gone": "client left", "refused": "refused", "backend_fault": "failed"}
_BARS = "▁▂▃▄▅▆▇█"


def short(value: float) -> str:
    """A count in at most five characters: 950, 9.9k, 120k, 3.4M."""
    for limit, size, unit in ((999_500, 1e6, "M"), (9_995, 1e3, "k")):
        if value >= limit:
            return f"{value / size:.{1 if value < 99.5 * size else 0}f}{unit}"
    return f"{value:.0f}"


def rate(value: float) -> str:
    """A rate: 3.2, 41."""
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:.0f}"


def duration(seconds: float) -> str:
    """A duration: 35 ms, 2.4 s, 3 min 5 s, 2 h 10 min, 4 d 1 h."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    for unit, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name} {seconds % unit // part:.0f} {part_name}"
    return f"{seconds:.0f} s"


def ago(seconds: float) -> str:
    """An age: now, 12 s ago, 3 min ago."""
    if seconds < 5:
        return "now"
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name} ago"
    return f"{seconds:.0f} s ago"


def outcome(ended: Finished) -> str:
    """How a request ended: done, failed 502."""
    word = _OUTCOMES.get(ended.outcome, ended.outcome)
    return f"{word} {ended.status}" if ended.status not in (None, 200) else word


def marks(model: ModelStatus) -> str:
    """What is known about a model: 128Ki context, thinks, images."""
    window = model.context_window
    size = f"{window // 1024}Ki" if window and window % 1024 == 0 else short(window or 0)
    known = ((window, f"{size} context"), (model.thinking, "thinks"), (model.images, "images"))
    return ", ".join(word for holds, word in known if holds)


def sparkline(values: list[float], width: int) -> str:
    """The newest `width` values as bars."""
    shown = values[-width:]
    peak = max(shown, default=0) or 1
    return "".join(_BARS[round(value / peak * (len(_BARS) - 1))] for value in shown)
