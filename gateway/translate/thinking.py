"""Thinking: its switch on the way to the backend, its history, and the mark that it came from here."""

from typing import Any, Final

from gateway.anthropic.request import Block, MessagesRequest
from gateway.openai.profile import Profile

# Clients send a signature back byte for byte and do not check it (research/claude-code.md, section 4.1). Ours says
# which thinking is a backend's and never was Anthropic's.
SIGNATURE: Final = "claude-gateway"

_EFFORT_ORDER: Final = ("minimal", "low", "medium", "high", "xhigh", "max")
# token budgets as efforts, for backends that know only these
_BUDGET_EFFORTS: Final = ((2048, "low"), (8192, "medium"))


def thinking_wanted(request: MessagesRequest) -> bool:
    """Whether the client asked for thinking: any form but `disabled`. Without the field it is off: side calls, such
    as the one for a title, must be fast.
    """
    return request.thinking is not None and request.thinking.type != "disabled"


def thinking_fields(request: MessagesRequest, profile: Profile) -> dict[str, Any]:
    """The request fields that set the backend's thinking, in its own terms."""
    wanted = thinking_wanted(request)
    effort = _effort(request, profile) if wanted else None
    fields: dict[str, Any] = {}
    match profile.thinking_control:
        case "chat_template_kwargs":
            fields["chat_template_kwargs"] = {"enable_thinking": wanted}
        case "enable_thinking":
            fields["enable_thinking"] = wanted
        case "thinking":
            fields["thinking"] = {"type": "enabled" if wanted else "disabled"}
        case "reasoning":
            fields["reasoning"] = _reasoning(request, wanted=wanted)
        case "reasoning_effort":
            fields["reasoning_effort"] = (effort or "medium") if wanted else "none"
        case "none" if effort:
            fields["reasoning_effort"] = effort
        case "none":
            pass
    return fields


def replayed_thinking(blocks: list[Block]) -> str:
    """The thinking of an assistant turn as one text. Redacted thinking holds nothing that can be read."""
    return "\n".join(block.thinking for block in blocks if block.type == "thinking" and block.thinking)


def _reasoning(request: MessagesRequest, *, wanted: bool) -> dict[str, Any]:
    if not wanted or request.thinking is None:
        return {"enabled": False}
    if request.thinking.budget_tokens:
        return {"max_tokens": request.thinking.budget_tokens}
    effort = request.output_config.effort if request.output_config else None
    if effort in ("low", "medium", "high"):
        return {"effort": effort}
    return {"effort": "high"} if effort else {"enabled": True}


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
