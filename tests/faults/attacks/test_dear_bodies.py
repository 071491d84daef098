"""Bodies that are short, and dear to read: others are served meanwhile, and what would take seconds is refused in words."""

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TOKEN, ask
from tests.faults.conftest import backend, json_response, serve, session

pytestmark = pytest.mark.attacks

# a look at the gateway takes a few milliseconds; a body that is read in the loop would take up to a second
SECONDS = 3.0
ANSWER = json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode()


def many(value: Any, count: int) -> Any:
    return [{"role": "user", "content": [value] * count}]


# a PNM image of a width without end
WIDE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"P6\n" + b"9" * 98_000).decode()}
DEAR: dict[str, tuple[Any, int]] = {
    "unknown fields": (ask(**{f"k{number}": 1 for number in range(60_000)}), 400),
    "an unknown field of many values": (ask(zz=[[]] * 250_000), 200),
    "blocks of an unknown type that do not fit": (ask(messages=many({"type": "u", "text": 1}, 30_000)), 200),
    "a block that does not fit behind many": (ask(messages=many({"type": "text", "text": 1}, 30_000)), 400),
    "tools of one name": (ask(tools=[{"name": "t", "input_schema": {}}] * 20_000), 200),
    "images whose size has no end": (ask(messages=many({"type": "image", "source": WIDE}, 6)), 200),
    "more blocks than may be": (ask(messages=many({"type": "text", "text": "x"}, 150_000)), 400),
    "many more that do not fit": (ask(messages=many({"type": "u", "text": 1}, 1_000_000)), 400),
}


@pytest.mark.parametrize("case", DEAR)
async def test_a_dear_body_holds_up_nobody(case: str, tmp_path: Path) -> None:
    asked, status = DEAR[case]
    body = json.dumps(asked, separators=(",", ":")).encode()
    async with backend() as served, serve(tmp_path, BACKEND_URL=served.url) as gateway, session() as client:
        served.whole = json_response(ANSWER)

        async def send() -> int:
            async with client.post(f"{gateway.url}/v1/messages", data=io.BytesIO(body), headers=TOKEN) as response:
                await response.read()
                return response.status

        sending = [asyncio.create_task(send()) for _ in range(3)]
        while not all(task.done() for task in sending):
            async with asyncio.timeout(SECONDS):
                await gateway.health()
        assert {task.result() for task in sending} == {status}
