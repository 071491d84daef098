"""The record of each request: made before anything else, and shown to the observers at its beginning and end."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.record.observers import OBSERVERS
from gateway.record.request_record import RECORD, RequestRecord


@web.middleware
async def recording(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make the record, which includes the request's id, and notify the observers when the request begins and ends."""
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
        # aiohttp would log it as the gateway's fault
        raise asyncio.CancelledError from None
    else:
        status = response.status
        return response
    finally:
        for ended in observers.ended:
            ended(request, record, status)


async def set_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Set the `request-id` header, which clients show with an error. Runs as each response is prepared."""
    # aiohttp's default value reveals its version and Python's
    response.headers["Server"] = "claude-gateway"
    if record := request.get(RECORD):
        response.headers["request-id"] = record.request_id
