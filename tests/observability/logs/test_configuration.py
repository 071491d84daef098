import io
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from gateway.observability.logs.configuration import configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_json_lines_begin_with_when_what_and_how_bad() -> None:
    out = io.StringIO()
    configure_logging("info", "json", stream=out)

    structlog.get_logger().info("request", status=200, path="/v1/é")

    line = json.loads(out.getvalue())
    assert list(line) == ["timestamp", "level", "event", "status", "path"]
    assert line["path"] == "/v1/é"


def test_lines_below_the_level_are_not_written() -> None:
    out = io.StringIO()
    configure_logging("warning", "json", stream=out)

    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")

    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]


def test_without_a_terminal_auto_is_json() -> None:
    out = io.StringIO()
    configure_logging("info", "auto", stream=out)

    structlog.get_logger().info("request")

    assert json.loads(out.getvalue())["event"] == "request"


def test_the_console_form_is_for_people() -> None:
    out = io.StringIO()
    configure_logging("info", "console", stream=out)

    structlog.get_logger().info("request", status=200)

    assert "request" in out.getvalue()
    assert "status=200" in out.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values(form: str) -> None:
    out = io.StringIO()
    configure_logging("info", form, stream=out)

    def fail(token: str) -> None:
        raise RuntimeError(f"{len(token)} characters")

    try:
        fail("canary-token")
    except RuntimeError:
        structlog.get_logger().exception("internal error")

    assert "RuntimeError" in out.getvalue()
    assert "canary-token" not in out.getvalue().replace('fail("canary-token")', "").replace(
        r"fail(\"canary-token\")", ""
    )


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        pytest.param("/v1/a\x1b[31m", r"/v1/a\x1b[31m", id="a colour"),
        pytest.param("/v1/a\x07\x00\x7f", r"/v1/a\x07\x00\x7f", id="bell, NUL, delete"),
        pytest.param("/v1/a\x9b2J", r"/v1/a\x9b2J", id="a command in one character"),
        pytest.param("/v1/a\r\n12:00:00 [info]", r"/v1/a\r\n12:00:00 [info]", id="a line of its own"),
        pytest.param("/v1/\u202egnp.exe\u2028", r"/v1/\u202egnp.exe\u2028", id="the other direction"),
        pytest.param("/v1/\ud800", r"/v1/\ud800", id="half a character"),
        pytest.param("/v1/é 中 😀", "/v1/é 中 😀", id="other languages stay"),
    ],
)
@pytest.mark.parametrize("by", ["a value", "the event", "a library", "a traceback"])
def test_strangers_cannot_command_the_terminal(by: str, sent: str, shown: str) -> None:
    out = io.StringIO()
    configure_logging("info", "console", stream=out)

    if by == "a value":
        structlog.get_logger().info("request", path=sent)
    elif by == "the event":
        structlog.get_logger().info(sent)
    elif by == "a library":
        logging.getLogger("aiohttp.server").error("%s", sent)
    else:
        structlog.get_logger().error("internal error", exc_info=ValueError(sent))
        # a traceback has several lines anyway
        shown = shown.replace(r"\n", "\n")

    written = out.getvalue()
    assert shown in written.replace("\\\\", "\\")
    assert written.replace("\n", "").isprintable()
    if by != "a traceback":
        assert written.count("\n") == 1


def test_a_traceback_keeps_its_lines_on_the_console() -> None:
    out = io.StringIO()
    configure_logging("info", "console", stream=out)

    try:
        raise RuntimeError("one\n\ttwo")
    except RuntimeError:
        structlog.get_logger().exception("internal error")

    lines = out.getvalue().splitlines()
    assert "internal error" in lines[0]
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-2:] == ["RuntimeError: one", "\ttwo"]


def test_libraries_log_in_the_same_form() -> None:
    out = io.StringIO()
    configure_logging("info", "json", stream=out)

    logging.getLogger("aiohttp.server").error("broken pipe")
    logging.getLogger("aiohttp.server").info("chatter")

    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["event"] == "broken pipe"


@pytest.mark.skipif(sys.platform != "linux", reason="needs local sockets that keep writes apart")
@pytest.mark.parametrize("flags", [[], ["-u"]], ids=["buffered", "unbuffered"])
def test_a_line_is_written_in_one_piece_so_that_processes_do_not_tear_each_others(flags: list[str]) -> None:
    program = """
import structlog
from gateway.observability.logs.configuration import configure_logging
configure_logging("info", "json")
structlog.get_logger().info("x", **{f"field{number}": "x" * 1000 for number in range(12)})
"""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            subprocess.run([sys.executable, *flags, "-c", program], stderr=theirs, check=True, timeout=30)
        written = ours.recv(100_000)
        assert ours.recv(100_000) == b""

    assert written.endswith(b'"}\n')
    assert json.loads(written)["field11"] == "x" * 1000


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_text_makes_a_line_long(form: str) -> None:
    out = io.StringIO()
    configure_logging("info", form, stream=out)
    long = "m" * 1_000_000
    log = structlog.get_logger()

    log.info(long)
    log.info("profile learnt", model=long, first=[long, long], many=list(range(100_000)), text=b"x" * 1_000_000)
    log.info("controls", text="\x00" * 1_000_000, **{f"field{number}": long for number in range(50)})
    log.error("internal error", exc_info=ValueError(long))
    logging.getLogger("aiohttp.server").error("%s", long)

    assert len(out.getvalue()) < 250_000


def test_a_long_traceback_keeps_its_end() -> None:
    out = io.StringIO()
    configure_logging("info", "json", stream=out)

    structlog.get_logger().error("internal error", exc_info=ValueError("x" * 100_000 + " the end"))

    line = json.loads(out.getvalue())
    assert line["exception"].endswith(" the end")
    assert len(line["exception"]) < 8100


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "value",
    ["\ud800", 10**5000, 1 << 64, float("nan"), {"a": "\udfff"}, _Unprintable()],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_json_cannot_express_still_leaves_a_line(value: object) -> None:
    out = io.StringIO()
    configure_logging("info", "json", stream=out)

    structlog.get_logger().info("request", value=value, status=200)

    assert json.loads(out.getvalue())["status"] == 200


def test_a_library_whose_line_cannot_be_formatted_is_told() -> None:
    out = io.StringIO()
    configure_logging("info", "json", stream=out)

    logging.getLogger("aiohttp.server").error("%d", "x")

    assert json.loads(out.getvalue())["event"] == "log line not formatted"
