"""`GET /`: the status page, for browsers.

The page is one file without data: its script reads the event feed, and asks for the status key if that is required. The
content security policy lets it load nothing, connect nowhere else, and use only its own script and style.
"""

import base64
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler

_STATIC: Final = files("gateway.observability.status") / "static"
_SCRIPTS: Final = ("format.js", "charts.js", "connect.js", "feed.js", "page.js")


class _Page(NamedTuple):
    body: bytes
    etag: str
    policy: str


def front_page(otherwise: Handler) -> Handler:
    """A handler that answers clients that accept HTML with the page, and passes all other requests to `otherwise`."""

    async def front(request: web.Request) -> web.StreamResponse:
        return _respond(request) if "text/html" in request.headers.get("Accept", "") else await otherwise(request)

    return front


def _respond(request: web.Request) -> web.StreamResponse:
    page = _page()
    known = request.if_none_match or ()
    if any(tag.value == page.etag for tag in known):
        return web.Response(status=304, headers={"ETag": f'"{page.etag}"', "Vary": "Accept"})
    response = web.Response(body=page.body, content_type="text/html", charset="utf-8")
    response.headers.update(
        {
            "Content-Security-Policy": page.policy,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
    )
    response.etag = page.etag
    return response


@cache
def _page() -> _Page:
    style = (_STATIC / "status.css").read_text("utf-8")
    script = "".join((_STATIC / name).read_text("utf-8") for name in _SCRIPTS)
    frame = (_STATIC / "status.html").read_text("utf-8")
    body = frame.replace("/* style */", style).replace("/* script */", script).encode()
    policy = (
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return _Page(body, sha256(body).hexdigest()[:32], policy)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"
