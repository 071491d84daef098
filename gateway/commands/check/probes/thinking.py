"""Thinking: which field carries it, and what turns it on and off."""

from typing import Any, Final, get_args

from msgspec import structs

from gateway.anthropic.errors import ApiError
from gateway.commands.check.asking import Answer
from gateway.commands.check.flags import REASONING_PARSER, flags
from gateway.commands.check.rows import Finding
from gateway.commands.check.visit import Visit
from gateway.openai.profile import Profile, ThinkingControl

_PROMPT: Final = "A farmer has 17 sheep. All but 9 run away. How many are left?"
_MOST_TOKENS: Final = 256
_ON: Final[dict[str, Any]] = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
_OFF: Final[dict[str, Any]] = {"thinking": {"type": "disabled"}}
_EFFORTS: Final = ("low", "medium", "high")
# what to call the switches in the report
SWITCHES: Final = {
    "chat_template_kwargs": "chat_template_kwargs.enable_thinking",
    "enable_thinking": "enable_thinking",
    "thinking": "thinking.type",
    "reasoning": "reasoning",
    "reasoning_effort": "reasoning_effort",
}


async def thinking(visit: Visit) -> Finding:
    """Ask with thinking on and off. If the switch has no effect and the profile is only a guess, try the others."""
    found, asker = visit.found, visit.asker
    on, off = await _ask(visit, _ON), await _ask(visit, _OFF)
    control = asker.profile.thinking_control
    if on is not None:
        _note(visit, on)
    if on and not off:
        found.thinking_control = control
        return _switched(visit, on, control)
    if visit.guessed:
        for other in get_args(ThinkingControl):
            if other in (control, "none"):
                continue
            answer = await _ask(visit, _OFF if on else _ON, _with(asker.profile, other))
            if bool(answer) != bool(on):
                _note(visit, on or answer)
                found.thinking_control = other
                return _switched(visit, on or answer, other)
    if on:
        said = f"comes as {_place(on)}, and cannot be turned off: side tasks take longer as well"
        remedy = "use a model whose thinking can be turned off, or a smaller one for side tasks: MODEL_MAP=haiku=NAME"
        return Finding("partly", said, remedy, _facts(on, None))
    if off:
        said = f"came as {_place(off)} when it was not asked for, and not when it was"
        return Finding("unknown", said, "check the model's chat template")
    said = "none seen: this model does not think, or nothing known turns it on"
    remedy = "leave alwaysThinkingEnabled off; if the model can think, set the kind of backend: BACKEND_PROFILE=…"
    return Finding("unknown", said, remedy)


async def _ask(visit: Visit, switch: dict[str, Any], profile: Profile | None = None) -> Answer | None:
    """The answer if it contains thinking, otherwise None. With `profile`, None also for a request that the backend
    refuses: the guess was wrong. Without `profile`, raises ApiError.
    """
    try:
        answer = await visit.asker.ask(_PROMPT, max_tokens=_MOST_TOKENS, profile=profile, **switch)
    except ApiError:
        if profile is None:
            raise
        return None
    return answer if answer.of("thinking") else None


def _with(profile: Profile, control: ThinkingControl) -> Profile:
    efforts = _EFFORTS if control in ("reasoning", "reasoning_effort") else ()
    return structs.replace(profile, thinking_control=control, efforts=efforts)


def _note(visit: Visit, answer: Answer | None) -> None:
    visit.found.thinks = True
    if answer is not None:
        visit.found.reasoning = answer.seen.reasoning


def _switched(visit: Visit, answer: Answer | None, control: str) -> Finding:
    said = f"comes as {_place(answer)}, turned on and off by `{SWITCHES.get(control, control)}`{_effort(visit)}"
    if answer is not None and not answer.seen.reasoning:
        how = flags(REASONING_PARSER, visit.first_profile.name)
        remedy = f"the gateway extracts it, but the server's own parser is more reliable ({how})"
        return Finding("partly", said, remedy, _facts(answer, control))
    return Finding("good", said, "", _facts(answer, control))


def _effort(visit: Visit) -> str:
    """What is known to change how much the model thinks."""
    profile = visit.asker.profile
    ways = []
    if efforts := profile.template_efforts or profile.efforts:
        ways.append(f"effort {', '.join(efforts)}")
    if profile.budget_field and profile.budget_field[0] not in profile.drops:
        ways.append(f"a budget as `{'.'.join(profile.budget_field)}`")
    return f"; {' and '.join(ways)}" if ways else ""


def _place(answer: Answer | None) -> str:
    return f"`{answer.seen.reasoning}`" if answer is not None and answer.seen.reasoning else "<think> in the text"


def _facts(answer: Answer | None, control: str | None) -> dict[str, Any]:
    return {"field": answer.seen.reasoning if answer else "", "switch": control}
