"""`claude-gateway check`: what works with a backend, row by row, and how to fix what does not."""

import argparse
import os
import sys
from dataclasses import fields, replace
from getpass import getpass
from pathlib import Path
from typing import Any, Final

from gateway.settings import Settings, SettingsError, add_flags, load_settings

_DESCRIPTION: Final = """\
Test a backend for everything that Claude Code needs, through the gateway's own translation, and report what works,
what does not, and what to do. Sends about fifteen short requests, about 5,000 tokens in all; --full adds one very long
prompt.

The key comes from --token-file or BACKEND_API_KEY. Without either, the command asks for it, without echo, unless the
backend is on this machine.

exit codes: 0 Claude Code has all it needs, 1 it lacks something, 2 invalid setting, 130 Ctrl-C
"""
# the settings that say where the backend is and how to talk to it; the others concern only the server
_USED: Final = frozenset({"backend_url", "backend_profile", "model_map", "connect_timeout_secs", "host", "host_port"})
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def make_parser() -> argparse.ArgumentParser:
    """The flags of `check`."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway check", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="the backend, instead of --backend-url")
    parser.add_argument("--model", metavar="NAME", default="", help="the model to test [default: the first one listed]")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--token-file", metavar="FILE", help="a file that contains the key; - for standard input")
    key.add_argument("--ask-token", action="store_true", help="ask for the key even if the settings have one")
    key.add_argument("--no-token", action="store_true", help="never ask for a key")
    parser.add_argument(
        "--full", action="store_true", help="also send a prompt larger than the context window: up to 300,000 tokens"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of rows")
    parser.add_argument(
        "--patience", metavar="SECONDS", type=_seconds, default=60.0, help="time limit for one answer [default: 60]"
    )
    parser.add_argument(
        "--within",
        metavar="SECONDS",
        type=_seconds,
        default=300.0,
        help="time limit for the whole check [default: 300]",
    )
    add_flags(parser, without=frozenset(setting.name for setting in fields(Settings)) - _USED)
    return parser


def run(options: dict[str, Any]) -> int:
    """Run the check and return the exit code. Raises SettingsError."""
    url = options.pop("url")
    if url and options["backend_url"]:
        raise SettingsError("give the backend only once: as URL or as --backend-url")
    options["backend_url"] = url or options["backend_url"]
    own = {
        name: options.pop(name)
        for name in ("model", "token_file", "ask_token", "no_token", "full", "json", "patience", "within")
    }
    settings = load_settings(options, os.environ, Path.cwd())
    token = _token(settings, own)
    if token:
        # a key given for this run takes precedence over the configured one
        settings = replace(settings, backend_api_key="")
    from rich.console import Console

    from gateway.commands.check.doctor import check
    from gateway.commands.check.report import JSONReport, TerminalReport
    from gateway.observability.logs.configuration import configure_logging
    from gateway.serving import server

    # the rows already contain what would be logged
    configure_logging("critical", settings.log_format)
    report = (
        JSONReport(Console(stderr=True))
        if own["json"]
        else TerminalReport(Console(highlight=False), settings.backend_url.shown)
    )
    limits = {name: own[name] for name in ("model", "full", "patience", "within")}
    return server.run(check(settings, report, token=token, **limits))


def _token(settings: Settings, own: dict[str, Any]) -> str:
    """The user's key, or "" for none. Raises SettingsError, whose text never contains the key."""
    if own["token_file"]:
        return _checked(_read(own["token_file"]), "--token-file")
    if own["ask_token"]:
        return _checked(_typed("Key of the backend (not shown): "), "the key")
    if own["no_token"] or own["json"] or settings.backend_api_key or settings.backend_url.host in _LOCAL:
        return ""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return ""
    return _checked(_typed(f"Key for {settings.backend_url.host} (not shown; Enter for none): "), "the key")


def _typed(question: str) -> str:
    try:
        return getpass(question)
    except EOFError:
        # Ctrl-D: no key
        return ""


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"--token-file {path}: cannot be read ({reason})") from None


def _checked(token: str, source: str) -> str:
    token = token.strip()
    if not all("!" <= character <= "~" for character in token):
        raise SettingsError(f"{source}: must contain only the key: one word of ASCII characters")
    if "sk-ant-" in token:
        raise SettingsError(
            f"{source}: this is a token for Anthropic (sk-ant-…) and was not sent: give the backend's key"
        )
    return token


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds < 1e6:
        raise ValueError
    return seconds
