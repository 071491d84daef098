"""The first stage of a turn: the client's request."""

from functools import partial

from msgspec import Struct

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import MessagesRequest
from gateway.backend.trace_context import Trace
from gateway.openai.models import Model
from gateway.record.request_record import RequestRecord
from gateway.translate.to_backend.media import Documents
from gateway.turn.context import TurnContext, effort


class ClientRequest(Struct, frozen=True, eq=False):
    """A client's request, decoded.

    `size`: the body's size in bytes; `effort`: the work that it makes, see `TurnContext.run`; `model`: the backend's
    model that the requested name resolves to; `documents`: the texts of its PDFs; `token`: the client's token for the
    backend; `trace`: the trace that calls to the backend join; `held`: keeps the body's memory counted while it
    exists.
    """

    request: MessagesRequest
    size: int
    effort: int
    model: Model
    documents: Documents
    token: str
    trace: Trace
    held: object


async def read_request(
    body: bytes,
    context: TurnContext,
    record: RequestRecord,
    *,
    token: str,
    trace: Trace,
    owner: str,
    held: object,
    counting: bool,
) -> ClientRequest:
    """Decode a body, resolve its model and read its documents. Raises ApiError.

    `counting`: the request is for `count_tokens`.
    """
    work = effort(body)
    request = await context.run(work, partial(decode_request, body, counting=counting, known=context.known_tools))
    record.model = request.model
    model = await context.catalogue.resolve(request.model, token, listed=False)
    record.backend_model = model.id
    documents = await context.documents.read(request, owner)
    return ClientRequest(request, len(body), work, model, documents, token, trace, held)
