import io
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from gateway.log import configure_logging


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
from gateway.log import configure_logging
configure_logging("info", "json")
structlog.get_logger().info("x" * 20000)
"""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            subprocess.run([sys.executable, *flags, "-c", program], stderr=theirs, check=True, timeout=30)
        written = ours.recv(100_000)
        assert ours.recv(100_000) == b""

    assert written.endswith(b'"}\n')
    assert json.loads(written)["event"] == "x" * 20000
