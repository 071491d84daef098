"""The body of `POST /v1/chat/completions`, as far as this gateway writes it.

Tool schemas are raw JSON: they go through as they came. Fields that only some backends know (reasoning controls)
are added by their profile.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Raw

Text = str | Raw
"""A text; raw, it is the JSON of a string."""

_decode_text = msgspec.json.Decoder(str).decode


class TextPart(TypedDict):
    """A piece of text among other parts."""

    type: Literal["text"]
    text: Text


class ImageURL(TypedDict):
    """An image by its address: `https:` or `data:`."""

    url: str


class ImagePart(TypedDict):
    """An image among other parts."""

    type: Literal["image_url"]
    image_url: ImageURL


Part = TextPart | ImagePart


class FunctionCall(TypedDict):
    """A call's name and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCallParam(TypedDict):
    """A call that the model made."""

    id: str
    type: Literal["function"]
    function: FunctionCall
    extra_content: NotRequired[dict[str, Any]]


class ChatMessage(TypedDict):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Text | list[Part]
    tool_calls: NotRequired[list[ToolCallParam]]
    tool_call_id: NotRequired[str]
    reasoning_content: NotRequired[str]
    reasoning: NotRequired[str]
    reasoning_details: NotRequired[list[dict[str, Any]]]


class FunctionSpec(TypedDict):
    """A function that the model may call."""

    name: str
    description: NotRequired[str]
    parameters: Raw


class ToolSpec(TypedDict):
    """A tool on offer."""

    type: Literal["function"]
    function: FunctionSpec


class ChatRequest(TypedDict, total=False):
    """The body; the two reasoning controls at the end, and any others, by profile."""

    model: str
    messages: list[ChatMessage]
    tools: Sequence[ToolSpec]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    tool_stream: bool
    max_tokens: int
    max_completion_tokens: int
    stop: list[str]
    temperature: float
    top_p: float
    top_k: int
    response_format: dict[str, Any]
    stream: bool
    stream_options: dict[str, bool]
    chat_template_kwargs: dict[str, Any]
    reasoning_effort: str


class EncodedTools(list[ToolSpec]):
    """Tools that requests share: nobody may change them. `tokens`: how many they are, once that has been counted."""

    __slots__ = ("encoded", "tokens")

    def __init__(self, specs: Iterable[ToolSpec]) -> None:
        """Encode them."""
        super().__init__(specs)
        self.encoded = Raw(msgspec.json.encode(specs))
        self.tokens: int | None = None


def plain(text: Text) -> str:
    """The text itself."""
    return text if isinstance(text, str) else _decode_text(text)


def as_sent(chat: ChatRequest) -> Mapping[str, object]:
    """What to encode: the same JSON, made from what is encoded already where there is such."""
    tools = chat.get("tools")
    return {**chat, "tools": tools.encoded} if isinstance(tools, EncodedTools) else chat
