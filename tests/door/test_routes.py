import pytest

from tests.conftest import TOKEN, ScriptedBackend, StartGateway, ask


async def test_an_unknown_path_is_a_404_in_anthropics_shape(embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.post("/v1/complete", headers=TOKEN)

    assert response.status == 404
    assert await response.json() == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "/v1/complete is not served here; the Messages API is at /v1/messages",
        },
        "request_id": response.headers["request-id"],
    }


async def test_a_wrong_method_is_a_405_that_names_the_right_ones(embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded)

    response = await gateway.put("/v1/messages", headers=TOKEN)

    assert response.status == 405
    assert (await response.json())["error"] == {
        "type": "invalid_request_error",
        "message": "PUT is not allowed for /v1/messages; allowed: POST",
    }


@pytest.mark.parametrize("prefix", ["/v1", "/v1/v1", "", "//v1"], ids=["once", "twice", "not at all", "after a slash"])
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("POST", "/messages"),
        ("POST", "/messages/count_tokens"),
        ("GET", "/models"),
        ("GET", "/models/demo"),
    ],
)
async def test_every_path_works_under_a_base_url_that_ends_with_v1(
    method: str, rest: str, prefix: str, embedded: str, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(embedded, gateway_api_keys="k" * 16, backend_api_key="b")
    url = gateway.make_url("/").with_path(f"{prefix}{rest}")
    body = ask(model="demo") if method == "POST" else None

    assert (await gateway.session.request(method, url, json=body, headers={"x-api-key": "k" * 16})).status == 200
    # every form is guarded
    assert (await gateway.session.request(method, url, json=body)).status == 401


@pytest.mark.parametrize("name", ["event_logging/batch", "event_logging/v2/batch"])
async def test_a_clients_own_telemetry_is_taken_and_dropped(
    name: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)

    response = await gateway.post(f"/api/{name}", json={"events": []})

    assert response.status == 204
    assert scripted.requests == []
