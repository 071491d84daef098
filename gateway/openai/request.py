"""The body of `POST /v1/chat/completions`: the fields that this gateway writes.

Tool schemas are raw JSON and pass through unchanged. Fields that only some backends know, such as reasoning controls,
are added according to the profile. Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Raw

Text = str | Raw
"""A text, either decoded or as the raw JSON of a string."""

_decode_text = msgspec.json.Decoder(str).decode


class TextPart(TypedDict):
    """A text part."""

    type: Literal["text"]
    text: Text


class ImageURL(TypedDict):
    """An image's URL: `https:` or `data:`."""

    url: str


class ImagePart(TypedDict):
    """An image part."""

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
    """A tool that the request offers."""

    type: Literal["function"]
    function: FunctionSpec


class ChatRequest(TypedDict, total=False):
    """The body. The profile determines the reasoning controls: the last two fields, or others that are not listed."""

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
    """Tools shared by requests; must not be changed. `tokens` is their token count, None until it is known."""

    __slots__ = ("encoded", "tokens")

    def __init__(self, specs: Iterable[ToolSpec]) -> None:
        """Encode the tools."""
        super().__init__(specs)
        self.encoded = Raw(msgspec.json.encode(specs))
        self.tokens: int | None = None


def plain(text: Text) -> str:
    """The decoded text."""
    return text if isinstance(text, str) else _decode_text(text)


def as_sent(chat: ChatRequest) -> Mapping[str, object]:
    """The request to encode, which reuses the tools' encoded form if there is one; the JSON is the same."""
    tools = chat.get("tools")
    return {**chat, "tools": tools.encoded} if isinstance(tools, EncodedTools) else chat
