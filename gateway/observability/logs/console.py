"""Formats the start-up events for a terminal, as one short block."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Line = Mapping[str, Any]


def _listening(line: Line) -> str:
    workers = f" with {len(line['workers'])} workers" if "workers" in line else ""
    rows = {
        "backend": f"{line['backend']} (profile {line['profile']})",
        "metrics": line.get("metrics"),
        "settings": line.get("settings"),
    }
    head = f"claude-gateway {line['version']} listens on {line['url']}{workers}"
    return "\n".join([head, *(_row(name, value) for name, value in rows.items() if value)])


def _models(line: Line) -> str:
    more = line["models"] - len(line["first"])
    names = ", ".join(line["first"]) + (f" and {more} more" if more else "")
    return _row("models", f"{line['models']}: {names} (profile {line['profile']})")


def _row(name: str, value: str) -> str:
    return f"  {name:<9} {value}"


def _warning(line: Line) -> str:
    return f"  ! {line['reason']}\n    → {line['remedy']}"


BLOCKS: Final[Mapping[str, Callable[[Line], str]]] = {
    "listening": _listening,
    "models found": _models,
    "models not known yet": lambda line: _row("models", line["reason"]),
    **dict.fromkeys(
        ("open to others", "proxy not used", "no models", "key refused", "no model list", "backend not reached"),
        _warning,
    ),
}
