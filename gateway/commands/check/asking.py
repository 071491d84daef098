"""Requests in Anthropic's format, translated by the gateway's own code on the way to the backend and back.

Each answer shows both sides: the blocks that a client would get, and what the backend actually sent, piece by piece
with arrival times.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from gateway.anthropic.decode import decode_request
from gateway.anthropic.ids import new_message_id
from gateway.anthropic.writer import Finish
from gateway.backend.adapter import Backend
from gateway.openai.chunk import Chunk, Delta, MalformedChunk, Usage, decode_chunk
from gateway.openai.profile import Profile
from gateway.openai.request import ChatRequest
from gateway.openai.sse import SSEDecoder
from gateway.tokens.count import TokenCounter
from gateway.translate.both_ways.tool_names import client_names
from gateway.translate.from_backend.answer import StreamTranslator, translate_message
from gateway.translate.refusals.faults import BackendFault
from gateway.translate.refusals.remedy import find_remedy
from gateway.translate.to_backend.request import translate_request

_MOST_REMEDIES: Final = 4
_DRAIN_SECONDS: Final = 0.5
_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_details")


@dataclass(slots=True)
class Seen:
    """What the backend sent. Times are in seconds since the request. `events` counts the events that carry a piece of
    the answer, `arrivals` the reads that contained at least one.
    """

    streamed: bool = False
    events: int = 0
    arrivals: int = 0
    first: float = 0.0
    last: float = 0.0
    reasoning: str = ""
    usage: Usage | None = None
    tool_ids: list[str] = field(default_factory=list)
    tool_pieces: int = 0

    @property
    def prompt_tokens(self) -> int:
        """The backend's count; 0 if it gave none."""
        return max(0, (self.usage.prompt_tokens or 0) if self.usage else 0)

    @property
    def output_tokens(self) -> int:
        """The backend's count; 0 if it gave none."""
        return max(0, (self.usage.completion_tokens or 0) if self.usage else 0)


class Answer(Struct, frozen=True):
    """An answer as a client gets it, and what the backend sent for it. `estimated`: the gateway's estimate of the
    prompt's tokens.
    """

    blocks: list[dict[str, Any]]
    finish: Finish
    seen: Seen
    profile: Profile
    estimated: int

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The blocks of one type."""
        return [block for block in self.blocks if block["type"] == kind]

    @property
    def text(self) -> str:
        """The text of all text blocks, joined."""
        return "".join(block["text"] for block in self.of("text"))


@dataclass(slots=True)
class Spent:
    """The cost of the check so far."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class Asker:
    """Sends requests to one model."""

    backend: Backend
    token: str
    model: str
    profile: Profile
    window: int | None = None
    counter: TokenCounter = field(default_factory=TokenCounter)
    spent: Spent = field(default_factory=Spent)
    answers: list[Answer] = field(default_factory=list)

    async def ask(self, prompt: str | list[Any], *, profile: Profile | None = None, **fields: Any) -> Answer:
        """Get one answer. If the backend refuses the request, adapts and resends it as the gateway would. Raises
        BackendFault.

        `prompt` is the user's turn, or the whole conversation as a list of messages. `profile` applies to this request
        only; without it, the profile learnt from this request is kept for later ones.
        """
        turns = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        body = {"model": self.model, "max_tokens": 256, "stream": True, "messages": turns, **fields}
        answer = await self._asked(body, profile or self.profile, tries_left=_MOST_REMEDIES)
        if profile is None:
            self.profile = answer.profile
        self.answers.append(answer)
        return answer

    async def _asked(self, body: dict[str, Any], profile: Profile, *, tries_left: int) -> Answer:
        request = decode_request(msgspec.json.encode(body), counting=False)
        chat = translate_request(request, profile, model=self.model, context_window=self.window)
        estimated = await asyncio.to_thread(self.counter.request, chat)
        try:
            return await self._send(chat, client_names(request.tools), profile, estimated)
        except BackendFault as fault:
            remedy = find_remedy(fault, chat, profile, estimated)
            if remedy is None or not tries_left:
                raise
        body = {**body, "max_tokens": remedy.max_tokens or body["max_tokens"]}
        return await self._asked(body, remedy.profile, tries_left=tries_left - 1)

    async def _send(self, chat: ChatRequest, names: Mapping[str, str], profile: Profile, estimated: int) -> Answer:
        self.spent.requests += 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        stream = bool(chat["stream"])
        pieces = []
        # the same path as a client's stream: this detects an incomplete answer
        translator = StreamTranslator(names=names)
        translator.writer.message_start(new_message_id(), self.model, estimated)
        async with await self.backend.chat(msgspec.json.encode(chat), token=self.token, stream=stream) as call:
            streamed = stream and call.is_stream
            while data := await call.read():
                pieces.append((loop.time() - started, data))
                if streamed:
                    translator.feed(data)
                if translator.done:
                    await call.drain(_DRAIN_SECONDS)
                    break
            if streamed:
                translator.end(estimated_input=estimated)
        body = b"".join(data for _, data in pieces)
        message, finish = translate_message(
            body, message_id=new_message_id(), model=self.model, estimated_input=estimated, names=names
        )
        usage = finish.usage
        self.spent.input_tokens += usage.input_tokens + usage.cache_read_input_tokens
        self.spent.output_tokens += usage.output_tokens
        seen = look(pieces, streamed=streamed)
        return Answer(msgspec.json.decode(message)["content"], finish, seen, profile, estimated)


def look(pieces: list[tuple[float, bytes]], *, streamed: bool) -> Seen:
    """Summarise what the backend sent. `pieces` are its bytes with their arrival times in seconds."""
    seen = Seen(streamed=streamed)
    for when, chunks in _chunks(pieces, streamed=streamed):
        found = [chunk for chunk in chunks if _note(chunk, seen)]
        if found:
            seen.first = seen.first or when
            seen.last = when
            seen.events += len(found)
            seen.arrivals += 1
    return seen


def _chunks(pieces: list[tuple[float, bytes]], *, streamed: bool) -> Iterator[tuple[float, list[Chunk]]]:
    if not streamed:
        body = b"".join(data for _, data in pieces)
        yield (pieces[-1][0] if pieces else 0.0), _readable([body])
        return
    decoder = SSEDecoder()
    for when, data in pieces:
        yield when, _readable([text for _, text in decoder.feed(data)])
    yield (pieces[-1][0] if pieces else 0.0), _readable([text for _, text in decoder.flush()])


def _readable(texts: list[bytes]) -> list[Chunk]:
    chunks = []
    for text in texts:
        try:
            chunks.append(decode_chunk(text))
        except MalformedChunk:
            continue
    return chunks


def _note(chunk: Chunk, seen: Seen) -> bool:
    """Add a chunk to `seen`. Returns whether it carries a piece of the answer."""
    seen.usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None) or seen.usage
    substance = False
    for choice in chunk.choices or ():
        seen.usage = choice.usage or seen.usage
        delta = choice.delta or choice.message or Delta()
        for name in _REASONING:
            if getattr(delta, name):
                seen.reasoning = seen.reasoning or name
                substance = True
        for call in delta.tool_calls or ():
            seen.tool_pieces += 1
            if isinstance(call.id, str) and call.id and call.id not in seen.tool_ids:
                seen.tool_ids.append(call.id)
            substance = True
        substance = substance or bool(delta.content)
    return substance


def changes(before: Profile, after: Profile) -> list[str]:
    """Describe what was learnt about a backend: the differences between two profiles."""
    old, new = structs.asdict(before), structs.asdict(after)
    words = [f"without `{name}`" for name in sorted(after.drops - before.drops)]
    return words + [
        f"{name} = {_value(new[name])}" for name in new if name not in ("name", "drops") and new[name] != old[name]
    ]


def _value(value: Any) -> str:
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value)
