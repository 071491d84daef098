"""`claude-gateway health`: whether the gateway at HOST and HOST_PORT serves, for health checks without curl.

It asks `/health`, or with `--ready` `/ready`, and exits with 0 or 1. Where the gateway listens on all addresses,
loopback is asked.
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
Ask the gateway that runs with the same settings on this machine, at HOST and HOST_PORT, whether it serves. Says what
it found; exit code 0 if all is well, 1 if not, 2 for a setting that cannot be used. Needs no key.
"""
# which address of this machine to ask where the gateway listens on all
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_SETTINGS: Final = ("host", "host_port")


def make_parser() -> argparse.ArgumentParser:
    """The flags of `health`: where to ask, and for what."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway health", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", metavar="ADDRESS", help="where it listens [HOST, default: 127.0.0.1]")
    parser.add_argument("--host-port", metavar="PORT", help="and on which port [HOST_PORT, default: 8080]")
    parser.add_argument("--ready", action="store_true", help="ask whether requests can be answered now: /ready")
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=3.0, help="for the answer [default: 3]")
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
        raise SettingsError("HOST_PORT=0: the port must be known to be asked: give --host-port")
    return ask(settings, "/ready" if options["ready"] else "/health", options["timeout"])


def _addresses(environment: Mapping[str, str]) -> dict[str, str]:
    # other settings are the gateway's affair: it may run with better ones, given as flags
    return {name.upper(): environment[name.upper()] for name in _SETTINGS if name.upper() in environment}


def ask(settings: Settings, path: str, seconds: float) -> int:
    """Print how the gateway is. Returns 0 for a status of 200 within `seconds` of silence, else 1."""
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
        print(f"claude-gateway: {where}: status {status}, and the answer is not a gateway's", file=sys.stderr)
        return 1
    print(f"{where}: {words}")
    return 0 if status == 200 else 1
