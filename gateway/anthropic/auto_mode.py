"""The requests with which Claude Code's auto mode (`--permission-mode auto`) has a model check an action.

They go to the same address as all others (anthropics/claude-code#78372). The answer must begin with
`<block>yes</block>` or `<block>no</block>`, within some 64 to 2,000 tokens; anything else counts as no answer, and the
action is refused. The gateway only makes such an answer likely: what it says is the model's.
"""

from typing import Final

from gateway.anthropic.request import MessagesRequest

_MONITOR: Final = "You are a security monitor for autonomous AI coding agents"
_BILLING: Final = "x-anthropic-billing-header:"


def checks_action(request: MessagesRequest) -> bool:
    """Whether the request checks an action. Its system prompt, after the client's billing line, tells."""
    system = request.system
    texts = [system] if isinstance(system, str) else [block.text or "" for block in system or ()]
    if texts and texts[0].startswith(_BILLING):
        texts[0] = texts[0].partition("\n")[2].lstrip("\n")
    first = next(filter(None, texts), "")
    return first.startswith(_MONITOR)
