import pytest

from tests.conftest import ScriptedBackend, StartGateway, ask, respond

PATHS = ["/v1/messages", "/v1/messages/count_tokens"]
COUNTING = ["/v1/messages/count_tokens", "/messages/count_tokens"]


NO_TOKEN = pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer "}, {"Authorization": "Basic abc"}, {"x-api-key": " "}],
    ids=["nothing", "empty", "bearer of nothing", "basic", "blank key"],
)


@pytest.mark.parametrize("path", COUNTING)
@NO_TOKEN
async def test_counting_asks_no_backend_and_needs_no_key_for_one(
    path: str, headers: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.post(path, json=ask(), headers=headers)

    assert response.status == 200
    assert (await response.json())["input_tokens"] > 0
    assert scripted.requests == []


async def test_counting_with_a_token_for_anthropic_is_refused_too(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.post(COUNTING[0], json=ask(), headers={"x-api-key": "sk-ant-api03-secret"})

    assert response.status == 401


@pytest.mark.parametrize("path", COUNTING)
async def test_counting_needs_a_key_of_the_gateway_if_it_has_keys(
    path: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, backend_api_key="k", gateway_api_keys="k" * 16)

    assert (await gateway.post(path, json=ask())).status == 401


@NO_TOKEN
async def test_no_token_is_a_401(
    headers: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(), headers=headers)

    assert response.status == 401
    assert response.headers["x-should-retry"] == "false"
    error = (await response.json())["error"]
    assert error["type"] == "authentication_error"
    assert "ANTHROPIC_AUTH_TOKEN" in error["message"]
    assert scripted.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-ant-api03-secret"},
        {"x-api-key": "sk-ant-oat01-secret"},
        {"Authorization": "Bearer cpk_good", "x-api-key": "sk-ant-api03-secret"},
        {"Authorization": "Bearer prefix-sk-ant-api03-secret"},
    ],
    ids=["bearer", "key", "beside a good one", "inside"],
)
async def test_a_token_for_anthropic_never_reaches_the_backend(
    headers: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(), headers=headers)

    assert response.status == 401
    message = (await response.json())["error"]["message"]
    assert "set ANTHROPIC_AUTH_TOKEN to a key of that backend instead" in message
    assert "secret" not in message
    assert scripted.requests == []
    assert all("sk-ant" not in str(request.headers) for request in scripted.listed)


async def test_models_need_a_token(scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)

    assert (await gateway.get("/v1/models")).status == 401


@pytest.mark.parametrize("path", ["/health", "/", "/api/hello"])
async def test_probes_need_none(path: str, scripted: ScriptedBackend, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(scripted.url)

    assert (await gateway.get(path)).status == 200
    assert (await gateway.head(path)).status == 200


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"Authorization": "Bearer cpk_one"}, "cpk_one"),
        ({"Authorization": "bearer  cpk_one "}, "cpk_one"),
        ({"x-api-key": "cpk_two"}, "cpk_two"),
        ({"Authorization": "Bearer cpk_one", "x-api-key": "cpk_two"}, "cpk_one"),
        ({"Authorization": "Basic abc", "x-api-key": "cpk_two"}, "cpk_two"),
    ],
    ids=["bearer", "bearer, untidy", "key", "both", "a key beside something else"],
)
async def test_a_token_is_taken_from_either_header_and_goes_on_as_the_only_one(
    headers: dict[str, str], token: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}')]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(), headers=headers)

    assert response.status == 200
    sent = scripted.requests[0].headers
    assert sent["authorization"] == f"Bearer {token}"
    assert [name for name, value in sent.items() if "cpk_" in value or "abc" in value] == ["authorization"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer anything"},
        {"Authorization": "Basic abc"},
        {"x-api-key": "two words"},
        {"x-api-key": "sk-ant-api03-secret"},
    ],
    ids=["nothing", "any", "basic", "untidy", "for Anthropic"],
)
async def test_where_anyone_may_use_the_operators_key_any_token_will_do(
    headers: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [respond(b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}')]
    gateway = await start_gateway(scripted.url, backend_api_key="operator", allow_anyone="true")

    for path in PATHS:
        assert (await gateway.post(path, json=ask(), headers=headers)).status == 200
    assert (await gateway.get("/v1/models", headers=headers)).status == 200

    assert {request.headers["authorization"] for request in scripted.requests + scripted.listed} == {"Bearer operator"}
    assert "secret" not in str(scripted.requests + scripted.listed)


@pytest.mark.parametrize(
    "settings",
    [{"allow_anyone": "true"}, {"allow_anyone": "true", "backend_api_key": "k", "gateway_api_keys": "k" * 16}],
    ids=["no key of the operator's", "keys for clients"],
)
async def test_otherwise_a_token_is_needed(
    settings: dict[str, str], scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, **settings)

    assert (await gateway.post("/v1/messages", json=ask())).status == 401
