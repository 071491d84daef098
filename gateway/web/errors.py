"""Every error as Anthropic's, whatever layer it comes from."""

import asyncio

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.anthropic.errors import ApiError
from gateway.translate.errors import BackendFault
from gateway.web.context import EXCHANGE, Exchange

log = structlog.get_logger(__name__)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer for whatever a handler raises; the client learns what happened, never how the code looks."""
    exchange = request[EXCHANGE]
    try:
        return await handler(request)
    except ApiError as error:
        answer = error
    except web.HTTPException as error:
        answer = _from_http(request, error)
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception:
        log.exception("internal error", request_id=exchange.request_id)
        answer = ApiError(500, f"the gateway failed on this request; its log tells more under {exchange.request_id}")
    record(exchange, answer)
    return web.Response(
        status=answer.status,
        body=answer.body(exchange.request_id),
        content_type="application/json",
        headers=answer.headers(),
    )


def record(exchange: Exchange, error: ApiError) -> None:
    """Note an error for the log line. A backend's words may repeat the prompt: they are logged at debug only."""
    exchange.outcome = "backend_fault" if isinstance(error, BackendFault) else "refused"
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
