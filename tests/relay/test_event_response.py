"""A streamed answer byte by byte: its head, its framing, and what becomes of the connection."""

import asyncio
import json
import re
import time
from email.utils import parsedate_to_datetime

import pytest

from tests.conftest import END, HELLO, ScriptedBackend, ask, stream
from tests.http_connection import Connect, Connection

EVENTS = [*HELLO[:2], END[0], END[2]]
BODY = json.dumps(ask(stream=True)).encode()


def asked(*fields: bytes, version: bytes = b"1.1") -> bytes:
    head = [
        b"POST /v1/messages HTTP/" + version,
        b"Host: localhost",
        b"x-api-key: cpk_1",
        b"Content-Type: application/json",
    ]
    return b"\r\n".join([*head, *fields, b"Content-Length: %d" % len(BODY), b"", BODY])


async def head_of(connection: Connection) -> tuple[bytes, dict[str, str]]:
    line, *fields = (await connection.reader.readuntil(b"\r\n\r\n")).strip().split(b"\r\n")
    return line, dict(field.decode().lower().split(": ", 1) for field in fields)


async def chunks_of(connection: Connection) -> list[bytes]:
    chunks = []
    while size := int(await connection.reader.readline(), 16):
        chunks.append(await connection.reader.readexactly(size))
        assert await connection.reader.readexactly(2) == b"\r\n"
    assert await connection.reader.readexactly(2) == b"\r\n"
    return chunks


def names(body: bytes) -> list[str]:
    return re.findall(r"^event: (\w+)$", body.decode(), re.MULTILINE)


WHOLE = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
]


async def test_its_head_and_its_chunks(connect: Connect, scripted: ScriptedBackend) -> None:
    scripted.answers = [stream(*EVENTS)]
    connection = await connect()
    connection.writer.write(asked())

    line, head = await head_of(connection)

    assert line == b"HTTP/1.1 200 OK"
    assert re.fullmatch("req_[0-9a-f]+", head.pop("request-id"))
    assert abs(parsedate_to_datetime(head.pop("date")).timestamp() - time.time()) < 60
    assert head == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "server": "claude-gateway",
        "transfer-encoding": "chunked",
    }
    assert names(b"".join(await chunks_of(connection))) == WHOLE


async def test_its_connection_takes_the_next_request(connect: Connect, scripted: ScriptedBackend) -> None:
    scripted.answers = [stream(*EVENTS), stream(*EVENTS)]
    connection = await connect()
    for _ in range(2):
        connection.writer.write(asked())
        await head_of(connection)
        assert names(b"".join(await chunks_of(connection))) == WHOLE


async def test_who_asks_for_it_gets_the_connection_closed(connect: Connect, scripted: ScriptedBackend) -> None:
    scripted.answers = [stream(*EVENTS)]
    connection = await connect()
    connection.writer.write(asked(b"Connection: close"))

    _, head = await head_of(connection)
    await chunks_of(connection)

    assert head["connection"] == "close"
    assert await connection.reader.read() == b""


async def test_an_older_client_gets_it_to_the_connections_end(connect: Connect, scripted: ScriptedBackend) -> None:
    scripted.answers = [stream(*EVENTS)]
    connection = await connect()
    connection.writer.write(asked(b"Connection: keep-alive", version=b"1.0"))

    line, head = await head_of(connection)
    body = await connection.reader.read()

    assert line == b"HTTP/1.1 200 OK"
    assert "transfer-encoding" not in head
    assert head["connection"] == "close"
    assert names(body) == WHOLE


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_one_that_breaks_off_is_not_ended_for_claude_code(
    version: bytes, connect: Connect, scripted: ScriptedBackend
) -> None:
    begun = asyncio.Event()
    scripted.answers = [stream(*EVENTS[:2], begun, cut=True)]
    connection = await connect()
    connection.writer.write(asked(b"User-Agent: claude-cli/2.1.330 (external, cli)", version=version))

    await head_of(connection)
    # before that, the gateway would ask again
    begun.set()
    body = await connection.reader.read()

    assert names(body)[-2:] == ["content_block_delta", "error"]
    assert not body.endswith(b"0\r\n\r\n")


async def test_each_read_of_the_backend_is_one_chunk_as_it_comes(connect: Connect, scripted: ScriptedBackend) -> None:
    second, rest = asyncio.Event(), asyncio.Event()
    scripted.answers = [stream(*EVENTS[:2], second, EVENTS[1] * 3, rest, *EVENTS[2:])]
    connection = await connect()
    connection.writer.write(asked())
    await head_of(connection)

    begin = await connection.reader.readexactly(int(await connection.reader.readline(), 16) + 2)
    second.set()
    deltas = await connection.reader.readexactly(int(await connection.reader.readline(), 16) + 2)
    rest.set()
    end = b"".join(await chunks_of(connection))

    assert names(begin) == WHOLE[:3]
    assert names(deltas) == ["content_block_delta"] * 3
    assert names(end) == WHOLE[3:]
