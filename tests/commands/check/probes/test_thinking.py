from typing import Any

import pytest

from tests.commands.check.conftest import Able, Run, brain, error, words

THOUGHT = {"reasoning_content": "Nine are left.", "content": "Nine."}


def switched_by(name: str, on: Any, field: str = "reasoning_content") -> Any:
    """A brain that thinks only if this field of the request turns it on."""

    def think(body: dict[str, Any]) -> dict[str, Any]:
        if "sheep" not in str(body["messages"]):
            return brain(body)
        return {field: "Nine are left.", "content": "Nine."} if on(body.get(name)) else words("Nine.")

    return think


@pytest.mark.parametrize(
    ("name", "on", "field", "switch", "profile"),
    [
        ("enable_thinking", lambda value: value is True, "reasoning_content", "enable_thinking", "dashscope"),
        (
            "thinking",
            lambda value: bool(value) and value["type"] == "enabled",
            "reasoning_content",
            "thinking.type",
            "deepseek",
        ),
        ("reasoning_effort", lambda value: value not in (None, "none"), "reasoning", "reasoning_effort", "ollama"),
        ("reasoning_effort", lambda value: value != "none", "reasoning", "reasoning_effort", "ollama"),
        ("reasoning", lambda value: bool(value), "reasoning", "reasoning", "openrouter"),
    ],
    ids=["DashScope", "DeepSeek, GLM, Kimi", "Ollama", "Ollama, on by itself", "OpenRouter"],
)
async def test_another_switch_is_found_and_its_profile_recommended(
    name: str, on: Any, field: str, switch: str, profile: str, able: Able, run: Run
) -> None:
    able.brain = switched_by(name, on, field)

    checked = await run(able.url)

    row = checked.row("thinking")
    assert (row["mark"], row["said"]) == ("good", f"comes as `{field}`, turned on and off by `{switch}`")
    assert checked.document["profile"] == profile
    assert checked.document["settings"]["BACKEND_PROFILE"] == profile


async def test_a_profile_that_was_chosen_is_not_doubted(able: Able, run: Run) -> None:
    able.brain = switched_by("enable_thinking", lambda value: value is True)

    checked = await run(able.url, backend_profile="vllm")

    assert checked.row("thinking")["mark"] == "unknown"
    assert not any("enable_thinking" in body for body in able.bodies)


async def test_a_model_that_does_not_think(able: Able, run: Run) -> None:
    able.brain = switched_by("nothing", lambda _: False)

    checked = await run(able.url)

    row = checked.row("thinking")
    assert (checked.code, row["mark"]) == (0, "unknown")
    assert row["said"] == "none seen: this model does not think, or nothing known turns it on"
    assert "BACKEND_PROFILE" in row["remedy"]
    assert checked.document["client"]["alwaysThinkingEnabled"] is False


async def test_a_model_that_always_thinks(able: Able, run: Run) -> None:
    able.brain = switched_by("nothing", lambda _: True)

    checked = await run(able.url)

    row = checked.row("thinking")
    assert (checked.code, row["mark"]) == (0, "partly")
    assert row["said"] == "comes as `reasoning_content`, and cannot be turned off: side tasks take longer as well"
    assert "MODEL_MAP=haiku=NAME" in row["remedy"]


async def test_thinking_inside_the_text(able: Able, run: Run) -> None:
    def think(body: dict[str, Any]) -> dict[str, Any]:
        thought = brain(body)
        if "reasoning_content" in thought:
            return words(f"<think>{thought['reasoning_content']}</think> {thought['content']}")
        return thought

    able.brain = think

    row = (await run(able.url)).row("thinking")

    assert row["mark"] == "partly"
    assert row["said"].startswith("comes as <think> in the text, turned on and off by")
    assert "vLLM: --reasoning-parser NAME" in row["remedy"]


async def test_thinking_at_the_wrong_time(able: Able, run: Run) -> None:
    able.brain = switched_by("chat_template_kwargs", lambda value: not value["enable_thinking"])

    row = (await run(able.url, backend_profile="vllm")).row("thinking")

    assert (row["mark"], row["remedy"]) == ("unknown", "check the model's chat template")


async def test_switches_that_are_refused_are_no_switches(able: Able, run: Run) -> None:
    able.brain = switched_by("nothing", lambda _: False)
    able.refuse = lambda body: error(422, "no") if {"thinking", "reasoning"} & body.keys() else None

    checked = await run(able.url)

    assert (checked.code, checked.row("thinking")["mark"]) == (0, "unknown")


async def test_a_backend_that_fails_while_thinking(able: Able, run: Run) -> None:
    able.refuse = lambda body: error(400, "no thoughts") if "sheep" in str(body["messages"]) else None

    checked = await run(able.url)

    row = checked.row("thinking")
    assert (checked.code, row["mark"], row["said"]) == (0, "bad", "backend: no thoughts")
    assert row["remedy"] == "see the backend's message"
