"""Thinking: its switch on the way to the backend, its history, and the mark that it came from here."""

from collections.abc import Sequence
from typing import Any, Final

from gateway.anthropic.request import Block, MessagesRequest
from gateway.openai.profile import Profile

_EFFORT_ORDER: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
# token budgets as efforts, for backends that know only these
_BUDGET_EFFORTS: Final = ((2048, "low"), (8192, "medium"))
# Kimi takes an empty text for a missing one
_NO_THINKING: Final = " "


def thinking_wanted(request: MessagesRequest) -> bool:
    """Whether the client asked for thinking: any form but `disabled`. Without the field it is off: side calls, such
    as the one for a title, must be fast.
    """
    return request.thinking is not None and request.thinking.type != "disabled"


def thinking_fields(request: MessagesRequest, profile: Profile) -> dict[str, Any]:
    """The request fields that set the backend's thinking, in its own terms.

    Left out where a model without the ability, or without the choice, would refuse the field: what such a backend
    does on its own is better than an error.
    """
    wanted = thinking_wanted(request)
    effort = _effort(request, profile) if wanted else None
    match profile.thinking_control:
        case "chat_template_kwargs":
            # templates know one name or the other: Qwen and GLM the first, DeepSeek, Granite and Kimi the second
            return {"chat_template_kwargs": {"enable_thinking": wanted, "thinking": wanted}}
        case "enable_thinking":
            return {"enable_thinking": wanted}
        case "thinking":
            keep = {"clear_thinking": False} if wanted and profile.clears_thinking else {}
            return {"thinking": {"type": "enabled" if wanted else "disabled", **keep}}
        case "reasoning":
            # off cannot be asked for: models that always think answer 400 to it ("Reasoning is mandatory")
            return {"reasoning": _reasoning(request, effort)} if wanted else {}
        case "reasoning_effort" if not wanted:
            return {"reasoning_effort": "none"}
        case _:
            return {"reasoning_effort": effort} if effort else {}


def replayed_thinking(blocks: Sequence[Block]) -> str:
    """The thinking of an assistant turn as one text. Redacted thinking holds nothing that can be read."""
    return "\n".join(block.thinking for block in blocks if block.type == "thinking" and block.thinking)


def missing_thinking(request: MessagesRequest, profile: Profile) -> str:
    """What stands for the thinking of an assistant turn that has none; empty where it may be missing.

    DeepSeek and Kimi answer 400 to a history in which a turn lacks it, as long as thinking is on (peers.md, section
    3, 20): a turn of another model, or one in which the model did not think. On other hosts than their own, the
    switch may not reach them.
    """
    can_be_off = profile.thinking_control == "thinking"
    return _NO_THINKING if profile.needs_thinking and (thinking_wanted(request) or not can_be_off) else ""


def _reasoning(request: MessagesRequest, effort: str | None) -> dict[str, Any]:
    if request.thinking is not None and request.thinking.budget_tokens:
        return {"max_tokens": request.thinking.budget_tokens}
    return {"effort": effort} if effort else {"enabled": True}


def _effort(request: MessagesRequest, profile: Profile) -> str | None:
    """The asked effort, or the nearest below it that the profile takes."""
    effort = request.output_config.effort if request.output_config else None
    if effort is None and request.thinking is not None and request.thinking.budget_tokens:
        budget = request.thinking.budget_tokens
        effort = next((name for limit, name in _BUDGET_EFFORTS if budget <= limit), "high")
    if effort not in _EFFORT_ORDER:
        return None
    for candidate in reversed(_EFFORT_ORDER[: _EFFORT_ORDER.index(effort) + 1]):
        if candidate in profile.efforts:
            return candidate
    return profile.efforts[0] if profile.efforts else None
