"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog
from aiohttp import web

from gateway.anthropic.errors import ApiError, InvalidRequest
from gateway.anthropic.request import MessagesRequest, decode_request
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.writer import Finish
from gateway.backend.adapter import Call
from gateway.openai.models import Model
from gateway.openai.profile import Profile
from gateway.openai.request import ChatRequest
from gateway.translate.answer import StreamTranslator, translate_message
from gateway.translate.errors import BackendFault
from gateway.translate.media import Documents
from gateway.translate.ids import new_message_id
from gateway.translate.remedy import find_remedy
from gateway.translate.request import translate_request
from gateway.translate.tools import client_names
from gateway.web.context import EXCHANGE, GATEWAY, Exchange, Gateway
from gateway.web.errors import as_api_error, record
from gateway.web.event_stream import EventStream

log = structlog.get_logger(__name__)

# how long a backend that has said all may take to close its stream, so that its connection can be used again
_DRAIN_SECONDS: Final = 0.5
# a guess for the moment before the tokens are counted: English prose and JSON have about four characters a token
_CHARACTERS_PER_TOKEN: Final = 4
# a backend that refuses one field may refuse the next
_MOST_REMEDIES: Final = 4
# an answer that broke off or made no sense, or a failure of the engine; not an overload, and not a long silence
_WORTH_ANOTHER_TRY: Final = (500, 502)


@dataclass(slots=True)
class _Turn:
    """One request on its way: what the client asked, and what the backend is asked."""

    gateway: Gateway
    exchange: Exchange
    request: MessagesRequest
    model: Model
    profile: Profile
    documents: Documents
    chat: ChatRequest = field(init=False)
    # estimated input
    tokens: asyncio.Future[int] = field(init=False)

    def __post_init__(self) -> None:
        self.translate()
        loop = asyncio.get_running_loop()
        self.tokens = loop.run_in_executor(self.gateway.counting, self.gateway.counter.request, self.chat)

    @property
    def rough_tokens(self) -> int:
        """The estimate if it is ready, else a guess."""
        if self.tokens.done() and not self.tokens.cancelled() and self.tokens.exception() is None:
            return self.tokens.result()
        return len(msgspec.json.encode(self.chat)) // _CHARACTERS_PER_TOKEN

    def translate(self) -> None:
        self.chat = translate_request(
            self.request,
            self.profile,
            model=self.model.id,
            documents=self.documents,
            context_window=self.model.context_window,
        )

    async def ask(self) -> Call:
        """Ask the backend; where it refuses what can be asked in another way, ask in that. Raises BackendFault."""
        first = self.profile
        for _ in range(_MOST_REMEDIES):
            try:
                call = await self._send()
            except BackendFault as fault:
                remedy = find_remedy(fault, self.chat, self.profile, await self.tokens)
                if remedy is None:
                    raise
                self.profile = remedy.profile
                self.request.max_tokens = remedy.max_tokens or self.request.max_tokens
                self.translate()
            else:
                break
        else:
            call = await self._send()
        if self.profile != first:
            self.gateway.catalogue.learn(self.model, self.profile)
        return call

    def finished(self, finish: Finish) -> None:
        self.exchange.usage = finish.usage
        self.exchange.stop_reason = finish.stop_reason

    async def _send(self) -> Call:
        body = msgspec.json.encode(self.chat)
        return await self.gateway.backend.chat(body, token=self.exchange.token, stream=bool(self.request.stream))


async def create_message(request: web.Request) -> web.StreamResponse:
    """An answer, as events or as one message. Raises ApiError while its status can still be told."""
    turn = await _read_turn(request, counting=False)
    turn.exchange.stream = bool(turn.request.stream)
    try:
        return await (_stream(request, turn) if turn.request.stream else _complete(turn))
    finally:
        turn.tokens.cancel()


async def count_tokens(request: web.Request) -> web.Response:
    """`{"input_tokens": N}` for a request that is not sent."""
    turn = await _read_turn(request, counting=True)
    tokens = await turn.tokens
    return web.Response(body=msgspec.json.encode({"input_tokens": tokens}), content_type="application/json")


async def _read_turn(request: web.Request, *, counting: bool) -> _Turn:
    gateway, exchange = request.app[GATEWAY], request[EXCHANGE]
    messages = await _read(request, exchange, counting=counting)
    model = await gateway.catalogue.resolve(messages.model, exchange.token)
    exchange.backend_model = model.id
    documents = await gateway.documents.read(messages)
    return _Turn(gateway, exchange, messages, model, gateway.catalogue.profile(model), documents)


async def _read(request: web.Request, exchange: Exchange, *, counting: bool) -> MessagesRequest:
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError(413, f"the request body is larger than {request.client_max_size} bytes") from error
    if not body:
        raise InvalidRequest("the request body is empty")
    messages = decode_request(body, counting=counting)
    exchange.model = messages.model
    return messages


async def _complete(turn: _Turn) -> web.Response:
    async with await turn.ask() as call:
        answer = await call.read_all()
        body, finish = translate_message(
            answer,
            message_id=new_message_id(),
            model=turn.request.model,
            estimated_input=await turn.tokens,
            names=client_names(turn.request.tools),
            stop_sequences=turn.request.stop_sequences or (),
        )
    turn.finished(finish)
    return web.Response(body=body, content_type="application/json")


async def _stream(request: web.Request, turn: _Turn) -> web.StreamResponse:
    writer = StreamWriter()
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
    except Exception as error:
        if not stream.opened:
            raise
        answer = as_api_error(request, error)
        record(turn.exchange, answer)
        return await stream.fail(answer)
    finally:
        forget()


async def _answer(turn: _Turn, stream: EventStream, writer: StreamWriter, *, again: bool) -> web.StreamResponse:
    """One answer, written to its end. `again`: an answer that fails before the client got any of it is asked for
    once more. Raises BackendFault.
    """
    names, stops = client_names(turn.request.tools), turn.request.stop_sequences or ()
    translator = StreamTranslator(writer, names=names, stop_sequences=stops)
    call = await turn.ask()
    try:
        async with call:
            await turn.tokens
            stream.start()
            await _pump(call, translator, stream)
            turn.finished(translator.end(estimated_input=turn.rough_tokens))
            response = await stream.end()
            await call.drain(_DRAIN_SECONDS)
            return response
    except BackendFault as fault:
        if not again or writer.has_content or fault.status not in _WORTH_ANOTHER_TRY:
            raise
    log.info("asked again", request_id=turn.exchange.request_id)
    return await _answer(turn, stream, writer, again=False)


async def _pump(call: Call, translator: StreamTranslator, stream: EventStream) -> None:
    """The backend's bytes to the client, until the backend has said all."""
    if not call.is_stream:
        translator.feed_json(await call.read_all())
        return
    writer = translator.writer
    while not translator.done and (data := await call.read()):
        try:
            translator.feed(data)
        finally:
            if writer.has_content or stream.opened:
                await stream.flush()
