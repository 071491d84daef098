"""Backends' quirks as one table of data: the only place that names vendors.

A profile is chosen by the backend's host name, otherwise by `owned_by` in its model list; the generic one is the
default. Sources: the vendors' API references, the error messages quoted below, and the samples of vLLM and llama.cpp
under `tests/samples/backends/`.
"""

import re
from typing import Final

from msgspec import structs

from gateway.openai.profile import GENERIC, Profile

_PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        GENERIC,
        # the budget needs --reasoning-config, and is refused without it (vllm-project/vllm#20859)
        Profile(
            name="vllm",
            prefill="continue_final_message",
            reasoning_field="reasoning",
            max_stops=4,
            budget_field=("thinking_token_budget",),
            lists_all=True,
        ),
        # enforced with --enable-strict-thinking (https://docs.sglang.io/docs/advanced_features/thinking_budget)
        Profile(
            name="sglang",
            prefill="continue_final_message",
            budget_field=("custom_params", "thinking_budget"),
            lists_all=True,
        ),
        # a `tool_choice` that is an object is taken for "auto" without a word; Ollama ignores any
        Profile(
            name="llama.cpp",
            image_types=frozenset({"image/png", "image/jpeg", "image/gif", "image/bmp"}),
            names_tool=False,
            budget_field=("thinking_budget_tokens",),
            lists_all=True,
        ),
        Profile(name="chutes", lists_all=True),
        # no efforts: a model that cannot think answers 400 to them, and one that can thinks by default
        Profile(name="ollama", names_tool=False, thinking_control="reasoning_effort", reasoning_field="reasoning"),
        Profile(
            name="openrouter",
            cache_marks=("anthropic/", "qwen/"),
            thinking_control="reasoning",
            efforts=("minimal", "low", "medium", "high", "xhigh"),
            reasoning_field="reasoning",
            wants_back=frozenset({"reasoning_details"}),
        ),
        # response_format does not support schemas: "This response_format type is unavailable now"
        Profile(
            name="deepseek",
            lists_all=True,
            thinking_control="thinking",
            needs_thinking=True,
            drops=frozenset({"top_k", "parallel_tool_calls", "response_format"}),
        ),
        # "a max of 128 tools can be supported" (MoonshotAI/Kimi-K2#90)
        Profile(
            name="moonshot",
            lists_all=True,
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
        Profile(
            name="dashscope",
            cache_marks=("qwen", "deepseek", "kimi", "glm"),
            prefill="partial",
            thinking_control="enable_thinking",
        ),
        # "Tool call id was X but must be a-z, A-Z, 0-9, with a length of 9."
        # "Unexpected role 'user' after role 'tool'"
        Profile(
            name="mistral",
            prefill="prefix",
            lists_all=True,
            thinking_control="none",
            reasoning_field=None,
            drops=frozenset({"top_k"}),
            tool_id_length=9,
            parts_user_from_tool=True,
        ),
        Profile(
            name="groq",
            lists_all=True,
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
            lists_all=True,
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
    "azure": structs.replace(_PROFILES["openai"], name="azure", key_header="api-key", lists_all=False),
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


# what the chat templates of models know as `reasoning_effort`, by the model's name. Templates take any other value for
# their default, which may be the highest effort
_TEMPLATE_EFFORTS: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (re.compile(r"gpt-?oss"), ("low", "medium", "high")),
    (re.compile(r"deepseek-?v4"), ("high", "max")),
    (re.compile(r"glm-?5\.2"), ("high", "max")),
    (re.compile(r"glm-?5\.3"), ("low", "high", "max")),
    (re.compile(r"kimi-?k3"), ("low", "high", "max")),
    (re.compile(r"qwen-?3\.8"), ("low", "medium", "xhigh")),
)
_HARMONY: Final = _TEMPLATE_EFFORTS[0][1]


def profile_for_model(profile: Profile, model: str) -> Profile:
    """The profile with the efforts that a model knows by itself, whichever server runs it. `model` holds its names."""
    if profile.thinking_control not in ("chat_template_kwargs", "reasoning_effort"):
        return profile
    name = model.lower()
    efforts = next((efforts for pattern, efforts in _TEMPLATE_EFFORTS if pattern.search(name)), ())
    # servers write gpt-oss's prompt themselves, and take the effort from the request
    asked = profile.efforts or (_HARMONY if efforts is _HARMONY else ())
    template = efforts if profile.thinking_control == "chat_template_kwargs" else ()
    if (asked, template) == (profile.efforts, profile.template_efforts):
        return profile
    return structs.replace(profile, efforts=asked, template_efforts=template)


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
