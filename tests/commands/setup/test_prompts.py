"""The questions, answered on a terminal as a user would."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.conftest import StartGateway
from tests.gateway_process import inherited
from tests.terminal import dialogue

TOKEN = "cpk_secret_4711"
CLEAR_LINE = "\x15"
LEAVE = "\x03"

Talk = Callable[..., Any]


@pytest.fixture
async def url(start_gateway: StartGateway, embedded: str) -> str:
    gateway = await start_gateway(embedded)
    return str(gateway.make_url("/")).rstrip("/")


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    """Starts the command on a terminal and answers its questions; gives its exit code and all output."""

    def hold(answers: list[tuple[str, str]], *flags: str) -> tuple[int, str]:
        child = pexpect.spawn(
            sys.executable, ["-m", "gateway", "setup", *flags], cwd=str(Path(__file__).parents[3]),
            env=inherited() | {"HOME": str(tmp_path), "TERM": "xterm", "LANG": "C.UTF-8"},
            timeout=30, encoding="utf-8", dimensions=(40, 160),
        )  # fmt: skip
        screen = dialogue(child, answers)
        assert TOKEN not in screen
        return child.exitstatus if child.signalstatus is None else -child.signalstatus, screen

    async def start(*answers: tuple[str, str], flags: tuple[str, ...] = ()) -> tuple[int, str]:
        return await asyncio.to_thread(hold, list(answers), *flags)

    return start


def settings(home: Path) -> Any:
    return json.loads((home / ".claude/settings.json").read_text())


def written(home: Path) -> list[Path]:
    return list(home.iterdir())


async def test_address_token_and_model_are_asked_for(url: str, talk: Talk, tmp_path: Path) -> None:
    code, screen = await talk(
        ("Gateway:", CLEAR_LINE + "nowhere\r"),
        ("is not a base URL", CLEAR_LINE + url + "\r"),
        ("key (hidden", "sk-ant-x\r"),
        ("a token for Anthropic", f"{TOKEN}\r"),
        ("zai-org/GLM-4.5-Air", "glm"),
        ("/ ", "\r"),
        ("Write this?", "y"),
    )

    assert code == 0
    assert "131,072" in screen
    assert settings(tmp_path)["model"] == "zai-org/GLM-4.5-Air"
    env = settings(tmp_path)["env"]
    assert (env["ANTHROPIC_BASE_URL"], env["ANTHROPIC_AUTH_TOKEN"]) == (url, TOKEN)


async def test_enter_alone_keeps_what_was_set_up(url: str, talk: Talk, tmp_path: Path) -> None:
    flags = ("--url", url, "--model", "zai-org/GLM-4.5-Air")
    code, _ = await talk(("key (hidden", "\r"), ("Write this?", "\r"), flags=flags)
    assert (code, settings(tmp_path)["env"]["ANTHROPIC_AUTH_TOKEN"]) == (0, "none")

    code, screen = await talk(("Gateway:", "\r"), ("zai-org/GLM-4.5-Air", "\r"))

    assert code == 0
    assert screen.endswith("nothing to change.\r\n")


@pytest.mark.parametrize("question", ["Gateway:", "key (hidden", "to search", "Write this?"])
async def test_whoever_leaves_has_changed_nothing(question: str, url: str, talk: Talk, tmp_path: Path) -> None:
    answers = [("Gateway:", CLEAR_LINE + url + "\r"), ("key (hidden", "x\r"), ("to search", "\r"), ("Write this?", "y")]
    asked = [question for question, _ in answers]
    left = asked.index(question)
    code, _ = await talk(*answers[:left], (question, LEAVE))
    assert (code, written(tmp_path)) == (130, [])


async def test_whoever_says_no_has_changed_nothing(url: str, talk: Talk, tmp_path: Path) -> None:
    code, screen = await talk(("key (hidden", "\r"), ("Write this?", "n"), flags=("--url", url, "--model", "demo"))
    assert (code, written(tmp_path)) == (0, [])
    assert "Nothing was written." in screen
