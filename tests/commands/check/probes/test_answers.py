import json
from typing import Any

import pytest

from tests.commands.check.conftest import Able, Run, error


async def test_an_answer_without_a_word(able: Able, run: Run) -> None:
    brain = able.brain
    able.brain = lambda body: brain(body) if body["stream"] else {"content": ""}

    row = (await run(able.url)).row("whole")

    assert (row["mark"], row["said"]) == ("partly", "an empty answer (end_turn)")
    assert row["remedy"] == "try another model or chat template: --model NAME"


async def test_an_engine_that_fails(able: Able, run: Run) -> None:
    able.refuse = lambda _: error(500, "CUDA out of memory")

    checked = await run(able.url)

    row = checked.row("whole")
    assert (checked.code, row["said"]) == (1, "backend: CUDA out of memory")
    assert row["remedy"] == "check the server's log, then run the check again"


async def test_a_backend_that_does_not_stream(able: Able, run: Run) -> None:
    able.streams = False

    checked = await run(able.url)

    row = checked.row("streaming")
    assert (checked.code, row["mark"]) == (0, "partly")
    assert row["said"] == "the backend answers a streaming request in one piece"
    assert "turn on streaming" in row["remedy"]
    assert checked.row("speed")["mark"] == "unknown"


async def test_a_stream_in_lumps(able: Able, run: Run) -> None:
    able.words_an_event = 16

    row = (await run(able.url)).row("streaming")

    assert (row["mark"], row["said"]) == ("partly", "coarse: 1 events for 16 tokens")
    assert "stream interval" in row["remedy"]


async def test_a_stream_that_a_proxy_holds_back(able: Able, run: Run) -> None:
    able.before = 0.5

    row = (await run(able.url, within=8)).row("streaming")

    assert row["mark"] == "partly"
    assert row["said"].startswith("held back: 16 events for 16 tokens came all at once, after 0.")
    assert "proxy_buffering off" in row["remedy"]


async def test_a_stream_without_a_word(able: Able, run: Run) -> None:
    brain = able.brain
    able.brain = lambda body: {"content": ""} if "forty" in json.dumps(body) else brain(body)

    checked = await run(able.url)

    row = checked.row("streaming")
    assert (checked.code, row["said"]) == (1, "an empty stream")
    assert "--model NAME" in row["remedy"]


async def test_a_slow_model(able: Able, run: Run) -> None:
    able.between = 0.15

    row = (await run(able.url, within=5)).row("speed")

    assert row["mark"] == "partly"
    assert row["facts"]["tokens_per_second"] < 8
    assert "use a smaller model, or a GPU" in row["remedy"]


@pytest.mark.parametrize(
    ("counted", "missing"),
    [({"whole"}, "streams"), ({"stream"}, "whole answers"), ((), "streams and whole answers")],
)
async def test_tokens_that_are_not_counted(counted: Any, missing: str, able: Able, run: Run) -> None:
    able.usage_in = frozenset(counted)

    checked = await run(able.url)

    row = checked.row("usage")
    assert (checked.code, row["mark"], row["said"]) == (0, "partly", f"no token counts in {missing}")
    assert "drops stream_options" in row["remedy"]
