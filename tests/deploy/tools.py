"""The files of `deploy/`, and the tools that check them."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    """The path of a program that CI installs; skips where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; .ci/run shows how")
    return found


def docker_compose() -> str:
    """The path of a docker-compose that knows today's specification; skips where there is none."""
    found = tool("docker-compose")
    version = subprocess.run([found, "version", "--short"], capture_output=True, text=True).stdout.strip()
    if version.startswith("1."):
        pytest.skip(f"{found} is {version}, too old; .ci/run shows how to install another")
    return found


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """A Dockerfile as (instruction, arguments), continuation lines joined, comments left out."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in parts]


def stages(dockerfile: str) -> list[list[tuple[str, str]]]:
    """Its stages, each from its FROM on; what stands before the first is the first part."""
    parts: list[list[tuple[str, str]]] = [[]]
    for instruction in instructions(dockerfile):
        if instruction[0] == "FROM":
            parts.append([])
        parts[-1].append(instruction)
    return parts
