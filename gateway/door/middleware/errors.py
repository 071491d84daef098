"""Every error as Anthropic's, whatever layer it comes from."""

import asyncio

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.anthropic.errors import ApiError
from gateway.record.request_record import EXCHANGE, Exchange
from gateway.translate.refusals.faults import BackendFault

log = structlog.get_logger(__name__)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer for whatever a handler raises; the client learns what happened, never how the code looks."""
    try:
        return await handler(request)
    except ConnectionError:
        # the client has left
        raise
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the last resort; logs what it does not know
        # kept in a variable here, the error would hold itself through its traceback, and the request's body with it
        return _respond(request, as_api_error(request, error))


def _respond(request: web.Request, answer: ApiError) -> web.Response:
    exchange = request[EXCHANGE]
    record(exchange, answer)
    return web.Response(
        status=answer.status,
        body=answer.body(exchange.request_id),
        content_type="application/json",
        headers=answer.headers(),
    )


def as_api_error(request: web.Request, error: BaseException) -> ApiError:
    """What a client gets to know of an error. Logs those that are the gateway's own fault.

    Raises a cancellation again, unless it is the gateway that ends the answer: then the client is still there.
    """
    if isinstance(error, asyncio.CancelledError):
        if not request[EXCHANGE].cut:
            raise error
        return ApiError(529, "this gateway is being shut down, and another will take over; try again", retry_after=1)
    if isinstance(error, ApiError):
        return error
    if isinstance(error, web.HTTPException):
        return _from_http(request, error)
    request_id = request[EXCHANGE].request_id
    log.error("internal error", request_id=request_id, exc_info=error)
    return ApiError(
        500, f"the gateway failed on this request, by its own fault: try again; its log tells more under {request_id}"
    )


def record(exchange: Exchange, error: ApiError) -> None:
    """Note an error for the log line. A backend's words may repeat the prompt: they are logged at debug only."""
    exchange.outcome = "backend_fault" if isinstance(error, BackendFault) else "refused"
    exchange.error_type = error.type
    if isinstance(error, BackendFault) and error.quotes:
        exchange.error = f"{error.type} from the backend"
        log.debug("backend's words", request_id=exchange.request_id, message=error.message)
    else:
        exchange.error = error.message


def _from_http(request: web.Request, error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return ApiError(405, f"{request.method} is not allowed for {request.path[:200]}; allowed: {allowed}")
    if error.status == 404:
        return ApiError(404, f"{request.path[:200]} is not served here; the Messages API is at /v1/messages")
    return ApiError(error.status, error.reason)
