"""The differences between backends, as data: translation consults a profile, never a vendor's name.

The profiles themselves are in `gateway.backend.profiles`.
"""

from typing import Literal

from msgspec import Struct

# the request field that switches a backend's thinking on and off
ThinkingControl = Literal[
    "chat_template_kwargs",  # {"enable_thinking": bool, "thinking": bool}: vLLM, SGLang, llama.cpp, Chutes
    "enable_thinking",  # a top-level bool: DashScope
    "thinking",  # {"type": "enabled" | "disabled"}: DeepSeek, GLM, Kimi
    "reasoning",  # {"effort" or "max_tokens"} or {"enabled": true}, absent if not wanted: OpenRouter
    "reasoning_effort",  # "none" to "high": Ollama
    "none",  # no switch, the model decides: OpenAI's own models, Mistral, Groq
]


class Profile(Struct, frozen=True, kw_only=True):
    """The properties of one backend."""

    name: str
    thinking_control: ThinkingControl = "chat_template_kwargs"
    # accepted values of `reasoning_effort`; empty: the field is omitted
    efforts: tuple[str, ...] = ()
    # those that the model's chat template knows as `chat_template_kwargs.reasoning_effort`
    template_efforts: tuple[str, ...] = ()
    # the path of the request field that limits the tokens of thinking; empty: there is none
    budget_field: tuple[str, ...] = ()
    # the message field for replayed thinking; None: the backend would refuse it
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = "reasoning_content"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    # fields of messages and calls that it sends and wants back unchanged (`signed_reasoning`)
    wants_back: frozenset[str] = frozenset()
    # the substitute for a missing signature on a turn's first tool call; None: no signature is needed
    missing_signature: str | None = None
    # whether every assistant turn must contain thinking while thinking is on
    needs_thinking: bool = False
    # whether the backend discards replayed thinking unless `clear_thinking` is false
    clears_thinking: bool = False
    # whether an assistant message must separate a tool result from a user message
    parts_user_from_tool: bool = False
    # whether a call's arguments come in one piece unless `tool_stream` is set
    holds_tool_calls: bool = False
    # whether `tool_choice` may name a tool; if not, the tool is offered alone, and `required`
    names_tool: bool = True
    # whether it may think while `tool_choice` demands a call
    thinks_when_forced: bool = True
    # maximum number of tools
    max_tools: int | None = None
    # the header for the key; any but `Authorization` holds the bare key
    key_header: Literal["Authorization", "api-key"] = "Authorization"
    # request fields that it refuses
    drops: frozenset[str] = frozenset()
    # maximum number of stop strings
    max_stops: int | None = None
    # exact length of a tool call id, in letters and digits, and its maximum length in characters; None: no limit
    tool_id_length: int | None = None
    max_tool_id_length: int | None = None
    # maximum length of a tool's description, in characters
    max_description: int | None = None
    # JSON Schema keywords that it refuses
    schema_drops: frozenset[str] = frozenset()
    # the highest `max_tokens` that it accepts
    most_tokens: int | None = None
    # whether its list of models has every name that it accepts
    lists_all: bool = False
    # whether it accepts images, as far as is known
    sees_images: bool = True
    # the media types of images that it accepts; None: all
    image_types: frozenset[str] | None = None
    # whether it fetches images from URLs
    fetches_images: bool = True
    # how it is told to go on with the last message, the assistant's: a field of that message, or two of the request
    prefill: Literal["prefix", "partial", "continue_final_message"] | None = None
    # how the names of models begin that cache only up to a mark
    cache_marks: tuple[str, ...] = ()
    # whether calls in the history need tools on offer
    calls_need_tools: bool = False


GENERIC = Profile(name="generic", wants_back=frozenset({"reasoning_details", "extra_content"}))
