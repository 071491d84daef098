"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from collections.abc import Awaitable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from gateway.anthropic.web_search import searched_query
from gateway.backend.trace_context import trace_of
from gateway.door.body import Body, read_body
from gateway.door.context import GATEWAY, Gateway
from gateway.door.keys import HOLDER
from gateway.door.middleware.auth import TOKEN
from gateway.record.request_record import RECORD
from gateway.relay.own_answer import search_unavailable, warm_up
from gateway.relay.stream_answer import stream_answer
from gateway.relay.whole_answer import whole_answer
from gateway.turn.backend_request import BackendRequest, translate
from gateway.turn.client_request import read_request
from gateway.turn.token_estimate import TokenEstimate

_NO_LIMITS: Final = nullcontext()


async def create_message(request: web.Request) -> web.StreamResponse:
    """Answer with a stream of events or with one message.

    Raises ApiError as long as the status has not been sent, for example 429 when the client's key is at its limit.
    """
    gateway = request.app[GATEWAY]
    body = await _read(request, gateway)
    with gateway.in_flight.admit(request), _limits(request):
        translating = _translate(request, gateway, body, counting=False)
        # from here on, each stage keeps what the one before it made only as long as it needs it
        del body
        asked = await translating
        stream = request[RECORD].stream = bool(asked.source.request.stream)
        if (query := searched_query(asked.source.request)) is not None:
            return search_unavailable(request, asked, query)
        estimate = TokenEstimate(asked, gateway.turns)
        answering: Awaitable[web.StreamResponse]
        if asked.source.request.max_tokens == 0:
            answering = warm_up(request, asked, estimate, gateway.turns)
        elif stream:
            answering = stream_answer(request, asked, estimate, gateway.turns, gateway.keep_alive)
        else:
            answering = whole_answer(request, asked, estimate, gateway.turns, gateway.keep_alive)
        del asked
        try:
            return await answering
        finally:
            estimate.cancel()


async def count_tokens(request: web.Request) -> web.Response:
    """`{"input_tokens": N}` for a request, which is not sent to the backend. The same limits apply to it."""
    gateway = request.app[GATEWAY]
    body = await _read(request, gateway)
    with gateway.in_flight.admit(request), _limits(request):
        translating = _translate(request, gateway, body, counting=True)
        del body
        estimate = TokenEstimate(await translating, gateway.turns)
        tokens = await estimate.counted()
    return web.Response(body=msgspec.json.encode({"input_tokens": tokens}), content_type="application/json")


def _limits(request: web.Request) -> AbstractContextManager[None]:
    """The limits of the client's key."""
    holder = request.get(HOLDER)
    return holder.request() if holder else _NO_LIMITS


async def _read(request: web.Request, gateway: Gateway) -> Body:
    """Read the body. Raises ApiError: without reading it, if the request would be refused now."""
    return await read_body(request, gateway.limits, gateway.uploads, partial(_arriving, request, gateway))


@contextmanager
def _arriving(request: web.Request, gateway: Gateway) -> Iterator[None]:
    if holder := request.get(HOLDER):
        holder.refuse_if_busy()
    with gateway.in_flight.arriving(request):
        yield


async def _translate(request: web.Request, gateway: Gateway, body: Body, *, counting: bool) -> BackendRequest:
    """Decode the client's request and translate it for the backend. Raises ApiError."""
    read = await read_request(
        body.data,
        gateway.turns,
        request[RECORD],
        token=request.get(TOKEN, ""),
        trace=trace_of(request),
        owner=request[RECORD].client or request.remote or "",
        held=body.held,
        counting=counting,
    )
    del body
    return await translate(read, gateway.turns.catalogue.profile(read.model), gateway.turns)
