"""The first stage of a turn: what the client asked."""

from functools import partial

from msgspec import Struct

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import MessagesRequest
from gateway.backend.trace_context import Trace
from gateway.openai.models import Model
from gateway.record.request_record import RequestRecord
from gateway.translate.to_backend.media import Documents
from gateway.turn.context import TurnContext


class ClientRequest(Struct, frozen=True, eq=False):
    """A request that has been read.

    `size`: the bytes of its body; `model`: the backend's model that the name stands for; `documents`: the texts of its
    PDFs; `token`: the client's, for the backend; `trace`: what calls to the backend are part of.
    """

    request: MessagesRequest
    size: int
    model: Model
    documents: Documents
    token: str
    trace: Trace


async def read_request(
    body: bytes, context: TurnContext, record: RequestRecord, *, token: str, trace: Trace, counting: bool
) -> ClientRequest:
    """Decode a body, find its model, read its documents. `counting`: it is for `count_tokens`. Raises ApiError."""
    size = len(body)
    request = await context.run(size, partial(decode_request, body, counting=counting, known=context.known_tools))
    record.model = request.model
    model = await context.catalogue.resolve(request.model, token)
    record.backend_model = model.id
    documents = await context.documents.read(request)
    return ClientRequest(request, size, model, documents, token, trace)
