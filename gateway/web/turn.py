"""One request on its way: what the client asked, and what the backend is asked."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from gateway.anthropic.request import MessagesRequest, decode_request
from gateway.anthropic.writer import Finish
from gateway.backend.call import Call
from gateway.backend.trace_context import Trace, pass_on
from gateway.openai.chunk import answering_model
from gateway.openai.models import Model
from gateway.openai.profile import Profile
from gateway.openai.request import ChatRequest
from gateway.translate.errors import BackendFault
from gateway.translate.media import Documents
from gateway.translate.remedy import find_remedy
from gateway.translate.request import translate_request
from gateway.web.body import read_body
from gateway.web.context import GATEWAY, Gateway
from gateway.web.exchange import EXCHANGE, Exchange

# from about here on, a step takes longer than handing it to a thread, between whose bytecodes streams go on
_LARGE_BYTES: Final = 1024 * 1024
# from about here on, a buffer of the right size is faster than one that grows
_ROOMY_BYTES: Final = 32 * 1024
# a guess for the moment before the tokens are counted: English prose and JSON have about four characters a token
_CHARACTERS_PER_TOKEN: Final = 4
# a backend that refuses one field may refuse the next
_MOST_REMEDIES: Final = 4

_encode_into = msgspec.json.Encoder().encode_into
_Result = TypeVar("_Result")


@dataclass(slots=True)
class Turn:
    """A request that has been read; `ask` sends it. `size`: the bytes of the client's body."""

    gateway: Gateway
    exchange: Exchange
    request: MessagesRequest
    size: int
    model: Model
    profile: Profile
    documents: Documents
    # what calls to the backend are part of
    trace: Trace
    chat: ChatRequest = field(init=False)
    # the chat request as it is sent
    body: bytes | bytearray = field(init=False)
    # estimated input, and what it is before and if that fails
    tokens: asyncio.Future[int] = field(init=False)
    rough: int = field(init=False, default=0)

    @property
    def rough_tokens(self) -> int:
        """The estimate if it is ready, else a guess."""
        if self.tokens.done() and not self.tokens.cancelled() and self.tokens.exception() is None:
            return self.tokens.result()
        return self.rough or len(self.body) // _CHARACTERS_PER_TOKEN

    async def translate(self) -> None:
        """Make the backend's request. Raises InvalidRequest."""
        self.chat, self.body = await _aside(self.gateway, self.size, self._translated)

    def release(self) -> None:
        """Forget the request, which may be large: its answer has begun, and can go on for long."""
        if self.exchange.first_content is None:
            self.exchange.first_content = time.perf_counter()
        self.rough = self.rough_tokens
        self.body = b""
        self.chat = {}
        self.request.messages = []
        self.request.system = self.request.tools = None
        self.documents = {}

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
                await self.translate()
            else:
                break
        else:
            call = await self._send()
        if self.profile != first:
            self.gateway.catalogue.learn(self.model, self.profile)
        return call

    def begins(self, answer: bytes) -> None:
        """Note which model the backend says it is, from the beginning of its answer."""
        if self.exchange.trace is not None:
            self.exchange.response_model = answering_model(answer)

    def finished(self, finish: Finish) -> None:
        """Note how the answer ended."""
        self.exchange.answered = time.perf_counter()
        self.exchange.usage = finish.usage
        self.exchange.stop_reason = finish.stop_reason

    def _translated(self) -> tuple[ChatRequest, bytes | bytearray]:
        chat = translate_request(
            self.request,
            self.profile,
            model=self.model.id,
            documents=self.documents,
            context_window=self.model.context_window,
        )
        if self.size < _ROOMY_BYTES:
            return chat, msgspec.json.encode(chat)
        # about as large as what came: growing with many megabytes takes the encoder three times as long, and nothing
        # else runs meanwhile
        body = bytearray(self.size)
        _encode_into(chat, body)
        return chat, body

    async def _send(self) -> Call:
        stream = bool(self.request.stream)
        if (recorded := self.exchange.trace) is not None:
            recorded.describe(self.request, model=self.model.id, profile=self.profile.name)
        token = self.exchange.token
        call = await self.gateway.backend.chat(self.body, token=token, stream=stream, trace=self.trace)
        self.exchange.retries = call.retries
        return call


async def read_turn(request: web.Request, *, counting: bool) -> Turn:
    """The request, translated. `counting` is for `count_tokens`. Raises ApiError."""
    gateway, exchange = request.app[GATEWAY], request[EXCHANGE]
    body = await read_body(request)
    size = len(body)
    messages = await _aside(gateway, size, partial(decode_request, body, counting=counting))
    exchange.model = messages.model
    model = await gateway.catalogue.resolve(messages.model, exchange.token)
    exchange.backend_model = model.id
    documents = await gateway.documents.read(messages)
    profile = gateway.catalogue.profile(model)
    trace = exchange.trace or pass_on(request.headers)
    turn = Turn(gateway, exchange, messages, size, model, profile, documents, trace)
    await turn.translate()
    turn.tokens = _count(gateway, turn.chat)
    return turn


def _count(gateway: Gateway, chat: ChatRequest) -> asyncio.Future[int]:
    loop, counter = asyncio.get_running_loop(), gateway.counter
    count = counter.request_if_quick(chat)
    if count is None:
        return loop.run_in_executor(gateway.counting, counter.request, chat)
    tokens: asyncio.Future[int] = loop.create_future()
    tokens.set_result(count)
    return tokens


async def _aside(gateway: Gateway, size: int, work: Callable[[], _Result]) -> _Result:
    """Do work on a request of this size, in a thread if it is large."""
    if size < _LARGE_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(gateway.large, work)
