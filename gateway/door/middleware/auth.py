"""The client's token: passed on to the backend, or checked against this gateway's own keys if it has any.

Tokens for Anthropic are refused before the backend or a log could see them.
"""

import re
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.anthropic.errors import ApiError
from gateway.door.keys import HOLDER, KeyRing
from gateway.record.api_paths import GUARDED
from gateway.record.request_record import RECORD

_ANTHROPIC: Final = "sk-ant-"
# the characters that a header carries unchanged to any backend
_TOKEN: Final = re.compile(r"[!-~]+")
# the form that clients send
_BEARER: Final = re.compile(r"Bearer ([!-~]+)")


# the client's token for the backend; not set if the token is a key of this gateway
TOKEN: Final = web.RequestKey("token", str)


def auth(keys: KeyRing) -> Middleware:
    """Make the middleware that reads the token of each request that needs one. It raises ApiError 401."""

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(GUARDED):
            _let_in(keys, request, client_token(request))
        return await handler(request)

    return let_in


def _let_in(keys: KeyRing, request: web.Request, token: str) -> None:
    """Check the token against this gateway's keys; without any, keep it for the backend. Raises ApiError 401."""
    if not keys.used:
        request[TOKEN] = token
        return
    holder = keys.find(token)
    if holder is None:
        raise ApiError(
            401,
            "this token is not a key of this gateway: ask its operator for one, and set ANTHROPIC_AUTH_TOKEN to it",
        )
    request[HOLDER] = holder
    request[RECORD].client = holder.key.name


def client_token(request: web.Request) -> str:
    """The token from `Authorization: Bearer` or `x-api-key`. Raises ApiError 401."""
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
    if token:
        return token
    raise ApiError(
        401,
        "no token: send the backend's key as `Authorization: Bearer …` (ANTHROPIC_AUTH_TOKEN) or `x-api-key`; "
        "a backend without keys accepts any value",
    )
