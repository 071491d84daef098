from tests.conftest import TOKEN, StartGateway


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
