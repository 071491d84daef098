"""A streamed answer: asked for, relayed event by event, ended."""

import asyncio
import time
from typing import Final

import structlog
from aiohttp import web

from gateway.anthropic.errors import ApiError
from gateway.anthropic.ids import new_message_id
from gateway.anthropic.stream import StreamWriter
from gateway.backend.connection.call import Call
from gateway.backend.trace_context import Trace
from gateway.record.failure import as_api_error, cut_off, note_failure
from gateway.record.request_record import RECORD, RequestRecord
from gateway.relay.event_stream import EventStream
from gateway.relay.keep_alive import KeepAlive
from gateway.translate.both_ways.tool_names import client_names
from gateway.translate.from_backend.answer import StreamTranslator
from gateway.translate.from_backend.thinking_display import display_of
from gateway.translate.refusals.faults import BackendFault
from gateway.turn.ask import ask
from gateway.turn.backend_request import BackendRequest
from gateway.turn.context import TurnContext
from gateway.turn.token_estimate import TokenEstimate

log = structlog.get_logger(__name__)

# how long a backend that has said all may take to close its stream, so that its connection can be used again
_DRAIN_SECONDS: Final = 0.5
# how long usage and `[DONE]` are waited for behind the reason for which the answer ended
_LAST_WORDS_SECONDS: Final = 5.0
# an answer that broke off or made no sense, or a failure of the engine; not an overload, and not a long silence
_WORTH_ANOTHER_TRY: Final = (500, 502)


async def stream_answer(
    request: web.Request,
    asked: BackendRequest,
    estimate: TokenEstimate,
    context: TurnContext,
    keep_alive: KeepAlive,
) -> web.StreamResponse:
    """Answer with a stream of events. Raises ApiError while the client has no status yet; after that, an error is the
    stream's last event.
    """
    record = request[RECORD]
    writer = record.writer = StreamWriter()
    message_id, model = new_message_id(), asked.source.request.model

    def start() -> None:
        writer.message_start(message_id, model, estimate.now)

    stream = EventStream(request, record, writer, keep_alive, start)
    relaying = _relay(asked, estimate, context, record, stream)
    # a request may be large and its answer long: only `_relay` holds the request, until there is content
    del asked
    forget = keep_alive.add(stream)
    try:
        return await relaying
    except ConnectionError:
        # the client has left
        raise
    except asyncio.CancelledError:
        if not (record.cut and stream.opened):
            raise
        return await _fail(request, stream, cut_off())
    except Exception as error:
        if not stream.opened:
            raise
        return await _fail(request, stream, as_api_error(record, error))
    finally:
        forget()


async def _fail(request: web.Request, stream: EventStream, answer: ApiError) -> web.StreamResponse:
    """End a stream with an error."""
    note_failure(request, answer)
    return await stream.fail(answer)


async def _relay(
    asked: BackendRequest, estimate: TokenEstimate, context: TurnContext, record: RequestRecord, stream: EventStream
) -> web.StreamResponse:
    """One answer, relayed to its end. One that fails before the client got any content is asked for once more.

    Raises BackendFault.
    """
    writer, trace = stream.writer, asked.source.trace
    names, stops = client_names(asked.source.request.tools), asked.source.request.stop_sequences or ()
    display, again = display_of(asked.source.request), True
    while True:
        pending: BackendRequest | None
        pending, call = await ask(asked, estimate, context, record)
        cuts = bool(stops) and "stop" in pending.profile.drops
        translator = StreamTranslator(writer, names=names, stop_sequences=stops, display=display, cuts=cuts)
        del asked
        try:
            async with call:
                await estimate.counted()
                stream.start()
                if await _pump_until_content(call, translator, stream, trace):
                    record.first_content = time.perf_counter()
                    pending = None
                    await _pump_rest(call, translator, stream)
                record.finished(translator.end(estimated_input=estimate.now))
                response = await stream.end()
                await call.drain(_DRAIN_SECONDS)
                return response
        except BackendFault as fault:
            worth_it = fault.status in _WORTH_ANOTHER_TRY and fault.should_retry
            if pending is None or not again or writer.has_content or not worth_it:
                raise
            context.backend.asks_again(fault)
        log.info("asked again", request_id=record.request_id)
        asked, again = pending, False


async def _pump_until_content(call: Call, translator: StreamTranslator, stream: EventStream, trace: Trace) -> bool:
    """Relay until the first content has gone out. Returns whether more may come. Raises BackendFault."""
    if not call.is_stream:
        answer = await call.read_all()
        trace.answering(answer)
        translator.feed_json(answer)
        return False
    first = True
    while data := await _read_on(call, translator):
        if first:
            first = False
            trace.answering(data)
        await _feed(data, translator, stream)
        if translator.done:
            return False
        if translator.writer.has_content:
            return True
    return False


async def _pump_rest(call: Call, translator: StreamTranslator, stream: EventStream) -> None:
    """Relay the rest: as soon as bytes have been read from the connection, while the client keeps up."""

    def take(data: bytes) -> bool:
        try:
            translator.feed(data)
        finally:
            keeps_up = stream.write_now()
        return keeps_up and not translator.finished

    while not translator.done:
        if stream.keeps_up and not translator.finished:
            await call.relay(take, stream.fast_path(translator.copier))
        data = await _read_on(call, translator)
        if not data:
            return
        await _feed(data, translator, stream)


async def _read_on(call: Call, translator: StreamTranslator) -> bytes:
    """The next bytes; none at the end. An answer that has told how it ends is not broken by what happens after it."""
    if not translator.finished:
        return await call.read()
    call.patience = min(call.patience, _LAST_WORDS_SECONDS)
    try:
        return await call.read()
    except BackendFault:
        return b""


async def _feed(data: bytes, translator: StreamTranslator, stream: EventStream) -> None:
    """Translate, and write what came of it, once there is content. Raises BackendFault, after what came before it."""
    try:
        translator.feed(data)
    finally:
        # what is done goes out with the end
        if not translator.done and (translator.writer.has_content or stream.opened):
            await stream.flush()
