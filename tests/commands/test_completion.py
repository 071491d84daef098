"""Completion as a user sees it: presses Tab in a real shell, then runs the command line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

# how to start each shell without the user's settings, and how to load the script
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "source ./script"),
    "zsh": (["-f", "-i"], 'autoload -U compinit && compinit -D; eval "$(cat ./script)"'),
    "fish": (["--no-config", "-i"], "source ./script"),
}
TYPED = [
    pytest.param("che\t", "check", id="a command"),
    pytest.param("--backend-pro\tvll\t", "--backend-profile vllm", id="a flag without a command, and its value"),
    pytest.param("serve --log-l\tdeb\t", "serve --log-level debug", id="a flag of a command, and its value"),
    pytest.param("check --token-f\tke\t", "check --token-file key.txt", id="a file"),
    pytest.param("completion fi\t", "completion fish", id="an argument"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a key file, and a `claude-gateway` that prints its arguments."""
    (tmp_path / "key.txt").write_text("cpk_test\n")
    stub = tmp_path / "bin/claude-gateway"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\necho "got" "$@" "."\n')
    stub.chmod(0o755)
    return tmp_path


def open_shell(shell: str, folder: Path) -> Any:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    command = [sys.executable, "-W", "error", "-m", "gateway", "completion", shell]
    (folder / "script").write_bytes(subprocess.run(command, check=True, capture_output=True, cwd=folder).stdout)
    flags, load = SHELLS[shell]
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TERM": "dumb" if shell == "bash" else "xterm",
        "PS1": "$ ",
    }
    child = pexpect.spawn(program, flags, cwd=str(folder), env=environment, encoding="utf-8", dimensions=(40, 200))
    child.delaybeforesend = None
    child.sendline(f"{load}; echo loaded'-'42.")
    child.expect_exact("loaded-42.", timeout=10)
    return child


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("typed", "line"), TYPED)
def test_tab_completes(shell: str, typed: str, line: str, folder: Path) -> None:
    child = open_shell(shell, folder)
    try:
        child.sendline(f"claude-gateway {typed}")
        child.expect(r"got ([^\r\n]*?) ?\.\r?\n", timeout=10)
        assert child.match[1] == line
    finally:
        child.close(force=True)


def test_a_shell_that_it_does_not_know_is_refused_with_those_that_it_does(folder: Path) -> None:
    command = [sys.executable, "-m", "gateway", "completion", "tcsh"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)

    assert done.returncode == 2
    assert all(shell in done.stderr for shell in SHELLS)
