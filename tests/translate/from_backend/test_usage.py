"""Token counts of every backend in Anthropic's terms; where they stand in a stream is in test_reducer.py."""

from typing import Any

import msgspec
import pytest

from gateway.anthropic.writer import Usage
from gateway.openai import chunk
from gateway.translate.from_backend.usage import translate_usage


def counted(usage: Any) -> chunk.Usage:
    return msgspec.convert(usage, chunk.Usage)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105},
            Usage(input_tokens=100, output_tokens=5),
            id="plain",
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}},
            Usage(input_tokens=40, output_tokens=5, cache_read_input_tokens=60),
            id="cached: openai, vllm, sglang, llama.cpp",
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 60},
            Usage(input_tokens=40, output_tokens=5, cache_read_input_tokens=60),
            id="cached: kimi",
        ),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_cache_hit_tokens": 60,
                "prompt_cache_miss_tokens": 40,
            },
            Usage(input_tokens=40, output_tokens=5, cache_read_input_tokens=60),
            id="cached: deepseek",
        ),
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 0},
                "cached_tokens": 0,
                "prompt_cache_hit_tokens": 60,
            },
            Usage(input_tokens=40, output_tokens=5, cache_read_input_tokens=60),
            id="cached: the field that counts",
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": None},
            Usage(input_tokens=100, output_tokens=5),
            id="vllm without details",
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 100}},
            Usage(input_tokens=0, output_tokens=5, cache_read_input_tokens=100),
            id="all cached",
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 160},
            Usage(input_tokens=0, output_tokens=5, cache_read_input_tokens=100),
            id="more cached than sent",
        ),
        pytest.param({"completion_tokens": 5}, Usage(input_tokens=77, output_tokens=5), id="no prompt count"),
        pytest.param(
            {"prompt_tokens": 0, "completion_tokens": 5}, Usage(input_tokens=77, output_tokens=5), id="prompt of zero"
        ),
        pytest.param({"prompt_tokens": 100}, Usage(input_tokens=100, output_tokens=3), id="no completion count"),
        pytest.param(
            {"prompt_tokens": -1, "completion_tokens": -1, "cached_tokens": -1},
            Usage(input_tokens=77, output_tokens=3),
            id="-1 for unknown",
        ),
    ],
)
def test_counts(usage: dict[str, Any], expected: Usage) -> None:
    assert translate_usage(counted(usage), estimated_input=77, characters=9) == expected


@pytest.mark.parametrize(("characters", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_a_backend_that_counts_nothing_is_estimated(characters: int, tokens: int) -> None:
    assert translate_usage(None, estimated_input=77, characters=characters) == Usage(
        input_tokens=77, output_tokens=tokens
    )


def test_an_answer_of_no_token_stays_one() -> None:
    usage = counted({"prompt_tokens": 100, "completion_tokens": 0})
    assert translate_usage(usage, estimated_input=77, characters=0) == Usage(input_tokens=100, output_tokens=0)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}},
        {"prompt_tokens_details": {"cached_tokens": 60, "cache_creation_input_tokens": 30}},
        {"prompt_tokens_details": {"cached_tokens": 60, "created_cache_tokens": 30}},
        {"cache_read_input_tokens": 60, "cache_creation_input_tokens": 30},
    ],
    ids=["OpenRouter", "DashScope", "vLLM", "LiteLLM"],
)
def test_what_was_written_to_a_cache_is_told(usage: dict[str, Any]) -> None:
    found = counted({"prompt_tokens": 100, "completion_tokens": 5, **usage})
    expected = Usage(input_tokens=10, output_tokens=5, cache_read_input_tokens=60, cache_creation_input_tokens=30)
    assert translate_usage(found, estimated_input=7, characters=9) == expected


def test_more_written_than_there_was_is_no_negative_count() -> None:
    found = counted(
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 90},
        }
    )
    assert translate_usage(found, estimated_input=7, characters=9).input_tokens == 0
