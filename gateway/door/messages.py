"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

import asyncio
from contextlib import nullcontext
from typing import Final

import msgspec
import structlog
from aiohttp import web

from gateway.anthropic.ids import new_message_id
from gateway.anthropic.stream import StreamWriter
from gateway.backend.connection.call import Call
from gateway.door.context import GATEWAY
from gateway.door.middleware.errors import as_api_error, record
from gateway.record.request_record import EXCHANGE
from gateway.relay.event_stream import EventStream
from gateway.translate.from_backend.answer import StreamTranslator, translate_message
from gateway.translate.refusals.faults import BackendFault
from gateway.translate.to_backend.tools import client_names
from gateway.turn.turn import Turn, read_turn

log = structlog.get_logger(__name__)

# how long a backend that has said all may take to close its stream, so that its connection can be used again
_DRAIN_SECONDS: Final = 0.5
# how long usage and `[DONE]` are waited for behind the reason for which the answer ended
_LAST_WORDS_SECONDS: Final = 5.0
# an answer that broke off or made no sense, or a failure of the engine; not an overload, and not a long silence
_WORTH_ANOTHER_TRY: Final = (500, 502)
_NO_LIMITS: Final = nullcontext()


async def create_message(request: web.Request) -> web.StreamResponse:
    """An answer, as events or as one message. Raises ApiError while its status can still be told, 429 by the client's
    own limits among them.
    """
    gateway, holder = request.app[GATEWAY], request[EXCHANGE].holder
    with gateway.in_flight.admit(request), holder.request() if holder else _NO_LIMITS:
        turn = await read_turn(request, gateway, counting=False)
        turn.exchange.stream = bool(turn.request.stream)
        try:
            return await (_stream(request, turn) if turn.request.stream else _complete(turn))
        finally:
            turn.forget_tokens()


async def count_tokens(request: web.Request) -> web.Response:
    """`{"input_tokens": N}` for a request that is not sent."""
    turn = await read_turn(request, request.app[GATEWAY], counting=True)
    tokens = await turn.tokens()
    return web.Response(body=msgspec.json.encode({"input_tokens": tokens}), content_type="application/json")


async def _complete(turn: Turn) -> web.Response:
    async with await turn.ask() as call:
        answer = await call.read_all()
        turn.begins(answer)
        body, finish = translate_message(
            answer,
            message_id=new_message_id(),
            model=turn.request.model,
            estimated_input=await turn.tokens(),
            names=client_names(turn.request.tools),
            stop_sequences=turn.request.stop_sequences or (),
        )
    turn.finished(finish)
    return web.Response(body=body, content_type="application/json")


async def _stream(request: web.Request, turn: Turn) -> web.StreamResponse:
    writer = turn.exchange.writer = StreamWriter()
    message_id = new_message_id()

    def start() -> None:
        writer.message_start(message_id, turn.request.model, turn.rough_tokens)

    stream = EventStream(request, turn.exchange, writer, turn.gateway.keep_alive, start)
    forget = turn.gateway.keep_alive.add(stream)
    try:
        return await _answer(turn, stream, writer, again=True)
    except ConnectionError:
        # the client has left
        raise
    except (Exception, asyncio.CancelledError) as error:
        if not stream.opened:
            raise
        return await _fail(request, stream, error)
    finally:
        forget()


async def _fail(request: web.Request, stream: EventStream, error: BaseException) -> web.StreamResponse:
    """End a stream with an error. A function of its own: with a variable for what the client gets to know, the handler
    above would hold the error, and that the handler's frame, until the next garbage collection.
    """
    answer = as_api_error(request, error)
    record(request[EXCHANGE], answer)
    return await stream.fail(answer)


async def _answer(turn: Turn, stream: EventStream, writer: StreamWriter, *, again: bool) -> web.StreamResponse:
    """One answer, written to its end. `again`: an answer that fails before the client got any of it is asked for
    once more. Raises BackendFault.
    """
    names, stops = client_names(turn.request.tools), turn.request.stop_sequences or ()
    translator = StreamTranslator(writer, names=names, stop_sequences=stops)
    call = await turn.ask()
    try:
        async with call:
            await turn.tokens()
            stream.start()
            await _pump(turn, call, translator, stream)
            turn.finished(translator.end(estimated_input=turn.rough_tokens))
            response = await stream.end()
            await call.drain(_DRAIN_SECONDS)
            return response
    except BackendFault as fault:
        if not again or writer.has_content or fault.status not in _WORTH_ANOTHER_TRY:
            raise
        turn.gateway.backend.asks_again(fault)
    log.info("asked again", request_id=turn.exchange.request_id)
    return await _answer(turn, stream, writer, again=False)


async def _read_on(call: Call, translator: StreamTranslator) -> bytes:
    """The next bytes; none at the end. An answer that has told how it ends is not broken by what happens behind it."""
    if not translator.finished:
        return await call.read()
    call.patience = min(call.patience, _LAST_WORDS_SECONDS)
    try:
        return await call.read()
    except BackendFault:
        return b""


async def _pump(turn: Turn, call: Call, translator: StreamTranslator, stream: EventStream) -> None:
    """The backend's bytes to the client, until the backend has said all."""
    if not call.is_stream:
        answer = await call.read_all()
        turn.begins(answer)
        translator.feed_json(answer)
        return
    writer = translator.writer

    def take(data: bytes) -> bool:
        try:
            translator.feed(data)
        finally:
            keeps_up = stream.write_now()
        return keeps_up and not translator.finished

    def begun() -> bool:
        return writer.has_content or stream.opened

    first = True
    while data := await _read_on(call, translator):
        if first:
            first = False
            turn.begins(data)
        try:
            translator.feed(data)
        except BackendFault:
            # what came before it
            if begun():
                await stream.flush()
            raise
        if translator.done:
            # what there is goes out with the end
            return
        if begun():
            await stream.flush()
        if writer.has_content:
            turn.release()
            if stream.keeps_up and not translator.finished:
                await call.relay(take, stream.lane(translator.shortcut))
