"""Who may see the status: programs of this machine, and holders of the status key from anywhere.

A connection from a loopback address is not enough. A reverse proxy on the same machine has one, too: what says that it
was forwarded is not of this machine. Nor is what a browser asks for another site: neither directly, which
`Sec-Fetch-Site` and `Origin` tell, nor under a name of that site that leads here (DNS rebinding), which `Host` tells.
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
    """The rule, with the key of this gateway; without one, only this machine comes in."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def check(self, request: web.Request) -> None:
        """Raises ApiError 401 where a key would help, and 403 where there is none."""
        if self._has_key(request) or _is_from_here(request):
            return
        if self._key:
            raise ApiError(401, "the status is for holders of its key: send STATUS_KEY as `Authorization: Bearer …`")
        raise ApiError(
            403,
            "the status is shown on the gateway's own machine only, at http://127.0.0.1 and its port; to see it from "
            "elsewhere, start the gateway with a STATUS_KEY and send that as `Authorization: Bearer …`",
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
    # a socket that takes both kinds shows IPv4 addresses within IPv6 ones
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _host_name(url: str) -> str | None:
    try:
        return URL(url).host
    except ValueError:
        return None
