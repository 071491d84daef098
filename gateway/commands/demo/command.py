"""`claude-gateway demo`: runs the gateway with an embedded backend, and shows one conversation."""

import argparse
import os
from pathlib import Path
from typing import Any, Final

from gateway.settings import add_flags, load_settings

_DESCRIPTION: Final = """\
Start the gateway with an embedded backend that needs no GPU and no key, stream one conversation with thinking and a
tool call through it, print the settings for Claude Code, and keep serving.
"""


def make_parser() -> argparse.ArgumentParser:
    """The flags of `demo`: every setting except secrets and the backend's address."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway demo", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="exit after the conversation")
    add_flags(parser, without=frozenset({"backend_url"}))
    return parser


def run(options: dict[str, Any]) -> int:
    """Show the conversation, then serve until a signal unless `once` is set. Raises SettingsError."""
    once = options.pop("once")
    settings = load_settings(options, os.environ, Path.cwd())
    from gateway.commands.demo.conversation import demo
    from gateway.serving import server

    return server.run(demo(settings, once=once))
