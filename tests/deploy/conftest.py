"""The installer on a machine of its own, a home folder and a PATH with what a test puts there; and real Caddy."""

import asyncio
import hashlib
import shutil
import stat
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ScriptedBackend, StartGateway
from tests.deploy.caddy import CURRENT, DEBIAN, Caddy, caddy, program, url_of
from tests.e2e.conftest import npm  # noqa: F401  # a fixture is found by its name in a conftest

SCRIPT = Path(__file__).parents[2] / "deploy" / "install_claude_code.sh"
TOKEN = "cpk_secret_4711"
# what any Linux or macOS has; sha256sum and uname stand below
TOOLS = ("awk", "bash", "basename", "cat", "dirname", "env", "head", "id", "ln", "mkdir", "mktemp", "mv", "rm", "sed",
         "tail", "tar", "gzip", "tr", "sha256sum", "chmod", "cp", "grep")  # fmt: skip
# each call of a stub, with all that a process list could show of it
RECORD = '{{ printf "%s " "{name}" "$@"; echo; env; echo; }} >>"{group}"\n'
CLIENT = '#!/usr/bin/env bash\necho "2.1.330 (Claude Code)"\n'
NPM = """\
case $1 in
--version) echo 11.0.0 ;;
prefix) echo "$STUB_GLOBAL" ;;
outdated) exit "${STUB_OUTDATED:-0}" ;;
install)
    [ -z "${STUB_BROKEN:-}" ] || { echo "npm error code E404" >&2; exit 1; }
    mkdir -p "$4/bin" "$4/lib/node_modules/@anthropic-ai/claude-code"
    printf '#!/usr/bin/env bash\\necho "2.1.330 (Claude Code)"\\n' >"$4/lib/node_modules/@anthropic-ai/claude-code/cli"
    chmod +x "$4/lib/node_modules/@anthropic-ai/claude-code/cli"
    ln -sf ../lib/node_modules/@anthropic-ai/claude-code/cli "$4/bin/claude"
    ;;
esac
"""


@dataclass
class Machine:
    """Where a test's installer runs."""

    folder: Path
    url: str

    def __post_init__(self) -> None:
        for name in ("bin", "stubs", "home", "tmp", "global"):
            (self.folder / name).mkdir()
        for tool in TOOLS:
            (self.folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
        self.stub("curl", f'exec {shutil.which("curl")} "$@"\n')
        self.stub(
            "uname", 'case $1 in -s) echo "${STUB_SYSTEM:-Linux}" ;; -m) echo "${STUB_MACHINE:-x86_64}" ;; esac\n'
        )

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def settings(self) -> Path:
        return self.home / ".claude/settings.json"

    @property
    def group(self) -> str:
        """What the stubs were called with, and their environments."""
        file = self.folder / "group"
        return file.read_text() if file.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder}/stubs:{self.folder}/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.folder / "tmp"),
            "LANG": "C.UTF-8",
            "STUB_GLOBAL": str(self.folder / "global"),
        }

    def stub(self, name: str, body: str, folder: str = "stubs") -> None:
        """A program that records its call, then does what `body` says."""
        file = self.folder / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/usr/bin/env bash\n" + RECORD.format(name=name, group=self.folder / "group") + body)
        file.chmod(0o755)

    def has_node(self, version: str | None = None) -> None:
        """Node.js and npm are there: the real one, or one that claims to be of this version and does nothing else."""
        real = f'exec {shutil.which("node")} "$@"\n'
        claim = f'[ "$1" != --version ] || {{ echo {version}; exit; }}\n'
        self.stub("node", real if version is None else claim + "exit 9\n")
        self.stub("npm", NPM)

    def mirror(self, platform: str, *, checksum: str | None = None) -> dict[str, str]:
        """A mirror of Node.js with one release for `platform`, in the form of nodejs.org's; as environment."""
        name = f"node-v24.9.0-{platform}"
        self.stub(
            "node",
            f'[ "$1" != --version ] || {{ echo v24.9.0; exit; }}\nexec {shutil.which("node")} "$@"\n',
            f"mirror/{name}/bin",
        )
        self.stub("npm", NPM, f"mirror/{name}/bin")
        self.stub("npx", "", f"mirror/{name}/bin")
        release = self.folder / "mirror/latest-v24.x"
        release.mkdir()
        with tarfile.open(release / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(self.folder / "mirror" / name, arcname=name)
        right = hashlib.sha256((release / f"{name}.tar.gz").read_bytes()).hexdigest()
        other = f"{'0' * 64}  node-v24.9.0-{platform}.tar.xz\n{'1' * 64}  node-v24.9.0-aix-ppc64.tar.gz\n"
        (release / "SHASUMS256.txt").write_text(f"{other}{checksum or right}  {name}.tar.gz\n")
        # npm's own place is that of its node
        place = self.home / ".local/share/claude-gateway" / name
        return {"NODE_DIST_URL": f"file://{self.folder}/mirror", "STUB_GLOBAL": str(place)}

    async def run(self, *flags: str, **environment: str) -> tuple[int, str, str]:
        """Runs the installer without a terminal; the token is in its environment. Nothing that it starts or prints, and
        no temporary file, may hold it.
        """
        process = await asyncio.create_subprocess_exec(
            str(shutil.which("bash")), str(SCRIPT), *flags,
            env=self.environment | {"CLAUDE_GATEWAY_TOKEN": TOKEN} | environment, cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        out, err = (stream.decode() for stream in await process.communicate())
        assert TOKEN not in out + err + self.group
        assert list((self.folder / "tmp").iterdir()) == []
        return process.returncode or 0, out, err

    async def install(self, *flags: str, **environment: str) -> tuple[int, str, str]:
        """`run` with the gateway's address, a model and --yes."""
        return await self.run("--url", self.url, "--model", "demo", "--yes", *flags, **environment)

    def tree(self) -> dict[str, tuple[bytes, int, int]]:
        """All files of the home folder: content, mode, time of change."""
        found = {}
        for path in self.home.rglob("*"):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found[str(path.relative_to(self.home))] = (
                    path.read_bytes(),
                    status.st_mode & 0o777,
                    status.st_mtime_ns,
                )
        return found


@pytest.fixture
async def machine(tmp_path: Path, start_gateway: StartGateway, embedded: str) -> Machine:
    """An empty machine, with a gateway in front of the embedded backend."""
    for tool in ("bash", "curl", "node"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool}, with which the installer works, is not there")
    gateway = await start_gateway(embedded)
    folder = tmp_path / "machine"
    folder.mkdir()
    return Machine(folder, str(gateway.make_url("/")).rstrip("/"))


StartCaddy = Callable[..., Awaitable[Caddy]]


@pytest.fixture(params=[DEBIAN, CURRENT])
def caddy_version(request: pytest.FixtureRequest) -> str:
    """Which Caddy it is."""
    version: str = request.param
    return version


@pytest.fixture
def caddy_program(caddy_version: str, cache: Path) -> str:
    """The path of a real Caddy."""
    return program(caddy_version, cache)


@pytest.fixture
async def start_caddy(caddy_program: str, tmp_path: Path) -> AsyncIterator[StartCaddy]:
    """Starts Caddy in front of gateways: `await start_caddy(url, …, tls="internal", CADDY_DOMAIN=…)`."""
    async with AsyncExitStack() as stack:

        async def start(*gateways: str, **settings: str) -> Caddy:
            return await stack.enter_async_context(caddy(caddy_program, tmp_path, *gateways, **settings))

        yield start


@pytest.fixture
async def gateway(scripted: ScriptedBackend, start_gateway: StartGateway) -> str:
    """The URL of a gateway in front of the scripted backend; it is ready."""
    client = await start_gateway(scripted.url)
    while (await client.get("/ready")).status != 200:
        await scripted.was_listed.wait()
    return url_of(client)
