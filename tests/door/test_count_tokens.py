import asyncio
from typing import Any

from tests.conftest import TOKEN, ScriptedBackend, StartGateway, ask

TOOL = {"name": "get_weather", "description": "The weather of a city", "input_schema": {"type": "object"}}


async def count(gateway: Any, **fields: Any) -> int:
    request = ask(**fields)
    del request["max_tokens"]
    response = await gateway.post("/v1/messages/count_tokens?beta=true", json=request, headers=TOKEN)
    assert response.status == 200
    answer = await response.json()
    assert list(answer) == ["input_tokens"]
    tokens: int = answer["input_tokens"]
    return tokens


async def test_everything_that_is_sent_counts(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)
    bare = await count(gateway)

    assert bare > 0
    assert await count(gateway, prompt="Hi " * 500) > bare + 400
    assert await count(gateway, system="Be brief. " * 20) > bare + 40
    assert await count(gateway, tools=[TOOL]) > bare + 10
    assert scripted.requests == []


async def test_a_name_in_another_case_counts_too(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)

    assert await count(gateway, model="vendor/MODEL-1") > 0


async def test_it_needs_messages(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages/count_tokens", json={"model": "Vendor/Model-1"}, headers=TOKEN)

    assert response.status == 400
    assert "messages" in (await response.json())["error"]["message"]


async def test_a_big_count_does_not_hold_up_others(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)
    await count(gateway)

    counting = asyncio.create_task(count(gateway, prompt=" ".join(str(number) for number in range(120_000))))
    answered = 0
    while not counting.done():
        assert (await gateway.get("/health")).status == 200
        answered += 1

    assert await counting > 120_000
    assert answered > 3
