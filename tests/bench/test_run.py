"""The bench works: what it measures is never asserted."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the bench runs on Linux only")
RUN = Path(__file__).parent / "run.py"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(RUN), *arguments], capture_output=True, text=True, timeout=50)


def test_a_small_run_prints_its_table_and_no_request_fails(tmp_path: Path) -> None:
    done = bench("--only", "short", "--rounds", "1", "--scale", "0.01", "--no-nginx", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line]
    found = dict(zip(rows[0], rows[2], strict=True))
    assert (found["workload"], found["server"], found["nginx"], found["failed"]) == ("short", "gateway", "-", "0")
    assert re.fullmatch(r"\d+\.\d{3} ms/request", found["CPU"])
    assert (tmp_path / "bench.md").read_text() == done.stdout
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["workloads"]["short"]["gateway"][0]["cpu_us"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "slow"], "run.py: --only slow: unknown; there are paced, "),
        (["--peer", "litellm"], "run.py: --peer litellm: must be NAME=COMMAND"),
        (["--gateway", "a=b", "--peer", "a=c"], "run.py: two servers are named a: give one another name"),
        (["--no-nginx", "--gateway", "no-such-program", "--only", "short"], "no-such-program: cannot be started: "),
        (["--no-nginx", "--gateway", "false", "--only", "short"], "ended with 1 before it listened"),
    ],
)
def test_what_cannot_be_measured_is_told(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = bench(*arguments, "--out", str(tmp_path))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
