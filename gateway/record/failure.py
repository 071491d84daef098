"""What a client is told when its request fails, and what the record keeps of the error."""

import logging

import structlog
from aiohttp import web

from gateway.anthropic.errors import ApiError
from gateway.record.redaction import REDACTOR, redactor_of_client
from gateway.record.request_record import RECORD, RequestRecord
from gateway.translate.refusals.faults import BackendFault

log = structlog.get_logger(__name__)


def cut_off() -> ApiError:
    """What the client of an answer is told that the gateway itself ends because it shuts down."""
    return ApiError(529, "this gateway is being shut down, and another will take over; try again", retry_after=1)


def as_api_error(record: RequestRecord, error: Exception) -> ApiError:
    """The error that the client sees. Logs errors that are the gateway's own fault.

    Whoever calls this must not keep `error` in a variable, nor raise it: through its traceback, an error refers to the
    frames that it has passed. One of them with a variable for the error closes a circle, and the request's body stays
    in memory until the next garbage collection.
    """
    if isinstance(error, ApiError):
        return error
    log.error("internal error", request_id=record.request_id, exc_info=error)
    return ApiError(
        500,
        f"the gateway itself failed on this request: try again; its log has the details under {record.request_id}",
    )


def note_failure(request: web.Request, error: ApiError) -> None:
    """Cut secrets out of an error, and note it for the log line.

    A backend's message may repeat the prompt, so it is logged at debug only. It may also repeat the
    client's token, which no log gets.
    """
    record = request[RECORD]
    error.message = request.app[REDACTOR].cut_parts(error.message)
    record.outcome = "backend_fault" if isinstance(error, BackendFault) else "refused"
    record.error_type = error.type
    if not isinstance(error, BackendFault):
        record.error = error.message
    elif error.quotes:
        record.error = f"{error.type} from the backend"
        if log.is_enabled_for(logging.DEBUG):
            said = redactor_of_client(request).cut_parts(error.message)
            log.debug("backend's words", request_id=record.request_id, message=said)
    else:
        record.error = redactor_of_client(request).cut_parts(error.message)
