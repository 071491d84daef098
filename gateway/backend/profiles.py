"""Backends' quirks as one table of data: the only place that names vendors.

A profile is chosen by the backend's host name, otherwise by `owned_by` in its model list; the generic one is the
default. Sources: the vendors' API references, the error messages quoted below, and the samples of vLLM and llama.cpp
under `tests/samples/backends/`.
"""

from typing import Final

from msgspec import structs

from gateway.openai.profile import GENERIC, Profile

_PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        GENERIC,
        Profile(name="vllm", reasoning_field="reasoning", max_stops=4),
        Profile(name="sglang"),
        Profile(name="llama.cpp"),
        Profile(name="chutes"),
        # no efforts: a model that cannot think answers 400 to them, and one that can thinks by default
        Profile(name="ollama", thinking_control="reasoning_effort", reasoning_field="reasoning"),
        Profile(
            name="openrouter",
            thinking_control="reasoning",
            efforts=("minimal", "low", "medium", "high", "xhigh"),
            reasoning_field="reasoning",
            wants_back=frozenset({"reasoning_details"}),
        ),
        # response_format does not support schemas: "This response_format type is unavailable now"
        Profile(
            name="deepseek",
            thinking_control="thinking",
            needs_thinking=True,
            drops=frozenset({"top_k", "parallel_tool_calls", "response_format"}),
        ),
        # "a max of 128 tools can be supported" (MoonshotAI/Kimi-K2#90)
        Profile(
            name="moonshot",
            thinking_control="thinking",
            needs_thinking=True,
            max_tools=128,
            drops=frozenset({"top_k"}),
        ),
        Profile(
            name="zai",
            thinking_control="thinking",
            needs_thinking=True,
            clears_thinking=True,
            holds_tool_calls=True,
            drops=frozenset({"top_k", "parallel_tool_calls"}),
        ),
        Profile(name="dashscope", thinking_control="enable_thinking"),
        # "Tool call id was X but must be a-z, A-Z, 0-9, with a length of 9."
        # "Unexpected role 'user' after role 'tool'"
        Profile(
            name="mistral",
            thinking_control="none",
            reasoning_field=None,
            drops=frozenset({"top_k"}),
            tool_id_length=9,
            parts_user_from_tool=True,
        ),
        Profile(
            name="groq",
            thinking_control="none",
            reasoning_field=None,
            drops=frozenset({"top_k"}),
            max_stops=4,
            max_tools=128,
        ),
        Profile(
            name="gemini",
            wants_back=frozenset({"extra_content"}),
            thinking_control="none",
            efforts=("low", "medium", "high"),
            reasoning_field=None,
            drops=frozenset({"top_k", "parallel_tool_calls"}),
        ),
        # no efforts: gpt-4.1 and gpt-4o answer 400 to them, and clients send one with every request
        Profile(
            name="openai",
            thinking_control="none",
            reasoning_field=None,
            max_tokens_field="max_completion_tokens",
            drops=frozenset({"top_k"}),
            max_stops=4,
            max_tools=128,
            max_tool_id_length=40,
        ),
    )
}

PROFILES: Final[dict[str, Profile]] = {
    **_PROFILES,
    "azure": structs.replace(_PROFILES["openai"], name="azure", key_header="api-key"),
}

_BY_HOST: Final[tuple[tuple[str, str], ...]] = (
    ("openrouter.ai", "openrouter"),
    ("chutes.ai", "chutes"),
    ("api.deepseek.com", "deepseek"),
    ("moonshot.ai", "moonshot"),
    ("moonshot.cn", "moonshot"),
    ("kimi.com", "moonshot"),
    ("z.ai", "zai"),
    ("bigmodel.cn", "zai"),
    ("dashscope.aliyuncs.com", "dashscope"),
    ("dashscope-intl.aliyuncs.com", "dashscope"),
    ("mistral.ai", "mistral"),
    ("groq.com", "groq"),
    ("googleapis.com", "gemini"),  # AI Studio and Vertex
    ("openai.com", "openai"),
    ("openai.azure.com", "azure"),
    ("cognitiveservices.azure.com", "azure"),
)

_BY_OWNER: Final[dict[str, str]] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama.cpp",
    "library": "ollama",
}


def profile_for_host(host: str) -> Profile | None:
    """The profile of a hosted backend by its host name, or None."""
    host = host.lower()
    for domain, name in _BY_HOST:
        if host == domain or host.endswith(f".{domain}"):
            return PROFILES[name]
    return None


def profile_for_owner(owner: str | None) -> Profile | None:
    """The profile of a server by the models' `owned_by` in its model list, or None."""
    name = _BY_OWNER.get((owner or "").lower())
    return PROFILES[name] if name else None
