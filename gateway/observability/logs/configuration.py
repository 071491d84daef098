"""Logs: structured, one line each, to standard error."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog

from gateway.observability.logs.access_log import REQUEST
from gateway.observability.logs.console import BLOCKS
from gateway.observability.logs.writer import LogWriter, standard_error
from gateway.record.redaction import Redactor
from gateway.record.trace_id import TRACE_ID

# methods that are not named after their level
_LEVELS: Final = {"exception": "error", "warn": "warning"}
# the longest text in a line, and the longest traceback, of which beginning and end are kept
_TEXT_CHARACTERS: Final = 1000
_TRACEBACK_CHARACTERS: Final = 8000
_MOST_ITEMS: Final = 1000
# a line that is longer with texts of that length gets shorter ones
_LINE_BYTES: Final = 16 * 1024
_SHORT_CHARACTERS: Final = 100

log = structlog.get_logger(__name__)

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure_logging(
    level: str, format_: str, *, redactor: Redactor | None = None, stream: TextIO | None = None, cache: bool = True
) -> None:
    """Set up structlog, and the standard library's logging (aiohttp, asyncio) in the same format.

    `format_`: `console`, `json`, or `auto`, which means console if the stream is a terminal. Tracebacks are plain: a
    rich one would show the values of variables, and with them tokens and prompts. `cache`: loggers keep these settings
    from their first line on, which is faster. `redactor` cuts secrets out of each line.

    Without a `stream`, lines go to standard error from a thread: see `gateway.observability.logs.writer`.
    """
    stream = stream or standard_error()
    if isinstance(stream, LogWriter):
        stream.on_flow = _tell_dropped
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
            _bound,
            _escape,
            _blocks(structlog.dev.ConsoleRenderer(colors=stream.isatty())),
        ]
    renderers = [_redacted(redactor or Redactor(), renderers)]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # writes each line in one piece: other processes may write to the same stream
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=cache,
    )
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def count_dropped(count: Callable[[], None]) -> None:
    """Call `count` for each line that is dropped from now on because standard error takes none."""
    stream = standard_error()
    if isinstance(stream, LogWriter):
        stream.on_drop = count


def _tell_dropped(lines: int) -> None:
    log.warning("log lines dropped", lines=lines, reason="standard error took no lines for a while")


class _Handler(logging.StreamHandler[TextIO]):
    """Logs what other libraries log."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's hook
        """Log that a record could not be formatted; the default writes to standard error itself, which may block."""
        log.warning("log line not formatted", logger=record.name)


def _redacted(redactor: Redactor, renderers: Sequence[structlog.typing.Processor]) -> structlog.typing.Processor:
    """Render a line with `renderers`, without secrets."""

    def render(logger: Any, method: str, line: structlog.typing.EventDict) -> Any:
        # every request writes this line, whose texts recur: of those that differ, the id is the gateway's own
        recurs = line.get("event") == REQUEST and redactor.cuts
        if recurs:
            for name, value in line.items():
                if value.__class__ is str and name != "request_id":
                    line[name] = redactor.cut_recurring(value)
        text: Any = line
        for renderer in renderers:
            text = renderer(logger, method, text)
        return text if recurs else redactor.cut(text)

    return render


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
    whole = {**head, **line}
    try:
        text = _encode(whole)
    except Exception:  # noqa: BLE001  # a value that cannot be encoded must not fail the request that it is about
        text = _encode(_shortened(whole, _TEXT_CHARACTERS))
    # otherwise no text can be too long
    if len(text) > _TEXT_CHARACTERS:
        text = _encode(_shortened(whole, _TEXT_CHARACTERS))
        if len(text) > _LINE_BYTES:
            text = _encode(_shortened(whole, _SHORT_CHARACTERS))
    return text.decode()


def _bound(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return _shortened(line, _TEXT_CHARACTERS)


def _shortened(line: structlog.typing.EventDict, most: int) -> structlog.typing.EventDict:
    """The line with texts of at most so many characters: clients and backends choose names and messages."""
    short = {name: _short(value, most) for name, value in line.items()}
    if isinstance(trace := line.get("exception"), str):
        half = most * _TRACEBACK_CHARACTERS // _TEXT_CHARACTERS // 2
        short["exception"] = trace if len(trace) <= 2 * half else f"{trace[:half]}\n…\n{trace[-half:]}"
    return short


def _short(value: Any, most: int) -> Any:
    if value is None or isinstance(value, bool | float | datetime):
        return value
    if isinstance(value, int) and abs(value) < 1 << 63:
        return value
    if isinstance(value, list | tuple):
        return [_short(item, most) for item in value[:_MOST_ITEMS]]
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:  # noqa: BLE001  # see above
        text = f"a {type(value).__name__}"
    text = text if len(text) <= most else f"{text[:most]}…"
    # half a character, which UTF-8 cannot express
    return text.encode(errors="backslashreplace").decode()
