"""`claude-gateway check` as a user starts it: as a process, at a terminal or in a script."""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ScriptedBackend, silence
from tests.gateway_process import GATEWAY, Process, outcome, python
from tests.terminal import open_terminal

KEY = "cpk_never_to_be_seen_0123"
Start = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts `python -m gateway check …` in an empty folder, with no settings but those given."""

    def run(*arguments: str, terminal: int | None = None, **environment: str) -> AbstractAsyncContextManager[Process]:
        end = PIPE if terminal is None else terminal
        variables = {"COLUMNS": "110"} | environment
        # in a session without a controlling terminal, getpass reads from standard input
        return python(
            *GATEWAY, "check", *arguments, folder=tmp_path, environment=variables, stdin=end, stdout=end, stderr=end
        )

    return run


async def test_the_report_in_a_terminal(embedded: str, start: Start) -> None:
    async with start(embedded) as process:
        code, out, err = await outcome(process)

    lines = [line.rstrip() for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert lines[0] == f"claude-gateway check  {embedded}v1/chat/completions"
    assert lines[2] == f"✓ Connection      {embedded}v1/chat/completions"
    assert "✓ Tool results    the model uses a tool's result in its answer" in lines
    assert "! Parallel tools  one call at a time" in lines
    assert "                  → Claude Code works without it; turns that read several files take longer" in lines
    assert "Claude Code works with this backend; see above for what is limited." in lines
    assert f"  BACKEND_URL={embedded}v1/chat/completions claude-gateway" in lines
    client = json.loads("\n".join(lines[lines.index("{") :]))
    assert client["model"] == "demo"


async def test_the_report_of_a_failure_is_short(start: Start, scripted: ScriptedBackend) -> None:
    scripted.models_status = 401

    async with start(scripted.url) as process:
        code, out, _ = await outcome(process)

    lines = [line.rstrip() for line in out.splitlines()]
    assert code == 1
    assert any(line.startswith("✗ Key             one is required") for line in lines)
    assert "                  → give the key with BACKEND_API_KEY, --token-file or --ask-token" in lines
    assert "- not tried: the 16 others, which depend on it" in lines
    assert "Claude Code cannot work with this backend as it is: see Key." in lines


async def test_json_is_all_that_a_script_gets(embedded: str, start: Start) -> None:
    async with start("--backend-url", embedded, "--json", "--model", "DEMO") as process:
        code, out, err = await outcome(process)

    document = json.loads(out)
    assert (code, err, document["ok"]) == (0, "", True)
    assert {"key", "title", "mark", "said", "remedy", "needed", "missing", "seconds", "facts"} == set(
        document["checks"][0]
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["http://h", "--backend-url", "http://h"], {}, "give the backend only once: as URL or as --backend-url"),
        (["ftp://h"], {}, "BACKEND_URL=ftp://h: must be an http:// or https:// URL"),
        ([], {"BACKEND_PROFILE": "vlm"}, "BACKEND_PROFILE=vlm: must be auto or one of"),
        (["--token-file", "no/such/file"], {}, "--token-file no/such/file: cannot be read (No such file or directory)"),
        (["--patience", "soon"], {}, "argument --patience: invalid"),
        (["--within", "0"], {}, "argument --within: invalid"),
        (["--token-file", "-", "--no-token"], {}, "not allowed with argument"),
    ],
)
async def test_settings_that_cannot_be_used(arguments: Any, environment: Any, said: str, start: Start) -> None:
    async with start(*arguments, **environment) as process:
        code, out, err = await outcome(process)

    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (f"{KEY} {KEY}", "must contain only the key: one word of ASCII characters"),
        (f"sk-ant-{KEY}", "this is a token for Anthropic (sk-ant-…) and was not sent: give the backend's key"),
    ],
)
async def test_a_token_that_is_none_goes_nowhere(
    token: str, said: str, start: Start, scripted: ScriptedBackend
) -> None:
    async with start(scripted.url, "--token-file", "-") as process:
        code, out, err = await outcome(process, token)

    assert (code, out) == (2, "")
    assert err == f"claude-gateway: --token-file: {said}\n"
    assert scripted.listed == []


async def test_a_file_that_is_no_text(start: Start, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")

    async with start("--token-file", "key") as process:
        code, _, err = await outcome(process)

    assert (code, err) == (2, "claude-gateway: --token-file key: cannot be read (it is not text)\n")


async def test_the_key_of_a_file_goes_to_the_backend(start: Start, scripted: ScriptedBackend, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    scripted.models_status = 401

    async with start(scripted.url, "--token-file", "key", BACKEND_API_KEY="cpk_of_the_operator") as process:
        _, out, err = await outcome(process)

    assert scripted.listed[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in out + err


@pytest.mark.parametrize("flag", [["--ask-token"], []])
async def test_a_key_that_is_typed_is_not_echoed(flag: list[str], start: Start) -> None:
    heads: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    # without the flag, the command asks for the key of any backend that is not known to be on this machine
    host = "127.0.0.1" if flag else "127.0.0.2"
    with open_terminal() as terminal:
        async with await asyncio.start_server(refuse, host, 0) as server:
            url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
            async with start(url, *flag, terminal=terminal.program_end) as process:
                await terminal.shows("not shown")
                terminal.types(f"{KEY}\n")
                await terminal.shows("as it is")
                code = await process.wait()

    assert code == 1
    assert f"Authorization: Bearer {KEY}" in heads[0]
    assert KEY not in terminal.text


async def test_ctrl_d_at_the_question_is_no_key(start: Start) -> None:
    with open_terminal() as terminal:
        async with start("http://nowhere.invalid", terminal=terminal.program_end) as process:
            await terminal.shows("Key for nowhere.invalid (not shown; Enter for none): ")
            terminal.types("\x04")
            await terminal.shows("as it is")
            code = await process.wait()

    assert code == 1
    assert "cannot be found" in terminal.text


@pytest.mark.parametrize("form", ["rows", "json"])
async def test_ctrl_c_shows_what_was_found_so_far(form: str, start: Start, scripted: ScriptedBackend) -> None:
    never = asyncio.Event()
    scripted.answers = [silence(never)]

    async with start(scripted.url, *(["--json"] if form == "json" else [])) as process:
        async with asyncio.timeout(20):
            await scripted.asked.wait()
        process.send_signal(signal.SIGINT)
        code, out, err = await outcome(process)
    never.set()

    assert (code, err) == (130, "")
    if form == "json":
        document = json.loads(out)
        assert (document["ok"], document["complete"]) == (False, False)
        assert [row["key"] for row in document["checks"]] == ["reachable", "tls"]
    else:
        assert "✓ TLS " in out
        assert "✗" not in out.replace("✗ does not work", "")
        assert "The check did not finish." in out


async def test_progress_is_shown_at_a_terminal(start: Start, scripted: ScriptedBackend) -> None:
    never = asyncio.Event()
    scripted.answers = [silence(never)]
    with open_terminal() as terminal:
        async with start(scripted.url, terminal=terminal.program_end, TERM="xterm") as process:
            await terminal.shows("Key …")
            process.send_signal(signal.SIGINT)
            await terminal.shows("did not finish")
            code = await process.wait()
        never.set()

    assert code == 130
    assert "Connection" in terminal.text
