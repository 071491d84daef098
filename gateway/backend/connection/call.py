"""One call to the backend whose answer has begun."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog

from gateway.backend.connection.answer_limits import BeyondLimit
from gateway.backend.connection.chunked_body import MakeReceiver
from gateway.backend.connection.post import FAILURES, Response
from gateway.backend.connection.read_timeouts import ReadTimeouts
from gateway.backend.policy.breaker import Permit
from gateway.backend.trace_context import CallTrace
from gateway.translate.refusals.faults import BackendFault, cut_short, fault_from_response

# how much of an error's body is read: more than any message needs
_ERROR_BYTES: Final = 256 * 1024
_ERROR_SECONDS: Final = 5.0
MIB: Final = 1024 * 1024

log = structlog.get_logger(__name__)


class Call:
    """A call whose answer has begun; `read` returns its bytes. Use it with `async with`.

    If a fault or a cancellation ends the block early, the connection is closed, which ends the backend's work. The
    breaker is told the outcome: a fault that counts is a failure; any other fault, and the end of the block without an
    error, is a success; every other exception says nothing about the backend.
    """

    __slots__ = (
        "_longest",
        "_permit",
        "_reads",
        "_response",
        "_traced",
        "_waits_since",
        "_watch",
        "_where",
        "patience",
        "retries",
    )

    def __init__(
        self,
        response: Response,
        permit: Permit,
        watch: ReadTimeouts,
        traced: CallTrace,
        *,
        where: str,
        retries: int,
        longest: int,
    ) -> None:
        """`retries`: how many tries failed before this one; `longest`: the most bytes of a whole answer."""
        self._response = response
        self._permit = permit
        self._watch = watch
        self._traced = traced
        self._where = where
        self._longest = longest
        self.retries = retries
        # how many seconds a read may wait
        self.patience = watch.seconds
        self._waits_since: float | None = None
        self._reads = 0

    async def __aenter__(self) -> Self:
        self._watch.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watch.discard(self)
        # a response that was read to its end has already given back its connection, and close() does nothing
        self._response.close()
        self._traced.ended(error)
        if error is None:
            self._permit.succeeded()
        elif isinstance(error, BackendFault):
            self._permit.settle(error, counts=error.counts)
        else:
            self._permit.abandoned()

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events, not one JSON body."""
        return self._response.content_type != "application/json"

    def waited(self, now: float) -> float:
        """How long a read has waited; for a relay, the time since the first call of this after its last bytes."""
        chunks = self._response.chunks
        if chunks is not None and chunks.reads != self._reads:
            self._reads = chunks.reads
            self._waits_since = now if self._waits_since is not None else None
        return now - self._waits_since if self._waits_since is not None else 0.0

    def give_up(self) -> None:
        """End a waiting read."""
        self._response.fail(TimeoutError())

    async def read(self) -> bytes:
        """The bytes that have arrived, at least one; empty at the end.

        Raises BackendFault if the answer breaks off, or if nothing arrives in time.
        """
        self._waits_since = time.monotonic()
        try:
            data = await self._response.read()
        except TimeoutError:
            text = (
                f"the backend at {self._where} sent nothing for {self.patience:g} s: it may be hanging; try again, or "
                "check its log"
            )
            raise BackendFault(504, text) from None
        except BeyondLimit as error:
            text = f"the backend at {self._where} sent {error}: check its log"
            raise BackendFault(502, text, should_retry=False) from None
        except FAILURES:
            raise cut_short() from None
        finally:
            self._waits_since = None
        self._permit.progressed()
        return data

    async def relay(self, take: Callable[[bytes], bool], make_receiver: MakeReceiver | None = None) -> None:
        """Pass the bytes to `take` as soon as they have been read from the connection, if that is possible;
        `make_receiver` is that of `ChunkedBody.relay`.

        Returns when `take` returns False, and when the answer has ended or broken off: `read` tells which. Raises what
        `take` raises. `take` must not block.
        """
        chunks = self._response.relayed
        if chunks is None:
            return
        self._waits_since = time.monotonic()
        try:
            await chunks.relay(take, make_receiver)
        finally:
            self._waits_since = None

    async def read_all(self) -> bytes:
        """The whole answer. Raises BackendFault."""
        pieces, size = [], 0
        while data := await self.read():
            pieces.append(data)
            size += len(data)
            if size > self._longest:
                text = (
                    f"the backend's answer is larger than {self._longest // MIB} MiB (MAX_ANSWER_MIB): allow more, or "
                    "check what the backend sends"
                )
                raise BackendFault(502, text, should_retry=False)
        return b"".join(pieces)

    async def drain(self, seconds: float) -> None:
        """Give the backend up to `seconds` to end an answer that is complete, so that its connection can be reused.

        Also returns when cancelled: a client that leaves now has had its answer.
        """
        if self._response.ended:
            return
        with suppress(asyncio.CancelledError, *FAILURES):
            async with asyncio.timeout(seconds):
                while await self._response.read():
                    pass


def _public(url: str) -> str:
    """A URL without its user and password, and without its query, which may be that of BACKEND_URL."""
    scheme, slashes, rest = url.partition("//")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]


async def refusal(response: Response) -> BackendFault:
    """The fault that an answer other than 200 reports."""
    if 300 <= response.status < 400:
        target = _public(response.headers.get("location", "nowhere"))[:200]
        return BackendFault(
            502,
            f"the backend redirects to {target}: set BACKEND_URL to the final address",
            counts=False,
            should_retry=False,
        )
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_SECONDS):
            while len(body) < _ERROR_BYTES and (data := await response.read()):
                body += data
    except FAILURES:
        log.debug("error body broke off", status=response.status)
    return fault_from_response(response.status, response.headers, bytes(body))
