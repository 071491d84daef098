"""The image as buildah builds it and podman runs it, and the compose file as `docker compose` brings it up with Caddy.

Registries of images cannot be had everywhere: both bases are put together from Debian's packages, the last stage's from
those that distroless' python3-debian13 is made of, and Caddy's image from the machine's Caddy. podman stands in for
Docker's engine behind the same API; without systemd it does not run health checks by itself, so a thread asks for them.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway import __version__
from tests.conftest import TOKEN, ask, events
from tests.deploy.tools import DEPLOY, ROOT, docker_compose, tool

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

RUNTIME_PACKAGES = (
    "base-files netbase tzdata libc6 libssl3t64 libgcc-s1 libgomp1 libstdc++6 ca-certificates libbz2-1.0 libdb5.3t64 "
    "libexpat1 liblzma5 libsqlite3-0 libuuid1 libncursesw6 libtinfo6 zlib1g libzstd1 libcom-err2 libcrypt1 "
    "libgssapi-krb5-2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 libnsl2 libreadline8t64 libtirpc3t64 libffi8 "
    "libpython3.13-minimal libpython3.13-stdlib python3.13-minimal"
)
IMAGE = "docker.io/library/claude-gateway"
CADDY_IMAGE = "docker.io/library/caddy:2-alpine"
BACKEND = "from aiohttp import web; from gateway.commands.demo.backend import make_backend; web.run_app(make_backend(tokens_per_second=40), port=8000)"
# a backend beside the gateway; a machine may not let even root raise these limits
OVERRIDE = f"""
services:
  gateway:
    ulimits: !reset {{}}
    depends_on: [backend]
  caddy:
    ulimits: !reset {{}}
  backend:
    image: {IMAGE}
    entrypoint: [/opt/claude-gateway/bin/python, -c, "{BACKEND}"]
    healthcheck: {{disable: true}}
"""


@dataclass(frozen=True)
class Engine:
    """podman with everything of its own below `folder`."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str | Path, **options: Any) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, **options)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def import_root(self, root: Path, name: str, *changes: str) -> None:
        archive = self.folder / "root.tar"
        self.run("tar", "-C", root, "-cf", archive, ".")
        self.run("podman", "import", "-q", *(f"--change={change}" for change in changes), archive, name)
        archive.unlink()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    for name in ("podman", "buildah", "runc", "debootstrap"):
        tool(name)
    if os.geteuid():
        pytest.skip("only root can make containers here")
    folder = Path(tempfile.mkdtemp(prefix="claude-gateway-containers-"))
    storage, containers = folder / "storage.conf", folder / "containers.conf"
    storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n')
    containers.write_text(
        '[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\n'
        # or what an exec was watched by stays for five minutes
        'events_logger = "file"\nexit_command_delay = 1\n[network]\nnetwork_backend = "netavark"\n'
        f'network_config_dir = "{folder}/networks"\n'
    )
    made = Engine(folder, os.environ | {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(containers)})
    try:
        why = _cannot_run(made)
        if why:
            pytest.skip(f"containers do not run on this machine: {why}")
        yield made
    finally:
        subprocess.run(["podman", "rm", "-fa", "-t", "0"], env=made.environment, capture_output=True)
        subprocess.run(["podman", "rmi", "-fa"], env=made.environment, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _cannot_run(engine: Engine) -> str:
    root = engine.folder / "probe"
    root.joinpath("bin").mkdir(parents=True)
    shutil.copy(tool("busybox"), root / "bin/true")
    engine.import_root(root, "localhost/probe")
    done = subprocess.run(
        ["podman", "run", "--rm", "localhost/probe", "/bin/true"],
        env=engine.environment,
        capture_output=True,
        text=True,
    )
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    """The image, built from its Dockerfile."""
    debian, runtime, machine = (engine.folder / name for name in ("debian", "runtime", "machine"))
    engine.run("debootstrap", "--variant=minbase", "trixie", debian)
    engine.import_root(debian, "localhost/debian")
    debian.joinpath("debs").mkdir()
    engine.run("chroot", debian, "sh", "-ec", f"apt-get update -q; cd /debs; apt-get download -q {RUNTIME_PACKAGES}")
    for package in sorted(debian.glob("debs/*.deb")):
        engine.run("dpkg", "-x", package, runtime)
    _finish_runtime(runtime)
    engine.import_root(runtime, "localhost/runtime")
    # how this machine reaches its package index
    machine.mkdir()
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", machine / "ca.crt")
    machine.joinpath("pip.conf").write_text("[global]\ncert = /machine/ca.crt\n")
    engine.run(
        "buildah", "bud", "--isolation", "chroot", "--network", "host", "--format", "docker",
        "--build-arg", "BUILD_IMAGE=localhost/debian", "--build-arg", "RUNTIME_IMAGE=localhost/runtime",
        "--build-arg", "REVISION=abc", "-v", f"{machine}:/machine:ro", "-v", f"{machine}/pip.conf:/etc/pip.conf:ro",
        "-t", IMAGE, "-f", "deploy/Dockerfile", ".", cwd=ROOT,
    )  # fmt: skip
    return IMAGE


def _finish_runtime(root: Path) -> None:
    """What distroless does beside unpacking."""
    for name in ("python", "python3"):
        root.joinpath("usr/bin", name).symlink_to("python3.13")
    shutil.rmtree(root / "usr/share/doc")
    shutil.rmtree(root / "usr/share/man")
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(path.read_bytes() for path in root.glob("usr/share/ca-certificates/mozilla/*.crt")))
    root.joinpath("etc/passwd").write_text("root:x:0:0:root:/root:/sbin/nologin\n")
    root.joinpath("etc/group").write_text("root:x:0:\n")
    root.joinpath("tmp").mkdir(mode=0o1777, exist_ok=True)


def test_the_image_is_small_and_says_what_it_is(engine: Engine, image: str) -> None:
    [found] = json.loads(engine.run("podman", "image", "inspect", image))

    assert found["Size"] < 150e6
    config = found["Config"]
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.revision"] == "abc"
    assert found["Healthcheck"]["Test"] == ["CMD", "/opt/claude-gateway/bin/claude-gateway", "health"]


def test_the_program_runs_with_every_native_module_and_trusts_the_usual_authorities(engine: Engine, image: str) -> None:
    what = (
        "import aiohttp, msgspec, pypdfium2, ssl, tiktoken, uvloop; "
        "print(ssl.create_default_context().cert_store_stats()['x509_ca'] > 100)"
    )
    run = ("podman", "run", "--rm", "--read-only", "--cap-drop=all", "--network=none")

    assert engine.run(*run, image, "--version") == f"claude-gateway {__version__}\n"
    assert engine.run(*run, "--entrypoint=/opt/claude-gateway/bin/python", image, "-c", what) == "True\n"


def test_there_is_no_shell_no_compiler_and_no_pip(engine: Engine, image: str) -> None:
    look = "import shutil; print([n for n in ('sh', 'bash', 'gcc', 'cc', 'pip', 'pip3', 'apt-get', 'curl') if shutil.which(n)])"

    found = engine.run(
        "podman", "run", "--rm", "--network=none", "--entrypoint=/opt/claude-gateway/bin/python", image, "-c", look
    )

    assert found == "[]\n"


@dataclass(frozen=True)
class Stack:
    """What `docker compose up` has brought up."""

    compose: Callable[..., str]
    start: Callable[..., "subprocess.Popen[str]"]
    gateway: int
    caddy: int


@pytest.fixture
def stack(engine: Engine, image: str, free_ports: tuple[int, int]) -> Iterator[Stack]:
    """The mission's command, but that the image is there already."""
    _make_caddy_image(engine)
    override = engine.folder / "override.yaml"
    override.write_text(OVERRIDE)
    socket = engine.folder / "podman.sock"
    gateway, caddy = free_ports
    variables = {
        "DOCKER_HOST": f"unix://{socket}", "COMPOSE_DISABLE_ENV_FILE": "true", "HOST_PORT": str(gateway),
        "CADDY_PORT": str(caddy), "CADDY_TLS": "false", "BACKEND_URL": "http://backend:8000",
    }  # fmt: skip
    environment = engine.environment | variables
    command = [docker_compose(), "-f", str(DEPLOY / "docker-compose.yaml"), "-f", str(override)]
    made = Engine(engine.folder, environment)

    def start(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    with _service(engine, socket), _health_checks(engine):
        try:
            made.run(*command, "up", "-d", "--no-build", "--pull", "never", timeout=120)
            yield Stack(lambda *arguments: made.run(*command, *arguments), start, gateway, caddy)
        finally:
            made.run(*command, "down", "-v", "-t", "1")


@pytest.fixture
def free_ports(unused_tcp_port_factory: Callable[[], int]) -> tuple[int, int]:
    return unused_tcp_port_factory(), unused_tcp_port_factory()


def _make_caddy_image(engine: Engine) -> None:
    """The machine's Caddy with what it is linked to and busybox, as Caddy's own image has it."""
    root = engine.folder / "caddy"
    caddy = tool("caddy")
    libraries = re.findall(r"(/lib\S+)", subprocess.run(["ldd", caddy], capture_output=True, text=True).stdout)
    for source, target in [
        (caddy, "usr/bin/caddy"),
        (tool("busybox"), "bin/busybox"),
        *((path, path[1:]) for path in libraries),
    ]:
        root.joinpath(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / target)
    for name in ("sh", "nc"):
        root.joinpath("bin", name).symlink_to("busybox")
    for name in ("etc/caddy", "data", "config"):
        root.joinpath(name).mkdir(parents=True)
    run = ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
    folders = ("ENV XDG_CONFIG_HOME=/config", "ENV XDG_DATA_HOME=/data", "ENV PATH=/usr/bin:/bin")
    engine.import_root(root, CADDY_IMAGE, f"CMD {json.dumps(run)}", *folders)


@contextlib.contextmanager
def _service(engine: Engine, socket: Path) -> Iterator[None]:
    command = ["podman", "system", "service", "--time", "0", f"unix://{socket}"]
    with subprocess.Popen(command, env=engine.environment, stderr=subprocess.DEVNULL) as service:
        try:
            deadline = time.monotonic() + 20
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            yield
        finally:
            service.terminate()


@contextlib.contextmanager
def _health_checks(engine: Engine) -> Iterator[None]:
    ended = threading.Event()

    def check() -> None:
        while not ended.wait(1):
            for name in ("gateway", "caddy"):
                command = ["podman", "healthcheck", "run", f"claude-gateway-{name}-1"]
                subprocess.run(command, env=engine.environment, capture_output=True)

    thread = threading.Thread(target=check)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def asked(port: int, **fields: Any) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(
            "POST",
            "/v1/messages",
            json.dumps(ask(model="demo", **fields)),
            TOKEN | {"Content-Type": "application/json"},
        )
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def message(port: int) -> Any:
    with asked(port) as response:
        return json.load(response)


def test_compose_brings_up_a_gateway_and_caddy_in_front_and_its_end_cuts_no_stream(stack: Stack) -> None:
    states = [json.loads(line) for line in stack.compose("ps", "--format", "json").splitlines()]
    answers = [message(port) for port in (stack.gateway, stack.caddy)]
    user = stack.compose(
        "exec", "-T", "gateway", "/opt/claude-gateway/bin/python", "-c", "print(open('/proc/1/status').read())"
    )
    healthy = stack.compose("exec", "-T", "gateway", "claude-gateway", "health")

    with asked(stack.caddy, stream=True) as response:
        first = response.readline()
        with stack.start("stop") as stopping:
            body = first + response.read()
            said, _ = stopping.communicate(timeout=60)

    assert {state["Service"]: state["State"] for state in states} == dict.fromkeys(
        ("backend", "caddy", "gateway"), "running"
    )
    assert [answer["type"] for answer in answers] == ["message", "message"]
    assert re.findall(r"^(Uid|CapEff|CapBnd|NoNewPrivs):\s+(\S+)", user, re.MULTILINE) == [
        ("Uid", "65532"), ("CapEff", "0" * 16), ("CapBnd", "0" * 16), ("NoNewPrivs", "1")
    ]  # fmt: skip
    assert healthy == "http://127.0.0.1:8080/health: ok\n"
    assert stopping.returncode == 0, said
    assert events(body)[-1][0] == "message_stop"
