"""Logs: structured, one line each, to standard error."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog

from gateway.observability.logs.console import BLOCKS
from gateway.record.trace_id import TRACE_ID

# methods that are not named after their level
_LEVELS: Final = {"exception": "error", "warn": "warning"}

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure_logging(level: str, format_: str, *, stream: TextIO | None = None, cache: bool = True) -> None:
    """Set up structlog, and the standard library's logging (aiohttp, asyncio) in the same format.

    `format_`: `console`, `json`, or `auto`, which means console if the stream is a terminal. Tracebacks are plain: a
    rich one would show the values of variables, and with them tokens and prompts. `cache`: loggers keep these settings
    from their first line on, which is faster.
    """
    stream = stream or sys.stderr
    console = format_ == "console" or (format_ == "auto" and stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = []
    renderers: list[structlog.typing.Processor] = [_to_json]
    if console:
        shared = [
            structlog.stdlib.add_log_level,
            _add_trace_id,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        ]
        renderers = [
            structlog.processors.format_exc_info,
            _escape,
            _blocks(structlog.dev.ConsoleRenderer(colors=stream.isatty())),
        ]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # writes each line in one piece: other processes may write to the same stream
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=cache,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _add_trace_id(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if trace_id := TRACE_ID.get():
        line["trace_id"] = trace_id
    return line


def _escape(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    r"""Escape control and invisible characters, as in `\x1b`: clients choose paths and names."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n\t" if name == "exception" else ""
            line[name] = _printable(value, kept)
        elif isinstance(value, list):
            # a list of model names
            line[name] = [item if not isinstance(item, str) else _printable(item) for item in value]
    return line


def _printable(text: str, kept: str = "") -> str:
    return "".join(
        character if character.isprintable() or character in kept else repr(character)[1:-1] for character in text
    )


def _blocks(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """Render the start-up events as blocks, and all others with `renderer`."""

    def render(logger: Any, method: str, line: structlog.typing.EventDict) -> Any:
        block = BLOCKS.get(line["event"])
        return block(line) if block else renderer(logger, method, line)

    return render


def _to_json(_: Any, method: str, line: structlog.typing.EventDict) -> str:
    """Render a line as JSON. One processor does all the work, since every request writes a line."""
    head = {"timestamp": datetime.now(UTC), "level": _LEVELS.get(method, method), "event": line.pop("event", None)}
    if "exc_info" in line:
        line = structlog.processors.format_exc_info(None, method, line)
    if trace_id := TRACE_ID.get():
        line["trace_id"] = trace_id
    return _encode({**head, **line}).decode()
