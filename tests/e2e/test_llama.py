"""A real model answers through the gateway: llama.cpp with Gemma 3 270M."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic.types import TextBlock

from tests.conftest import StartGateway

pytestmark = [pytest.mark.llama, pytest.mark.timeout(600)]

MODEL = "gemma-3-270m"


@pytest.fixture
async def client(llama: str, start_gateway: StartGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    gateway = await start_gateway(llama)
    async with anthropic.AsyncAnthropic(base_url=str(gateway.make_url("/")), api_key="any", max_retries=0) as client:
        yield client


async def test_it_streams_counts_and_tells_usage(client: anthropic.AsyncAnthropic) -> None:
    prompt = {"model": MODEL.upper(), "messages": [{"role": "user", "content": "The capital of France is"}]}
    # at random, or behind the empty thought of the template, this model may end an answer before it begins
    sure: Any = {"thinking": {"type": "adaptive"}, "extra_body": {"temperature": 0}}

    async with client.messages.stream(**prompt, **sure, max_tokens=24) as stream:
        texts = [text async for text in stream.text_stream]
        streamed = await stream.get_final_message()
    whole = await client.messages.create(**prompt, **sure, max_tokens=24)
    counted = await client.messages.count_tokens(**prompt)
    models = await client.models.list()

    assert len(texts) > 1
    for message in (streamed, whole):
        assert message.model == MODEL.upper()
        assert isinstance(message.content[0], TextBlock)
        assert message.content[0].text.strip()
        usage = message.usage
        assert usage.input_tokens + (usage.cache_read_input_tokens or 0) > 5
        assert 0 < usage.output_tokens <= 24
        assert message.stop_reason in ("end_turn", "max_tokens")
    assert counted.input_tokens > 5
    assert [model.id for model in models.data] == [MODEL, f"claude-{MODEL}"]


async def test_a_prompt_over_its_window_is_worded_for_compaction(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as error:
        await client.messages.create(model=MODEL, max_tokens=10, messages=[{"role": "user", "content": "word " * 3000}])

    assert "prompt is too long: " in str(error.value)
    assert "> 2048 maximum" in str(error.value)


async def test_a_client_that_leaves_frees_the_only_slot(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(
        model=MODEL, max_tokens=2000, messages=[{"role": "user", "content": "Count: 1 2 3 4 5"}]
    ) as stream:
        # text, or thoughts: at random this model begins with a tag for these
        async for event in stream:
            if event.type == "content_block_delta":
                break

    async with asyncio.timeout(10):
        message = await client.messages.create(
            model=MODEL, max_tokens=4, messages=[{"role": "user", "content": "Hello"}]
        )
    assert message.usage.output_tokens > 0
