"""Who may use the gateway: where a request comes from, and the client's token.

The token is passed on to the backend, or checked against this gateway's own keys if it has any. Tokens for Anthropic
are refused before the backend or a log could see them.
"""

import re
from enum import Enum, auto
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.anthropic.errors import ApiError
from gateway.door.keys import HOLDER, KeyRing
from gateway.door.middleware.origin import refuse_foreign_host, refuse_foreign_reader, refuse_proxies
from gateway.hosts import Hosts
from gateway.record.api_paths import COUNTING, GUARDED, messages_path
from gateway.record.request_record import RECORD

_ANTHROPIC: Final = "sk-ant-"
# the characters that a header carries unchanged to any backend
_TOKEN: Final = re.compile(r"[!-~]+")
# the form that clients send
_BEARER: Final = re.compile(r"Bearer ([!-~]+)")

_READING: Final = frozenset({"GET", "HEAD"})

# the client's token for the backend; not set if the token is a key of this gateway
TOKEN: Final = web.RequestKey("token", str)


class Sharing(Enum):
    """Who may use the backend's key of this gateway without a key from it."""

    NOBODY = auto()  # or there is no such key
    THIS_MACHINE = auto()
    ANYONE = auto()


def auth(keys: KeyRing, sharing: Sharing = Sharing.NOBODY, hosts: Hosts | None = None) -> Middleware:
    """Make the middleware that lets requests in. `hosts`: the only names for which they may ask; None for any.

    It raises ApiError 401 or 403.
    """
    known = hosts or Hosts(())

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        if hosts is not None:
            refuse_foreign_host(request, hosts)
        if request.path.startswith(GUARDED):
            if request.method in _READING:
                refuse_foreign_reader(request, known)
            if keys.used:
                if keys.due:
                    await keys.refresh()
                _let_in(keys, request, client_token(request))
            elif sharing is not Sharing.ANYONE:
                if sharing is Sharing.THIS_MACHINE:
                    refuse_proxies(request)
                # counting asks no backend, so it needs no key for one
                counts = messages_path(request.path) == COUNTING
                request[TOKEN] = client_token(request, needed=not counts)
        return await handler(request)

    return let_in


def _let_in(keys: KeyRing, request: web.Request, token: str) -> None:
    """Check the token against this gateway's keys. Raises ApiError 401."""
    holder = keys.find(token)
    if holder is None:
        raise ApiError(
            401,
            "this token is not a key of this gateway: ask its operator for one, and set ANTHROPIC_AUTH_TOKEN to it",
        )
    request[HOLDER] = holder
    request[RECORD].client = holder.key.name


def client_token(request: web.Request, *, needed: bool = True) -> str:
    """The token from `Authorization: Bearer` or `x-api-key`; empty if there is none and none is needed. Raises ApiError
    401.
    """
    headers = request.headers
    authorization = headers.get("Authorization", "")
    key = headers.get("x-api-key", "").strip()
    if _ANTHROPIC in authorization or _ANTHROPIC in key:
        raise ApiError(
            401,
            "this is a token for Anthropic (sk-ant-…), and this gateway talks to another backend: set "
            "ANTHROPIC_AUTH_TOKEN to a key of that backend instead; the token was not passed on",
        )
    if (plain := _BEARER.fullmatch(authorization)) is not None:
        return plain[1]
    scheme, _, bearer = authorization.partition(" ")
    token = (bearer.strip() if scheme.lower() == "bearer" else "") or key
    if token and not _TOKEN.fullmatch(token):
        raise ApiError(
            401,
            "the token contains a blank, a control character or a character that is not ASCII: copy it again, without "
            "quotes or line breaks; it was not passed on",
        )
    if token or not needed:
        return token
    raise ApiError(
        401,
        "no token: send the backend's key as `Authorization: Bearer …` (ANTHROPIC_AUTH_TOKEN) or `x-api-key`; "
        "a backend without keys accepts any value",
    )
