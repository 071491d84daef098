"""The Claude Code settings that point it at a gateway, and the edits to a settings file.

The keys and their effects were measured with Claude Code 1.0.128 to 2.1.330. Pure: text in, text out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.commands.setup import json_text
from gateway.commands.setup.json_text import Path

# the client's default output limit, which the settings override only where the model allows less
_CLIENT_OUTPUT: Final = 32_000
# the client raises a smaller compaction window to this value and warns at each start; the model's own window still
# applies
_LEAST_COMPACT_WINDOW: Final = 100_000
# the client reserves room for the answer: at most 1/4 of the window
_OUTPUT_PART: Final = 4
# longer than any answer takes: the gateway itself limits silences
_TIMEOUT_MS: Final = "6000000"
_SECRETS: Final = frozenset({"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "apiKeyHelper"})

BASE_URL: Final = ("env", "ANTHROPIC_BASE_URL")
TOKEN: Final = ("env", "ANTHROPIC_AUTH_TOKEN")
MODEL: Final = ("model",)
ALWAYS_THINKING: Final = ("alwaysThinkingEnabled",)
ONBOARDING: Final = ("hasCompletedOnboarding",)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the client shall use. `context` and `output` are in tokens; None means unknown."""

    url: str
    token: str
    model: str
    context: int | None = None
    output: int | None = None
    thinks: bool | None = None


def _output(choice: Choice) -> str | None:
    limits = [_CLIENT_OUTPUT, choice.output, choice.context and choice.context // _OUTPUT_PART]
    smallest = min(limit for limit in limits if limit)
    return str(smallest) if smallest < _CLIENT_OUTPUT else None


def _context(choice: Choice) -> str | None:
    return str(choice.context) if choice.context else None


def _compact_window(choice: Choice) -> str | None:
    return str(max(choice.context, _LEAST_COMPACT_WINDOW)) if choice.context else None


def _model(choice: Choice) -> str:
    return choice.model


def _nothing(_: Choice) -> None:
    return None


# in the order in which they are written; a variable without a value is removed
_ENV: Final[dict[str, Callable[[Choice], str | None]]] = {
    "ANTHROPIC_BASE_URL": lambda choice: choice.url,
    "ANTHROPIC_AUTH_TOKEN": lambda choice: choice.token,
    # every model family, and sub-agents: without these, the client requests Anthropic's models
    "ANTHROPIC_DEFAULT_OPUS_MODEL": _model,
    "ANTHROPIC_DEFAULT_SONNET_MODEL": _model,
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": _model,
    "ANTHROPIC_DEFAULT_FABLE_MODEL": _model,
    "CLAUDE_CODE_SUBAGENT_MODEL": _model,
    # the window of a model that the client does not know: the default is 200,000 or 1,000,000, by version
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS": _context,
    # without it, clients before 2.1.330 never compact with such a model
    "CLAUDE_CODE_AUTO_COMPACT_WINDOW": _compact_window,
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS": _output,
    "API_TIMEOUT_MS": lambda _: _TIMEOUT_MS,
    # turns off a line in the prompt that changes with every request and defeats the backend's prefix cache
    "CLAUDE_CODE_ATTRIBUTION_HEADER": lambda _: "0",
    # auto mode: the client checks actions by requests of its own, and does not ask Anthropic's servers to
    "CLAUDE_CODE_AUTO_MODE_SERVER": lambda _: "0",
    # these would override the token, the model or the URL
    "ANTHROPIC_API_KEY": _nothing,
    "ANTHROPIC_MODEL": _nothing,
    "ANTHROPIC_SMALL_FAST_MODEL": _nothing,
    "CLAUDE_CODE_USE_BEDROCK": _nothing,
    "CLAUDE_CODE_USE_VERTEX": _nothing,
    "CLAUDE_CODE_USE_FOUNDRY": _nothing,
}
_HELPER: Final = ("apiKeyHelper",)
OWNED: Final[tuple[Path, ...]] = (MODEL, ALWAYS_THINKING, *(("env", name) for name in _ENV), _HELPER)


def edit(text: str, choice: Choice) -> tuple[str, list[str]]:
    """Apply the choice to the settings. Returns the new text and one line for each change, without secrets. Raises
    InvalidJson.
    """
    wanted: dict[Path, str | None] = {MODEL: choice.model}
    wanted |= {("env", name): value(choice) for name, value in _ENV.items()}
    wanted[_HELPER] = None
    texts = {path: None if value is None else json.dumps(value, ensure_ascii=False) for path, value in wanted.items()}
    # keep the user's own choice; do not turn thinking on for a model that cannot think
    if json_text.get(_full(text), ALWAYS_THINKING) is None and choice.thinks is not False:
        texts = {MODEL: texts.pop(MODEL), ALWAYS_THINKING: "true", **texts}
    return _apply(text, texts)


def onboard(text: str) -> tuple[str, list[str]]:
    """Mark onboarding as completed in the client's state file, to skip the questions of the first start. Returns the
    new text and the changes. Raises InvalidJson.
    """
    return _apply(text, {ONBOARDING: "true"})


def restore(text: str, backup: str, owned: tuple[Path, ...]) -> tuple[str, list[str]]:
    """Put back what `backup` had at the paths in `owned`. Returns the new text and the changes. Raises InvalidJson.

    If nothing else has changed since the backup, the new text is the backup, byte for byte; "" if there was no file.
    """
    before = _full(backup)
    edited, changes = _apply(text, {path: json_text.get(before, path) for path in owned})
    if json_text.get(edited, ("env",)) == "{}" and json_text.get(before, ("env",)) is None:
        edited = json_text.delete(edited, ("env",))
    return (backup if json_text.canonical(edited) == json_text.canonical(before) else edited), changes


def _full(text: str) -> str:
    return text if text.removeprefix("\ufeff").strip(" \t\r\n") else "{}\n"


def _apply(text: str, wanted: dict[Path, str | None]) -> tuple[str, list[str]]:
    edited, changes = _full(text), []
    for path, value in wanted.items():
        present = json_text.get(edited, path)
        name = ".".join(path)
        if value is None:
            if present is not None:
                edited = json_text.delete(edited, path)
                changes.append(f"- {name}")
        elif present is None or json_text.canonical(present) != json_text.canonical(value):
            edited = json_text.put(edited, path, value)
            changes.append(f"{'+' if present is None else '~'} {name} = {_shown(path, value)}")
    return (edited if changes else text), changes


def _shown(path: Path, value: str) -> str:
    return "(hidden)" if path[-1] in _SECRETS else value
