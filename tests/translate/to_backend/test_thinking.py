"""Thinking: the switch in each backend's terms, and the history."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import Block, MessagesRequest
from gateway.backend.profiles import PROFILES, profile_for_model
from gateway.translate.to_backend.thinking import (
    is_effort_ignored,
    missing_thinking,
    replayed_thinking,
    thinking_fields,
    thinking_wanted,
)

Json = dict[str, Any]

# what clients ask for: the request's fields by a name
ASKED: dict[str, Json] = {
    "absent": {},
    "null": {"thinking": None},
    "disabled": {"thinking": {"type": "disabled"}},
    "disabled, effort": {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
    "effort alone": {"output_config": {"effort": "high"}},
    "adaptive": {"thinking": {"type": "adaptive", "display": "updates"}},
    "adaptive, effort": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    "enabled": {"thinking": {"type": "enabled"}},
    "small budget": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
    "budget": {"thinking": {"type": "enabled", "budget_tokens": 8192}},
    "large budget": {"thinking": {"type": "enabled", "budget_tokens": 31999}},
    "budget, effort": {
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "output_config": {"effort": "low"},
    },
    "of the future": {"thinking": {"type": "between_tools"}},
}
OFF = ("absent", "null", "disabled", "disabled, effort", "effort alone")


def asking(fields: Json) -> MessagesRequest:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}], **fields}
    return decode_request(json.dumps(body).encode())


def switch(off: Json, on: Json, **others: Json) -> dict[str, Json]:
    """The fields for all that clients ask; `others`, with `_` for a blank, differ from `on`."""
    others = {name.replace("__", ", ").replace("_", " "): fields for name, fields in others.items()}
    return {name: others.get(name, off if name in OFF else on) for name in ASKED}


TEMPLATE = switch(
    {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
    {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
)


def budgeted(field: Callable[[int], Json]) -> dict[str, Json]:
    """TEMPLATE with a budget where one is asked for."""
    budgets = {name: asked.get("thinking") or {} for name, asked in ASKED.items() if name not in OFF}
    limits = {name: thinking["budget_tokens"] for name, thinking in budgets.items() if "budget_tokens" in thinking}
    return {name: fields | (field(limits[name]) if name in limits else {}) for name, fields in TEMPLATE.items()}


OBJECT = switch({"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled"}})
NOTHING = switch({}, {})
EXPECTED = {
    "generic": TEMPLATE,
    "vllm": budgeted(lambda budget: {"thinking_token_budget": budget}),
    "sglang": budgeted(lambda budget: {"custom_params": {"thinking_budget": budget}}),
    "llama.cpp": budgeted(lambda budget: {"thinking_budget_tokens": budget}),
    "chutes": TEMPLATE,
    "ollama": switch({"reasoning_effort": "none"}, {}),
    "openrouter": switch(
        {},
        {"reasoning": {"enabled": True}},
        adaptive__effort={"reasoning": {"effort": "high"}},
        small_budget={"reasoning": {"max_tokens": 2048}},
        budget={"reasoning": {"max_tokens": 8192}},
        large_budget={"reasoning": {"max_tokens": 31999}},
        budget__effort={"reasoning": {"max_tokens": 31999}},
    ),
    "deepseek": OBJECT,
    "moonshot": OBJECT,
    "zai": switch({"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled", "clear_thinking": False}}),
    "dashscope": switch({"enable_thinking": False}, {"enable_thinking": True}),
    "mistral": NOTHING,
    "groq": NOTHING,
    "gemini": switch(
        {},
        {},
        adaptive__effort={"reasoning_effort": "high"},
        small_budget={"reasoning_effort": "low"},
        budget={"reasoning_effort": "medium"},
        large_budget={"reasoning_effort": "high"},
        budget__effort={"reasoning_effort": "low"},
    ),
    "openai": NOTHING,
    "azure": NOTHING,
}


def test_every_profile_is_in_the_table() -> None:
    assert EXPECTED.keys() == PROFILES.keys()


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("profile", EXPECTED)
def test_the_switch_in_the_backends_terms(profile: str, asked: str) -> None:
    assert thinking_fields(asking(ASKED[asked]), PROFILES[profile]) == EXPECTED[profile][asked]


@pytest.mark.parametrize("asked", ASKED)
def test_thinking_is_off_unless_asked_for(asked: str) -> None:
    assert thinking_wanted(asking(ASKED[asked])) == (asked not in OFF)


@pytest.mark.parametrize(
    ("effort", "openrouter", "gemini"),
    [
        ("minimal", "minimal", "low"),
        ("low", "low", "low"),
        ("medium", "medium", "medium"),
        ("high", "high", "high"),
        ("xhigh", "xhigh", "high"),
        ("max", "xhigh", "high"),
        ("ultra", None, None),
    ],
)
def test_an_effort_becomes_the_nearest_that_the_backend_takes(
    effort: str, openrouter: str | None, gemini: str | None
) -> None:
    request = asking({"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}})
    assert thinking_fields(request, PROFILES["openrouter"]) == {
        "reasoning": {"effort": openrouter} if openrouter else {"enabled": True}
    }
    assert thinking_fields(request, PROFILES["gemini"]) == ({"reasoning_effort": gemini} if gemini else {})


@pytest.mark.parametrize(
    ("budget", "effort"), [(1, "low"), (2048, "low"), (2049, "medium"), (8192, "medium"), (8193, "high")]
)
def test_a_budget_becomes_an_effort_where_only_these_are_known(budget: int, effort: str) -> None:
    request = asking({"thinking": {"type": "enabled", "budget_tokens": budget}})
    assert thinking_fields(request, PROFILES["gemini"]) == {"reasoning_effort": effort}


EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
# what each effort becomes for a model's template, whichever server runs it
TEMPLATES: dict[str, tuple[str | None, ...]] = {
    "openai/gpt-oss-120b": ("low", "low", "medium", "high", "high", "high"),
    "deepseek-ai/DeepSeek-V4-Pro": ("high", "high", "high", "high", "high", "max"),
    "zai-org/GLM-5.2-FP8": ("high", "high", "high", "high", "high", "max"),
    "zai-org/GLM-5.3": ("low", "low", "low", "high", "high", "max"),
    "moonshotai/Kimi-K3": ("low", "low", "low", "high", "high", "max"),
    "Qwen/Qwen3.8-27B": ("low", "low", "medium", "medium", "xhigh", "xhigh"),
    "zai-org/GLM-4.5-Air": (None,) * 6,
    "Qwen/Qwen3.6-35B-A3B": (None,) * 6,
    "deepseek-ai/DeepSeek-V3.1": (None,) * 6,
    "main openai/gpt-oss-20b": ("low", "low", "medium", "high", "high", "high"),
}


def with_effort(effort: str, kind: str = "adaptive") -> MessagesRequest:
    return asking({"thinking": {"type": kind}, "output_config": {"effort": effort}})


@pytest.mark.parametrize("server", ["generic", "vllm", "sglang", "llama.cpp", "chutes"])
@pytest.mark.parametrize(("model", "expected"), TEMPLATES.items())
def test_an_effort_reaches_the_templates_that_know_it(
    model: str, expected: tuple[str | None, ...], server: str
) -> None:
    profile = profile_for_model(PROFILES[server], model)
    for effort, name in zip(EFFORTS, expected, strict=True):
        fields = thinking_fields(with_effort(effort), profile)
        assert fields["chat_template_kwargs"].get("reasoning_effort") == name
        # servers that write gpt-oss's prompt themselves read the field; others might refuse its value
        assert fields.get("reasoning_effort") == (name if "gpt-oss" in model else None)


def test_no_effort_is_sent_while_thinking_is_off() -> None:
    profile = profile_for_model(PROFILES["vllm"], "zai-org/GLM-5.2")
    assert thinking_fields(with_effort("high", "disabled"), profile) == TEMPLATE["disabled"]


def test_a_model_that_always_thinks_thinks_least_while_thinking_is_off() -> None:
    profile = profile_for_model(PROFILES["vllm"], "openai/gpt-oss-120b")
    assert thinking_fields(with_effort("high", "disabled"), profile) == {
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
        "reasoning_effort": "low",
    }


MONITOR = "You are a security monitor for autonomous AI coding agents.\n\n## Context\n\nThe agent you are monitoring…"
BILLING = "x-anthropic-billing-header: cc_version=2.1.330.355; cc_entrypoint=sdk-cli;"


@pytest.mark.parametrize(
    ("system", "checks"),
    [
        (MONITOR, True),
        ([{"type": "text", "text": MONITOR}], True),
        ([{"type": "text", "text": BILLING}, {"type": "text", "text": MONITOR}], True),
        (f"{BILLING}\n{MONITOR}", True),
        (f"Explain this prompt: {MONITOR}", False),
        ([{"type": "text", "text": "Be brief."}], False),
        (None, False),
    ],
)
@pytest.mark.parametrize("profile", ["vllm", "deepseek", "dashscope", "openrouter"])
def test_the_checks_of_auto_mode_are_made_without_thinking(system: Any, checks: bool, profile: str) -> None:
    asked = {"thinking": {"type": "adaptive"}, "system": system, "stop_sequences": ["</block>"], "max_tokens": 64}
    fields = thinking_fields(asking(asked), PROFILES[profile])
    off = {"reasoning": {"effort": "minimal"}} if profile == "openrouter" else EXPECTED[profile]["disabled"]
    assert fields == (off if checks else EXPECTED[profile]["adaptive"])


def test_a_budget_is_an_effort_for_a_template_that_knows_efforts() -> None:
    profile = profile_for_model(PROFILES["generic"], "gpt-oss:20b")
    fields = thinking_fields(asking({"thinking": {"type": "enabled", "budget_tokens": 2048}}), profile)
    assert fields["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("effort", "budget"), [("minimal", 2048), ("low", 2048), ("medium", 8192), ("high", None), ("max", None)]
)
def test_a_small_effort_is_a_budget_for_a_model_that_knows_no_efforts(effort: str, budget: int | None) -> None:
    profile = profile_for_model(PROFILES["vllm"], "Qwen/Qwen3.6-35B-A3B")
    assert thinking_fields(with_effort(effort), profile).get("thinking_token_budget") == budget


def test_ollama_takes_the_efforts_of_gpt_oss() -> None:
    assert thinking_fields(with_effort("max"), profile_for_model(PROFILES["ollama"], "gpt-oss:20b")) == {
        "reasoning_effort": "high"
    }
    assert thinking_fields(with_effort("max"), profile_for_model(PROFILES["ollama"], "qwen3.6:35b")) == {}


@pytest.mark.parametrize(
    ("server", "model", "drops", "fields", "expected"),
    [
        ("generic", "Qwen3.6", set(), {"output_config": {"effort": "low"}}, True),
        ("generic", "gpt-oss-20b", set(), {"output_config": {"effort": "low"}}, False),
        ("vllm", "Qwen3.6", set(), {"output_config": {"effort": "low"}}, False),
        ("vllm", "Qwen3.6", {"thinking_token_budget"}, {"output_config": {"effort": "low"}}, True),
        ("generic", "Qwen3.6", set(), {}, False),
        ("generic", "Qwen3.6", set(), {"thinking": {"type": "enabled", "budget_tokens": 2048}}, True),
        ("generic", "Qwen3.6", set(), {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, False),
        ("openrouter", "any", set(), {"output_config": {"effort": "low"}}, False),
    ],
)
def test_an_effort_that_changes_nothing_is_known_to(
    server: str, model: str, drops: set[str], fields: Json, expected: bool
) -> None:
    profile = structs.replace(profile_for_model(PROFILES[server], model), drops=frozenset(drops))
    assert is_effort_ignored(asking({"thinking": {"type": "adaptive"}, **fields}), profile) == expected


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([], ""),
        ([Block(type="thinking", thinking=" Hm.\n", signature="")], " Hm.\n"),
        (
            [Block(type="thinking", thinking="A"), Block(type="text", text="B"), Block(type="thinking", thinking="C")],
            "A\nC",
        ),
        ([Block(type="thinking"), Block(type="thinking", thinking=""), Block(type="redacted_thinking")], ""),
    ],
    ids=["none", "as it is", "several", "nothing to read"],
)
def test_the_thinking_of_a_turn(blocks: list[Block], expected: str) -> None:
    assert replayed_thinking(blocks) == expected


@pytest.mark.parametrize("profile", PROFILES)
def test_only_backends_that_demand_thinking_get_a_stand_in(profile: str) -> None:
    stand_in = " " if profile in {"deepseek", "moonshot", "zai"} else ""
    assert missing_thinking(asking({"thinking": {"type": "adaptive"}}), PROFILES[profile]) == stand_in
    assert missing_thinking(asking({}), PROFILES[profile]) == ""


def test_a_host_whose_thinking_cannot_be_switched_off_always_gets_the_stand_in() -> None:
    learnt = structs.replace(PROFILES["generic"], needs_thinking=True)
    assert missing_thinking(asking({}), learnt) == " "
