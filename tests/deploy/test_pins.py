"""The files that pin packages: whole, with hashes, in agreement, and used wherever something is installed."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.command_blocks import shell_blocks
from tests.deploy.tools import DEPLOY, ROOT, instructions

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GATEWAY, OTEL, BUILD, TEST, DEV = (
    DEPLOY / f"requirements{kind}.txt" for kind in ("", "-otel", "-build", "-test", "-dev")
)
CI = ROOT / ".ci/requirements.txt"
FILES = [GATEWAY, OTEL, BUILD, TEST, DEV, CI]


@dataclass(frozen=True)
class Pin:
    """An entry of a file. `text` is all of it, over several lines."""

    requirement: Requirement
    hashes: tuple[str, ...]
    text: str

    @property
    def version(self) -> str:
        return next(iter(self.requirement.specifier)).version


def pins(file: Path) -> dict[str, Pin]:
    """A file's entries by name. Fails where one is no exact version, or stands there twice."""
    found: dict[str, Pin] = {}
    for entry in re.split(r"\n(?=[^ #])", re.sub(r"^ *#.*\n", "", file.read_text(), flags=re.MULTILINE)):
        first, *hashes = (line.removesuffix("\\").strip() for line in entry.strip().splitlines())
        requirement = Requirement(first)
        assert [each.operator for each in requirement.specifier] == ["=="], first
        assert canonicalize_name(requirement.name) not in found, first
        found[canonicalize_name(requirement.name)] = Pin(requirement, tuple(hashes), entry.strip())
    return found


def wanted(*extras: str, groups: tuple[str, ...] = ()) -> Iterator[Requirement]:
    """What pyproject.toml asks for; what an extra of our own stands for in its place."""
    texts = [] if groups and not extras else list(PROJECT["project"]["dependencies"])
    texts += [text for extra in extras for text in PROJECT["project"]["optional-dependencies"].get(extra, ())]
    texts += [text for group in groups for text in PROJECT["dependency-groups"][group]]
    for requirement in map(Requirement, texts):
        if requirement.name == PROJECT["project"]["name"]:
            yield from wanted(*requirement.extras)
        else:
            yield requirement


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_package_has_hashes_and_nothing_names_a_place(file: Path) -> None:
    for name, pin in pins(file).items():
        assert pin.hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in pin.hashes), name
    # no address, no option that leads to one, no path
    assert re.findall(r".*(?://|^-|index|find-links|file:).*", file.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize(
    ("file", "requirements"),
    [
        (GATEWAY, wanted()),
        (OTEL, wanted("otel")),
        (BUILD, wanted(groups=("build",))),
        (TEST, wanted("test", groups=("build",))),
        (DEV, wanted("dev", "bench", groups=("build",))),
        (CI, wanted(groups=("ci",))),
    ],
    ids=str,
)
def test_what_pyproject_asks_for_is_pinned_within_its_range(file: Path, requirements: Iterator[Requirement]) -> None:
    pinned = pins(file)

    for requirement in requirements:
        pin = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.version), pin.requirement


@pytest.mark.parametrize(("smaller", "larger"), [(GATEWAY, OTEL), (OTEL, TEST), (BUILD, TEST), (TEST, DEV)], ids=str)
def test_the_files_agree(smaller: Path, larger: Path) -> None:
    more = pins(larger)

    assert {
        name: (pin.version, pin.hashes) for name, pin in pins(smaller).items()
    } == {name: (pin.version, pin.hashes) for name, pin in more.items() if name in pins(smaller)}  # fmt: skip


def test_what_builds_the_package_gets_no_part_of_the_image() -> None:
    assert {"hatchling", "pip", "setuptools"} & pins(OTEL).keys() == set()
    assert {"hatchling", "editables"} <= pins(BUILD).keys() & pins(TEST).keys()


def installs() -> list[str]:
    """Each `pip install` and `pip wheel` of the documents, the image and CI that someone copies or runs."""
    texts = [re.sub(r" # .*", "", block.text) for block in shell_blocks()]
    texts += [arguments for name, arguments in instructions((DEPLOY / "Dockerfile").read_text()) if name == "RUN"]
    texts.append((ROOT / ".ci/run").read_text())
    joined = "\n".join(texts).replace("\\\n", " ")
    return re.findall(r"\bpip\"?(?: --python \S+)? (?:install|wheel) [^&|;\n]+", joined)


def test_nothing_is_installed_without_hashes() -> None:
    found = installs()

    assert len(found) > 12
    for command in found:
        # the gateway itself is built from its source, with what is there already
        if not re.search(r"--no-deps (?:--no-build-isolation|/dist/\*\.whl)", command):
            assert "--require-hashes" in command, command
        assert [name for name in re.findall(r"-r (\S+\.txt)", command) if not (ROOT / name).is_file()] == []


@pytest.mark.deploy_tools
@pytest.mark.parametrize("tampered", [False, True])
def test_pip_refuses_a_file_with_another_hash(tampered: bool, tmp_path: Path) -> None:
    text = pins(GATEWAY)["imagesize"].text
    if tampered:
        text = re.sub(r"sha256:(.)", lambda found: f"sha256:{int(found[1], 16) ^ 1:x}", text)
    (tmp_path / "requirements.txt").write_text(f"{text}\n")

    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-r", "requirements.txt"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    if "No matching distribution" in done.stderr:
        pytest.skip("Python's package registry does not answer")
    assert (done.returncode != 0) == tampered, done.stderr
    assert ("DO NOT MATCH THE HASHES" in done.stderr) == tampered
