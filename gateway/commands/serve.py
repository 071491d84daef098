"""`claude-gateway serve`: runs the gateway."""

import argparse
import os
from pathlib import Path
from typing import Any, Final

from gateway import __version__
from gateway.observability.tracing.configuration import TracingError, load_tracing
from gateway.settings import SettingsError, add_flags, load_settings, read_dotenv

_DESCRIPTION: Final = "Serve Anthropic's Messages API in front of an OpenAI-compatible chat-completions backend."


def make_parser() -> argparse.ArgumentParser:
    """The flags of `serve`: every setting except secrets."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"claude-gateway {__version__}")
    add_flags(parser)
    return parser


def run(options: dict[str, Any]) -> int:
    """Serve until a signal. Raises SettingsError."""
    from gateway.serving.descriptors import hold_standard_streams, raise_limit

    hold_standard_streams()
    settings = load_settings(options, os.environ, Path.cwd())
    raise_limit()
    _adopt_dotenv()
    try:
        tracing = load_tracing(os.environ)
    except TracingError as error:
        raise SettingsError(str(error)) from None
    if settings.workers > 1:
        from gateway.serving.workers import supervise

        return supervise(settings, tracing)
    from gateway.serving import server

    return server.run(server.serve(settings, tracing))


def _adopt_dotenv() -> None:
    """Copy OTEL_ variables from `.env`: OpenTelemetry reads only the environment."""
    for name, value in read_dotenv(Path.cwd()).items():
        if name.startswith("OTEL_") and value:
            os.environ.setdefault(name, value)
