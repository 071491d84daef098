"""Calls to the backend: one session for all, the breaker around each attempt, every failure as a BackendFault."""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import aiohttp
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct

from gateway.backend.connection.answer_limits import LIST_BYTES, BeyondLimit
from gateway.backend.connection.call import MIB, Call, refusal
from gateway.backend.connection.post import FAILURES, Attempt, Post, Response
from gateway.backend.connection.read_timeouts import ReadTimeouts
from gateway.backend.endpoint import Endpoint
from gateway.backend.policy.breaker import Breaker, Permit
from gateway.backend.policy.retry import RetryPolicy
from gateway.backend.profiles import profile_for_host
from gateway.backend.tls import speaks_tls, tls_trouble
from gateway.backend.trace_context import UNTRACED, CallTrace, Trace
from gateway.openai.models import Model, decode_models
from gateway.openai.profile import GENERIC
from gateway.translate.refusals.faults import BackendFault, fault_from_response

_LIST_SECONDS: Final = 10.0
# a list that is decoded in a few milliseconds
_SHORT_LIST: Final = 64 * 1024
_CLOSE_SECONDS: Final = 2.0
# Idle connections are closed before the server closes them, which could cut a request short. Servers on the user's own
# machines wait 5 s (llama.cpp, uvicorn); hosted ones wait a minute or more, and a new connection to them costs more.
_IDLE_SECONDS: Final = {"http": 4.0, "https": 30.0}

_HEADERS: Final = b"Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"
# a compressed stream arrives in bursts
_STREAM_HEADERS: Final = b"Accept: text/event-stream\r\nAccept-Encoding: identity\r\n"

log = structlog.get_logger(__name__)


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long the backend may take, in seconds, before a call fails: `connect`, including the wait for a free
    connection; `send`, to accept a slice of the request; `answer`, from the request to the answer's head; `silence`,
    between two pieces of the answer.
    """

    connect: float = 10.0
    send: float = 60.0
    answer: float = 600.0
    silence: float = 600.0


class Backend:
    """The adapter. It owns the session: call `close`."""

    def __init__(
        self,
        endpoint: Endpoint,
        breaker: Breaker,
        *,
        timeouts: Timeouts,
        retry: RetryPolicy,
        connections: int = 0,
        longest_answer: int = 64 * MIB,
        key: str = "",
    ) -> None:
        """`connections`: the most at a time; 0 for no limit. `longest_answer`: the most bytes of an answer that is no
        stream. `key` goes to the backend in place of a client's token.

        Needs a running event loop.
        """
        self.endpoint = endpoint
        self.breaker = breaker
        # if set, called with the fault that a call is retried after
        self.on_retry: Callable[[BackendFault], None] | None = None
        self._timeouts = timeouts
        self._retry = retry
        self._connections = connections
        self._longest_answer = longest_answer
        self._key = key
        self._key_header = (profile_for_host(endpoint.host) or GENERIC).key_header
        self._key_line = f"{self._key_header}: {self._scheme}".encode()
        self._watch = ReadTimeouts(timeouts.silence, shortest=min(timeouts.silence, timeouts.answer))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_IDLE_SECONDS[endpoint.chat.scheme]),
            timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        connect, send, answer = timeouts.connect, timeouts.send, timeouts.answer
        make_post = partial(Post, watch=self._watch, connect=connect, send=send, answer=answer)
        self._send = make_post(self._session, endpoint.chat)
        self._ask_for_list = make_post(self._session, endpoint.models, method="GET")

    async def chat(
        self, body: bytes | bytearray, *, token: str, stream: bool, model: str = "", trace: Trace = UNTRACED
    ) -> Call:
        """Send a request, with retries where they are safe, and return the answer, to be used with `async with`. Each
        attempt is a call of `trace`. `model`: the one that the request is for, as the breaker counts its failures.

        Raises BreakerOpen, or BackendFault for anything but a 200.
        """
        headers = _STREAM_HEADERS if stream else _HEADERS
        if key := self._key or token:
            headers = b"%b%b\r\n%b" % (self._key_line, key.encode(), headers)
        started, tries = time.monotonic(), 0
        while True:
            permit = self.breaker.admit(model)
            tries += 1
            traced = trace.call()
            try:
                response = await self._guarded(body, headers, permit, traced, stream=stream)
                return Call(
                    response,
                    permit,
                    self._watch,
                    traced,
                    where=self.endpoint.shown,
                    retries=tries - 1,
                    longest=self._longest_answer,
                )
            except BackendFault as fault:
                pause = self._retry.pause(fault, tries, time.monotonic() - started)
                if pause is None or self.breaker.refuses(model):
                    raise
                self.asks_again(fault)
                log.info("trying again", status=fault.status, pause_secs=round(pause, 2), tries=tries)
            await asyncio.sleep(pause)

    def asks_again(self, fault: BackendFault) -> None:
        """Report that a call is retried after this fault."""
        if self.on_retry is not None:
            self.on_retry(fault)

    async def models(self, token: str | None) -> list[Model]:
        """The model list. Raises BackendFault, also for an answer that is not a list. The breaker is not involved."""
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.authorization(token or "").items()).encode()
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                response, body = await self._listed(headers + _HEADERS)
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise self._unreachable(error, Attempt()) from None
            text = (
                f"the backend at {self.endpoint.models_shown} gave no model list within {_LIST_SECONDS:g} s: it may be "
                "overloaded, or still be loading its model"
            )
            raise BackendFault(504, text) from None
        except BeyondLimit as error:
            text = f"the backend at {self.endpoint.models_shown} sent {error}: check BACKEND_URL"
            raise BackendFault(502, text) from None
        except FAILURES as error:
            raise await self._explained(error) from None
        if response.status == 404:
            text = (
                f"the backend has no model list at {self.endpoint.models_shown}: if requests also fail, correct "
                "the path in BACKEND_URL"
            )
            raise BackendFault(404, text, counts=False)
        if "html" in response.content_type and response.status not in (401, 403):
            text = (
                f"a web page answers at {self.endpoint.models_shown} ({response.status}), not an API: correct the port "
                "or the path in BACKEND_URL"
            )
            raise BackendFault(502, text, should_retry=False)
        if response.status != 200:
            raise fault_from_response(response.status, response.headers, body)
        try:
            # what takes long must not keep the event loop busy
            return decode_models(body) if len(body) < _SHORT_LIST else await asyncio.to_thread(decode_models, body)
        except ValueError as error:
            text = (
                f"the backend's model list at {self.endpoint.models_shown} cannot be read ({error}): check BACKEND_URL"
            )
            raise BackendFault(502, text) from None

    async def _listed(self, headers: bytes) -> tuple[Response, bytes]:
        """The answer to a request for the model list, with its body. Raises one of FAILURES."""
        attempt = Attempt()
        try:
            response = await self._ask_for_list(b"", headers, attempt, stream=False)
        except FAILURES:
            if not attempt.undelivered:
                raise
            response = await self._ask_for_list(b"", headers, Attempt(fresh=True), stream=False)
        body = bytearray()
        try:
            while data := await response.read():
                body += data
                if len(body) > LIST_BYTES:
                    raise BeyondLimit(f"a model list of more than {LIST_BYTES // MIB} MiB")
        finally:
            response.close()
        return response, bytes(body)

    async def _explained(self, error: BaseException) -> BackendFault:
        """Like `_unreachable`, but checks first whether the backend speaks TLS."""
        reached = not isinstance(error, aiohttp.ClientConnectorError)
        if reached and self.endpoint.chat.scheme == "http" and await speaks_tls(self.endpoint.chat):
            text = f"the backend at {self.endpoint.shown} speaks TLS, not plain HTTP: begin BACKEND_URL with https://"
            return BackendFault(502, text, taken=False, should_retry=False)
        return self._unreachable(error, Attempt())

    def authorization(self, token: str) -> dict[str, str]:
        """The header that carries the client's token, or this gateway's key in its place; empty without either."""
        key = self._key or token
        if not key:
            return {}
        return {self._key_header: f"{self._scheme}{key}"}

    @property
    def _scheme(self) -> str:
        """What precedes a key in its header."""
        return "Bearer " if self._key_header == "Authorization" else ""

    @property
    def has_key(self) -> bool:
        """Whether this gateway's key goes to the backend, whatever a client's token is."""
        return bool(self._key)

    async def close(self) -> None:
        """Close all connections."""
        await self._watch.stop()
        # waits for connections that still have something to send
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._session.close()

    async def _guarded(
        self, body: bytes | bytearray, headers: bytes, permit: Permit, traced: CallTrace, *, stream: bool
    ) -> Response:
        """Make one attempt, and tell the breaker if it fails. Raises BackendFault for anything but a 200."""
        try:
            response = await self._post(body, headers + traced.headers, stream=stream)
            traced.answered(response.status)
            if response.status == 200:
                return response
            try:
                raise await refusal(response)
            finally:
                response.close()
        except BackendFault as fault:
            permit.settle(fault, counts=fault.counts)
            traced.ended(fault)
            raise
        except BaseException as error:
            permit.abandoned()
            traced.ended(error)
            raise

    async def _post(self, body: bytes | bytearray, headers: bytes, *, stream: bool) -> Response:
        """Send a request and wait for the head of its response. Raises BackendFault.

        Redirects are not followed: the token is for this host only. A server may close idle connections at any time; a
        request that cannot have arrived on such a connection is sent once more, on a new one.
        """
        attempt = Attempt()
        try:
            return await self._send(body, headers, attempt, stream=stream)
        except FAILURES as error:
            if not (attempt.reused and attempt.undelivered):
                raise self._unreachable(error, attempt) from None
            self.asks_again(self._unreachable(error, attempt))
        log.info("trying again on a new connection")
        attempt = Attempt(fresh=True)
        try:
            return await self._send(body, headers, attempt, stream=stream)
        except FAILURES as error:
            raise self._unreachable(error, attempt) from None

    def _unreachable(self, error: BaseException, attempt: Attempt) -> BackendFault:
        """A failure to connect or to get an answer, as a fault whose message says what to do."""
        where, timeouts = self.endpoint.shown, self._timeouts
        if isinstance(error, aiohttp.ConnectionTimeoutError) and attempt.queued:
            return BackendFault(
                529,
                f"all {self._connections} connections to the backend (BACKEND_CONNECTIONS) are in use: try again, or "
                "allow more",
                counts=False,
                retry_after=max(1, int(timeouts.connect)),
            )
        if isinstance(error, TimeoutError):
            return self._too_slow(error, attempt)
        if isinstance(error, BeyondLimit):
            text = f"the backend at {where} sent {error}: check BACKEND_URL, and the backend's log"
            return BackendFault(502, text, should_retry=False)
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            said, remedy, _ = tls_trouble(error)
            text = f"no secure connection to the backend at {where}: {said}; {remedy}"
            return BackendFault(502, text, taken=False, should_retry=False)
        if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
            text = (
                f"the backend's host {self.endpoint.host!r} cannot be found: check its spelling in BACKEND_URL, and "
                "the network"
            )
            return BackendFault(502, text, taken=False)
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = os.strerror(error.errno) if error.errno else "connection failed"
            text = (
                f"no connection to the backend at {where} ({reason}): is it running? Start it, or correct BACKEND_URL"
            )
            return BackendFault(502, text, taken=False)
        if isinstance(error, HttpProcessingError | aiohttp.ClientResponseError):
            text = f"the server at {where} does not speak HTTP: correct the port in BACKEND_URL, or its https://"
            return BackendFault(502, text, taken=attempt.written)
        text = f"the backend at {where} closed the connection before it answered; try again, or check its log"
        return BackendFault(502, text, taken=attempt.written and not attempt.undelivered)

    def _too_slow(self, error: TimeoutError, attempt: Attempt) -> BackendFault:
        where, timeouts = self.endpoint.shown, self._timeouts
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            text = (
                f"no connection to the backend at {where} within {timeouts.connect:g} s (CONNECT_TIMEOUT_SECS): check "
                "the address in BACKEND_URL, and firewalls"
            )
            return BackendFault(504, text, taken=False)
        if attempt.stuck:
            text = (
                f"the backend at {where} accepted no data of the request for {timeouts.send:g} s (SEND_TIMEOUT_SECS): "
                "it may be overloaded; try again"
            )
            return BackendFault(504, text, taken=False)
        text = (
            f"the backend at {where} sent no answer within {timeouts.answer:g} s (BACKEND_TIMEOUT_SECS): it may be "
            "overloaded; try again, or allow it more time"
        )
        return BackendFault(504, text)
