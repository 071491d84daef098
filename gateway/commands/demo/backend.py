"""The embedded backend: an OpenAI-compatible chat-completions server inside this process.

It speaks as real servers do: the order of chunks is OpenAI's; `reasoning_content`, `stop_reason` and the error bodies
are vLLM's. It needs no key and accepts any. `gateway.commands.demo.script` decides what it says; this module sends it,
at a human pace, and fails in the ways that a prompt asks for.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Never

from aiohttp import web

from gateway.commands.demo.script import Answer, ToolCall, answer, count_tokens, prompt_tokens, tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

MODELS: Final = ("demo", "zai-org/GLM-4.5-Air")

SLEEP: Final[web.AppKey[Callable[[float], Awaitable[None]]]] = web.AppKey("sleep")
"""The function that waits between tokens (`asyncio.sleep`); tests may replace it."""

_INTERVAL: Final = web.AppKey("interval", float)
_MAX_BODY: Final = 64 * 1024**2
# Seconds between checks for a client that has disconnected while nothing is written.
_LOOK_EVERY: Final = 0.05

_CREATED: Final = 1_750_000_000
_CONTEXT: Final = 131_072

_ERROR_TYPES: Final = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    413: "RequestEntityTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
    529: "OverloadedError",
}


class _RequestError(Exception):
    """A request that gets an error in OpenAI's format; `param` names the field at fault."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class _Completion:
    """One answer, with the fields that its chunks and its JSON body share."""

    id: str
    created: int
    model: str
    answer: Answer
    usage: dict[str, Any]
    with_usage: bool

    def chunk(self, delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
        """A stream's chunk; `choice` overrides parts of its only choice, such as `finish_reason`."""
        only = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **choice}
        return self._chunk([only], None)

    def finish_chunk(self) -> dict[str, Any]:
        return self.chunk({}, finish_reason=self.answer.finish_reason, stop_reason=self.answer.stop_reason)

    def usage_chunk(self) -> dict[str, Any]:
        return self._chunk([], self.usage)

    def whole(self) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        choice = {
            "index": 0,
            "message": _message(self.answer),
            "logprobs": None,
            "finish_reason": self.answer.finish_reason,
            "stop_reason": self.answer.stop_reason,
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": self.usage}

    def _chunk(self, choices: list[Any], usage: dict[str, Any] | None) -> dict[str, Any]:
        chunk = {**self._head("chat.completion.chunk"), "choices": choices}
        return {**chunk, "usage": usage} if self.with_usage else chunk

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def make_backend(*, tokens_per_second: float = 40.0) -> web.Application:
    """The server: `POST /v1/chat/completions`, `GET /v1/models`, `GET /health`.

    `tokens_per_second` is the pace of streams; 0 or less sends as fast as the client reads.
    """
    app = web.Application(client_max_size=_MAX_BODY)
    app[SLEEP] = asyncio.sleep
    app[_INTERVAL] = 1 / tokens_per_second if tokens_per_second > 0 else 0.0
    app.add_routes(
        [
            web.post("/v1/chat/completions", _complete),
            web.get("/v1/models", _models),
            web.get("/health", _health),
        ]
    )
    return app


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _models(_request: web.Request) -> web.Response:
    fixed = {"object": "model", "created": _CREATED, "owned_by": "claude-gateway", "max_model_len": _CONTEXT}
    return web.json_response({"object": "list", "data": [{"id": name, **fixed} for name in MODELS]})


async def _complete(request: web.Request) -> web.StreamResponse:
    try:
        body = _checked(await request.read())
        completion = _completion(body)
        if body.get("stream"):
            return await _stream(request, completion)
        return await _at_once(request, completion)
    except _RequestError as error:
        return _error(error)
    except ConnectionError:
        # The client has disconnected: nobody is left to answer, and there is nothing worth logging.
        return web.Response()


def _checked(raw: bytes) -> dict[str, Any]:
    """Decode and check the request. Raises _RequestError."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _RequestError(400, f"The request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise _RequestError(400, "The request body must be a JSON object.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _RequestError(400, "'messages' is required and must be a list of objects.", "messages")
    if not messages:
        raise _RequestError(400, "'messages' must hold at least one message.", "messages")
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise _RequestError(400, f"{name} must be at least 1, got {limit}.", name)
    model = body.setdefault("model", MODELS[0])
    if model not in MODELS:
        raise _RequestError(404, f"The model `{model}` does not exist.", "model")
    return body


def _completion(body: dict[str, Any]) -> _Completion:
    """The answer to `body`. Raises _RequestError if the prompt asks for an error status."""
    options = body.get("stream_options")
    said = answer(body)
    if said.fault and said.fault.kind == "status":
        raise _RequestError(said.fault.status, f"The prompt asked for status {said.fault.status}.")
    return _Completion(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=body["model"],
        answer=said,
        usage=_usage(said, prompt_tokens(body)),
        with_usage=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _usage(said: Answer, prompt: int) -> dict[str, Any]:
    reasoning = count_tokens(said.thinking)
    spoken = (said.text, *(call.arguments for call in said.tool_calls))
    completion = reasoning + sum(map(count_tokens, spoken))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _message(said: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.thinking:
        message["reasoning_content"] = said.thinking
    if said.tool_calls:
        message["content"] = said.text or None
        message["tool_calls"] = [_call(call) for call in said.tool_calls]
    return message


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def _deltas(said: Answer) -> Iterator[dict[str, Any]]:
    """The answer's deltas after the role and the thinking: text, then tool calls."""
    for piece in tokens(said.text):
        yield {"content": piece}
    for index, call in enumerate(said.tool_calls):
        yield {"tool_calls": [{"index": index, **_call(ToolCall(call.name, ""))}]}
        for piece in tokens(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


async def _stream(request: web.Request, completion: _Completion) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Cache-Control": "no-cache"})
    response.content_type = "text/event-stream"
    response.charset = "utf-8"
    await response.prepare(request)
    said, fault = completion.answer, completion.answer.fault
    if fault and fault.kind == "silent":
        await _silence(request)
    await response.write(_event(completion.chunk({"role": "assistant", "content": ""})))
    for piece in tokens(said.thinking):
        await _send(request, response, completion.chunk({"reasoning_content": piece}))
    deltas = list(_deltas(said))
    if fault:
        # Fail in the middle: the client has seen one half of the answer and misses the other.
        deltas = deltas[: (len(deltas) + 1) // 2]
    for delta in deltas:
        await _send(request, response, completion.chunk(delta))
    if fault and fault.kind == "cut":
        return _hang_up(request, response)
    if fault:
        await response.write(_event(_error_body(_RequestError(500, "The prompt asked for an error."))))
        return response
    await response.write(_event(completion.finish_chunk()))
    if completion.with_usage:
        await response.write(_event(completion.usage_chunk()))
    await response.write(b"data: [DONE]\n\n")
    return response


async def _at_once(request: web.Request, completion: _Completion) -> web.StreamResponse:
    fault = completion.answer.fault
    body = _json(completion.whole())
    if fault is None:
        return web.Response(body=body, content_type="application/json")
    if fault.kind == "error":
        return _error(_RequestError(500, "The prompt asked for an error."))
    if fault.kind == "silent":
        await _silence(request)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _hang_up(request, response)


async def _send(request: web.Request, response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await _wait(request, request.app[_INTERVAL])
    await response.write(_event(chunk))


async def _wait(request: web.Request, seconds: float) -> None:
    """Sleep in short steps, to end the answer as soon as the client disconnects. Raises ConnectionResetError."""
    sleep = request.app[SLEEP]
    while seconds > _LOOK_EVERY:
        await sleep(_LOOK_EVERY)
        seconds -= _LOOK_EVERY
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has left")
    await sleep(seconds)


async def _silence(request: web.Request) -> Never:
    while True:
        await _wait(request, 1.0)


def _hang_up(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection before the response's last chunk is sent."""
    if request.transport is not None:
        request.transport.close()
    return response


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + _json(data) + b"\n\n"


def _json(value: dict[str, Any]) -> bytes:
    # "replace": the answer echoes the prompt, which may contain lone surrogates that UTF-8 cannot encode.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _error_body(error: _RequestError) -> dict[str, Any]:
    fallback = "InternalServerError" if error.status >= 500 else "BadRequestError"
    kind = _ERROR_TYPES.get(error.status, fallback)
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.status}}


def _error(error: _RequestError) -> web.Response:
    headers = {"Retry-After": "1"} if error.status in (429, 503) else None
    body = _json(_error_body(error))
    return web.Response(status=error.status, body=body, headers=headers, content_type="application/json")
