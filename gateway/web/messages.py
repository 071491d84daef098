"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from gateway.anthropic.errors import ApiError, InvalidRequest
from gateway.anthropic.request import MessagesRequest, decode_request
from gateway.anthropic.writer import Finish
from gateway.backend.adapter import Call
from gateway.openai.request import ChatRequest
from gateway.translate.answer import StreamTranslator, translate_message
from gateway.translate.ids import new_message_id
from gateway.translate.request import translate_request
from gateway.translate.tools import client_names
from gateway.web.context import EXCHANGE, GATEWAY, Exchange, Gateway
from gateway.web.errors import as_api_error, record
from gateway.web.event_stream import EventStream

# how long a backend that has said all may take to close its stream, so that its connection can be used again
_DRAIN_SECONDS: Final = 0.5
# a guess for the moment before the tokens are counted: English prose and JSON have about four characters a token
_CHARACTERS_PER_TOKEN: Final = 4


@dataclass(slots=True)
class _Turn:
    """One request on its way: what the client asked, and what the backend is asked."""

    gateway: Gateway
    exchange: Exchange
    request: MessagesRequest
    chat: ChatRequest
    body: bytes
    tokens: asyncio.Future[int]

    @property
    def rough_tokens(self) -> int:
        """The estimate if it is ready, else a guess."""
        ready = self.tokens.done() and not self.tokens.cancelled() and self.tokens.exception() is None
        return self.tokens.result() if ready else len(self.body) // _CHARACTERS_PER_TOKEN

    def call(self) -> Call:
        stream = bool(self.request.stream)
        return self.gateway.backend.chat(self.body, token=self.exchange.token, stream=stream)

    def finished(self, finish: Finish) -> None:
        self.exchange.usage = finish.usage
        self.exchange.stop_reason = finish.stop_reason


async def create_message(request: web.Request) -> web.StreamResponse:
    """An answer, as events or as one message. Raises ApiError while its status can still be told."""
    gateway, exchange = request.app[GATEWAY], request[EXCHANGE]
    messages = await _read(request, exchange, counting=False)
    exchange.stream = bool(messages.stream)
    chat = await _translate(gateway, exchange, messages)
    turn = _Turn(gateway, exchange, messages, chat, msgspec.json.encode(chat), _count(gateway, chat))
    try:
        return await (_stream(request, turn) if messages.stream else _complete(turn))
    finally:
        turn.tokens.cancel()


async def count_tokens(request: web.Request) -> web.Response:
    """`{"input_tokens": N}` for a request that is not sent."""
    gateway, exchange = request.app[GATEWAY], request[EXCHANGE]
    messages = await _read(request, exchange, counting=True)
    chat = await _translate(gateway, exchange, messages)
    tokens = await _count(gateway, chat)
    return web.Response(body=msgspec.json.encode({"input_tokens": tokens}), content_type="application/json")


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


async def _translate(gateway: Gateway, exchange: Exchange, messages: MessagesRequest) -> ChatRequest:
    model = await gateway.catalogue.resolve(messages.model, exchange.token)
    exchange.backend_model = model.id
    return translate_request(
        messages,
        gateway.catalogue.profile(model),
        model=model.id,
        sees_images=model.sees_images is not False,
        documents=await gateway.documents.read(messages),
        context_window=model.context_window,
    )


def _count(gateway: Gateway, chat: ChatRequest) -> asyncio.Future[int]:
    return asyncio.get_running_loop().run_in_executor(gateway.counting, gateway.counter.request, chat)


async def _complete(turn: _Turn) -> web.Response:
    async with turn.call() as call:
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
    translator = StreamTranslator(
        names=client_names(turn.request.tools), stop_sequences=turn.request.stop_sequences or ()
    )
    message_id = new_message_id()

    def start() -> None:
        translator.writer.message_start(message_id, turn.request.model, turn.rough_tokens)

    stream = EventStream(request, turn.exchange, translator.writer, turn.gateway.keep_alive, start)
    forget = turn.gateway.keep_alive.add(stream)
    try:
        async with turn.call() as call:
            await turn.tokens
            stream.start()
            await _pump(call, translator, stream)
            turn.finished(translator.end(estimated_input=turn.rough_tokens))
            response = await stream.end()
            await call.drain(_DRAIN_SECONDS)
            return response
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
