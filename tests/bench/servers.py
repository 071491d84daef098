"""What the bench measures, and starts: gateways, peers, nginx; each in front of the bench's backend."""

import contextlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from processes import BenchError, free_port, processors, running

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NGINX = "nginx"
# processes that come and go with a switch of users cannot use a temporary folder; there is one process only
NGINX_CONF = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 64m; client_body_buffer_size 16m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 1024; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is started. In the command, `{port}` and `{backend}` (a port, too) are filled in."""

    name: str
    command: str
    path: str = "/v1/messages"
    # put in front of the model's name
    prefix: str = ""
    # whether the gateway's targets are its own
    has_targets: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    server: Server
    port: int
    pid: int
    # from its start until it listened
    start_seconds: float


def this_gateway() -> Server:
    """The gateway of this checkout."""
    return Server("gateway", f"{shlex.quote(sys.executable)} -m gateway", has_targets=True)


def gateway(given: str, number: int) -> Server:
    """From `[NAME=]COMMAND`."""
    name, command = _split(given)
    return Server(name or ("gateway" if number == 0 else f"gateway-{number + 1}"), command, has_targets=True)


def peer(given: str) -> Server:
    """From `NAME[@MODEL_PREFIX]=COMMAND`. Raises BenchError."""
    name, command = _split(given)
    if not name or not command:
        raise BenchError(f"--peer {given}: must be NAME=COMMAND or NAME@MODEL_PREFIX=COMMAND")
    name, _, prefix = name.partition("@")
    return Server(name, command, prefix=prefix)


def _split(given: str) -> tuple[str, str]:
    name, equals, command = given.partition("=")
    if equals and name and not set(name) & set(" '\""):
        return name, command
    return "", given


def nginx() -> Server | None:
    """nginx, which copies the same bytes; None where it is not installed."""
    found = shutil.which(NGINX, path=None) or shutil.which(NGINX, path="/usr/sbin:/usr/local/sbin")
    return Server(NGINX, f"{shlex.quote(found)} -c {{conf}}", path="/v1/chat/completions") if found else None


@contextlib.contextmanager
def backend() -> Iterator[int]:
    """The bench's backend while it runs; gives its port."""
    port = free_port()
    command = [sys.executable, str(HERE / "backend.py"), str(port)]
    with running(command, port=port, processor=processors()[1], environment={}):
        yield port


@contextlib.contextmanager
def started(server: Server, backend: int, settings: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A server while it runs, with more settings. Raises BenchError."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "nginx.conf")
        conf.write_text(NGINX_CONF.format(folder=folder, port=port, backend=backend))
        # a peer's command may hold braces of its own
        filled = server.command.replace("{port}", str(port)).replace("{backend}", str(backend))
        command = shlex.split(filled.replace("{conf}", str(conf)))
        environment = {
            "BACKEND_URL": f"http://127.0.0.1:{backend}/v1/chat/completions",
            "HOST_PORT": str(port),
            "LOG_LEVEL": "info",
            "ENABLE_CIRCUIT_BREAKER": "true",
            "METRICS_PORT": "0",
            **(settings or {}),
        }
        ours = server == this_gateway()
        if ours:
            # away from a .env file
            environment["PYTHONPATH"] = str(ROOT)
        with running(
            command,
            port=port,
            processor=processors()[0],
            environment=environment,
            folder=Path(folder) if ours else None,
        ) as (pid, seconds):
            yield Running(server, port, pid, seconds)
