"""Gives every error Anthropic's shape, whatever layer it comes from."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.anthropic.errors import ApiError
from gateway.door.context import GATEWAY
from gateway.record.failure import as_api_error, cut_off, note_failure
from gateway.record.request_record import RECORD
from gateway.relay.delivery import deliver


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into an answer. The client learns what happened, but nothing about the code."""
    response = await _answered(request, handler)
    await deliver(request, response, request.app[GATEWAY].keep_alive)
    return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConnectionError:
        # the client has left
        raise
    except web.HTTPException as error:
        return _respond(request, _from_http(request, error))
    except asyncio.CancelledError:
        if not request[RECORD].cut:
            # the client has left
            raise
        return _respond(request, cut_off())
    except Exception as error:  # noqa: BLE001  # the last resort; logs unknown errors
        return _respond(request, as_api_error(request[RECORD], error))


def _respond(request: web.Request, answer: ApiError) -> web.Response:
    record = request[RECORD]
    note_failure(request, answer)
    return web.Response(
        status=answer.status,
        body=answer.body(record.request_id),
        content_type="application/json",
        headers=answer.headers(),
    )


def _from_http(request: web.Request, error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return ApiError(405, f"{request.method} is not allowed for {request.path[:200]}; allowed: {allowed}")
    if error.status == 404:
        return ApiError(404, f"{request.path[:200]} is not served here; the Messages API is at /v1/messages")
    return ApiError(error.status, error.reason)
