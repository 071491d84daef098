"""A client's effort and thinking budget on their way to servers that leave thinking to a chat template."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.conftest import TOKEN, ScriptedBackend, StartGateway, ask, respond

Json = dict[str, Any]

HELLO = json.dumps(
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}
).encode()
LOW = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
NO_REASONING_CONFIG = json.dumps(
    {
        "error": {
            "message": "thinking_token_budget is set but reasoning_config is not configured. Please set "
            "--reasoning-config to use thinking_token_budget.",
            "type": "BadRequestError",
            "code": 400,
        }
    }
).encode()


def listing(**fields: Any) -> bytes:
    return json.dumps({"data": [{"id": "main", "object": "model", **fields}]}).encode()


async def asked(scripted: ScriptedBackend, start_gateway: StartGateway, *bodies: Json) -> list[Json]:
    """What the backend is asked for these requests."""
    gateway = await start_gateway(scripted.url)
    for fields in bodies:
        response = await gateway.post("/v1/messages", json=ask(**fields) | {"model": "main"}, headers=TOKEN)
        assert response.status == 200
    return [request.json for request in scripted.requests]


async def test_a_model_is_known_by_the_name_behind_its_name(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models = listing(owned_by="vllm", root="openai/gpt-oss-120b")
    scripted.answers = [respond(HELLO)]

    [sent] = await asked(scripted, start_gateway, LOW)

    assert sent["reasoning_effort"] == "low"
    assert sent["chat_template_kwargs"]["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("owner", "field"),
    [
        ("vllm", {"thinking_token_budget": 2048}),
        ("sglang", {"custom_params": {"thinking_budget": 2048}}),
        ("llamacpp", {"thinking_budget_tokens": 2048}),
    ],
)
async def test_a_budget_is_sent_in_the_servers_own_field(
    owner: str, field: Json, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models = listing(owned_by=owner, root="Qwen/Qwen3.6-35B-A3B")
    scripted.answers = [respond(HELLO)]

    [sent] = await asked(scripted, start_gateway, BUDGET)

    assert field.items() <= sent.items()


async def test_a_vllm_that_takes_no_budget_is_asked_without_one_from_then_on(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models = listing(owned_by="vllm", root="Qwen/Qwen3.6-35B-A3B")
    scripted.answers = [respond(NO_REASONING_CONFIG, status=400), respond(HELLO), respond(HELLO)]

    sent = await asked(scripted, start_gateway, BUDGET, BUDGET)

    assert ["thinking_token_budget" in body for body in sent] == [True, False, False]


async def test_an_effort_that_changes_nothing_is_said_once(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models = listing(owned_by="someone")
    scripted.answers = [respond(HELLO), respond(HELLO)]

    with capture_logs() as lines:
        await asked(scripted, start_gateway, LOW, LOW)

    said = [line for line in lines if "effort" in line["event"]]
    assert [line.get("model") for line in said] == ["main"]
