import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from gateway.backend.adapter import Backend, Timeouts
from gateway.backend.endpoint import parse_endpoint
from gateway.backend.policy.breaker import Breaker, BreakerOpen
from gateway.backend.policy.retry import RetryPolicy
from gateway.translate.refusals.faults import BackendFault
from tests.conftest import ScriptedBackend, respond, silence, stream

OK = respond(b'{"ok":true}')
SHORT = Timeouts(connect=5, send=5, answer=5, silence=5)


@pytest.fixture
async def backend(scripted: ScriptedBackend) -> AsyncIterator[Backend]:
    backend = backend_at(scripted.url, fail_max=2)
    yield backend
    await backend.close()


@pytest.fixture
async def impatient(scripted: ScriptedBackend) -> AsyncIterator[Backend]:
    backend = backend_at(scripted.url, timeouts=Timeouts(answer=0.1, silence=0.1))
    yield backend
    await backend.close()


def backend_at(
    url: str, *, fail_max: int = 5, timeouts: Timeouts = SHORT, retries: int = 0, connections: int = 0, key: str = ""
) -> Backend:
    breaker = Breaker(enabled=True, fail_max=fail_max, reset_seconds=60)
    policy = RetryPolicy(retries=retries, seconds=5)
    endpoint = parse_endpoint(url)
    return Backend(endpoint, breaker, timeouts=timeouts, retry=policy, connections=connections, key=key)


async def call(backend: Backend) -> bytes:
    async with await backend.chat(b"{}", token="key", stream=True) as answer:
        return await answer.read_all()


def next_failure(backend: Backend) -> asyncio.Event:
    failed = asyncio.Event()
    backend.breaker.on_update = lambda *_: failed.set()
    return failed


def where(scripted: ScriptedBackend) -> str:
    return f"{scripted.url}/v1/chat/completions"


async def fault_of(backend: Backend) -> BackendFault:
    with pytest.raises(BackendFault) as fault:
        await call(backend)
    return fault.value


async def test_an_answer_is_read_to_its_end(scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [stream(b"one", b"two")]

    assert await call(backend) == b"onetwo"
    assert backend.breaker.failures == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_the_backends_own_faults_count(status: int, scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [respond(b"{}", status=status)]

    assert (await fault_of(backend)).counts
    assert backend.breaker.failures == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429])
async def test_the_clients_faults_do_not(status: int, scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [respond(b"{}", status=500), respond(b"{}", status=status)]
    await fault_of(backend)

    assert not (await fault_of(backend)).counts
    assert backend.breaker.failures == 0


async def test_no_answer_in_time_counts(scripted: ScriptedBackend, impatient: Backend) -> None:
    scripted.answers = [silence(asyncio.Event())]

    fault = await fault_of(impatient)

    assert (fault.status, fault.message) == (
        504,
        f"the backend at {where(scripted)} sent no answer within 0.1 s (BACKEND_TIMEOUT_SECS): it may be overloaded; try again, or allow it more time",
    )
    assert impatient.breaker.failures == 1


async def test_silence_within_an_answer_counts(scripted: ScriptedBackend, impatient: Backend) -> None:
    scripted.answers = [stream(b"one", asyncio.Event())]

    fault = await fault_of(impatient)

    assert (fault.status, fault.message) == (
        504,
        f"the backend at {where(scripted)} sent nothing for 0.1 s: it may be hanging; try again, or check its log",
    )
    assert impatient.breaker.failures == 1
    await asyncio.wait_for(scripted.client_left.wait(), 2)


async def test_who_reads_slowly_does_not_make_the_backend_silent(scripted: ScriptedBackend, impatient: Backend) -> None:
    first_read = asyncio.Event()
    scripted.answers = [stream(b"one", first_read, b"two")]

    async with await impatient.chat(b"{}", token="key", stream=True) as answer:
        assert await answer.read() == b"one"
        await asyncio.sleep(0.2)  # longer than the backend may be silent
        first_read.set()
        assert await answer.read_all() == b"two"


async def test_a_connection_that_closes_without_an_answer_counts(scripted: ScriptedBackend, backend: Backend) -> None:
    closed = asyncio.Event()
    closed.set()
    scripted.answers = [silence(closed)]

    fault = await fault_of(backend)

    assert (fault.status, fault.should_retry) == (502, True)
    assert fault.message.endswith("closed the connection before it answered; try again, or check its log")
    assert backend.breaker.failures == 1


class Server:
    """A server in threads' way, on plain sockets: what it closes is closed at once, and not in the loop's next round."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests = 0

    async def accept(self) -> socket.socket:
        connection, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        connection.setblocking(False)
        return connection

    async def read_request(self, connection: socket.socket) -> None:
        received = b""
        while not received.endswith(b"{}"):
            piece = await asyncio.get_running_loop().sock_recv(connection, 65536)
            if not piece:
                raise ConnectionError
            received += piece
        self.requests += 1

    async def answer(self, connection: socket.socket) -> None:
        await self.read_request(connection)
        await asyncio.get_running_loop().sock_sendall(
            connection, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\nok"
        )


async def test_a_request_on_an_idle_connection_that_was_closed_goes_out_once_more_on_a_new_one() -> None:
    server = Server()
    backend = backend_at(server.url, fail_max=1)
    retried: list[BackendFault] = []
    backend.on_retry = retried.append
    calls = [asyncio.create_task(call(backend)) for _ in "ab"]
    idle = [await server.accept() for _ in calls]
    for connection in idle:
        await server.answer(connection)
    await asyncio.gather(*calls)

    # closed before the request is written, which the client's loop does not know of yet
    for connection in idle:
        connection.close()
    calling = asyncio.create_task(call(backend))
    connection = await server.accept()
    await server.answer(connection)

    assert await calling == b"ok"
    assert server.requests == 3
    assert backend.breaker.state == "closed"
    assert [fault.taken for fault in retried] in ([False], [])
    connection.close()
    await backend.close()
    server.listener.close()


async def test_a_request_that_was_read_on_an_idle_connection_is_not_sent_again() -> None:
    server = Server()
    backend = backend_at(server.url, retries=2)
    retried: list[BackendFault] = []
    backend.on_retry = retried.append
    calling = asyncio.create_task(call(backend))
    connection = await server.accept()
    await server.answer(connection)
    await calling

    calling = asyncio.create_task(fault_of(backend))
    await server.read_request(connection)
    connection.close()
    fault = await calling

    assert "closed the connection before it answered" in fault.message
    assert (fault.status, fault.taken) == (502, True)
    assert (server.requests, retried) == (2, [])
    await backend.close()
    server.listener.close()


async def test_a_server_that_resets_every_connection_gets_a_request_at_most_twice() -> None:
    server = Server()
    backend = backend_at(server.url)
    calls = [asyncio.create_task(call(backend)) for _ in "abcde"]
    idle = [await server.accept() for _ in calls]
    for connection in idle:
        await server.answer(connection)
    await asyncio.gather(*calls)

    async def reset(connection: socket.socket) -> None:
        with suppress(ConnectionError):
            await server.read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    async def reset_all() -> None:
        while True:
            await reset(await server.accept())

    resetting = [asyncio.create_task(reset_all()), *(asyncio.create_task(reset(connection)) for connection in idle)]
    fault = await fault_of(backend)

    assert fault.status == 502
    assert server.requests <= len(calls) + 2
    await backend.close()
    for task in resetting:
        task.cancel()
    await asyncio.wait(resetting)
    for connection in idle:
        connection.close()
    await backend.close()
    server.listener.close()


async def test_an_answer_that_breaks_off_counts(scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [stream(b"one", cut=True)]

    assert "broke off" in (await fault_of(backend)).message
    assert backend.breaker.failures == 1


async def test_leaving_early_closes_the_connection_and_counts_as_nothing(
    scripted: ScriptedBackend, backend: Backend
) -> None:
    scripted.answers = [respond(b"{}", status=500), stream(b"one", asyncio.Event())]
    await fault_of(backend)

    async def leave() -> None:
        async with await backend.chat(b"{}", token="key", stream=True) as answer:
            assert await answer.read() == b"one"
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await leave()

    await asyncio.wait_for(scripted.client_left.wait(), 2)
    assert backend.breaker.failures == 1


async def test_being_cancelled_while_waiting_counts_as_nothing(scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [silence(asyncio.Event())]

    waiting = asyncio.create_task(call(backend))
    await scripted.asked.wait()
    waiting.cancel()
    await asyncio.wait([waiting])

    await asyncio.wait_for(scripted.client_left.wait(), 2)
    assert backend.breaker.failures == 0


async def test_an_open_breaker_asks_the_backend_nothing(scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [respond(b"{}", status=500), respond(b"{}", status=500)]
    await fault_of(backend)
    await fault_of(backend)

    with pytest.raises(BreakerOpen):
        await call(backend)
    assert len(scripted.requests) == 2


async def test_a_redirect_is_not_followed(scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [respond(b"", status=307, location="https://elsewhere.example/v1")]

    fault = await fault_of(backend)

    assert (
        fault.message == "the backend redirects to https://elsewhere.example/v1: set BACKEND_URL to the final address"
    )
    assert (fault.status, fault.should_retry) == (502, False)
    assert len(scripted.requests) == 1


async def test_an_error_body_in_pieces_is_read_whole(scripted: ScriptedBackend, backend: Backend) -> None:
    async def pieces(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n{"error":"in ')
        await writer.drain()
        writer.write(b'pieces"}')

    scripted.answers = [pieces]

    assert (await fault_of(backend)).message == "backend: in pieces"


async def test_an_error_body_that_breaks_off_tells_what_came(scripted: ScriptedBackend, backend: Backend) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 1000\r\n\r\nhalf")

    scripted.answers = [half]

    fault = await fault_of(backend)

    assert (fault.status, fault.message) == (500, "backend: half")


async def test_a_host_that_does_not_exist_says_so() -> None:
    backend = backend_at("http://backend.invalid:8000")

    with pytest.raises(
        BackendFault, match=r"the backend's host 'backend\.invalid' cannot be found: check its spelling in BACKEND_URL"
    ):
        await call(backend)
    await backend.close()


async def test_tls_to_a_server_without_it_says_so() -> None:
    def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    backend = backend_at(url)

    with pytest.raises(BackendFault) as fault:
        await call(backend)
    await backend.close()
    server.close()

    assert (fault.value.status, fault.value.should_retry) == (502, False)
    assert fault.value.message.startswith(f"no secure connection to the backend at {url}/v1/chat/completions: ")


async def test_draining_gives_up_on_a_backend_that_does_not_close(scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [stream(b"all", asyncio.Event())]

    async with await backend.chat(b"{}", token="key", stream=True) as answer:
        assert await answer.read() == b"all"
        await answer.drain(0.01)

    await asyncio.wait_for(scripted.client_left.wait(), 2)


async def test_draining_keeps_the_connection_of_one_that_does(scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.answers = [stream(b"all", b"more")]

    async with await backend.chat(b"{}", token="key", stream=True) as answer:
        assert await answer.read()
        await answer.drain(5)
        assert await answer.read() == b""


async def test_models_are_read_with_the_token(scripted: ScriptedBackend, backend: Backend) -> None:
    models = await backend.models("key")

    assert [model.id for model in models] == ["Vendor/Model-1"]
    assert scripted.listed[0].headers["authorization"] == "Bearer key"


async def test_models_without_a_token_send_none(scripted: ScriptedBackend, backend: Backend) -> None:
    await backend.models(None)

    assert "authorization" not in scripted.listed[0].headers


async def test_a_list_that_is_none_is_a_fault(scripted: ScriptedBackend, backend: Backend) -> None:
    scripted.models = b"<html>"

    with pytest.raises(BackendFault, match=r"model list at \S+ cannot be read \(.*\): check BACKEND_URL"):
        await backend.models(None)


async def test_a_backend_that_takes_no_request_is_given_up() -> None:
    accepted = asyncio.Event()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writers.append(writer)
        accepted.set()

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    backend = backend_at(url, timeouts=Timeouts(send=0.1))

    with pytest.raises(BackendFault) as fault:
        async with await backend.chat(b" " * 30_000_000, token="key", stream=True):
            pass
    await backend.close()
    for writer in writers:
        writer.close()
    server.close()

    assert (fault.value.status, fault.value.taken) == (504, False)
    assert fault.value.message.endswith(
        "accepted no data of the request for 0.1 s (SEND_TIMEOUT_SECS): it may be overloaded; try again"
    )


async def test_a_call_waits_for_a_free_connection_only_so_long(scripted: ScriptedBackend) -> None:
    scripted.answers = [stream(b"one", asyncio.Event())]
    backend = backend_at(scripted.url, connections=1, timeouts=Timeouts(connect=0.1))

    async with await backend.chat(b"{}", token="key", stream=True) as answer:
        await answer.read()
        fault = await fault_of(backend)
    await backend.close()

    assert (fault.status, fault.counts, fault.retry_after) == (529, False, 1)
    assert (
        fault.message == "all 1 connections to the backend (BACKEND_CONNECTIONS) are in use: try again, or allow more"
    )


async def test_the_gateways_own_key_goes_out_in_place_of_the_clients(scripted: ScriptedBackend) -> None:
    scripted.answers = [OK]
    backend = backend_at(scripted.url, key="own")

    await call(backend)
    await backend.models(None)
    await backend.close()

    sent = [request.headers["authorization"] for request in (*scripted.requests, *scripted.listed)]
    assert sent == ["Bearer own", "Bearer own"]


# trying again


async def test_a_backend_that_starts_up_is_tried_again() -> None:
    probe = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    backend = backend_at(f"http://127.0.0.1:{port}", retries=4)

    failure = next_failure(backend)
    calling = asyncio.create_task(call(backend))
    await failure.wait()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        await OK(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    assert await calling == b'{"ok":true}'
    await backend.close()
    server.close()
    assert backend.breaker.failures == 0


async def test_a_backend_that_is_not_there_is_tried_only_so_often() -> None:
    probe = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    backend = backend_at(f"http://127.0.0.1:{port}", retries=1)

    fault = await fault_of(backend)
    await backend.close()

    assert fault.message.endswith("(Connection refused): is it running? Start it, or correct BACKEND_URL")
    assert backend.breaker.failures == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_moment_that_the_backend_names_is_waited_for(status: int, scripted: ScriptedBackend) -> None:
    scripted.answers = [respond(b"{}", status=status, retry_after="0"), OK]
    backend = backend_at(scripted.url, retries=1)

    async with await backend.chat(b"{}", token="key", stream=True) as answer:
        assert await answer.read_all() == b'{"ok":true}'
        assert answer.retries == 1
    await backend.close()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {}),
        (502, {}),
        (503, {}),
        (504, {}),
        (500, {"retry-after": "0"}),
        (400, {"retry-after": "0"}),
        (503, {"retry-after": "30"}),
    ],
    ids=["429", "502", "503", "504", "500 with a moment", "400 with a moment", "too late a moment"],
)
async def test_what_may_have_been_billed_is_not_sent_again(
    status: int, headers: dict[str, str], scripted: ScriptedBackend
) -> None:
    scripted.answers = [respond(b"{}", status=status, **headers), OK]
    backend = backend_at(scripted.url, retries=2)

    await fault_of(backend)
    await backend.close()

    assert len(scripted.requests) == 1


async def test_an_open_breaker_ends_the_tries(scripted: ScriptedBackend) -> None:
    scripted.answers = [respond(b"{}", status=503, retry_after="0")] * 3
    backend = backend_at(scripted.url, retries=2, fail_max=2)

    assert (await fault_of(backend)).status == 529
    await backend.close()

    assert len(scripted.requests) == 2
    assert backend.breaker.state == "open"


async def test_a_client_that_leaves_ends_the_wait_for_the_next_try(scripted: ScriptedBackend) -> None:
    scripted.answers = [respond(b"{}", status=503, retry_after="4"), OK]
    backend = backend_at(scripted.url, retries=1)

    failure = next_failure(backend)
    waiting = asyncio.create_task(call(backend))
    await failure.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    await backend.close()

    assert waiting.cancelled()
    assert len(scripted.requests) == 1
