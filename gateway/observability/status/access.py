"""Who may see the status: programs on this machine, and holders of the status key from anywhere.

A connection from a loopback address is not sufficient. A reverse proxy on this machine connects from one as well, so a
request with a forwarding header does not count as local. Neither does a request that a browser makes for another site:
`Sec-Fetch-Site` and `Origin` reveal a direct one, and `Host` one through a name of that site that resolves to this
machine (DNS rebinding).
"""

from hmac import compare_digest
from ipaddress import ip_address
from typing import Final

from aiohttp import web
from yarl import URL

from gateway.anthropic.errors import ApiError

_FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
_OWN_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
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
        _is_loopback(request.remote)
        and not any(name in headers for name in _FORWARDED)
        and _host_name(f"http://{headers.get('Host', '')}") in _OWN_NAMES
        and headers.get("Sec-Fetch-Site", "") in _OWN_SITE
        and headers.get("Origin", f"http://{headers.get('Host', '')}") == f"http://{headers.get('Host', '')}"
    )


def _is_loopback(address: str | None) -> bool:
    try:
        found = ip_address(address or "")
    except ValueError:
        return False
    # a dual-stack socket reports IPv4 addresses as IPv4-mapped IPv6 addresses
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _host_name(url: str) -> str | None:
    try:
        return URL(url).host
    except ValueError:
        return None
