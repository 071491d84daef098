"""The command line: `serve` (without a command, too) and `demo`.

claude-gateway [serve] [settings]
claude-gateway demo [--once] [settings]
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway import __version__
from gateway.settings import Settings, SettingsError, add_flags, load_settings

_SERVE: Final = """\
Serve Anthropic's Messages API in front of an OpenAI-compatible chat-completions backend.

commands:
  serve   this (also without a command)
  demo    the gateway with an embedded backend, and one conversation through it
"""
_DEMO: Final = """\
Start the gateway with an embedded backend that needs no GPU and no key, stream one conversation with thinking and a
tool call through it, print the settings for Claude Code, and stay up.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 2 for a setting that cannot be used."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given.pop(0) if given and given[0] in ("serve", "demo") else "serve"
    parser = _demo_parser() if command == "demo" else _serve_parser()
    options = vars(parser.parse_args(given))
    once = options.pop("once", False)
    try:
        settings = load_settings(options, os.environ, Path.cwd())
        return _demo(settings, once=once) if command == "demo" else _serve(settings)
    except SettingsError as error:
        print(f"claude-gateway: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="claude-gateway", description=_SERVE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"claude-gateway {__version__}")
    add_flags(parser)
    return parser


def _demo_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="claude-gateway demo", description=_DEMO, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="end after the conversation")
    add_flags(parser, without=frozenset({"backend_url"}))
    return parser


def _serve(settings: Settings) -> int:
    if settings.workers > 1:
        from gateway.workers import supervise

        return supervise(settings)
    from gateway.server import run, serve

    return run(serve(settings))


def _demo(settings: Settings, *, once: bool) -> int:
    from gateway.demo.conversation import demo
    from gateway.server import run

    return run(demo(settings, once=once))
