"""Thinking: the request fields that switch it, and its replay in the history."""

from collections.abc import Sequence
from typing import Any, Final

from gateway.anthropic.auto_mode import checks_action
from gateway.anthropic.request import Block, MessagesRequest
from gateway.openai.profile import Profile
from gateway.translate.both_ways.signed_reasoning import omitted_thinking

_EFFORT_ORDER: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
# efforts for token budgets, for backends that accept only efforts
_BUDGET_EFFORTS: Final = ((2048, "low"), (8192, "medium"))
# these switches take an effort only where the profile says so
_WITHOUT_EFFORTS: Final = ("chat_template_kwargs", "enable_thinking", "none")
# not empty: Kimi treats an empty string as missing
_NO_THINKING: Final = " "


def thinking_wanted(request: MessagesRequest) -> bool:
    """Whether the client requests thinking, in any form but `disabled`. Without the field, thinking is off: side calls,
    such as the one for a title, must be fast. The checks of auto mode must be, too, and have room for a few words only.
    """
    asked = request.thinking is not None and request.thinking.type != "disabled"
    return asked and not checks_action(request)


def thinking_fields(request: MessagesRequest, profile: Profile) -> dict[str, Any]:
    """The request fields that control the backend's thinking.

    Omitted where a model that cannot think, or cannot stop thinking, would refuse the field: the backend's default is
    better than an error.
    """
    wanted = thinking_wanted(request)
    effort = _effort(request, profile.efforts) if wanted else None
    match profile.thinking_control:
        case "chat_template_kwargs":
            return _template_fields(request, profile, effort, wanted=wanted)
        case "enable_thinking":
            return {"enable_thinking": wanted}
        case "thinking":
            keep = {"clear_thinking": False} if wanted and profile.clears_thinking else {}
            return {"thinking": {"type": "enabled" if wanted else "disabled", **keep}}
        case "reasoning":
            # thinking is never switched off: models that always think answer 400 ("Reasoning is mandatory")
            if not wanted and profile.efforts and checks_action(request):
                return {"reasoning": {"effort": profile.efforts[0]}}
            return {"reasoning": _reasoning(request, effort)} if wanted else {}
        case "reasoning_effort" if not wanted:
            return {"reasoning_effort": "none"}
        case _:
            return {"reasoning_effort": effort} if effort else {}


def is_effort_ignored(request: MessagesRequest, profile: Profile) -> bool:
    """Whether the client asks for an effort or a budget that nothing known passes on to this backend."""
    if not thinking_wanted(request) or profile.thinking_control not in _WITHOUT_EFFORTS:
        return False
    effort = request.output_config.effort if request.output_config else None
    budget = request.thinking.budget_tokens if request.thinking else None
    limits = bool(profile.budget_field) and profile.budget_field[0] not in profile.drops
    return bool(effort or budget) and not (profile.efforts or profile.template_efforts or limits)


def _template_fields(request: MessagesRequest, profile: Profile, effort: str | None, *, wanted: bool) -> dict[str, Any]:
    """The fields for a backend that leaves thinking to the model's chat template."""
    # a template uses one of the names: Qwen and GLM the first; DeepSeek, Granite and Kimi the second
    kwargs: dict[str, Any] = {"enable_thinking": wanted, "thinking": wanted}
    fields: dict[str, Any] = {"chat_template_kwargs": kwargs}
    if not wanted:
        if profile.efforts:
            # gpt-oss always thinks
            kwargs["reasoning_effort"] = fields["reasoning_effort"] = profile.efforts[0]
        return fields
    if template_effort := _effort(request, profile.template_efforts):
        kwargs["reasoning_effort"] = template_effort
    if effort:
        fields["reasoning_effort"] = effort
    elif profile.budget_field and (budget := _budget(request, profile)) is not None:
        *path, name = profile.budget_field
        within = fields
        for part in path:
            within = within.setdefault(part, {})
        within[name] = budget
    return fields


def _budget(request: MessagesRequest, profile: Profile) -> int | None:
    """The most tokens of thinking. For a model that knows no efforts, a low or medium effort is a budget, too."""
    if request.thinking is not None and request.thinking.budget_tokens:
        return request.thinking.budget_tokens
    asked = request.output_config.effort if request.output_config else None
    if profile.efforts or profile.template_efforts or asked is None:
        return None
    if asked == "minimal":
        asked = "low"
    return next((limit for limit, name in _BUDGET_EFFORTS if name == asked), None)


def replayed_thinking(blocks: Sequence[Block]) -> str:
    """The thinking of an assistant turn as one text. Redacted thinking contains no readable text."""
    thoughts = (block.thinking or omitted_thinking(block.signature) for block in blocks if block.type == "thinking")
    return "\n".join(filter(None, thoughts))


def missing_thinking(request: MessagesRequest, profile: Profile) -> str:
    """The substitute for missing thinking in an assistant turn; empty if it may be missing.

    While thinking is on, DeepSeek and Kimi answer 400 to a history with a turn that lacks it: a turn of another model,
    or one in which the model did not think (musistudio/claude-code-router#1378). On hosts other than their own, the
    request's switch may have no effect, so thinking may be on even if the client did not request it.
    """
    can_be_off = profile.thinking_control == "thinking"
    return _NO_THINKING if profile.needs_thinking and (thinking_wanted(request) or not can_be_off) else ""


def _reasoning(request: MessagesRequest, effort: str | None) -> dict[str, Any]:
    if request.thinking is not None and request.thinking.budget_tokens:
        return {"max_tokens": request.thinking.budget_tokens}
    return {"effort": effort} if effort else {"enabled": True}


def _effort(request: MessagesRequest, efforts: Sequence[str]) -> str | None:
    """The requested effort, or the nearest lower one of these, or the lowest of them."""
    effort = request.output_config.effort if request.output_config else None
    if effort is None and request.thinking is not None and request.thinking.budget_tokens:
        budget = request.thinking.budget_tokens
        effort = next((name for limit, name in _BUDGET_EFFORTS if budget <= limit), "high")
    if effort not in _EFFORT_ORDER:
        return None
    for candidate in reversed(_EFFORT_ORDER[: _EFFORT_ORDER.index(effort) + 1]):
        if candidate in efforts:
            return candidate
    return efforts[0] if efforts else None
