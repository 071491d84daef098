"""Who may see the status: programs on this machine, and holders of the status key from anywhere.

A connection from a loopback address is not sufficient. A reverse proxy on this machine connects from one as well, so a
request with a forwarding header does not count as local. Neither does a request that a browser makes for another site:
`Sec-Fetch-Site` and `Origin` reveal a direct one, and `Host` one through a name of that site that resolves to this
machine (DNS rebinding).
"""

from hmac import compare_digest
from typing import Final

from aiohttp import web

from gateway.anthropic.errors import ApiError
from gateway.hosts import Hosts, forwarding, is_loopback

_OWN_NAMES: Final = Hosts(())
_OWN_SITE: Final = frozenset({"", "none", "same-origin"})


class StatusAccess:
    """Checks requests against this gateway's status key. With an empty key, only this machine has access."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def check(self, request: web.Request) -> None:
        """Raise ApiError 401 if the right key would give access, or 403 if the gateway has no key."""
        if self._has_key(request) or _is_from_here(request):
            return
        if self._key:
            raise ApiError(401, "the status requires the status key: send STATUS_KEY as `Authorization: Bearer …`")
        raise ApiError(
            403,
            "the status is available only on the gateway's own machine, at http://127.0.0.1 and its port; to see it "
            "from elsewhere, start the gateway with a STATUS_KEY and send that as `Authorization: Bearer …`",
        )

    def _has_key(self, request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "").strip()
        return bool(self._key) and compare_digest(given.encode("utf-8", "surrogateescape"), self._key)


def _is_from_here(request: web.Request) -> bool:
    headers = request.headers
    return (
        is_loopback(request.remote or "")
        and forwarding(headers) is None
        and _OWN_NAMES.refused(headers, request.raw_path) is None
        and headers.get("Sec-Fetch-Site", "") in _OWN_SITE
        and headers.get("Origin", f"http://{headers.get('Host', '')}") == f"http://{headers.get('Host', '')}"
    )
