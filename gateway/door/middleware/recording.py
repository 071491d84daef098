"""The record of each request: made before all else, and shown to the observers when the request begins and ends."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.record.observers import OBSERVERS
from gateway.record.request_record import RECORD, RequestRecord


@web.middleware
async def recording(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make the record, with the request's id, and tell the observers how it went."""
    record, observers = RequestRecord(), request.app[OBSERVERS]
    request[RECORD] = record
    for began in observers.began:
        began(request, record)
    status: int | None = None
    try:
        response = await handler(request)
    except asyncio.CancelledError:
        record.outcome = "client_gone"
        raise
    except ConnectionError:
        record.outcome = "client_gone"
        # aiohttp would log it as our fault
        raise asyncio.CancelledError from None
    else:
        status = response.status
        return response
    finally:
        for ended in observers.ended:
            ended(request, record, status)


async def set_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """The `request-id` header, which clients show with an error; runs as each response is prepared."""
    # aiohttp's own value tells its version, and Python's
    response.headers["Server"] = "claude-gateway"
    if record := request.get(RECORD):
        response.headers["request-id"] = record.request_id
