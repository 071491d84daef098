"""Names of megabytes: refused in words, while others are served."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TOKEN, ask
from tests.faults.conftest import backend, serve, session

pytestmark = pytest.mark.attacks

LONG = "m" * (8 * 1024 * 1024)
# generous: the requests themselves take some 0.1 s each
SECONDS = 3.0
BODIES = {
    "model": ask(model=LONG),
    "tools.0.name": ask(tools=[{"name": LONG, "input_schema": {"type": "object"}}]),
    "messages.0.content.0.name": ask(
        messages=[{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": LONG, "input": {}}]}]
    ),
    "messages.0.content.0.tool_use_id": ask(
        messages=[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": LONG, "content": "x"}]}]
    ),
}


@pytest.mark.parametrize("field", BODIES)
async def test_a_name_of_megabytes_holds_up_nobody(field: str, tmp_path: Path) -> None:
    body = json.dumps(BODIES[field]).encode()
    async with backend() as served, serve(tmp_path, BACKEND_URL=served.url) as gateway, session() as client:

        async def send(path: str) -> Any:
            async with client.post(f"{gateway.url}{path}", data=io.BytesIO(body), headers=TOKEN) as response:
                return response.status, (await response.json())["error"]["message"]

        paths = ("/v1/messages", "/v1/messages/count_tokens")
        sending = [asyncio.create_task(send(path)) for path in paths]
        while not all(task.done() for task in sending):
            async with asyncio.timeout(SECONDS):
                await gateway.health()
        most = 16384 if field.endswith("id") else 256
        assert {task.result() for task in sending} == {(400, f"{field}: String should have at most {most} characters")}
