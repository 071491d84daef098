"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from contextlib import nullcontext
from typing import Final

import msgspec
from aiohttp import web

from gateway.backend.trace_context import trace_of
from gateway.door.body import read_body
from gateway.door.context import GATEWAY, Gateway
from gateway.door.keys import HOLDER
from gateway.door.middleware.auth import TOKEN
from gateway.record.request_record import RECORD
from gateway.relay.stream_answer import stream_answer
from gateway.relay.whole_answer import whole_answer
from gateway.turn.backend_request import BackendRequest, translate
from gateway.turn.client_request import read_request
from gateway.turn.token_estimate import TokenEstimate

_NO_LIMITS: Final = nullcontext()


async def create_message(request: web.Request) -> web.StreamResponse:
    """An answer, as events or as one message. Raises ApiError while its status can still be told, 429 by the client's
    own limits among them.
    """
    gateway, holder = request.app[GATEWAY], request.get(HOLDER)
    with gateway.in_flight.admit(request), holder.request() if holder else _NO_LIMITS:
        asked = await _read(request, gateway, counting=False)
        stream = request[RECORD].stream = bool(asked.source.request.stream)
        estimate = TokenEstimate(asked, gateway.turns)
        answering = (
            stream_answer(request, asked, estimate, gateway.turns, gateway.keep_alive)
            if stream
            else whole_answer(request, asked, estimate, gateway.turns)
        )
        # the answer holds the request as long as it needs it
        del asked
        try:
            return await answering
        finally:
            estimate.cancel()


async def count_tokens(request: web.Request) -> web.Response:
    """`{"input_tokens": N}` for a request that is not sent."""
    gateway = request.app[GATEWAY]
    estimate = TokenEstimate(await _read(request, gateway, counting=True), gateway.turns)
    tokens = await estimate.counted()
    return web.Response(body=msgspec.json.encode({"input_tokens": tokens}), content_type="application/json")


async def _read(request: web.Request, gateway: Gateway, *, counting: bool) -> BackendRequest:
    """What the client asked, as the backend takes it. Raises ApiError."""
    read = await read_request(
        await read_body(request, gateway.limits),
        gateway.turns,
        request[RECORD],
        token=request.get(TOKEN, ""),
        trace=trace_of(request),
        counting=counting,
    )
    return await translate(read, gateway.turns.catalogue.profile(read.model), gateway.turns)
