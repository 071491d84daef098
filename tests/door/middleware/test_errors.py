import gc
from typing import Any

import pytest

from gateway.anthropic.errors import ApiError
from tests.conftest import TOKEN, ScriptedBackend, StartGateway, ask, respond


def errors_alive() -> int:
    return sum(isinstance(thing, ApiError) for thing in gc.get_objects())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(ask("x" * 1_000_000, temperature="hot"), 400, id="the request's fault"),
        pytest.param(ask("x" * 1_000_000), 500, id="the backend's fault"),
    ],
)
async def test_a_refused_request_is_not_kept_until_the_garbage_is_collected(
    request_: Any, status: int, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url, backend_retries="0")
    scripted.answers = [respond(b'{"error": "boom"}', status=500)]
    gc.collect()
    gc.disable()
    before = errors_alive()
    try:
        response = await gateway.post("/v1/messages", json=request_, headers=TOKEN)
        # an error holds the frames that it came through, and these the request
        after = errors_alive()
    finally:
        gc.enable()

    assert response.status == status
    assert after == before
