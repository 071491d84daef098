"""Who calls: the client's token, which goes to the backend as it is.

Tokens for Anthropic are refused before the backend, or a log, could see them.
"""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.anthropic.errors import ApiError
from gateway.web.context import EXCHANGE

_ANTHROPIC: Final = "sk-ant-"
# the paths under which everything needs a token
_GUARDED: Final = "/v1/"


@web.middleware
async def auth(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the token of a request that needs one. Raises ApiError 401."""
    if request.path.startswith(_GUARDED):
        request[EXCHANGE].token = client_token(request)
    return await handler(request)


def client_token(request: web.Request) -> str:
    """The token from `Authorization: Bearer` or `x-api-key`. Raises ApiError 401."""
    authorization = request.headers.get("Authorization", "")
    key = request.headers.get("x-api-key", "").strip()
    if _ANTHROPIC in authorization or _ANTHROPIC in key:
        raise ApiError(
            401,
            "this is a token for Anthropic (sk-ant-…), and this gateway talks to another backend: set "
            "ANTHROPIC_AUTH_TOKEN to a key of that backend instead; the token was not passed on",
        )
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if key:
        return key
    raise ApiError(
        401,
        "no token: send the backend's key as `Authorization: Bearer …` (ANTHROPIC_AUTH_TOKEN) or `x-api-key`; "
        "a backend without keys takes any word",
    )
