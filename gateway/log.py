"""Logs: structured, one line each, to standard error."""

import logging
import sys
from contextvars import ContextVar
from typing import Any, Final, TextIO

import msgspec
import structlog

from gateway.console import BLOCKS

# of the request that is being worked on, if it is traced: all its lines carry it
TRACE_ID: Final = ContextVar("trace_id", default="")


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
        _add_trace_id,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    renderers: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        *(
            (_escape, _blocks(structlog.dev.ConsoleRenderer(colors=stream.isatty())))
            if console
            else (structlog.processors.JSONRenderer(serializer=_to_json),)
        ),
    ]
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


def _add_trace_id(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if trace_id := TRACE_ID.get():
        line["trace_id"] = trace_id
    return line


def _escape(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    r"""Show what a terminal would obey, or would hide, as `\x1b`: strangers choose paths and names."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            kept = "\n\t" if name == "exception" else ""
            line[name] = _printable(value, kept)
        elif isinstance(value, list):
            # names of models
            line[name] = [item if not isinstance(item, str) else _printable(item) for item in value]
    return line


def _printable(text: str, kept: str = "") -> str:
    return "".join(
        character if character.isprintable() or character in kept else repr(character)[1:-1] for character in text
    )


def _blocks(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """The lines of a start as its block has them, the others as they were."""

    def render(logger: Any, method: str, line: structlog.typing.EventDict) -> Any:
        block = BLOCKS.get(line["event"])
        return block(line) if block else renderer(logger, method, line)

    return render


def _to_json(line: dict[str, Any], **_: Any) -> str:
    head = {name: line.pop(name) for name in ("timestamp", "level", "event") if name in line}
    return msgspec.json.encode({**head, **line}, enc_hook=str).decode()
