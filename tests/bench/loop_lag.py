"""How long other streams wait while the gateway handles a large body.

    python tests/bench/loop_lag.py [--megabytes 30] [--rounds 5]

A backend sends an event every 5 ms; through the gateway, a client notes when each comes. Meanwhile another process
posts bodies: a conversation of many blocks, and one with a single image. Printed are the gaps between events above
those 5 ms, in milliseconds. Backend, gateway, reader and sender are processes of their own.
"""

import argparse
import asyncio
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

PACE_SECONDS = 0.005
TOKEN = {"Authorization": "Bearer bench"}
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"tick "}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def many_blocks(size: int) -> list[object]:
    text = "The quick brown fox jumps over the lazy dog. " * 40
    turns: list[object] = []
    while len(turns) * (len(text) + 120) < size:
        turns.append({"role": "user", "content": [{"type": "text", "text": f"{len(turns)} {text}"}]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": f"{len(turns)} {text}"}]})
    return [*turns, {"role": "user", "content": "Go on"}]


def one_image(size: int) -> list[object]:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBO" * (size // 4)}
    return [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]}]


BODIES = {"many blocks": many_blocks, "one image": one_image}


async def serve_backend() -> None:
    """A backend whose long answers are paced; it says its port on standard output."""

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(100_000 if len(body) < 10_000 else 1):
            await response.write(EVENT)
            await asyncio.sleep(PACE_SECONDS)
        await response.write(END)
        return response

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})

    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/v1/models", models)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@asynccontextmanager
async def process(*command: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment or None
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def read_ticks(url: str, times: list[float], started: asyncio.Event) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        ask = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Tick"}]}
        async with session.post(f"{url}/v1/messages", json=ask, headers=TOKEN) as response:
            while await response.content.readany():
                times.append(time.perf_counter())
                started.set()


async def measure(url: str, name: str, size: int, rounds: int) -> str:
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": BODIES[name](size)}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(body, file)
        file.flush()
        times: list[float] = []
        started = asyncio.Event()
        reading = asyncio.create_task(read_ticks(url, times, started))
        await started.wait()
        await asyncio.sleep(1)
        quiet = len(times)
        for _ in range(rounds):
            curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", f"@{file.name}"]
            headers = ["-H", "Content-Type: application/json", "-H", f"Authorization: {TOKEN['Authorization']}"]
            async with process(*curl, *headers, f"{url}/v1/messages") as sender:
                out, err = await sender.communicate()
                if out != b"200":
                    raise SystemExit(f"{name}: {out!r} {err!r}")
        reading.cancel()
    return f"{name:12} quiet: {shown(times[:quiet])}   loaded: {shown(times[quiet:])}"


def shown(times: list[float]) -> str:
    gaps = sorted(max(0.0, (b - a - PACE_SECONDS) * 1000) for a, b in itertools.pairwise(times))
    return f"p50 {gaps[len(gaps) // 2]:5.1f}  p99 {gaps[int(len(gaps) * 0.99)]:6.1f}  max {gaps[-1]:6.1f}"


async def main(megabytes: int, rounds: int) -> None:
    async with process(sys.executable, __file__, "--backend") as backend:
        assert backend.stdout is not None
        port = (await backend.stdout.readline()).decode().strip()
        settings = {"BACKEND_URL": f"http://127.0.0.1:{port}", "HOST_PORT": "0", "LOG_FORMAT": "json"}
        root = str(Path(__file__).parents[2])
        async with process(sys.executable, "-m", "gateway", PYTHONPATH=root, **settings) as gateway:
            assert gateway.stderr is not None
            found = re.search(rb'"url": ?"([^"]+)"', await gateway.stderr.readline())
            assert found is not None
            for name in BODIES:
                print(await measure(found[1].decode(), name, megabytes * 1_000_000, rounds), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(serve_backend() if options.backend else main(options.megabytes, options.rounds))
