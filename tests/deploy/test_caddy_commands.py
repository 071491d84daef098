"""The documents' commands for Caddy, as they stand there, on ports of a test and without a public name."""

import asyncio
import contextlib
import re
from pathlib import Path

import aiohttp
import pytest

from tests.command_blocks import blocks_of
from tests.conftest import StartGateway
from tests.deploy.caddy import ROOT, environment, free_port, url_of

pytestmark = [pytest.mark.caddy, pytest.mark.timeout(60)]

COMMANDS = [
    line for block in blocks_of("test_the_commands_of_the_readme_serve") for line in block.text.splitlines() if line
]
PORT = re.compile(r"(?<=CADDY_PORT=)\d+|(?<=CADDY_HTTP_PORT=)\d+")


@pytest.mark.parametrize("command", COMMANDS)
async def test_the_commands_of_the_readme_serve(
    command: str, caddy_program: str, embedded: str, start_gateway: StartGateway, tmp_path: Path
) -> None:
    local = re.sub(
        r"^caddy|(?<= )caddy(?= run)", f"exec {caddy_program}", PORT.sub(lambda _: str(free_port()), command)
    )
    serves = "CADDY_TLS=false" in command
    if not serves:
        # certificates are for names of others, or take a place in the machine's store
        local = local.replace(f"{caddy_program} run", f"{caddy_program} validate")
    gateway = url_of(await start_gateway(embedded)).removeprefix("http://").rstrip("/")
    settings = environment(tmp_path, GATEWAY=gateway)

    process = await asyncio.create_subprocess_exec(
        "bash", "-c", _env_first(local), cwd=ROOT, env=settings,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        if serves:
            assert await _health(int(PORT.findall(local)[0])) == "ok"
            process.terminate()
        _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _env_first(command: str) -> str:
    """`A=1 exec B` as `exec env A=1 B`: assignments before `exec` would be lost."""
    return "exec env " + command.replace("exec ", "")


async def _health(port: int) -> str:
    """What the gateway behind says, once Caddy serves."""
    async with asyncio.timeout(10), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with client.get("/health") as response:
                    if response.status == 200:
                        return str((await response.json())["status"])
            await asyncio.sleep(0.05)
