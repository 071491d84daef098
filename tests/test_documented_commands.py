"""The documents' commands, run as they stand there, with addresses, ports and files of a test in their places."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.command_blocks import ROOT, Block, blocks, blocks_of
from tests.conftest import TOKEN, StartGateway, ask, events
from tests.gateway_process import Process, inherited, outcome, running

# a curl for machines without one: the few options that the documents use
CURL = f"""#!{sys.executable}
import sys, urllib.request
print(urllib.request.urlopen([word for word in sys.argv[1:] if not word.startswith("-")][0]).read().decode())
"""
# benches, made short; of one that takes long however it is asked, only its help is asked for
SHORT = {
    "translate.py": "--rounds 1",
    "loop_lag.py": "--megabytes 1 --rounds 1",
    "steps.py": "--only short",
    "isolation.py": "--only disconnects --requests 5 --settle 0.5",
}
# how the documents start the gateway: no command behind its name, at the end of a line
SERVE = re.compile(r"(?<=claude-gateway)(?= *(?:#.*)?$)", re.MULTILINE)
ALL, HERE = "HOST=0.0.0.0", "HOST=127.0.0.1"
BACKEND = re.compile(r"(?<=BACKEND_URL=)\S+|https?://[^\s/]+(?:/api)?(?:/v1)?(?=$|\s)", re.MULTILINE)


@dataclass(frozen=True)
class Folder:
    """A copy of the repository's top level with a `.venv`, in an empty home."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "HOME": str(self.path / "home"), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        return inherited() | own

    async def run(self, command: str, **environment: str) -> tuple[int | None, str, str]:
        """The exit code and the output of commands."""
        async with self.start(command, **environment) as process:
            return await outcome(process)

    def start(self, command: str, **environment: str) -> AbstractAsyncContextManager[Process]:
        """Commands as they run. What is left of them at the end is killed."""
        shell = ("bash", "-euo", "pipefail", "-c", command)
        return running(*shell, folder=self.path, environment=self.environment | environment)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    for name in ("deploy", "tests", "Caddyfile"):
        (tmp_path / name).symlink_to(ROOT / name)
    for programs in (tmp_path / ".venv" / "bin", tmp_path / "bin", tmp_path / "home"):
        programs.mkdir(parents=True)
    gateway = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -W error -m gateway "$@"\n'
    for program in (tmp_path / ".venv/bin/claude-gateway", tmp_path / "bin/claude-gateway"):
        _write_program(program, gateway)
    if shutil.which("curl") is None:
        _write_program(tmp_path / "bin/curl", CURL)
    (tmp_path / "key").write_text("cpk_test\n")
    (tmp_path / "keys").write_text("gw-of-alice-0123456789abcdef name=alice requests=60 streams=4\n")
    return Folder(tmp_path)


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


async def listening_url(process: asyncio.subprocess.Process) -> str:
    """The URL in the first line of the log that tells it."""
    assert process.stderr is not None
    said = ""
    while line := (await process.stderr.readline()).decode():
        said += line
        if line.startswith("{") and json.loads(line)["event"] == "listening":
            url: str = json.loads(line)["url"]
            return url
    raise AssertionError(said)


async def answer(url: str, **headers: str) -> str:
    """What a client gets for a message, as text."""
    async with (
        aiohttp.ClientSession(url, headers=headers or TOKEN) as client,
        client.post("/v1/messages", json=ask("[[say]]It works.[[/say]]", model="demo", stream=True)) as response,
    ):
        assert response.status == 200, await response.text()
        data = [data for name, data in events(await response.read()) if name == "content_block_delta"]
    return "".join(each["delta"].get("text", "") for each in data)


def _ids(block: Block) -> str:
    return block.place


@pytest.mark.timeout(120)
@pytest.mark.parametrize("block", blocks_of("test_a_gateway_serves_and_its_backend_is_checked"), ids=_ids)
async def test_a_gateway_serves_and_its_backend_is_checked(block: Block, embedded: str, folder: Folder) -> None:
    local = re.sub(r"--model \S+", "--model demo", BACKEND.sub(embedded, block.text)).replace(ALL, HERE)
    commands = SERVE.sub(" --host-port 0", local).splitlines()
    serving = [command for command in commands if "--host-port 0" in command]

    for command in serving:
        async with folder.start("exec env " + command) as process:
            assert await answer(await listening_url(process)) == "It works."
            process.send_signal(signal.SIGTERM)
            await process.communicate()
            assert process.returncode == 0
    for command in set(commands) - set(serving):
        code, out, err = await folder.run(command)
        assert (code, err) == (0, ""), out
        assert "Claude Code works with this backend" in out


def _with_flags(text: str, name: str, flags: str) -> str:
    """The line of a block that has this command, with flags in front of its comment."""
    line, comment, rest = next(line for line in text.splitlines() if name in line).partition(" #")
    return f"{line.rstrip()} {flags}{comment}{rest}"


async def test_claude_code_is_set_up(start_gateway: StartGateway, embedded: str, folder: Folder) -> None:
    (block,) = blocks_of("test_claude_code_is_set_up")
    url = str((await start_gateway(embedded)).make_url("")).rstrip("/")
    flags = f"--url {url} --model DEMO --token-file key --yes"

    if shutil.which("node") and shutil.which("curl"):
        # what it really installs is tested with the real npm, by tests/e2e/test_install_claude_code.py
        code, out, err = await folder.run(_with_flags(block.text, "install_claude_code.sh", f"{flags} --dry-run"))
        assert code == 0, (out, err)
        assert f'ANTHROPIC_BASE_URL = "{url}"' in out
    code, out, err = await folder.run(_with_flags(block.text, "setup", flags))

    assert (code, err) == (0, ""), out
    assert f"Claude Code now uses demo through {url}. Start it: claude" in out
    settings = json.loads((folder.path / "home/.claude/settings.json").read_text())
    assert settings["env"]["ANTHROPIC_BASE_URL"] == url
    # the block for those who write it by hand says no more
    by_hand = next(json.loads(block.text) for block in blocks("README.md") if block.kind == "json")
    assert by_hand["env"].keys() <= settings["env"].keys()


async def test_a_gateway_is_watched(start_gateway: StartGateway, embedded: str, folder: Folder) -> None:
    (block,) = blocks_of("test_a_gateway_is_watched")
    gateway = await start_gateway(embedded)

    code, out, err = await folder.run(_with_flags(block.text, "watch", f"--once --url {gateway.make_url('')}"))

    assert (code, err) == (0, ""), out
    assert "zai-org/GLM-4.5-Air" in out


async def test_a_gateway_gives_out_keys_of_its_own(embedded: str, folder: Folder) -> None:
    (block,) = blocks_of("test_a_gateway_gives_out_keys_of_its_own")
    command = SERVE.sub(" --host-port 0", BACKEND.sub(embedded, block.text).replace(ALL, HERE))

    async with folder.start("exec env " + command) as process:
        url = await listening_url(process)
        key = (folder.path / "keys").read_text().split()[0]
        assert await answer(url, Authorization=f"Bearer {key}") == "It works."
        async with aiohttp.ClientSession(url, headers=TOKEN) as client, client.post("/v1/messages", json=ask()) as told:
            assert told.status == 401


async def test_metrics_are_read(embedded: str, folder: Folder, unused_tcp_port: int) -> None:
    (block,) = blocks_of("test_metrics_are_read")
    text = BACKEND.sub(embedded, block.text, count=1).replace("9090", str(unused_tcp_port))
    serve, read = SERVE.sub(" --host-port 0", text).splitlines()

    async with folder.start("exec env " + serve) as process:
        await answer(await listening_url(process))
        code, out, err = await folder.run(read)

    assert code == 0, err
    assert 'claude_gateway_requests_total{outcome="ok",path="/v1/messages",status="200"} 1.0' in out


def test_every_marker_has_its_command_and_ci_runs_it() -> None:
    (block,) = blocks_of("test_every_marker_has_its_command_and_ci_runs_it")
    ci = (ROOT / ".ci/run").read_text()
    config = (ROOT / "setup.cfg").read_text()

    first, *rest = [line.partition("#")[0].strip() for line in block.text.splitlines()]
    markers = [line.removeprefix(".venv/bin/pytest -m ") for line in rest]

    assert first == ".venv/bin/pytest"
    assert sorted(markers) == sorted(re.findall(r"^    (\w+): ", config, re.MULTILINE))
    assert [marker for marker in markers if f".venv/bin/pytest -m {marker} tests/" not in ci] == []


@pytest.mark.parametrize("block", blocks_of("test_the_benches_run"), ids=_ids)
async def test_the_benches_run(block: Block, folder: Folder) -> None:
    _write_program(folder.path / ".venv/bin/python", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')

    for line in block.text.replace("\\\n", " ").splitlines():
        command = line.partition("#")[0].strip()
        (script,) = re.findall(r"tests/bench/(\w+\.py)", command)
        code, out, err = await folder.run(f"{command} {SHORT.get(script, '--help')}")
        assert (code, err) == (0, ""), out


async def test_a_gateway_serves_and_traces(embedded: str, folder: Folder, unused_tcp_port: int) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    (block,) = blocks_of("test_a_gateway_serves_and_traces")
    text = re.sub(r"(?<=BACKEND_URL=)\S+", embedded, block.text).replace("4318", str(unused_tcp_port))

    for command in SERVE.sub(" --host-port 0", text).splitlines():
        async with folder.start("exec env " + command) as process:
            assert await answer(await listening_url(process)) == "It works."
            process.send_signal(signal.SIGTERM)
            out, _ = await process.communicate()
            assert process.returncode == 0
            assert (b"POST /v1/messages" in out) == ("console" in command)


def test_the_checks_are_those_of_ci() -> None:
    (block,) = blocks_of("test_the_checks_are_those_of_ci")
    ci = (ROOT / ".ci/run").read_text()

    checks = [line.partition("#")[0].strip() for line in block.text.splitlines()]

    assert [check for check in checks if check not in ci] == []
