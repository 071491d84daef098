"""What sets one backend apart from the next, as data: translation asks a profile, never for a vendor's name.

The table of profiles is `gateway.backend.profiles`.
"""

from typing import Literal

from msgspec import Struct

# how a backend is told to think or not (peers.md, section 4.1)
ThinkingControl = Literal[
    "chat_template_kwargs",  # {"enable_thinking": bool, "thinking": bool}: vLLM, SGLang, llama.cpp, Chutes
    "enable_thinking",  # a top-level bool: DashScope
    "thinking",  # {"type": "enabled" | "disabled"}: DeepSeek, GLM, Kimi
    "reasoning",  # {"effort" or "max_tokens"} or {"enabled": true}; left out to leave it to the model: OpenRouter
    "reasoning_effort",  # "none" to "high": Ollama
    "none",  # by the model's choice alone: OpenAI's own models, Mistral, Groq
]


class Profile(Struct, frozen=True, kw_only=True):
    """One backend's ways."""

    name: str
    thinking_control: ThinkingControl = "chat_template_kwargs"
    # values of `reasoning_effort` that it takes; empty: the field is left out
    efforts: tuple[str, ...] = ()
    # the field that replayed thinking goes into; None: it would be refused
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = "reasoning_content"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    # fields of messages and calls that it gave and wants back as they were (`signed_reasoning`)
    wants_back: frozenset[str] = frozenset()
    # what stands for the signature that a turn's first tool call lacks; None: none is wanted
    missing_signature: str | None = None
    # whether, while thinking is on, no turn of the assistant may be without thinking
    needs_thinking: bool = False
    # whether replayed thinking is cut off unless `clear_thinking` says no
    clears_thinking: bool = False
    # whether an assistant's message must stand between a tool's result and the user's words
    parts_user_from_tool: bool = False
    # whether a call's arguments come in one piece unless `tool_stream` asks for more
    holds_tool_calls: bool = False
    # tools that it takes at most
    max_tools: int | None = None
    # the header that a key goes into; any but `Authorization` holds the key alone
    key_header: Literal["Authorization", "api-key"] = "Authorization"
    # request fields that it refuses
    drops: frozenset[str] = frozenset()
    # stop strings that it takes at most
    max_stops: int | None = None
    # how many letters and digits the id of a tool call has, or how many characters at most; None: any number
    tool_id_length: int | None = None
    max_tool_id_length: int | None = None
    # characters of a tool's description that it takes at most
    max_description: int | None = None
    # keywords of JSON schemas that it refuses
    schema_drops: frozenset[str] = frozenset()
    # tokens of an answer that it takes at most
    most_tokens: int | None = None
    # whether it takes images, as far as is known
    sees_images: bool = True


GENERIC = Profile(name="generic", wants_back=frozenset({"reasoning_details", "extra_content"}))
