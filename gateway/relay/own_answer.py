"""Answers without anything from a model: to a web search that nobody can make, and to a request that warms a cache.

Both are whole at once, also as streams.
"""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from gateway.anthropic.ids import new_message_id
from gateway.anthropic.message import MessageWriter
from gateway.anthropic.stream import StreamWriter
from gateway.anthropic.web_search import write_unavailable
from gateway.anthropic.writer import BlockWriter, Finish, Usage
from gateway.record.request_record import RECORD
from gateway.translate.from_backend.answer import translate_message
from gateway.turn.ask import ask
from gateway.turn.backend_request import BackendRequest
from gateway.turn.context import TurnContext
from gateway.turn.token_estimate import TokenEstimate

# as in `gateway.relay.event_response`
_STREAM_HEADERS: Final = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


def search_unavailable(request: web.Request, asked: BackendRequest, query: str) -> web.Response:
    """Answer a web search with an error that clients show as one."""
    return _answer(request, asked, lambda writer: write_unavailable(query, writer))


async def warm_up(
    request: web.Request, asked: BackendRequest, estimate: TokenEstimate, context: TurnContext
) -> web.Response:
    """Let the backend read the prompt, and answer with no content and the prompt's tokens (`max_tokens` 0).

    The backend was asked for one token: few take none. Raises BackendFault.
    """
    asked, call = await ask(asked, estimate, context, request[RECORD])
    async with call:
        answer = await call.read_all()
        _, made = translate_message(
            answer,
            message_id="",
            model=asked.source.request.model,
            estimated_input=await estimate.counted(),
        )
    usage = Usage(
        input_tokens=made.usage.input_tokens,
        output_tokens=0,
        cache_read_input_tokens=made.usage.cache_read_input_tokens,
        cache_creation_input_tokens=made.usage.cache_creation_input_tokens,
    )

    def write(writer: BlockWriter) -> Finish:
        finish = Finish("max_tokens", None, usage)
        writer.finish(finish)
        return finish

    return _answer(request, asked, write, input_tokens=usage.input_tokens)


def _answer(
    request: web.Request, asked: BackendRequest, write: Callable[[BlockWriter], Finish], *, input_tokens: int = 0
) -> web.Response:
    record, message_id, model = request[RECORD], new_message_id(), asked.source.request.model
    if not asked.source.request.stream:
        message = MessageWriter()
        record.finished(write(message))
        return web.Response(body=message.body(message_id, model), content_type="application/json")
    stream = StreamWriter()
    stream.message_start(message_id, model, input_tokens)
    record.finished(write(stream))
    body = stream.take()
    record.event_sent(len(body))
    return web.Response(body=body, content_type="text/event-stream", charset="utf-8", headers=_STREAM_HEADERS)
