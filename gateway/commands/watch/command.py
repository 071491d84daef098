"""`claude-gateway watch`: follows a running gateway in the terminal."""

import argparse
import os
from pathlib import Path
from typing import Any, Final

from gateway.settings import load_settings

_DESCRIPTION: Final = """\
Follow a running gateway: requests in progress and their state, the last finished ones, tokens per second, errors with
remedies, circuit breaker, models. Live on a terminal, until Ctrl-C; elsewhere, prints a line for each event.

From another machine, the gateway requires its STATUS_KEY: set it in the environment.
"""
_ANY: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  # all addresses include loopback


def make_parser() -> argparse.ArgumentParser:
    """The flags of `watch`."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway watch", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", metavar="URL", help="the gateway's address [default: this machine, HOST_PORT]")
    parser.add_argument("--once", action="store_true", help="show the current state and exit")
    return parser


def run(options: dict[str, Any]) -> int:
    """Watch until Ctrl-C, or show the state once. Raises SettingsError."""
    settings = load_settings({}, os.environ, Path.cwd())
    host = "127.0.0.1" if settings.host in _ANY else settings.host
    here = f"http://[{host}]:{settings.host_port}" if ":" in host else f"http://{host}:{settings.host_port}"
    from gateway.commands.watch.show import watch
    from gateway.serving import server

    url = (options["url"] or here).rstrip("/").removesuffix("/v1").removesuffix("/events")
    return server.run(watch(url, settings.status_key, once=options["once"]))
