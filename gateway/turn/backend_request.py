"""The second stage of a turn: the request to the backend."""

from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from gateway.openai.profile import Profile
from gateway.openai.request import ChatRequest, as_sent
from gateway.translate.to_backend.request import translate_request
from gateway.translate.to_backend.thinking import is_effort_ignored
from gateway.turn.client_request import ClientRequest
from gateway.turn.context import TurnContext

# above about this size, a buffer of the right size is faster than one that grows
_ROOMY_BYTES: Final = 32 * 1024

_encode_into = msgspec.json.Encoder().encode_into


class BackendRequest(Struct, frozen=True, eq=False):
    """A client's request, translated for a backend of this profile: `chat` as values, `body` as the bytes to send."""

    source: ClientRequest
    profile: Profile
    chat: ChatRequest
    body: bytes | bytearray


async def translate(source: ClientRequest, profile: Profile, context: TurnContext) -> BackendRequest:
    """Translate the client's request for the backend. Raises InvalidRequest."""
    if is_effort_ignored(source.request, profile):
        context.catalogue.effort_ignored(source.model)
    return await context.run(source.effort, partial(_translated, source, profile))


def _translated(source: ClientRequest, profile: Profile) -> BackendRequest:
    chat = translate_request(
        source.request,
        profile,
        model=source.model.id,
        documents=source.documents,
        context_window=source.model.context_window,
    )
    return BackendRequest(source, profile, chat, _encoded(chat, source.size))


def _encoded(chat: ChatRequest, size: int) -> bytes | bytearray:
    """Encode the chat request as JSON, which is about as long as the client's body of `size` bytes."""
    sent = as_sent(chat)
    if size < _ROOMY_BYTES:
        return msgspec.json.encode(sent)
    # growing to many megabytes takes the encoder three times as long, and nothing else runs meanwhile
    body = bytearray(size)
    _encode_into(sent, body)
    return body
