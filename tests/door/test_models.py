import json

import pytest

from tests.conftest import TOKEN, ScriptedBackend, StartGateway, ask, respond

LIST = {
    "data": [
        {"id": "big/Model", "created": 1700000000, "max_model_len": 131072},
        {
            "id": "hosted/other",
            "name": "Other, hosted",
            "context_length": 65536,
            "top_provider": {"max_completion_tokens": 8192},
            "supported_parameters": ["tools", "reasoning"],
            "pricing": {"prompt": "0.0000002", "completion": "0.0000011"},
        },
    ]
}
BIG = {
    "id": "big/Model",
    "type": "model",
    "display_name": "big/Model",
    "created_at": "2023-11-14T22:13:20Z",
    "lifecycle": "active",
    "max_input_tokens": 131072,
}
OTHER = {
    "id": "hosted/other",
    "type": "model",
    "display_name": "Other, hosted",
    "created_at": "1970-01-01T00:00:00Z",
    "lifecycle": "active",
    "max_input_tokens": 65536,
    "max_tokens": 8192,
    "thinking": True,
    "pricing": {"input": 0.2, "output": 1.1},
}


async def test_the_list_is_in_anthropics_shape(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.models = json.dumps(LIST).encode()
    gateway = await start_gateway(scripted.url)

    response = await gateway.get("/v1/models?limit=1000", headers=TOKEN)

    assert await response.json() == {
        "data": [BIG, OTHER, BIG | {"id": "claude-big/Model"}, OTHER | {"id": "claude-hosted/other"}],
        "has_more": False,
        "first_id": "big/Model",
        "last_id": "claude-hosted/other",
    }


async def test_a_model_that_claude_code_shows_anyway_is_listed_once(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models = json.dumps({"data": [{"id": "anthropic/Claude-Sonnet"}]}).encode()
    gateway = await start_gateway(scripted.url)

    listed = await (await gateway.get("/v1/models", headers=TOKEN)).json()

    assert [model["id"] for model in listed["data"]] == ["anthropic/Claude-Sonnet"]


@pytest.mark.parametrize("name", ["claude-hosted/other", "claude-HOSTED/Other[1m]"])
async def test_the_picker_shows_names_that_work(
    name: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models = json.dumps(LIST).encode()
    scripted.answers = [respond(b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}')]
    gateway = await start_gateway(scripted.url)

    answer = await (await gateway.post("/v1/messages", json=ask(model=name), headers=TOKEN)).json()

    assert scripted.requests[0].json["model"] == "hosted/other"
    assert answer["model"] == name


async def test_it_comes_in_pages(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.models = json.dumps(LIST).encode()
    gateway = await start_gateway(scripted.url)

    first = await (await gateway.get("/v1/models?limit=1", headers=TOKEN)).json()
    second = await (await gateway.get("/v1/models?limit=3&after_id=big/Model", headers=TOKEN)).json()

    assert (first["data"], first["has_more"]) == ([BIG], True)
    assert ([model["id"] for model in second["data"]], second["has_more"]) == (
        ["hosted/other", "claude-big/Model", "claude-hosted/other"],
        False,
    )


async def test_one_model_by_its_name_in_any_case(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.models = json.dumps(LIST).encode()
    gateway = await start_gateway(scripted.url)

    response = await gateway.get("/v1/models/BIG/model", headers=TOKEN)

    assert await response.json() == BIG


async def test_an_unknown_model_is_a_404(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.get("/v1/models/none", headers=TOKEN)

    assert response.status == 404
    assert (await response.json())["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "9" * 5000])
async def test_a_limit_out_of_range_is_a_400(limit: str, embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.get(f"/v1/models?limit={limit}", headers=TOKEN)

    assert response.status == 400
    assert (await response.json())["error"]["message"] == "limit: Input should be a number from 1 to 1000"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"/v1/models/{'x' * 257}", "model_id"),
        (f"/v1/models?after_id={'x' * 257}", "after_id"),
        (f"/v1/models?before_id={'x' * 257}", "before_id"),
    ],
)
async def test_a_name_that_is_too_long_is_a_400(
    path: str, field: str, embedded: str, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.get(path, headers=TOKEN)

    assert response.status == 400
    assert (await response.json())["error"] == {
        "type": "invalid_request_error",
        "message": f"{field}: String should have at most 256 characters",
    }


async def test_a_backend_without_a_list_says_so(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    scripted.models, scripted.models_status = b'{"detail":"Not Found"}', 404
    gateway = await start_gateway(scripted.url)

    response = await gateway.get("/v1/models", headers=TOKEN)

    assert response.status == 404
    assert (await response.json())["error"] == {
        "type": "not_found_error",
        "message": f"the backend has no model list at {scripted.url}/v1/models: if requests also fail, correct the path in BACKEND_URL",
    }
