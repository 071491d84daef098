"""Thinking: the switch in each backend's terms, and the history."""

import json
from typing import Any

import pytest
from msgspec import structs

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import Block, MessagesRequest
from gateway.backend.profiles import PROFILES
from gateway.translate.to_backend.thinking import missing_thinking, replayed_thinking, thinking_fields, thinking_wanted

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
OBJECT = switch({"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled"}})
NOTHING = switch({}, {})
EXPECTED = {
    "generic": TEMPLATE,
    "vllm": TEMPLATE,
    "sglang": TEMPLATE,
    "llama.cpp": TEMPLATE,
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
