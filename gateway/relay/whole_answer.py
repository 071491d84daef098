"""A whole answer, as one JSON message."""

from functools import partial

from aiohttp import web

from gateway.anthropic.ids import new_message_id
from gateway.record.request_record import RECORD
from gateway.relay.delivery import deliver
from gateway.relay.keep_alive import KeepAlive
from gateway.translate.both_ways.tool_names import client_names
from gateway.translate.from_backend.answer import translate_message
from gateway.translate.from_backend.thinking_display import display_of
from gateway.turn.ask import ask
from gateway.turn.backend_request import BackendRequest
from gateway.turn.context import TurnContext
from gateway.turn.token_estimate import TokenEstimate


async def whole_answer(
    request: web.Request,
    asked: BackendRequest,
    estimate: TokenEstimate,
    context: TurnContext,
    keep_alive: KeepAlive,
) -> web.Response:
    """Ask, translate the answer once all of it has come, and deliver it. Raises BackendFault."""
    record = request[RECORD]
    asked, call = await ask(asked, estimate, context, record)
    async with call:
        answer = await call.read_all()
        source = asked.source
        source.trace.answering(answer)
        translate = partial(
            translate_message,
            answer,
            message_id=new_message_id(),
            model=source.request.model,
            estimated_input=await estimate.counted(),
            names=client_names(source.request.tools),
            stop_sequences=source.request.stop_sequences or (),
            display=display_of(source.request),
            cuts="stop" in asked.profile.drops and bool(source.request.stop_sequences),
        )
        body, finish = await context.run(len(answer), translate)
    # the client may take long, and the answer is all that it needs
    del asked, source, answer, call, translate
    record.finished(finish)
    response = web.Response(body=body, content_type="application/json")
    await deliver(request, response, keep_alive)
    return response
