import json
from typing import Any

import pytest
from aiohttp import web

from tests.commands.check.conftest import MODEL, Able, Run, error


def size(body: dict[str, Any]) -> int:
    return len(json.dumps(body["messages"]))


@pytest.mark.parametrize(
    ("window", "mark", "code", "said"),
    [
        (8192, "bad", 1, "8,192 tokens: Claude Code's own prompt takes about 25,000"),
        (40960, "partly", 0, "40,960 tokens: Claude Code will compact often"),
        (262144, "good", 0, "262,144 tokens"),
    ],
)
async def test_context_windows(window: int, mark: str, code: int, said: str, able: Able, run: Run) -> None:
    able.models["data"][0]["max_model_len"] = window

    checked = await run(able.url)

    row = checked.row("context")
    assert (checked.code, row["mark"], row["said"]) == (code, mark, said)
    assert ("vLLM: --max-model-len" in row["remedy"]) == (mark != "good")
    assert checked.document["client"]["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(window)


@pytest.mark.parametrize(
    ("path", "answer", "window"),
    [
        ("/props", {"default_generation_settings": {"n_ctx": 65536}}, 65536),
        (
            "/api/ps",
            {"models": [{"name": "other", "context_length": 1}, {"name": MODEL, "context_length": 98304}]},
            98304,
        ),
        ("/props", {"default_generation_settings": None}, None),
        ("/api/ps", {"models": "none"}, None),
        ("/props", ["something else"], None),
    ],
)
async def test_windows_that_only_the_server_itself_tells(
    path: str, answer: Any, window: Any, able: Able, run: Run
) -> None:
    del able.models["data"][0]["max_model_len"]
    able.paths[path] = web.json_response(answer)

    checked = await run(able.url)

    row = checked.row("context")
    assert row["mark"] == ("good" if window else "unknown")
    assert checked.document["client"]["env"].get("CLAUDE_CODE_MAX_CONTEXT_TOKENS") == (str(window) if window else None)


async def test_a_window_that_nobody_tells(able: Able, run: Run) -> None:
    del able.models["data"][0]["max_model_len"]

    checked = await run(able.url)

    row = checked.row("context")
    assert (checked.code, row["mark"]) == (0, "unknown")
    assert row["remedy"].startswith("find it with --full (sends one prompt of about 150,000 tokens)")
    assert max(size(body) for body in able.bodies) < 20_000


async def test_a_window_is_learnt_from_a_refusal(able: Able, run: Run) -> None:
    del able.models["data"][0]["max_model_len"]
    words = "This model's maximum context length is 65536 tokens. However, your messages resulted in 150000 tokens."
    able.refuse = lambda body: error(400, words) if size(body) > 300_000 else None

    checked = await run(able.url, full=True)

    row = checked.row("overflow")
    assert (checked.code, row["mark"]) == (0, "good")
    assert row["said"] == "refused with an error that makes Claude Code compact: 65536 tokens fit"
    told = checked.document["client"]["env"]
    assert told["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "65536"
    # below that, the client would warn at each start
    assert told["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "100000"


async def test_a_refusal_without_numbers_counts_too(able: Able, run: Run) -> None:
    able.refuse = lambda body: error(400, "Input is too long for requested model.") if size(body) > 300_000 else None

    row = (await run(able.url, full=True)).row("overflow")

    assert row["mark"] == "good"
    assert "Input is too long" in row["said"]


async def test_a_refusal_in_unknown_words(able: Able, run: Run) -> None:
    able.refuse = lambda body: error(400, "zu lang") if size(body) > 300_000 else None

    row = (await run(able.url, full=True)).row("overflow")

    assert (row["mark"], row["said"]) == ("partly", "refused with an unrecognised message: backend: zu lang")
    assert row["remedy"] == "compact by hand before the window is full: /compact"


async def test_a_prompt_that_is_cut_in_silence(able: Able, run: Run) -> None:
    able.prompt_tokens = lambda body: min(4096, size(body) // 4)

    checked = await run(able.url, full=True)

    row = checked.row("overflow")
    assert (checked.code, row["mark"]) == (1, "bad")
    assert row["said"].endswith("the model read only 4,096")
    assert "OLLAMA_CONTEXT_LENGTH" in row["remedy"]
    assert checked.document["client"]["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "4096"


async def test_a_prompt_over_the_window_that_is_taken(able: Able, run: Run) -> None:
    row = (await run(able.url, full=True)).row("overflow")

    assert row["mark"] == "good"
    assert row["said"].startswith("a prompt of 1")


async def test_a_window_too_large_to_try(able: Able, run: Run) -> None:
    able.models["data"][0]["max_model_len"] = 1_000_000

    checked = await run(able.url, full=True)

    assert checked.row("overflow")["mark"] == "unknown"
    assert "CLAUDE_CODE_MAX_OUTPUT_TOKENS" not in checked.document["client"]["env"]


async def test_the_cache_is_seen_in_the_counts(able: Able, run: Run) -> None:
    row = (await run(able.url)).row("cache")

    assert row["mark"] == "good"
    assert row["facts"]["cached_tokens"] == row["facts"]["prompt_tokens"] - 16
    first, second = (body for body in able.bodies if "Notes" in str(body["messages"]))
    assert first == second


async def test_a_cache_that_shows_only_in_time(able: Able, run: Run) -> None:
    able.caches = False
    able.before_new = 0.3

    row = (await run(able.url)).row("cache")

    assert row["mark"] == "good"
    assert row["said"].startswith("not reported, but the second request was faster")


async def test_no_cache(able: Able, run: Run) -> None:
    able.caches = False

    row = (await run(able.url)).row("cache")

    assert row["mark"] == "unknown"
    assert "turn on the server's prefix cache" in row["remedy"]


async def test_an_estimate_that_is_far_off(able: Able, run: Run) -> None:
    able.prompt_tokens = lambda body: size(body)

    checked = await run(able.url)

    row = checked.row("counting")
    assert (checked.code, row["mark"]) == (0, "partly")
    assert row["facts"]["error_percent"] < -50
    assert "too low" in row["said"]


async def test_nothing_to_compare_the_estimate_with(able: Able, run: Run) -> None:
    able.usage_in = frozenset()

    row = (await run(able.url)).row("counting")

    assert (row["mark"], row["said"]) == ("unknown", "the backend does not count prompt tokens")
