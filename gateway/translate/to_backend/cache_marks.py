"""Cache marks (`cache_control`) for the models that cache only up to a mark.

A mark of the system prompt or of a tool goes on the system message, one of the last message on its last part: these are
the marks that a conversation needs, as a backend looks back from each for what it has cached. Others get no marks.
Source: https://openrouter.ai/docs/features/prompt-caching
"""

from collections.abc import Iterator
from typing import Any, Final

from gateway.anthropic.request import Block, MessagesRequest
from gateway.openai.profile import Profile
from gateway.openai.request import ChatMessage

# only Anthropic's own models know how long to keep a prefix
_ANTHROPIC: Final = "anthropic/"


def mark_cache(messages: list[ChatMessage], request: MessagesRequest, profile: Profile, model: str) -> None:
    """Put the client's marks into the messages, if the model is one that reads them."""
    if not profile.cache_marks or not model.lower().startswith(profile.cache_marks):
        return
    first = [*_marks(request.system), *(tool.cache_control for tool in request.tools or () if tool.cache_control)]
    if first and messages[0]["role"] == "system":
        _mark(messages[0], first[-1], model)
    if last := list(_marks(request.messages[-1].content)):
        _mark(messages[-1], last[-1], model)


def _marks(content: Any) -> Iterator[Any]:
    """The marks of blocks, and of the blocks in them."""
    for block in content if isinstance(content, list) else ():
        if isinstance(block, Block):
            yield from _marks(block.content)
            if isinstance(block.cache_control, dict):
                yield block.cache_control


def _mark(message: ChatMessage, mark: dict[str, Any], model: str) -> None:
    content = message["content"]
    if not content:
        # a message of calls alone has no part to mark
        return
    parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    mark = mark if model.lower().startswith(_ANTHROPIC) else {"type": "ephemeral"}
    marked: list[Any] = [*parts[:-1], {**parts[-1], "cache_control": mark}]
    message["content"] = marked
