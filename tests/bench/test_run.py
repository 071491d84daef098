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
    ("arguments", "code", "message"),
    [
        (["--only", "slow"], 1, "run.py: --only slow: unknown; there are paced, "),
        (["--rounds", "0"], 2, "argument --rounds: 0: must be a whole number of at least 1"),
        (["--scale", "half"], 2, "argument --scale: half: must be a number greater than 0"),
        (["--peer", "litellm"], 1, "run.py: --peer litellm: must be NAME=COMMAND"),
        (["--gateway", "a=b", "--peer", "a=c"], 1, "run.py: two servers are named a: give one another name"),
        (["--no-nginx", "--gateway", "no-such-program"], 1, "no-such-program: cannot be started: "),
        (["--no-nginx", "--gateway", "false"], 1, "ended with 1 before it listened; run it by hand"),
        (["--out", __file__], 1, f"File exists: '{__file__}'"),
    ],
)
def test_what_cannot_be_measured_is_told(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    done = bench("--out", str(tmp_path), *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_requests_that_fail_are_counted(tmp_path: Path) -> None:
    refuses = "gateway=env GATEWAY_API_KEYS=a-key-that-the-clients-do-not-have-1234 python -m gateway".replace(
        "python", sys.executable
    )
    done = bench("--gateway", refuses, "--only", "short", "--rounds", "1", "--no-nginx", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "run.py: gateway: 20 requests for bench-1-0 failed" in done.stderr
