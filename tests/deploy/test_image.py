"""The image: its recipe, and the recipe's steps run where there are no containers. `test_containers.py` builds it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, ROOT, instructions, stages, tool

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
HEAD, BUILD, LAST = stages(DOCKERFILE)
# distroless' python3-debian13, unpacked: 55.9 MB as its list of packages was put together in November 2026
BASE_MB = 60
LIMIT_MB = 150
NOBODY = 65532


def of(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [arguments for instruction, arguments in stage if instruction == name]


def test_both_bases_can_be_given_by_digest() -> None:
    defaults = dict(arguments.split("=", 1) for arguments in of(HEAD, "ARG"))

    assert [of(stage, "FROM") for stage in (BUILD, LAST)] == [["${BUILD_IMAGE} AS build"], ["${RUNTIME_IMAGE}"]]
    # the same Debian, or native modules of the one do not load in the other
    assert defaults == {
        "BUILD_IMAGE": "docker.io/library/debian:trixie-slim",
        "RUNTIME_IMAGE": "gcr.io/distroless/python3-debian13:nonroot",
    }


def test_the_last_stage_runs_nothing_and_is_nobody() -> None:
    assert of(LAST, "RUN") == []
    assert of(LAST, "USER") == [f"{NOBODY}:{NOBODY}"]
    assert of(LAST, "STOPSIGNAL") == ["SIGTERM"]
    # no shell is there to run other forms
    assert json.loads(of(LAST, "ENTRYPOINT")[0]) == ["/opt/claude-gateway/bin/claude-gateway"]
    check = of(LAST, "HEALTHCHECK")[0]
    assert json.loads(check[check.index("[") :]) == ["/opt/claude-gateway/bin/claude-gateway", "health"]


def test_the_build_is_given_what_it_copies_and_nothing_else() -> None:
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    copied = [source for arguments in of(BUILD, "COPY") for source in arguments.split()[:-1]]

    assert sorted(copied) == sorted(allowed)


def test_what_builds_the_wheel_is_pinned_too() -> None:
    pinned = re.findall(r"^([\w-]+)==", (DEPLOY / "requirements-build.txt").read_text(), re.MULTILINE)
    wanted = re.search(r'^requires = \["([\w-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert wanted is not None
    assert wanted[1] in pinned


def test_instructions_over_several_lines_are_read_as_one() -> None:
    assert instructions("# no\nRUN a \\\n    # nor this\n    && b\n\nUSER x\n") == [("RUN", "a && b"), ("USER", "x")]


@pytest.mark.deploy_tools
def test_hadolint_has_nothing_to_say() -> None:
    found = subprocess.run([tool("hadolint"), "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.deploy_tools
def test_hadolint_would_see_a_fault(tmp_path: Path) -> None:
    faulty = tmp_path / "Dockerfile"
    faulty.write_text(DOCKERFILE.replace("--no-install-recommends ", ""))

    found = subprocess.run([tool("hadolint"), "--no-color", faulty], capture_output=True, text=True)

    assert found.returncode == 1
    assert "DL3015" in found.stdout


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """A folder with what the steps of the build stage make, at the image's paths below it.

    Not below pytest's own folders: those are closed to other users.
    """
    root = Path(tempfile.mkdtemp(prefix="claude-gateway-image-"))
    root.chmod(0o755)
    try:
        for name, arguments in BUILD:
            if name == "COPY":
                *sources, target = arguments.split()
                for source in sources:
                    copy(ROOT / source, root / "src" / target / ("" if target == source else Path(source).name))
            elif name == "RUN" and "apt-get" not in arguments:
                run_step(root, arguments)
        yield root
    finally:
        shutil.rmtree(root)


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def run_step(root: Path, step: str) -> None:
    for folder in ("/build", "/dist", "/opt"):
        step = re.sub(rf"(?<![\w.}}]){folder}\b", f"{root}{folder}", step)
    step = re.sub(r"\bpython3 -m venv", f"{sys.executable} -m venv", step)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["sh", "-eu", "-c", step],
        cwd=root / "src", env=environment | {"EXTRAS": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{step}\n{done.stdout}"


def megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def unprivileged() -> dict[str, int]:
    """How to become nobody, where this user may and nobody can start this Python."""
    if not hasattr(os, "geteuid") or os.geteuid():
        return {}
    nobody = {"user": NOBODY, "group": NOBODY}
    try:
        subprocess.run([sys.executable, "-c", ""], cwd="/", check=True, **nobody)  # type: ignore[call-overload]  # ints
    except (OSError, subprocess.CalledProcessError):
        return {}
    return nobody


@pytest.mark.containers
@pytest.mark.timeout(300)
def test_the_steps_give_a_gateway_that_starts_and_is_healthy(built: Path) -> None:
    program = built / "opt/claude-gateway/bin/claude-gateway"
    readonly = built / "nothing"
    readonly.mkdir(mode=0o555)
    environment = {"PATH": "/usr/bin:/bin", "HOST": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"}
    who = unprivileged()

    with subprocess.Popen(
        [program, "--host-port", "0"], cwd=readonly, env=environment, stderr=subprocess.PIPE, text=True, **who
    ) as gateway:
        try:
            assert gateway.stderr is not None
            first = json.loads(gateway.stderr.readline())
            assert first["event"] == "listening", first
            environment["HOST_PORT"] = first["url"].rpartition(":")[2]
            health = subprocess.run(
                [program, "health"], cwd=readonly, env=environment, capture_output=True, text=True, **who
            )
            gateway.send_signal(signal.SIGTERM)
            gateway.communicate(timeout=20)
        finally:
            gateway.kill()

    assert (health.returncode, health.stdout, health.stderr) == (0, f"{first['url']}/health: ok\n", "")
    assert gateway.returncode == 0


@pytest.mark.containers
@pytest.mark.timeout(300)
def test_what_the_steps_install_is_pinned_and_small_and_has_no_pip(built: Path) -> None:
    packages = next((built / "opt/claude-gateway").glob("lib/python*/site-packages"))
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (DEPLOY / "requirements.txt").read_text(), re.MULTILINE))
    pins = {canonical(name): version for name, version in pins.items()}

    installed = dict(path.name.removesuffix(".dist-info").rsplit("-", 1) for path in packages.glob("*.dist-info"))
    installed = {canonical(name): version for name, version in installed.items()}
    installed.pop("claude-gateway")

    assert {name: pins.get(name) for name in installed} == installed
    assert not {"pip", "setuptools", "hatchling"} & set(installed)
    assert megabytes(built / "opt/claude-gateway") < LIMIT_MB - BASE_MB


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
