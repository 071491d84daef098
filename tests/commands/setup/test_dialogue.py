"""`claude-gateway setup` with its flags, against a real gateway."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.setup.dialogue import Flags, setup
from tests.conftest import StartGateway

TOKEN = "cpk_secret_4711"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Coroutine[Any, Any, Outcome]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".claude").mkdir()
    return tmp_path


@pytest.fixture
async def url(start_gateway: StartGateway, embedded: str) -> str:
    gateway = await start_gateway(embedded)
    return str(gateway.make_url("/"))


@pytest.fixture
def run(home: Path, url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with the token in the environment; its output never contains the token."""

    async def command(**flags: Any) -> Outcome:
        environment = {"HOME": str(home), "CLAUDE_GATEWAY_TOKEN": TOKEN, **flags.pop("environment", {})}
        flags = {"url": url, "model": "demo", "yes": True, **flags}
        code = await asyncio.to_thread(setup, Flags(**flags), environment)
        captured = capsys.readouterr()
        assert TOKEN not in captured.out + captured.err
        # this test's gateway logs to the same stream
        out = re.sub(r"^\d{4}-\d\d-\d\d .*\n", "", captured.out, flags=re.MULTILINE)
        return Outcome(code, out, captured.err)

    return command


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_text(), path.stat().st_mtime_ns) for path in files}


async def test_settings_are_written_and_undone(run: Run, home: Path, url: str) -> None:
    settings, state = home / ".claude/settings.json", home / ".claude.json"
    settings.write_text('{"permissions": {"allow": ["Bash(ls)"]}}\n')
    state.write_text('{"numStartups": 7}\n')

    done = await run()

    assert (done.code, done.err) == (0, "")
    assert f"Claude Code now uses demo through {url.rstrip('/')}." in done.out
    written = json.loads(settings.read_text())
    assert written["permissions"] == {"allow": ["Bash(ls)"]}
    assert written["env"]["ANTHROPIC_AUTH_TOKEN"] == TOKEN
    assert written["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "131072"
    assert json.loads(state.read_text()) == {"numStartups": 7, "hasCompletedOnboarding": True}
    assert settings.stat().st_mode & 0o777 == 0o600

    undone = await run(uninstall=True)

    assert undone.code == 0
    assert {name: text for name, (text, _) in tree(home).items()} == {
        ".claude/settings.json": '{"permissions": {"allow": ["Bash(ls)"]}}\n',
        ".claude.json": '{"numStartups": 7}\n',
    }
    assert (await run(uninstall=True)).out == "There is no backup of a set-up: nothing to undo.\n"


async def test_a_second_run_changes_nothing(run: Run, home: Path) -> None:
    await run()
    before = tree(home)
    again = await run(url=None, model=None, environment={"CLAUDE_GATEWAY_TOKEN": ""})
    assert (again.code, tree(home)) == (0, before)
    assert again.out.endswith("nothing to change.\n")


async def test_another_model_keeps_the_first_backup(run: Run, home: Path) -> None:
    (home / ".claude/settings.json").write_text('{"model": "opus"}')
    await run()
    await run(model="zai-org/glm-4.5-AIR")
    assert json.loads((home / ".claude/settings.json").read_text())["model"] == "zai-org/GLM-4.5-Air"
    await run(uninstall=True)
    assert (home / ".claude/settings.json").read_text() == '{"model": "opus"}'


async def test_a_backup_from_before_an_undoing_by_hand_is_made_anew(run: Run, home: Path) -> None:
    (home / ".claude/settings.json").write_text('{"model": "opus"}')
    await run()
    (home / ".claude/settings.json").write_text('{"model": "sonnet"}')
    await run()
    await run(uninstall=True)
    assert (home / ".claude/settings.json").read_text() == '{"model": "sonnet"}'


@pytest.mark.parametrize("flags", [{}, {"uninstall": True}])
async def test_a_dry_run_writes_nothing(flags: dict[str, Any], run: Run, home: Path) -> None:
    if flags:
        await run()
    before = tree(home)
    done = await run(dry_run=True, **flags)
    assert (done.code, tree(home)) == (0, before)
    assert done.out.endswith("Nothing was written: --dry-run.\n")
    assert "env.ANTHROPIC_BASE_URL" in done.out


@pytest.mark.parametrize(
    "name", [".claude/settings.json", ".claude.json", ".claude/settings.json.before-claude-gateway"]
)
async def test_invalid_json_is_refused_with_its_place_and_nothing_changes(name: str, run: Run, home: Path) -> None:
    (home / name).write_text('{\n  "model": "opus",\n}')
    before = tree(home)
    done = await run()
    assert (done.code, done.out, tree(home)) == (1, "", before)
    assert done.err == (
        f'claude-gateway setup: {home / name}: not valid JSON: line 3, column 1: a key in double quotes, "…" expected: '
        "correct it, or move it away; nothing was changed\n"
    )


async def test_an_env_that_is_no_object_is_refused(run: Run, home: Path) -> None:
    (home / ".claude/settings.json").write_text('{"env": []}')
    done = await run()
    assert (done.code, done.err) == (
        1,
        f"claude-gateway setup: {home}/.claude/settings.json: `env` is not an object, {{…}}: correct it; nothing was changed\n",
    )


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ({"url": "gateway"}, "'gateway' is not a base URL: give one like"),
        ({"url": "http://127.0.0.1:9"}, "http://127.0.0.1:9 does not answer (Connection refused)"),
        ({"model": "nono"}, "no model 'nono'; available: demo, zai-org/GLM-4.5-Air"),
        ({"model": None}, "which model? Give --model NAME; available: demo, zai-org/GLM-4.5-Air"),
        (
            {"environment": {"CLAUDE_GATEWAY_TOKEN": ""}},
            "no token: give --token-file FILE, or set CLAUDE_GATEWAY_TOKEN",
        ),
        ({"environment": {"CLAUDE_GATEWAY_TOKEN": "sk-ant-x"}}, "this is a token for Anthropic (sk-ant-…)"),
        ({"yes": False}, "no terminal to ask on: give --yes, with --model and --token-file"),
    ],
)
async def test_what_cannot_be_used_is_told_and_nothing_is_written(
    flags: dict[str, Any], fault: str, run: Run, home: Path
) -> None:
    done = await run(**flags)
    assert (done.code, done.out, tree(home)) == (1, "", {})
    assert done.err.startswith(f"claude-gateway setup: {fault}")


async def test_a_token_the_gateway_does_not_know_is_told(
    start_gateway: StartGateway, embedded: str, run: Run, home: Path
) -> None:
    gateway = await start_gateway(embedded, gateway_api_keys="another-key-0123456789")
    done = await run(url=str(gateway.make_url("/")))
    assert (done.code, tree(home)) == (1, {})
    assert "refuses the token (401): this token is not a key of this gateway" in done.err


async def test_a_token_goes_to_no_other_address_than_its_own(
    run: Run, home: Path, start_gateway: StartGateway, embedded: str
) -> None:
    await run()
    other = await start_gateway(embedded)
    done = await run(url=str(other.make_url("/")), environment={"CLAUDE_GATEWAY_TOKEN": ""})
    assert (done.code, done.err.split(":")[1]) == (1, " no token")


async def test_an_undoing_asks_first(run: Run, home: Path) -> None:
    await run()
    before = tree(home)
    done = await run(uninstall=True, yes=False)
    assert (done.code, done.err, tree(home)) == (1, "claude-gateway setup: no terminal to ask on: give --yes\n", before)


async def test_what_the_user_should_know_is_said(run: Run, home: Path) -> None:
    (home / "dotfiles.json").write_text("{}")
    (home / ".claude/settings.json").symlink_to(home / "dotfiles.json")
    (home / ".claude.json").write_text('{"hasCompletedOnboarding": true}')
    (home / ".claude.json").chmod(0o644)

    done = await run(environment={"ANTHROPIC_API_KEY": "sk-ant-x"})

    assert f"Note: {home}/.claude/settings.json is a link: your token is written to {home}/dotfiles.json." in done.out
    assert "Note: ANTHROPIC_API_KEY is set in this shell" in done.out
    assert f"{home}/.claude.json: readable by others: made private" in done.out
    assert not (home / ".claude.json.before-claude-gateway").exists()


async def test_an_address_elsewhere_without_encryption_is_warned_of(
    run: Run, start_gateway: StartGateway, embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start_gateway(embedded, allowed_hosts="gateway.example")
    monkeypatch.setenv("http_proxy", str(gateway.make_url("/")))
    monkeypatch.delenv("no_proxy", raising=False)
    done = await run(url="http://gateway.example", dry_run=True)
    assert "Note: http://gateway.example is not encrypted" in done.out + done.err


async def test_the_only_model_is_taken(run: Run, home: Path, start_gateway: StartGateway, scripted: Any) -> None:
    gateway = await start_gateway(scripted.url)
    done = await run(url=str(gateway.make_url("/")), model=None)
    assert done.code == 0
    assert "Note: The backend does not state this model's context window" in done.out
    settings = json.loads((home / ".claude/settings.json").read_text())
    assert settings["model"] == "Vendor/Model-1"
