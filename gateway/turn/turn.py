"""One request on its way: what the client asked, and what the backend is asked."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import MessagesRequest
from gateway.anthropic.writer import Finish
from gateway.backend.connection.call import Call
from gateway.backend.trace_context import Trace, pass_on
from gateway.door.body import read_body
from gateway.door.context import Gateway
from gateway.openai.chunk import answering_model
from gateway.openai.models import Model
from gateway.openai.profile import Profile
from gateway.openai.request import ChatRequest, as_sent
from gateway.record.request_record import EXCHANGE, Exchange
from gateway.translate.refusals.faults import BackendFault
from gateway.translate.refusals.remedy import find_remedy
from gateway.translate.to_backend.media import Documents
from gateway.translate.to_backend.request import translate_request

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


class Turn(Struct, eq=False):
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
    chat: ChatRequest = {}
    # the chat request as it is sent
    body: bytes | bytearray = b""
    # estimated input; where a thread counts it, what it is before and if that fails
    counted: int | None = None
    counting: asyncio.Future[int] | None = None
    rough: int = 0

    async def tokens(self) -> int:
        """The estimate of the input."""
        if self.counted is None and self.counting is not None:
            self.counted = await self.counting
        return self.rough_tokens

    @property
    def rough_tokens(self) -> int:
        """The estimate if it is ready, else a guess."""
        if self.counted is not None:
            return self.counted
        counting = self.counting
        if counting is not None and counting.done() and not counting.cancelled() and counting.exception() is None:
            return counting.result()
        return self.rough or len(self.body) // _CHARACTERS_PER_TOKEN

    def count(self) -> None:
        """Begin to count the tokens, in a thread if they are many."""
        counter = self.gateway.counter
        self.counted = counter.request_if_quick(self.chat)
        if self.counted is None:
            loop = asyncio.get_running_loop()
            self.counting = loop.run_in_executor(self.gateway.counting, counter.request, self.chat)

    def forget_tokens(self) -> None:
        """Nobody needs them any more."""
        if self.counting is not None:
            self.counting.cancel()

    async def translate(self) -> None:
        """Make the backend's request. Raises InvalidRequest."""
        small = self.size < _LARGE_BYTES
        self.chat, self.body = self._translated() if small else await _in_thread(self.gateway, self._translated)

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
        exchange, first, tries = self.exchange, self.profile, 0
        while True:
            if exchange.trace is not None:
                exchange.trace.describe(self.request, model=self.model.id, profile=self.profile.name)
            stream, token = bool(self.request.stream), exchange.token
            try:
                call = await self.gateway.backend.chat(self.body, token=token, stream=stream, trace=self.trace)
            except BackendFault as fault:
                tries += 1
                estimate = await self.tokens()
                remedy = find_remedy(fault, self.chat, self.profile, estimate) if tries <= _MOST_REMEDIES else None
                if remedy is None:
                    raise
                self.profile = remedy.profile
                self.request.max_tokens = remedy.max_tokens or self.request.max_tokens
                await self.translate()
            else:
                exchange.retries = call.retries
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
        sent = as_sent(chat)
        if self.size < _ROOMY_BYTES:
            return chat, msgspec.json.encode(sent)
        # about as large as what came: growing with many megabytes takes the encoder three times as long, and nothing
        # else runs meanwhile
        body = bytearray(self.size)
        _encode_into(sent, body)
        return chat, body


async def read_turn(request: web.Request, gateway: Gateway, *, counting: bool) -> Turn:
    """The request, translated. `counting` is for `count_tokens`. Raises ApiError."""
    exchange = request[EXCHANGE]
    body = await read_body(request, gateway.limits)
    size = len(body)
    decode = partial(decode_request, body, counting=counting, known=gateway.known_tools)
    messages = decode() if size < _LARGE_BYTES else await _in_thread(gateway, decode)
    exchange.model = messages.model
    model = await gateway.catalogue.resolve(messages.model, exchange.token)
    exchange.backend_model = model.id
    documents = await gateway.documents.read(messages)
    profile = gateway.catalogue.profile(model)
    trace = exchange.trace or pass_on(request.headers)
    turn = Turn(gateway, exchange, messages, size, model, profile, documents, trace)
    await turn.translate()
    turn.count()
    return turn


async def _in_thread(gateway: Gateway, work: Callable[[], _Result]) -> _Result:
    """Do work on a large request while others go on."""
    return await asyncio.get_running_loop().run_in_executor(gateway.large, work)
