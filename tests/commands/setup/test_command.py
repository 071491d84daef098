"""`claude-gateway setup` as a process."""

import subprocess
import sys
from pathlib import Path


def run(*flags: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "gateway", "setup", *flags]
    environment = {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_help_says_where_the_token_comes_from(tmp_path: Path) -> None:
    done = run("--help", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("--url URL", "--model NAME", "--token-file FILE", "--yes", "--dry-run", "--uninstall", "has no flag"):
        assert words in done.stdout


def test_nobody_to_ask_ends_it_with_one_line(tmp_path: Path) -> None:
    done = run(home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "claude-gateway setup: no terminal to ask on: give --yes, with --model and --token-file\n"


def test_an_undoing_of_nothing_says_so(tmp_path: Path) -> None:
    done = run("--uninstall", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "There is no backup of a set-up: nothing to undo.\n")
