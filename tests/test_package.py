"""The package as a user gets it: built from a clean copy, looked into, and installed in every way into an empty place."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from gateway import __version__

pytestmark = [pytest.mark.package, pytest.mark.timeout(240)]

ROOT = Path(__file__).parent.parent
HASHED = ("--require-hashes", "-r")
PINS = ROOT / "deploy/requirements.txt"
# at the top level of an archive of the source, beside its own PKG-INFO
TOP = {"gateway", "tests", "deploy", "Caddyfile", "README.md", "LICENSE", "CHANGELOG.md", "setup.cfg", "pyproject.toml"}


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints; it must end well. It sees nothing of this project's environment."""
    passed = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COV"))
    }
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=passed | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def new_environment(folder: Path, *packages: object) -> Path:
    """A virtual environment with nothing but these packages, given as pip takes them; gives its folder of programs."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    install(folder / "bin", *packages)
    return folder / "bin"


def install(programs: Path, *packages: object) -> None:
    run(programs / "pip", "install", "-q", "--disable-pip-version-check", *packages, cwd=programs.parent)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of build, twine, pipx and uv: one on the PATH that has them all, or a new one."""
    for folder in map(Path, os.get_exec_path()):
        if all((folder / name).exists() for name in ("python", "pip", "pyproject-build", "twine", "pipx", "uvx")):
            return folder
    try:
        return new_environment(tmp_path_factory.mktemp("tools") / "v", *HASHED, ROOT / ".ci/requirements.txt")
    except AssertionError as error:
        pytest.skip(f"build, twine, pipx and uv cannot be installed: {str(error)[-300:]}")


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files that belong to the project."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("only a clone tells which files belong to the project")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def built(tools: Path, tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the two archives, built as `python -m build` does it: the wheel out of the source's archive."""
    copy = tmp_path_factory.mktemp("copy")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    run(tools / "python", "-m", "build", copy, cwd=copy)
    return copy / "dist"


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """The pins without their hashes: beside hashes, no installer takes an archive that has none."""
    file = tmp_path / "versions.txt"
    pins = (ROOT / "deploy/requirements-test.txt").read_text()
    # nor do constraints take extras
    file.write_text("\n".join(map("".join, re.findall(r"^(\w[\w-]*)\S*?(==[^\\]*)", pins, re.MULTILINE))))
    return file


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    return next(built.glob("*.tar.gz"))


def test_the_archives_are_named_by_the_version(wheel: Path, sdist: Path) -> None:
    assert wheel.name == f"claude_gateway-{__version__}-py3-none-any.whl"
    assert sdist.name == f"claude_gateway-{__version__}.tar.gz"


def test_the_wheel_holds_the_gateway_with_its_data_and_nothing_else(wheel: Path, tracked: set[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}

    info = f"claude_gateway-{__version__}.dist-info/"
    own = {name for name in names if not name.startswith(info)}
    # notes for developers stay behind
    assert own == {name for name in tracked if name.startswith("gateway/") and not name.endswith(".md")}
    assert "gateway/py.typed" in own
    assert {name.removeprefix(info) for name in names - own} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE",
    }  # fmt: skip


def test_the_source_holds_what_the_tests_need_and_nothing_else(sdist: Path, tracked: set[str]) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}

    expected = {name for name in tracked if name.partition("/")[0] in TOP}
    # the build needs the list of what is no part of it
    assert names == expected | {"PKG-INFO", ".gitignore"}


def test_the_metadata_is_complete(wheel: Path, sdist: Path, tools: Path) -> None:
    assert run(tools / "twine", "check", "--strict", wheel, sdist, cwd=wheel.parent).count("PASSED") == 2
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"claude_gateway-{__version__}.dist-info/METADATA").decode())

    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "claude-code" in metadata["Keywords"].split(",")
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert {"test", "dev"} <= set(metadata.get_all("Provides-Extra", []))


def works(program: Path, folder: Path) -> None:
    """The program does its work in a folder where nothing of the project is."""
    home = {"HOME": str(folder)}
    assert run(program, "--version", cwd=folder, **home) == f"claude-gateway {__version__}\n"
    assert "The gateway translates both ways" in run(program, "demo", "--once", "--host-port", "0", cwd=folder, **home)
    assert "usage: claude-gateway check" in run(program, "check", "--help", cwd=folder, **home)
    assert "_shtab_claude_gateway" in run(program, "completion", "bash", cwd=folder, **home)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_pip_installs_it_into_an_empty_environment(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    archive: Path = request.getfixturevalue(kind)
    programs = new_environment(tmp_path / "v", *HASHED, PINS, "-r", ROOT / "deploy/requirements-build.txt")
    install(programs, "--no-deps", "--no-build-isolation", archive)

    run(programs / "pip", "check", cwd=tmp_path)
    (tmp_path / "elsewhere").mkdir()
    works(programs / "claude-gateway", tmp_path / "elsewhere")


def test_a_program_that_imports_it_sees_its_types(wheel: Path, versions: Path, tmp_path: Path) -> None:
    programs = new_environment(tmp_path / "v", "-c", versions, "mypy", wheel)
    (tmp_path / "user.py").write_text("from gateway.app import make_app\nreveal_type(make_app)\n")

    said = run(programs / "mypy", "--strict", "user.py", cwd=tmp_path)

    assert re.search(r"Revealed type is .*settings.*Application", said)


def test_pipx_installs_it(tools: Path, wheel: Path, versions: Path, tmp_path: Path) -> None:
    places = {
        "PIPX_HOME": str(tmp_path / "home"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
        "PIPX_DEFAULT_PYTHON": sys.executable,
    }
    run(tools / "pipx", "install", "--pip-args", f"-c {versions}", wheel, cwd=tmp_path, **places)

    works(tmp_path / "bin/claude-gateway", tmp_path)


def test_uvx_runs_it(tools: Path, wheel: Path, versions: Path, tmp_path: Path) -> None:
    places = {
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_TOOL_DIR": str(tmp_path / "tools"),
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
        **_as_pip(tools, tmp_path),
    }
    command = [tools / "uvx", "-c", versions, "--from", wheel, "claude-gateway"]
    assert run(*command, "--version", cwd=tmp_path, **places) == f"claude-gateway {__version__}\n"
    assert "both ways" in run(*command, "demo", "--once", "--host-port", "0", cwd=tmp_path, **places)


def _as_pip(tools: Path, folder: Path) -> dict[str, str]:
    """Where pip looks for packages on this machine, in uv's terms: that does not read pip's settings."""
    configured = run(tools / "pip", "config", "list", cwd=folder)
    terms = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
    found = {terms[name]: value for name, value in re.findall(r"\.([a-z-]+)='([^']+)'", configured) if name in terms}
    return found | {"UV_INDEX_STRATEGY": "unsafe-best-match"}
