"""`claude-gateway setup`: points an installed Claude Code at a gateway."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final

_DESCRIPTION: Final = """\
Point Claude Code at a gateway. Asks for the address, the token and the model, shows the changes, and writes them to
~/.claude/settings.json (or the one in CLAUDE_CONFIG_DIR). All other settings stay; a backup is kept for --uninstall.
"""
_EPILOG: Final = """\
The token has no flag, since other users can read command lines. It comes from --token-file, CLAUDE_GATEWAY_TOKEN,
ANTHROPIC_AUTH_TOKEN or the existing settings; otherwise the command asks for it, without echo.
"""


def make_parser() -> argparse.ArgumentParser:
    """The flags of `setup`; none of them is a gateway setting."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway setup",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", help="the gateway's base URL [default: the current one, or http://127.0.0.1:8080]")
    parser.add_argument("--model", metavar="NAME", help="one of the gateway's models; case does not matter")
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="a file that contains the token")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, but write nothing")
    parser.add_argument("--uninstall", action="store_true", help="restore the settings from before")
    return parser


def run(options: dict[str, Any]) -> int:
    """Set up, or undo the set-up. Returns the exit code."""
    from gateway.commands.setup.dialogue import Flags, setup

    return setup(Flags(**options, terminal=sys.stdin.isatty()), os.environ)
