import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.commands.check.conftest import Able, Run, brain, call, error, words

VLLM = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
OLLAMA = "registry.ollama.ai/library/gemma:2b does not support tools"


def first(answer: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A brain that gives this answer where it should call a tool that the request does not force."""

    def think(body: dict[str, Any]) -> dict[str, Any]:
        wants = body.get("tools") and "tool_choice" not in body and body["messages"][-1]["role"] == "user"
        return answer if wants else brain(body)

    return think


@pytest.mark.parametrize(
    ("answer", "said", "remedy"),
    [
        pytest.param(
            words('<tool_call> {"name": "Read", "arguments": {}} </tool_call>'),
            "the model's call arrives as text, not as a tool call",
            "vLLM: --enable-auto-tool-choice --tool-call-parser NAME",
            id="markup",
        ),
        pytest.param(
            words("Of course, I shall read it."),
            "the model answered in words instead of calling the tool",
            "use a model that can call tools: --model NAME",
            id="words",
        ),
        pytest.param(
            {"tool_calls": [call("Bash", command="cat")]},
            "the call does not match the tool's schema: {'command': 'cat'}",
            "check the server's tool parser",
            id="another tool",
        ),
        pytest.param(
            {"tool_calls": [call("Read", path="/home")]},
            "the call does not match the tool's schema: {'path': '/home'}",
            "use a more capable model (--model NAME)",
            id="another argument",
        ),
    ],
)
async def test_calls_that_do_not_come(answer: Any, said: str, remedy: str, able: Able, run: Run) -> None:
    able.brain = first(answer)

    checked = await run(able.url)

    row = checked.row("tools")
    assert (checked.code, row["mark"], row["said"]) == (1, "bad", said)
    assert remedy in row["remedy"]
    assert checked.row("parallel")["mark"] == "skipped"
    assert checked.row("forced")["mark"] == "good"


async def test_tools_that_never_reach_the_model(able: Able, run: Run) -> None:
    able.brain = first(words("Of course."))
    able.prompt_tokens = lambda _: 25

    row = (await run(able.url)).row("tools")

    assert row["said"] == "the tools do not reach the model: they do not make the prompt longer"
    assert "llama.cpp: --jinja" in row["remedy"]


@pytest.mark.parametrize(
    ("words_of", "remedy"),
    [
        (VLLM, "vLLM: --enable-auto-tool-choice --tool-call-parser NAME"),
        ("tools param requires --jinja flag", "llama.cpp: --jinja"),
        (OLLAMA, "use a model that can call tools: --model NAME"),
        ("something is wrong", "see the backend's message and its log"),
    ],
)
async def test_a_backend_that_refuses_tools(words_of: str, remedy: str, able: Able, run: Run) -> None:
    able.refuse = lambda body: error(400, words_of) if body.get("tools") else None

    checked = await run(able.url)

    assert checked.code == 1
    for key in ("tools", "results"):
        row = checked.row(key)
        assert (row["mark"], row["said"]) == ("bad", f"backend: {words_of}")
        assert remedy in row["remedy"]
    assert checked.row("forced")["mark"] == "bad"
    assert "programs that use an SDK may" in checked.row("forced")["remedy"]


async def test_calls_without_ids_are_helped(able: Able, run: Run) -> None:
    bare = call("Read", file_path="/home/me/x")
    del bare["id"]
    able.brain = first({"tool_calls": [bare]})

    row = (await run(able.url)).row("tools")

    assert (row["mark"], row["said"]) == (
        "good",
        "arrives as a tool call; arguments in one piece; no ids: the gateway generates them",
    )


async def test_a_result_that_the_model_does_not_use(able: Able, run: Run) -> None:
    able.brain = lambda body: words("Hm.") if body["messages"][-1]["role"] == "tool" else brain(body)

    checked = await run(able.url)

    row = checked.row("results")
    assert (checked.code, row["mark"]) == (0, "unknown")
    assert row["remedy"] == "use a more capable model: --model NAME"


async def test_a_demand_that_is_not_obeyed(able: Able, run: Run) -> None:
    able.brain = lambda body: words("No.") if "tool_choice" in body else brain(body)

    checked = await run(able.url)

    row = checked.row("forced")
    assert (checked.code, row["mark"]) == (0, "partly")
    assert row["said"] == "tool_choice is ignored: the model did not call the named tool"
    assert "Claude Code does not need it" in row["remedy"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [({"tool_calls": [call("Read", file_path="/home/me/a")]}, "one call at a time"), (words("No."), "no call came")],
)
async def test_one_call_at_a_time(answer: Any, said: str, able: Able, run: Run) -> None:
    able.brain = lambda body: answer if "twice" in json.dumps(body) else brain(body)

    checked = await run(able.url)

    row = checked.row("parallel")
    assert (checked.code, row["mark"], row["said"]) == (0, "unknown", said)
    assert "Claude Code works without" in row["remedy"]


async def test_a_remedy_is_for_the_kind_of_server_that_is_there(able: Able, run: Run) -> None:
    able.models["data"][0] |= {"owned_by": "vllm", "max_model_len": 4096}
    able.refuse = lambda body: error(400, VLLM) if body.get("tools") else None

    checked = await run(able.url)

    flag = "--enable-auto-tool-choice --tool-call-parser NAME"
    assert checked.row("tools")["remedy"] == f"turn on the server's tool parser (vLLM: {flag})"
    assert checked.row("context")["remedy"] == "start the server with a larger window (vLLM: --max-model-len 65536)"
