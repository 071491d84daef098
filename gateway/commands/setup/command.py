"""`claude-gateway setup`: points an installed Claude Code at a gateway."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final

_DESCRIPTION: Final = """\
Point Claude Code at a gateway: asks for the address, the token and the model, shows what changes, and writes it to
~/.claude/settings.json (or into CLAUDE_CONFIG_DIR). Everything else in there stays; a backup is kept for --uninstall.
"""
_EPILOG: Final = """\
The token has no flag, since others can read a command line: it comes from --token-file, CLAUDE_GATEWAY_TOKEN or
ANTHROPIC_AUTH_TOKEN, from the settings that are there, or is asked for and not shown.
"""


def make_parser() -> argparse.ArgumentParser:
    """The flags of `setup`; none of them is a setting of the gateway."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway setup",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", help="the gateway's base URL [default: the one set up, or http://127.0.0.1:8080]")
    parser.add_argument("--model", metavar="NAME", help="one of the gateway's models, in any case")
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="a file that holds the token")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, write nothing")
    parser.add_argument("--uninstall", action="store_true", help="put back what was there before")
    return parser


def run(options: dict[str, Any]) -> int:
    """Set up, or undo it; returns the exit code."""
    from gateway.commands.setup.dialogue import Flags, setup

    return setup(Flags(**options, terminal=sys.stdin.isatty()), os.environ)
