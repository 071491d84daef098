"""Which backend is which, and what the table says of each."""

import pytest

from gateway.backend.profiles import PROFILES, profile_for_host, profile_for_owner
from gateway.openai.profile import GENERIC


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("openrouter.ai", "openrouter"),
        ("llm.chutes.ai", "chutes"),
        ("my-model.chutes.ai", "chutes"),
        ("api.deepseek.com", "deepseek"),
        ("api.moonshot.ai", "moonshot"),
        ("api.moonshot.cn", "moonshot"),
        ("api.kimi.com", "moonshot"),
        ("api.z.ai", "zai"),
        ("open.bigmodel.cn", "zai"),
        ("dashscope.aliyuncs.com", "dashscope"),
        ("dashscope-intl.aliyuncs.com", "dashscope"),
        ("api.mistral.ai", "mistral"),
        ("api.groq.com", "groq"),
        ("generativelanguage.googleapis.com", "gemini"),
        ("api.openai.com", "openai"),
        ("my-resource.openai.azure.com", "azure"),
        ("us-central1-aiplatform.googleapis.com", "gemini"),
        ("API.OpenAI.com", "openai"),
        ("127.0.0.1", None),
        ("localhost", None),
        ("api.xyz.ai", None),
        ("viz.ai", None),
        ("api.openai.com.evil.test", None),
        ("notopenai.com", None),
        ("", None),
    ],
)
def test_a_hosted_backend_is_known_by_its_host(host: str, name: str | None) -> None:
    profile = profile_for_host(host)
    assert (profile.name if profile else None) == name


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("vllm", "vllm"),
        ("sglang", "sglang"),
        ("llamacpp", "llama.cpp"),
        ("library", "ollama"),
        ("VLLM", "vllm"),
        ("organization-owner", None),
        ("", None),
        (None, None),
    ],
)
def test_a_server_is_known_by_the_owner_of_its_models(owner: str | None, name: str | None) -> None:
    profile = profile_for_owner(owner)
    assert (profile.name if profile else None) == name


def test_profiles_are_found_by_their_names() -> None:
    assert all(profile.name == name for name, profile in PROFILES.items())
    assert PROFILES["generic"] is GENERIC


@pytest.mark.parametrize(
    ("control", "names"),
    [
        ("chat_template_kwargs", {"generic", "vllm", "sglang", "llama.cpp", "chutes"}),
        ("enable_thinking", {"dashscope"}),
        ("thinking", {"deepseek", "moonshot", "zai"}),
        ("reasoning", {"openrouter"}),
        ("reasoning_effort", {"ollama"}),
        ("none", {"mistral", "groq", "gemini", "openai", "azure"}),
    ],
)
def test_the_switch_for_thinking(control: str, names: set[str]) -> None:
    assert {name for name, profile in PROFILES.items() if profile.thinking_control == control} == names


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("reasoning", {"vllm", "ollama", "openrouter"}),
        (
            "reasoning_content",
            {"generic", "sglang", "llama.cpp", "chutes", "deepseek", "moonshot", "zai", "dashscope"},
        ),
        (None, {"mistral", "groq", "gemini", "openai", "azure"}),
    ],
)
def test_the_field_of_replayed_thinking(field: str | None, names: set[str]) -> None:
    assert {name for name, profile in PROFILES.items() if profile.reasoning_field == field} == names


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("top_k", {"deepseek", "moonshot", "zai", "mistral", "groq", "gemini", "openai", "azure"}),
        ("parallel_tool_calls", {"deepseek", "zai", "gemini"}),
        ("response_format", {"deepseek"}),
    ],
)
def test_what_backends_refuse(field: str, names: set[str]) -> None:
    assert {name for name, profile in PROFILES.items() if field in profile.drops} == names


def test_limits() -> None:
    assert {name for name, profile in PROFILES.items() if profile.max_stops == 4} == {"vllm", "groq", "openai", "azure"}
    new_field = {name for name, profile in PROFILES.items() if profile.max_tokens_field == "max_completion_tokens"}
    assert new_field == {"openai", "azure"}
    assert {name: profile.tool_id_length for name, profile in PROFILES.items() if profile.tool_id_length} == {
        "mistral": 9
    }
