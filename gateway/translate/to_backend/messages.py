"""Translates the turns of a conversation to chat messages.

Invariants that chat backends require and Anthropic's form does not guarantee:
- one `tool` message for each call, in the order of the calls, directly follows a message with tool calls;
- other content of the same user turn comes after all of these;
- user and assistant alternate: adjacent messages of the same role are merged;
- no message is empty: many backends refuse an assistant message without text and calls, and some an empty result.
Calls without a result and results without a call, as in an interrupted conversation, are repaired.

A string and a list of one text block give the same message, and no message depends on later ones. So the messages of
one turn are a prefix of those of the next, and the backend's prefix cache stays valid.
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
# the assistant message between a tool result and further user content
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

    `missing_thinking` is the substitute for missing thinking in an assistant turn. Raises InvalidRequest for a block
    that lacks a required field, and for a conversation without content.
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
    """A block lacks a required field; the message says which."""


class _Call(Struct, eq=False):
    """A tool call, and its result once it is known."""

    param: ToolCallParam
    result: str | None = None


class _Turn(Struct, eq=False):
    """An incomplete assistant turn. `waiting`: calls that have no result yet, by the client's id."""

    texts: list[str] = []
    thinking: list[str] = []
    calls: list[_Call] = []
    waiting: dict[str, deque[_Call]] = {}
    reasoning_details: list[dict[str, Any]] = []
    answered: bool = False


class _Conversation:
    """Builds the messages. Keeps the last assistant turn, and the user content after it, until the next assistant turn
    begins.
    """

    def __init__(self, documents: media.Documents, profile: Profile, missing_thinking: str) -> None:
        self._documents = documents
        self._profile = profile
        self._missing_thinking = missing_thinking
        self._out: list[ChatMessage] = []
        self._turn = _Turn()
        self._parts: list[Part] = []
        self._names: dict[str, str] = {}  # the tool's name for each call so far, by the client's id

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
            # the check avoids a call of `plain` for each of hundreds of turns, hardly any of them raw
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
        """Write the assistant turn and the user content after it."""
        turn, self._turn = self._turn, _Turn()
        text = "\n\n".join(filter(None, turn.texts))
        # a turn of thinking alone is dropped: backends strip the thinking of earlier turns, and refuse the empty rest
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
        """Add the missing signature, if one is needed. Gemini checks only the first call of a turn."""
        if self._profile.missing_signature is not None:
            first.setdefault("extra_content", {"google": {"thought_signature": self._profile.missing_signature}})

    def _call(self, block: Block, signed: SignedReasoning) -> None:
        if not block.id or not block.name:
            raise _BadBlock("a tool_use block needs `id` and `name`")
        call_id = backend_id(block.id)
        if block.id in self._turn.waiting:
            # two calls with the same id would be indistinguishable
            call_id = f"{call_id}-{len(self._turn.calls)}"
        function: FunctionCall = {"name": backend_name(block.name, block.toolset_name), "arguments": _arguments(block)}
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
        """A result's text and images. A `tool` message holds only text, so the images go into the user message."""
        profile = self._profile
        texts: list[str] = []
        images: list[Part] = []
        for item in _items(block):
            if item.type == "image":
                part = media.image_part(item.source, sees_images=profile.sees_images, profile=profile)
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
            return [media.image_part(block.source, sees_images=self._profile.sees_images, profile=self._profile)]
        text = self._text(block)
        return [media.text_part(text)] if text else []

    def _text(self, block: Block) -> str:
        """A block of any type as text."""
        if block.type == "text":
            return block.text or ""
        if block.type == "document":
            return media.document_text(block, self._documents)
        return _RENDERERS.get(block.type, media.unknown_text)(block)


_RENDERERS: Final[Mapping[str, Callable[[Block], str]]] = {
    "search_result": media.search_result_text,
    "tool_reference": lambda block: f"loaded: {backend_name(block.tool_name or 'a tool')}",
    "tool_addition": media.tool_change_text,
    "tool_removal": media.tool_change_text,
    "browser_state": media.browser_state_text,
    "compaction": media.compaction_text,
    "server_tool_use": media.server_block_text,
    "mcp_tool_use": media.server_block_text,
    "mcp_tool_result": media.server_block_text,
    "web_search_tool_result": media.server_block_text,
    "web_fetch_tool_result": media.server_block_text,
}


def _items(result: Block) -> Sequence[Block]:
    """The blocks of a result. Raises _BadBlock for an object, which only results of server tools may hold."""
    if isinstance(result.content, dict):
        raise _BadBlock("the content of a tool_result block must be a string or a list of blocks")
    if isinstance(result.content, str):
        return [Block(type="text", text=result.content)]
    return result.content or ()


def _content(parts: list[Part]) -> Text | list[Part]:
    """The parts, or one string if all are text: every chat template accepts a string."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    texts: list[TextPart] = [part for part in parts if part["type"] == "text"]
    return "\n\n".join(plain(part["text"]) for part in texts) if len(texts) == len(parts) else parts


def _arguments(block: Block) -> str:
    """A call's arguments unchanged, or the original text if the client could not parse it."""
    raw = bytes(block.input)
    if raw.startswith(_UNPARSED):
        return _unparsed_arguments(raw)
    if raw in (b"", b"null"):
        return "{}"
    if not raw.startswith(b"{"):
        raise _BadBlock("`input` of a tool_use block must be an object")
    return raw.decode()


def _unparsed_arguments(raw: bytes) -> str:
    """The model's own text from `{"__unparsedToolInput":{"raw":…}}` if it is a JSON object, otherwise an empty object.

    Chat templates iterate over the object, and llama.cpp answers 500 to a history with arguments that are not JSON
    (`tests/samples/backends/llama-server-b10434/template-qwen3/tool_history_bad_args_json.http`).
    """
    try:
        text = msgspec.json.decode(raw)["__unparsedToolInput"]["raw"]
        return str(text) if isinstance(msgspec.json.decode(text), dict) else "{}"
    except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
        return "{}"
