"""The conversation: Anthropic's turns as chat messages.

Invariants that chat backends insist on and Anthropic's form does not have:
- a message with tool calls is followed at once by one `tool` message for each call, in the order of the calls;
- what the user adds in the same turn comes after all of these;
- user and assistant take turns: neighbours of one role are merged.
Calls without a result and results without a call (a conversation that was interrupted) are repaired, not passed on.

A string and a list of one text block are the same message, and nothing here depends on what comes later in the
conversation: the messages of one turn are a prefix of those of the next (design.md, "prefix-stable").
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import Block, Message
from gateway.openai.request import ChatMessage, Part, TextPart, ToolCallParam
from gateway.translate import media
from gateway.translate.system import inline_system_text
from gateway.translate.thinking import replayed_thinking
from gateway.translate.tools import backend_id, backend_name

_NO_RESULT: Final = "[no result: the call was interrupted]"
_UNPARSED: Final = b'{"__unparsedToolInput"'


def translate_messages(
    messages: Sequence[Message],
    *,
    documents: media.Documents,
    sees_images: bool,
    reasoning_field: str | None,
) -> list[ChatMessage]:
    """The messages after the system prompt. Raises InvalidRequest for a block without what its type needs."""
    conversation = _Conversation(documents, sees_images=sees_images, reasoning_field=reasoning_field)
    for number, message in enumerate(messages):
        blocks = (
            [Block(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        )
        try:
            if message.role == "assistant":
                conversation.assistant(blocks)
            elif message.role == "system":
                conversation.system(message.content)
            else:
                conversation.user(blocks)
        except UnicodeDecodeError:
            raise InvalidRequest(f"messages.{number}: a tool input is not valid UTF-8") from None
    return conversation.end()


class _Conversation:
    """Builds the messages; between two assistant turns it holds what belongs to the user's side."""

    def __init__(self, documents: media.Documents, *, sees_images: bool, reasoning_field: str | None) -> None:
        self._documents = documents
        self._sees_images = sees_images
        self._reasoning_field = reasoning_field
        self._out: list[ChatMessage] = []
        self._calls: dict[str, str] = {}  # calls that wait for their result: id to tool name
        self._results: dict[str, str] = {}
        self._parts: list[Part] = []

    def user(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if block.type == "tool_result":
                self._result(block)
            else:
                self._parts += self._user_parts(block)

    def system(self, content: str | list[Block]) -> None:
        if text := inline_system_text(content):
            self._parts.append(media.text_part(text))

    def assistant(self, blocks: list[Block]) -> None:
        self._flush_user_side()
        texts = []
        calls: list[ToolCallParam] = []
        for block in blocks:
            if block.type == "tool_use":
                calls.append(self._call(block))
            elif block.type == "text":
                texts.append(block.text or "")
            elif block.type not in ("thinking", "redacted_thinking"):
                texts.append(self._foreign_text(block))
        thinking = replayed_thinking(blocks) if self._reasoning_field else ""
        text = "\n\n".join(text for text in texts if text)
        if text or calls or thinking:
            self._add_assistant(text, calls, thinking)

    def end(self) -> list[ChatMessage]:
        self._flush_user_side()
        return self._out

    def _add_assistant(self, text: str, calls: list[ToolCallParam], thinking: str) -> None:
        last = self._out[-1] if self._out else None
        if last is not None and last["role"] == "assistant":
            earlier = last["content"] if isinstance(last["content"], str) else ""
            last["content"] = "\n\n".join(part for part in (earlier, text) if part)
            message = last
        else:
            message = {"role": "assistant", "content": text}
            self._out.append(message)
        if thinking and self._reasoning_field == "reasoning":
            message["reasoning"] = "\n".join(filter(None, (message.get("reasoning"), thinking)))
        elif thinking:
            message["reasoning_content"] = "\n".join(filter(None, (message.get("reasoning_content"), thinking)))
        if calls:
            message["tool_calls"] = message.get("tool_calls", []) + calls

    def _call(self, block: Block) -> ToolCallParam:
        if not block.id or not block.name:
            raise InvalidRequest("a tool_use block needs `id` and `name`")
        call_id = backend_id(block.id)
        self._calls[call_id] = block.name
        return {
            "id": call_id,
            "type": "function",
            "function": {"name": backend_name(block.name), "arguments": _arguments(block)},
        }

    def _result(self, block: Block) -> None:
        if not block.tool_use_id:
            raise InvalidRequest("a tool_result block needs `tool_use_id`")
        call_id = backend_id(block.tool_use_id)
        text, images = self._result_content(block)
        if call_id in self._calls and call_id not in self._results:
            self._results[call_id] = text
        else:
            self._parts.append(
                media.text_part(f"[result of a tool call that is not in the conversation]\n{text}")
            )
        self._parts += images

    def _result_content(self, block: Block) -> tuple[str, list[Part]]:
        """A result's text, and its images: a `tool` message holds text only, so these go to the user's message."""
        texts: list[str] = []
        images: list[Part] = []
        content = block.content
        for item in content if isinstance(content, list) else ():
            if item.type == "image":
                part = media.image_part(item.source, sees_images=self._sees_images)
                if part["type"] == "text":
                    texts.append(part["text"])
                else:
                    name = self._calls.get(backend_id(block.tool_use_id or ""), "the tool")
                    texts.append("[image: in the next user message]")
                    images += [media.text_part(f"[image from the result of {name}]"), part]
            elif item.type == "tool_reference":
                texts.append(f"loaded: {item.tool_name}")
            else:
                texts.append(self._foreign_text(item))
        if isinstance(content, str):
            texts.append(content)
        text = "\n".join(texts)
        return (f"[tool error] {text}" if block.is_error else text), images

    def _user_parts(self, block: Block) -> list[Part]:
        if block.type == "text":
            return [media.text_part(block.text)] if block.text else []
        if block.type == "image":
            return [media.image_part(block.source, sees_images=self._sees_images)]
        return [media.text_part(self._foreign_text(block))]

    def _foreign_text(self, block: Block) -> str:
        render = _RENDERERS.get(block.type)
        if render is not None:
            return render(block)
        if block.type == "document":
            return media.document_text(block, self._documents)
        return media.unknown_text(block)

    def _flush_user_side(self) -> None:
        for call_id in self._calls:
            self._out.append(
                {"role": "tool", "tool_call_id": call_id, "content": self._results.get(call_id, _NO_RESULT)}
            )
        self._calls.clear()
        self._results.clear()
        if self._parts:
            self._out.append({"role": "user", "content": _content(self._parts)})
            self._parts = []


_RENDERERS: Final[Mapping[str, Callable[[Block], str]]] = {
    "text": lambda block: block.text or "",
    "search_result": media.search_result_text,
    "server_tool_use": media.server_block_text,
    "mcp_tool_use": media.server_block_text,
    "mcp_tool_result": media.server_block_text,
    "web_search_tool_result": media.server_block_text,
    "web_fetch_tool_result": media.server_block_text,
}


def _content(parts: list[Part]) -> str | list[Part]:
    """One string where all is text: the form that every chat template takes."""
    if all(part["type"] == "text" for part in parts):
        texts: list[TextPart] = [part for part in parts if part["type"] == "text"]
        return "\n\n".join(part["text"] for part in texts)
    return list(parts)


def _arguments(block: Block) -> str:
    """A call's arguments as they came, or the text that a client could not parse and kept."""
    raw = bytes(block.input)
    if raw.startswith(_UNPARSED):
        return _unparsed_arguments(raw)
    return raw.decode() or "{}"


def _unparsed_arguments(raw: bytes) -> str:
    """The model's own words from `{"__unparsedToolInput":{"raw":…}}`, if they are JSON; else an empty object, since
    llama.cpp answers 500 to a history with arguments that are not JSON (backends.md, section 4.2).
    """
    try:
        text = msgspec.json.decode(raw)["__unparsedToolInput"]["raw"]
        msgspec.json.decode(text)
    except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError):
        return "{}"
    return str(text)
