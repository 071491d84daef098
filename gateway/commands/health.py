"""`claude-gateway health`: asks whether the gateway at HOST and HOST_PORT is serving, for health checks without curl.

It requests `/health`, or `/ready` with `--ready`, and exits with 0 or 1. For a gateway that listens on all addresses,
it asks at loopback.
"""

import argparse
import http.client
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.settings import Settings, SettingsError, load_settings

_DESCRIPTION: Final = """\
Ask the gateway on this machine, at HOST and HOST_PORT, whether it is serving. Prints the answer; the exit code is 0 if
all is well, 1 if not, 2 for an invalid setting. Needs no key.
"""
# the address to ask when the gateway listens on all
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_SETTINGS: Final = ("host", "host_port")


def make_parser() -> argparse.ArgumentParser:
    """The flags of `health`."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway health", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", metavar="ADDRESS", help="the gateway's address [HOST, default: 127.0.0.1]")
    parser.add_argument("--host-port", metavar="PORT", help="the gateway's port [HOST_PORT, default: 8080]")
    parser.add_argument("--ready", action="store_true", help="ask /ready: whether it can answer requests now")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=3.0, help="time limit for the answer [default: 3]"
    )
    return parser


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{value}: must be a number of seconds greater than 0")
    return seconds


def run(options: dict[str, Any]) -> int:
    """Ask once. Returns 0 or 1. Raises SettingsError."""
    settings = load_settings({name: options[name] for name in _SETTINGS}, _addresses(os.environ), Path.cwd())
    if not settings.host_port:
        raise SettingsError("HOST_PORT=0: the gateway's port must be known: give --host-port")
    return ask(settings, "/ready" if options["ready"] else "/health", options["timeout"])


def _addresses(environment: Mapping[str, str]) -> dict[str, str]:
    # ignore all other settings: one that is invalid here may be overridden by a flag of the gateway
    return {name.upper(): environment[name.upper()] for name in _SETTINGS if name.upper() in environment}


def ask(settings: Settings, path: str, seconds: float) -> int:
    """Print the gateway's state. Returns 0 for status 200, otherwise 1. `seconds` is the timeout of each socket
    operation.
    """
    host = _LOOPBACK.get(settings.host, settings.host)
    where = f"http://{f'[{host}]' if ':' in host else host}:{settings.host_port}{path}"
    connection = http.client.HTTPConnection(host, settings.host_port, timeout=seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return _tell(where, response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        print(f"claude-gateway: {where}: {_reason(error)}", file=sys.stderr)
        return 1
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _tell(where: str, status: int, body: bytes) -> int:
    try:
        answer = json.loads(body)
        words = ": ".join([answer["status"], *answer.get("reasons", [])])
    except (ValueError, TypeError, KeyError, AttributeError):
        print(f"claude-gateway: {where}: status {status}, but the answer is not a gateway's", file=sys.stderr)
        return 1
    print(f"{where}: {words}")
    return 0 if status == 200 else 1
