"""Calls to the backend: one session for all, the breaker around each, every failure as a BackendFault."""

import asyncio
import os
import socket
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import structlog
from aiohttp.abc import AbstractStreamWriter

from gateway.backend.breaker import Breaker, Permit
from gateway.backend.endpoint import Endpoint
from gateway.openai.models import Model, decode_models
from gateway.translate.errors import BackendFault, cut_short, fault_from_response

_CONNECT_SECONDS: Final = 10.0
_LIST_SECONDS: Final = 10.0
# Idle connections are closed before the server does it, which could cut a request short: servers on the user's own
# machines wait 5 s (llama.cpp, uvicorn); hosted ones a minute or more, and a new connection to them costs more.
_IDLE_SECONDS: Final = {"http": 4.0, "https": 30.0}
# of an error's body; more than any message needs
_ERROR_BYTES: Final = 256 * 1024
_SLICE_BYTES: Final = 256 * 1024

log = structlog.get_logger(__name__)


class Backend:
    """The adapter. Owns the session: `close` it."""

    def __init__(self, endpoint: Endpoint, breaker: Breaker, *, silence_seconds: float) -> None:
        """`silence_seconds`: how long the backend may send nothing; a stream that goes on has no other limit.

        Needs a running loop.
        """
        self.endpoint = endpoint
        self.breaker = breaker
        self.silence_seconds = silence_seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS[endpoint.chat.scheme]),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_trace_reuse()],
        )

    async def chat(self, body: bytes, *, token: str, stream: bool) -> "Call":
        """Send a request, and give its answer, to be used with `async with`.

        Raises BreakerOpen, or BackendFault for anything but a 200.
        """
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if stream else "application/json",
            # a compressed stream comes in lumps
            "Accept-Encoding": "identity" if stream else "gzip, deflate",
        }
        call = Call(self, self.breaker.admit())
        await call.send(body, headers)
        return call

    async def post(self, body: bytes, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """The response's head. Redirects are not followed: the token is for this host only.

        A server closes idle connections whenever it likes; a request that meets such a one was not taken, and is sent
        on the next.
        """
        while True:
            connection = _Connection()
            try:
                return await self._session.post(
                    self.endpoint.chat,
                    data=JSONBody(body),
                    headers=headers,
                    allow_redirects=False,
                    trace_request_ctx=connection,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not connection.reused:
                    raise

    async def models(self, token: str | None) -> list[Model]:
        """The model list. Raises BackendFault, also for an answer that is no list; the breaker does not care."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with self._session.get(
                self.endpoint.models,
                headers=headers,
                trace_request_ctx=_Connection(),
                timeout=aiohttp.ClientTimeout(total=_LIST_SECONDS),
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self.unreachable(error) from None
        if response.status != 200:
            raise fault_from_response(response.status, response.headers, body)
        try:
            return decode_models(body)
        except ValueError as error:
            raise BackendFault(502, f"the backend's model list cannot be read: {error}") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def unreachable(self, error: BaseException) -> BackendFault:
        """A failure to connect, or to get an answer, in words that say what to check."""
        where = f"{self.endpoint.shown}"
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return BackendFault(504, f"no connection to the backend at {where} within {_CONNECT_SECONDS:g} s")
        if isinstance(error, TimeoutError):
            return BackendFault(504, f"the backend at {where} sent nothing for {self.silence_seconds:g} s")
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return BackendFault(502, f"no secure connection to the backend at {where}: {error}", should_retry=False)
        if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
            return BackendFault(502, f"the backend's host {self.endpoint.host!r} cannot be found: check BACKEND_URL")
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = os.strerror(error.errno) if error.errno else "connection failed"
            return BackendFault(502, f"no connection to the backend at {where} ({reason}): is it running?")
        return BackendFault(502, f"the backend at {where} closed the connection before it answered; try again")


class _Connection:
    """Whether a request went over a connection that had been used before."""

    __slots__ = ("reused",)

    def __init__(self) -> None:
        self.reused = False


def _trace_reuse() -> aiohttp.TraceConfig:
    async def mark(_: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionReuseconnParams) -> None:
        context.trace_request_ctx.reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(mark)
    return trace


class JSONBody(aiohttp.Payload):
    """A request's body, written in slices: one of many megabytes must not go to the socket in one piece."""

    def __init__(self, value: bytes) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        view = memoryview(self._value)
        for start in range(0, len(view), _SLICE_BYTES):
            await writer.write(view[start : start + _SLICE_BYTES])


class Call:
    """One call in progress; `read` gives the answer's bytes.

    Left early, by a fault or a cancellation, it closes the connection, which ends the backend's work. The breaker
    hears of the outcome: faults that count as failures, the end of the answer as a success, all else as nothing.
    """

    __slots__ = ("_backend", "_permit", "_response")

    _response: aiohttp.ClientResponse

    def __init__(self, backend: Backend, permit: Permit) -> None:
        self._backend = backend
        self._permit = permit

    async def send(self, body: bytes, headers: dict[str, str]) -> None:
        """Send the request and wait for the answer's head. Raises BackendFault for anything but a 200."""
        try:
            await self._send(body, headers)
        except BackendFault as fault:
            self._settle(fault)
            raise
        except BaseException:
            self._permit.abandoned()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # a response that was read to its end has given its connection back already, and close() does nothing
        self._response.close()
        if error is None:
            self._permit.succeeded()
        elif isinstance(error, BackendFault):
            self._settle(error)
        else:
            self._permit.abandoned()

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events, not one JSON body."""
        return self._response.content_type != "application/json"

    async def read(self) -> bytes:
        """The bytes that have come, at least one; empty at the end. Raises BackendFault if the answer breaks off."""
        try:
            data = await self._response.content.readany()
        except TimeoutError as error:
            raise self._backend.unreachable(error) from None
        except (aiohttp.ClientError, OSError):
            raise cut_short() from None
        self._permit.progressed()
        return data

    async def read_all(self) -> bytes:
        """The whole answer. Raises BackendFault."""
        pieces = []
        while data := await self.read():
            pieces.append(data)
        return b"".join(pieces)

    async def drain(self, seconds: float) -> None:
        """Give the backend a moment to close an answer that is complete: then its connection can be used again."""
        try:
            async with asyncio.timeout(seconds):
                while await self._response.content.readany():
                    pass
        except (aiohttp.ClientError, OSError, TimeoutError):
            return

    async def _send(self, body: bytes, headers: dict[str, str]) -> None:
        backend = self._backend
        try:
            self._response = await backend.post(body, headers)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise backend.unreachable(error) from None
        if self._response.status != 200:
            try:
                raise await self._refusal()
            finally:
                self._response.close()

    async def _refusal(self) -> BackendFault:
        response = self._response
        if 300 <= response.status < 400:
            target = response.headers.get("location", "nowhere")[:200]
            return BackendFault(
                502, f"the backend redirects to {target}: set BACKEND_URL to that", counts=False, should_retry=False
            )
        body = bytearray()
        try:
            while len(body) < _ERROR_BYTES and (data := await response.content.readany()):
                body += data
        except (aiohttp.ClientError, OSError, TimeoutError):
            log.debug("error body broke off", status=response.status)
        return fault_from_response(response.status, response.headers, bytes(body))

    def _settle(self, fault: BackendFault) -> None:
        if fault.counts:
            self._permit.failed(fault)
        else:
            self._permit.succeeded()
