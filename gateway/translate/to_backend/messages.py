"""The conversation: Anthropic's turns as chat messages.

Invariants that chat backends insist on and Anthropic's form does not have:
- a message with tool calls is followed at once by one `tool` message for each call, in the order of the calls;
- what the user adds in the same turn comes after all of these;
- user and assistant take turns: neighbours of one role are merged;
- no message is empty: many backends refuse an assistant without text and calls, and some an empty result.
Calls without a result and results without a call (a conversation that was interrupted) are repaired, not passed on.

A string and a list of one text block are the same message, and nothing here depends on what comes later in the
conversation: the messages of one turn are a prefix of those of the next (design.md, "prefix-stable").
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import Block, Message
from gateway.openai.profile import Profile
from gateway.openai.request import ChatMessage, FunctionCall, Part, Text, TextPart, ToolCallParam, plain
from gateway.translate.both_ways.signed_reasoning import SignedReasoning, unpack
from gateway.translate.both_ways.tool_names import backend_id, backend_name
from gateway.translate.to_backend import media
from gateway.translate.to_backend.system import inline_system_text
from gateway.translate.to_backend.thinking import replayed_thinking

_NO_RESULT: Final = "[no result: the call was interrupted]"
_EMPTY_RESULT: Final = "[empty result]"
# what an assistant would say between a result and what the user adds to it
_GOT_RESULTS: Final = "OK."
_UNPARSED: Final = b'{"__unparsedToolInput"'


def translate_messages(
    messages: Sequence[Message],
    *,
    documents: media.Documents,
    profile: Profile,
    missing_thinking: str = "",
) -> list[ChatMessage]:
    """The messages after the system prompt.

    `missing_thinking` stands for the thinking of an assistant turn that has none. Raises InvalidRequest for a block
    without what its type needs, and for a conversation without any content.
    """
    conversation = _Conversation(documents, profile, missing_thinking)
    for number, message in enumerate(messages):
        try:
            if message.role == "assistant":
                conversation.assistant(message.content)
            elif message.role == "system":
                conversation.system(message.content)
            else:
                conversation.user(message.content)
        except _BadBlock as error:
            raise InvalidRequest(f"messages.{number}.content: {error}") from None
    if chat := conversation.end():
        return chat
    raise InvalidRequest("messages: at least one message must have content")


class _BadBlock(Exception):
    """A block lacks what its type needs; the text says what."""


class _Call(Struct, eq=False):
    """A tool call, and its result once that has come."""

    param: ToolCallParam
    result: str | None = None


class _Turn(Struct, eq=False):
    """An assistant's turn in the making. `waiting`: calls without a result, by the id that the client gives them."""

    texts: list[str] = []
    thinking: list[str] = []
    calls: list[_Call] = []
    waiting: dict[str, deque[_Call]] = {}
    reasoning_details: list[dict[str, Any]] = []
    answered: bool = False


class _Conversation:
    """Builds the messages; holds the last turn of the assistant, and after it what belongs to the user's side, until
    the assistant's next turn begins.
    """

    def __init__(self, documents: media.Documents, profile: Profile, missing_thinking: str) -> None:
        self._documents = documents
        self._profile = profile
        self._missing_thinking = missing_thinking
        self._out: list[ChatMessage] = []
        self._turn = _Turn()
        self._parts: list[Part] = []
        self._names: dict[str, str] = {}  # every call so far: the client's id to the tool's name

    def user(self, content: Text | list[Block]) -> None:
        if not isinstance(content, list):
            if content:
                self._parts.append(media.text_part(content))
            return
        for block in content:
            if block.type == "tool_result":
                self._result(block)
            else:
                self._parts += self._user_parts(block)

    def system(self, content: Text | list[Block]) -> None:
        if text := inline_system_text(content if isinstance(content, list) else plain(content)):
            self._parts.append(media.text_part(text))

    def assistant(self, content: Text | list[Block]) -> None:
        if self._parts or self._turn.answered:
            self._flush()
        turn = self._turn
        if not isinstance(content, list):
            # not by `plain` alone: a conversation has hundreds of these, and hardly one is still unread
            turn.texts.append(content if isinstance(content, str) else plain(content))
            return
        signed = unpack(content)
        turn.reasoning_details += signed.reasoning_details
        for block in content:
            if block.type == "tool_use":
                self._call(block, signed)
            elif block.type not in ("thinking", "redacted_thinking"):
                turn.texts.append(self._text(block))
        turn.thinking.append(replayed_thinking(content))

    def end(self) -> list[ChatMessage]:
        self._flush()
        for message in self._out:
            if isinstance(message["content"], list):
                message["content"] = _content(message["content"])
        return self._out

    def _flush(self) -> None:
        """Write the turn and the user's side after it."""
        turn, self._turn = self._turn, _Turn()
        text = "\n\n".join(filter(None, turn.texts))
        # a turn of thinking alone is none: backends cut thinking off where an answer follows, and refuse what is left
        if text or turn.calls:
            self._out.append(self._assistant_message(turn, text))
        for call in turn.calls:
            content = _NO_RESULT if call.result is None else call.result
            self._out.append({"role": "tool", "tool_call_id": call.param["id"], "content": content})
        parts, self._parts = self._parts, []
        if parts and turn.calls and self._profile.parts_user_from_tool:
            self._out.append({"role": "assistant", "content": _GOT_RESULTS})
        last = self._out[-1] if self._out else None
        if parts and last is not None and last["role"] == "user" and isinstance(last["content"], list):
            last["content"] += parts
        elif parts:
            self._out.append({"role": "user", "content": parts})

    def _assistant_message(self, turn: _Turn, text: str) -> ChatMessage:
        message: ChatMessage = {"role": "assistant", "content": text}
        thinking = "\n".join(filter(None, turn.thinking)) or self._missing_thinking
        if turn.reasoning_details and "reasoning_details" in self._profile.wants_back:
            message["reasoning_details"] = turn.reasoning_details
        elif thinking and self._profile.reasoning_field is not None:
            message[self._profile.reasoning_field] = thinking
        if turn.calls:
            message["tool_calls"] = [call.param for call in turn.calls]
            self._sign(message["tool_calls"][0])
        return message

    def _sign(self, first: ToolCallParam) -> None:
        """Gemini checks the first call of a turn only; it has a word of its own for calls that it did not make."""
        if self._profile.missing_signature is not None:
            first.setdefault("extra_content", {"google": {"thought_signature": self._profile.missing_signature}})

    def _call(self, block: Block, signed: SignedReasoning) -> None:
        if not block.id or not block.name:
            raise _BadBlock("a tool_use block needs `id` and `name`")
        call_id = backend_id(block.id)
        if block.id in self._turn.waiting:
            # two calls of one id could not be told apart
            call_id = f"{call_id}-{len(self._turn.calls)}"
        function: FunctionCall = {"name": backend_name(block.name), "arguments": _arguments(block)}
        call = _Call({"id": call_id, "type": "function", "function": function})
        if block.id in signed.extra_content and "extra_content" in self._profile.wants_back:
            call.param["extra_content"] = signed.extra_content[block.id]
        self._turn.calls.append(call)
        self._turn.waiting.setdefault(block.id, deque()).append(call)
        self._names[block.id] = function["name"]

    def _result(self, block: Block) -> None:
        if not block.tool_use_id:
            raise _BadBlock("a tool_result block needs `tool_use_id`")
        text, images = self._result_content(block)
        if waiting := self._turn.waiting.get(block.tool_use_id):
            waiting.popleft().result = text
            self._turn.answered = True
        elif name := self._names.get(block.tool_use_id):
            self._parts.append(media.text_part(f"[another result of the call of {name}]\n{text}"))
        else:
            self._parts.append(media.text_part(f"[result of a tool call that is not in the conversation]\n{text}"))
        self._parts += images

    def _result_content(self, block: Block) -> tuple[str, list[Part]]:
        """A result's text, and its images: a `tool` message holds text only, so these go to the user's message."""
        texts: list[str] = []
        images: list[Part] = []
        for item in _items(block):
            if item.type == "image":
                part = media.image_part(item.source, sees_images=self._profile.sees_images)
                if part["type"] == "text":
                    texts.append(plain(part["text"]))
                else:
                    name = self._names.get(block.tool_use_id or "", "a tool")
                    texts.append("[image: in the next user message]")
                    images += [media.text_part(f"[image from the result of {name}]"), part]
            else:
                texts.append(self._text(item))
        text = "\n".join(filter(None, texts)) or _EMPTY_RESULT
        return (f"[tool error] {text}" if block.is_error else text), images

    def _user_parts(self, block: Block) -> list[Part]:
        if block.type == "image":
            return [media.image_part(block.source, sees_images=self._profile.sees_images)]
        text = self._text(block)
        return [media.text_part(text)] if text else []

    def _text(self, block: Block) -> str:
        """A block as text, whatever it is."""
        if block.type == "text":
            return block.text or ""
        if block.type == "document":
            return media.document_text(block, self._documents)
        return _RENDERERS.get(block.type, media.unknown_text)(block)


_RENDERERS: Final[Mapping[str, Callable[[Block], str]]] = {
    "search_result": media.search_result_text,
    "tool_reference": lambda block: f"loaded: {backend_name(block.tool_name or 'a tool')}",
    "compaction": media.compaction_text,
    "server_tool_use": media.server_block_text,
    "mcp_tool_use": media.server_block_text,
    "mcp_tool_result": media.server_block_text,
    "web_search_tool_result": media.server_block_text,
    "web_fetch_tool_result": media.server_block_text,
}


def _items(result: Block) -> Sequence[Block]:
    """The blocks of a result. Raises _BadBlock for an object, which only a server's results may hold."""
    if isinstance(result.content, dict):
        raise _BadBlock("the content of a tool_result block must be a string or a list of blocks")
    if isinstance(result.content, str):
        return [Block(type="text", text=result.content)]
    return result.content or ()


def _content(parts: list[Part]) -> Text | list[Part]:
    """One string where all is text: the form that every chat template takes."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    texts: list[TextPart] = [part for part in parts if part["type"] == "text"]
    return "\n\n".join(plain(part["text"]) for part in texts) if len(texts) == len(parts) else parts


def _arguments(block: Block) -> str:
    """A call's arguments as they came, or the text that a client could not parse and kept."""
    raw = bytes(block.input)
    if raw.startswith(_UNPARSED):
        return _unparsed_arguments(raw)
    if raw in (b"", b"null"):
        return "{}"
    if not raw.startswith(b"{"):
        raise _BadBlock("`input` of a tool_use block must be an object")
    return raw.decode()


def _unparsed_arguments(raw: bytes) -> str:
    """The model's own words from `{"__unparsedToolInput":{"raw":…}}`, if they are a JSON object; else an empty one,
    since llama.cpp answers 500 to a history with arguments that are not JSON (backends.md, section 4.2), and
    templates read the object's items.
    """
    try:
        text = msgspec.json.decode(raw)["__unparsedToolInput"]["raw"]
        return str(text) if isinstance(msgspec.json.decode(text), dict) else "{}"
    except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
        return "{}"
