"""The errors that a client is most likely to get, whole, as they come over the socket: each says what happened, why, and
what to do next.
"""

import asyncio
import io
import json
import socket
from typing import Any

import pytest

from tests.conftest import TOKEN, Answer, ScriptedBackend, StartGateway, ask, respond, silence

# in place of an answer: its event must be made in the test's own loop
LOST = "no answer"


def says(status: int, message: str, **fields: Any) -> Answer:
    return respond(json.dumps({"error": {"message": message, **fields}}).encode(), status=status)


OVERFLOW = "This model's maximum context length is 131072 tokens. However, your request has 140000 input tokens."

# what the backend answers, what the client sends, the gateway's settings; status and text that come back
CASES = [
    pytest.param(
        None, {"headers": {"x-api-key": "sk-ant-oat01-4711"}}, {}, 401,
        "this is a token for Anthropic (sk-ant-…), and this gateway talks to another backend: set ANTHROPIC_AUTH_TOKEN "
        "to a key of that backend instead; the token was not passed on",
        id="a token for Anthropic",
    ),
    pytest.param(
        None, {"headers": {}}, {}, 401,
        "no token: send the backend's key as `Authorization: Bearer …` (ANTHROPIC_AUTH_TOKEN) or `x-api-key`; a backend "
        "without keys accepts any value",
        id="no token",
    ),
    pytest.param(
        None, {}, {"gateway_api_keys": "gk_alice_4711_4711"}, 401,
        "this token is not a key of this gateway: ask its operator for one, and set ANTHROPIC_AUTH_TOKEN to it",
        id="no key of the gateway",
    ),
    pytest.param(
        says(401, "Invalid token."), {}, {}, 401,
        "backend: Invalid token. (the backend refuses the key: check ANTHROPIC_AUTH_TOKEN, or the gateway's "
        "BACKEND_API_KEY)",
        id="a key that the backend refuses",
    ),
    pytest.param(
        says(402, "Insufficient balance"), {}, {}, 402,
        "backend: Insufficient balance (add credit to the backend account, or use another key)",
        id="an empty account",
    ),
    pytest.param(
        says(403, "Not for you."), {}, {}, 403,
        "backend: Not for you. (the key has no permission for this: use another key or model)",
        id="a key without the right",
    ),
    pytest.param(
        None, {"json": ask(model="vendor/modl-1")}, {}, 404,
        "model: 'vendor/modl-1' is not served by this backend. Did you mean Vendor/Model-1? Available: Vendor/Model-1. "
        "Choose one, or map the name with MODEL_MAP.",
        id="an unknown model",
    ),
    pytest.param(
        says(404, "Not Found"), {}, {}, 502,
        "the backend has nothing at this path (404): correct BACKEND_URL; `claude-gateway check` finds the path",
        id="a wrong path",
    ),
    pytest.param(
        says(400, OVERFLOW), {}, {}, 400, f"prompt is too long: 140000 tokens > 131072 maximum ({OVERFLOW})",
        id="a full context",
    ),
    pytest.param(
        says(429, "Slow down."), {}, {}, 429,
        "backend: Slow down. (the backend's limit for this key: wait, or send less at a time)",
        id="a rate limit",
    ),
    pytest.param(
        says(429, "You exceeded your current quota.", code="insufficient_quota"), {}, {}, 402,
        "backend: You exceeded your current quota. (add credit to the backend account, or use another key)",
        id="a spent quota",
    ),
    pytest.param(
        says(503, "Loading model"), {}, {}, 529, "backend: Loading model (the backend has no capacity right now: try again)",
        id="a backend that is starting",
    ),
    pytest.param(
        respond(b"", status=500), {}, {}, 500, "the backend answered 500 without giving a reason: check its log",
        id="a failure without words",
    ),
    pytest.param(
        respond(b"<html>hello</html>", kind="text/html"), {}, {}, 502, None, id="a web page in place of an answer"
    ),
    pytest.param(
        respond(b"", status=301, location="https://new.example/v1"), {}, {}, 502,
        "the backend redirects to https://new.example/v1: set BACKEND_URL to the final address",
        id="a redirect",
    ),
    pytest.param(
        LOST, {}, {"backend_timeout_secs": "0.1"}, 504,
        "the backend at {url}/v1/chat/completions sent no answer within 0.1 s (BACKEND_TIMEOUT_SECS): it may be overloaded; "
        "try again, or allow it more time",
        id="no answer in time",
    ),
    pytest.param(
        None, {"data": io.BytesIO(b"{" + b" " * 2**20 + b"}")}, {"max_body_mib": "1"}, 413,
        "the request body is larger than 1 MiB (1048576 bytes), the most that this gateway accepts: send less, or start the "
        "gateway with a larger MAX_BODY_MIB",
        id="a body that is too large",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "request_", "settings", "status", "text"), CASES)
async def test_an_error_says_what_happened_why_and_what_to_do(
    answer: Answer | str | None,
    request_: dict[str, Any],
    settings: dict[str, str],
    status: int,
    text: str | None,
    scripted: ScriptedBackend,
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(scripted.url, backend_retries="0", **settings)
    if answer is not None:
        scripted.answers = [silence(asyncio.Event()) if isinstance(answer, str) else answer] * 2

    sent = {"headers": TOKEN, **({} if "data" in request_ else {"json": ask()}), **request_}
    async with gateway.post("/v1/messages", **sent) as response:
        error = (await response.json())["error"]

    if text is None:
        text = (
            "the backend sent something that is not a chat completion: '<html>hello</html>' (check BACKEND_URL and its "
            "log)"
        )
    assert (response.status, error["message"]) == (status, text.replace("{url}", scripted.url))


async def test_a_backend_that_is_down_and_then_left_alone(start_gateway: StartGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    breaker = {"enable_circuit_breaker": "true", "circuit_breaker_fail_max": "1", "circuit_breaker_reset_secs": "20"}
    gateway = await start_gateway(url, backend_retries="0", **breaker)

    errors = []
    for _ in range(2):
        async with gateway.post("/v1/messages", json=ask(), headers=TOKEN) as response:
            errors.append((response.status, (await response.json())["error"]["message"]))

    assert errors == [
        (
            502,
            f"no connection to the backend at {url}/v1/chat/completions (Connection refused): is it running? Start it, or "
            "correct BACKEND_URL",
        ),
        (
            529,
            "the backend failed several times in a row, and the circuit breaker stops calling it: try again in 20 s; "
            "`claude-gateway check` shows what is wrong with it",
        ),
    ]
