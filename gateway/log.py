"""Logs: structured, one line each, to standard error."""

import logging
import sys
from typing import Any, TextIO

import msgspec
import structlog


def configure_logging(level: str, format_: str, *, stream: TextIO | None = None, cache: bool = True) -> None:
    """Set up structlog, and the standard library's logging (aiohttp, asyncio) in the same form.

    `format_`: `console`, `json`, or `auto`: console where the stream is a terminal. Tracebacks are plain: a pretty
    one would show the values of variables, and with them tokens and prompts. `cache`: loggers keep these settings from
    their first line on, which is faster.
    """
    stream = stream or sys.stderr
    console = format_ == "console" or (format_ == "auto" and stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # a line in one piece: other processes may write to the same place
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


def _to_json(line: dict[str, Any], **_: Any) -> str:
    head = {name: line.pop(name) for name in ("timestamp", "level", "event") if name in line}
    return msgspec.json.encode({**head, **line}, enc_hook=str).decode()
