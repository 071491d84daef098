"""Mixed traffic of 20 clients for a minute (`SOAK_SECONDS`), with a fault at the backend now and then: each request
ends well or with an error, each is in the log, and memory and descriptors stay as they are.
"""

import asyncio
import base64
import contextlib
import io
import json
import os
import random
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from gateway.commands.demo.backend import make_backend
from tests.conftest import TOKEN, ask, events
from tests.faults.conftest import Process, serve
from tests.faults.injector import Fault, Injector, drip, half_close, reset, slow, stall, truncate

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
CLIENTS = 20
MIB = 2**20
SETTINGS = {
    "BACKEND_TIMEOUT_SECS": "2",
    "SILENCE_TIMEOUT_SECS": "2",
    "SEND_TIMEOUT_SECS": "2",
    "ENABLE_CIRCUIT_BREAKER": "true",
    "CIRCUIT_BREAKER_FAIL_MAX": "1000",
}
FAULTS = (reset, truncate, half_close, drip, slow, stall)
FAULT_EVERY = 0.5
TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
LARGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(bytes(5 * MIB * 3 // 4)).decode()},
}
# how often each kind of request comes, and what it is
REQUESTS: tuple[tuple[int, str, dict[str, Any]], ...] = (
    (8, "stream", {"stream": True}),
    (4, "tool", {"stream": True, "prompt": "Use look on notes/today.txt", "tools": [TOOL]}),
    (3, "thinking", {"stream": True, "thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}),
    (6, "whole", {}),
    (1, "large", {"stream": True, "prompt": [LARGE, {"type": "text", "text": "What is this?"}]}),
    (1, "error", {"stream": True, "prompt": "[[error]] Tell me about it"}),
    (1, "cut", {"stream": True, "prompt": "[[cut]] Tell me about it"}),
    (1, "cut, not streamed", {"prompt": "[[cut]] Tell me about it"}),
    (1, "status", {"stream": True, "prompt": "[[status 500]]"}),
    (1, "no model", {"model": "no such model"}),
    (1, "invalid", {"max_tokens": "many"}),
)


@dataclass
class Soak:
    """The traffic so far. `outcomes` counts (kind, outcome); `samples` are (memory in bytes, descriptors)."""

    gateway: Process
    client: aiohttp.ClientSession
    dice: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311  # guards nothing
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: list[tuple[int, int]] = field(default_factory=list)

    async def one(self) -> None:
        """One request, of any kind."""
        kinds: list[tuple[int, str, Callable[[], Awaitable[str]]]] = [
            (2, "count", lambda: self.post("/v1/messages/count_tokens", _body("Hi", {}))),
            (1, "models", self.models),
            (3, "leaves", self.leave),
        ]
        for weight, kind, fields in REQUESTS:
            kinds.append((weight, kind, lambda fields=fields: self.post("/v1/messages", _body("Hello there", fields))))
        _, kind, work = self.dice.choices(kinds, [weight for weight, _, _ in kinds])[0]
        self.outcomes[kind, await work()] += 1

    async def post(self, path: str, body: bytes) -> str:
        async with self.client.post(self.gateway.url + path, data=io.BytesIO(body), headers=TOKEN) as response:
            if response.status != 200:
                error = await response.json()
                assert error["type"] == "error", error
                return str(response.status)
            if response.content_type == "application/json":
                await response.json()
                return "whole"
            return await _streamed(response)

    async def models(self) -> str:
        async with self.client.get(f"{self.gateway.url}/v1/models", headers=TOKEN) as response:
            await response.json()
            return str(response.status)

    async def leave(self) -> str:
        """A client that is gone after the first piece of its stream."""
        body = io.BytesIO(_body("Hello there", {"stream": True}))
        async with self.client.post(f"{self.gateway.url}/v1/messages", data=body, headers=TOKEN) as response:
            await response.content.readany()
        return "left" if response.status == 200 else str(response.status)

    async def watch(self) -> None:
        while True:
            self.samples.append((self.gateway.rss, self.gateway.descriptors))
            await asyncio.sleep(0.25)

    async def spoil(self, injector: Injector) -> None:
        while True:
            await asyncio.sleep(FAULT_EVERY)
            injector.arm(Fault("down", self.dice.randrange(4000), self.dice.choice(FAULTS)), times=1)


def _body(prompt: Any, fields: dict[str, Any]) -> bytes:
    fields = {"model": "demo", **fields}
    return json.dumps(ask(fields.pop("prompt", prompt), **fields)).encode()


async def _streamed(response: aiohttp.ClientResponse) -> str:
    received = b""
    try:
        async for piece in response.content.iter_any():
            received += piece
    except aiohttp.ClientPayloadError:
        got = events(received)
        assert got[-1][0] == "error"
        assert "message_stop" not in dict(got)
        return "cut"
    assert events(received)[-1][0] == "message_stop"
    return "whole"


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 60)
async def test_mixed_traffic(tmp_path: Path) -> None:
    server = TestServer(make_backend(tokens_per_second=0))
    await server.start_server()
    assert server.port is not None
    async with (
        Injector("127.0.0.1", server.port) as injector,
        serve(tmp_path, BACKEND_URL=injector.url, **SETTINGS) as gateway,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client,
    ):
        soak = Soak(gateway, client)
        before = await gateway.descriptors_at_rest()
        await _traffic(soak, injector)
        await injector.disarm()
        await client.close()
        await asyncio.sleep(0)
        await gateway.comes_to_rest(before + 1)
        assert (await gateway.health())["streams"] == 0
        _report(soak)
        logged = Counter(line["path"] for line in gateway.requests)
    await server.close()

    assert sum(logged.values()) == sum(soak.outcomes.values())
    second, last = _thirds(soak.samples)[1:]
    assert _median(last, 0) < _median(second, 0) * 1.1 + 5 * MIB
    assert _median(last, 1) <= _median(second, 1) + CLIENTS


async def _traffic(soak: Soak, injector: Injector) -> None:
    deadline = asyncio.get_running_loop().time() + SECONDS

    async def one_client() -> None:
        while asyncio.get_running_loop().time() < deadline:
            await soak.one()

    background = [asyncio.create_task(soak.watch()), asyncio.create_task(soak.spoil(injector))]
    try:
        await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    finally:
        for task in background:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*background)


def _thirds(samples: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    size = len(samples) // 3
    return [samples[:size], samples[size : 2 * size], samples[2 * size :]]


def _median(samples: list[tuple[int, int]], column: int) -> float:
    return statistics.median(sample[column] for sample in samples)


def _report(soak: Soak) -> None:
    print(f"{sum(soak.outcomes.values())} requests in {SECONDS:g} s")
    for (kind, outcome), count in sorted(soak.outcomes.items()):
        print(f"  {kind}: {outcome}: {count}")
    for name, third in zip(("first", "second", "last"), _thirds(soak.samples), strict=True):
        print(f"  {name} third: {_median(third, 0) / MIB:.1f} MiB, {_median(third, 1):.0f} descriptors")
