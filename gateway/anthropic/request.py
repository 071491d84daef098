"""The Messages API's request as typed structs: `POST /v1/messages` and `/v1/messages/count_tokens`.

Tolerant where Anthropic's API grows: blocks and tools of unknown types need only a type. Tool inputs and schemas stay
raw JSON: they are passed on, not read. Source: https://docs.claude.com/en/api/messages

Structs that occur by the thousand in a conversation form no cycles and are not tracked by the garbage collector
(`gc=False`).
"""

from typing import Annotated, Any, Final

from msgspec import Meta, Raw, Struct

_NO_RAW: Final = Raw(b"")

# Anthropic's own limits are 256 characters for models and 128 for tools
LONGEST_NAME: Final = 256
Name = Annotated[str, Meta(max_length=LONGEST_NAME)]
"""A name or a type. Names are compared, searched for and quoted."""
Id = Annotated[str, Meta(max_length=16 * 1024)]
"""An id of a call. Some servers keep kilobytes in it: LiteLLM appends Gemini's thought signature
(`BerriAI/litellm`, `THOUGHT_SIGNATURE_SEPARATOR`).
"""


class Source(Struct, gc=False):
    """Where an image or a document comes from: `base64`, `text`, `content`, `url` or `file`."""

    type: Name = ""
    media_type: Name | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: str | list["Block"] | None = None


class Block(Struct, gc=False):
    """A content block of any type; `type` determines which fields apply.

    `content` is a string or blocks, or an object in the result of a server tool. `source` is a string in
    `search_result` blocks.
    """

    type: Name
    text: str | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    id: Id | None = None
    name: Name | None = None
    input: Raw = _NO_RAW
    tool_use_id: Id | None = None
    content: str | list["Block"] | dict[str, Any] | None = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: Any = None
    tool_name: Name | None = None
    toolset_name: Name | None = None
    tabs: Any = None
    state_changes: Any = None
    tool: "ToolChange | None" = None
    cache_control: Any = None


class Message(Struct, gc=False):
    """One turn; `content` is a string or blocks. Claude Code also sends `system` turns in mid-conversation.

    The `content` of a long user message may be the raw JSON of a string, known to be valid
    (`gateway.anthropic.long_messages`).
    """

    role: str
    content: str | Raw | list[Block]


class Tool(Struct, gc=False):
    """A tool; `input_schema` is empty for tools that Anthropic defines. The fields after `cache_control` are settings
    of some of these (`gateway.anthropic.client_tools`); `configs` is raw JSON.
    """

    name: Name | None = None
    type: Name | None = None
    description: str | None = None
    input_schema: Raw = _NO_RAW
    defer_loading: bool | None = None
    cache_control: Any = None
    configs: Raw = _NO_RAW
    display_width_px: Any = None
    display_height_px: Any = None
    enable_zoom: Any = None
    max_characters: Any = None


class ToolChange(Struct, gc=False):
    """The tool of a `tool_addition` or `tool_removal` block: `tool_reference` (with `name`), `tool_definition`,
    `mcp_tool_reference` or `mcp_toolset_reference`.
    """

    type: Name
    name: Name | None = None
    server_name: Name | None = None
    definition: Tool | None = None


class ToolChoice(Struct):
    """`auto`, `any`, `tool` (with `name`) or `none`."""

    type: Name
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct):
    """`enabled` (with a budget), `adaptive`, `disabled` or a later form."""

    type: Name
    budget_tokens: int | None = None
    display: Any = None  # `summarized` or `omitted`


class Format(Struct):
    """An output format; `json_schema` is the only one."""

    type: Name
    schema: Raw = _NO_RAW


class OutputConfig(Struct):
    """`effort` (low to max) and `format`."""

    effort: Name | None = None
    format: Format | None = None


class MessagesRequest(Struct):
    """The body of `POST /v1/messages`; `count_tokens` takes the same without `max_tokens`."""

    model: Name
    messages: list[Message]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    # what only Anthropic's servers can do; read to be refused
    thread: Raw = _NO_RAW
    compaction: Raw = _NO_RAW
    container: Raw = _NO_RAW
    mcp_servers: Raw = _NO_RAW


# the block types whose fields are read; all others are reduced to their type
KNOWN_BLOCKS: Final = frozenset(
    {
        "text",
        "image",
        "document",
        "search_result",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "tool_reference",
        "tool_addition",
        "tool_removal",
        "server_tool_use",
        "mcp_tool_use",
        "mcp_tool_result",
        "web_search_tool_result",
        "web_fetch_tool_result",
    }
)
