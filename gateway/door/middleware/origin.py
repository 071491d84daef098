"""Refuses requests that web pages of other sites, or strangers behind a proxy, may have sent: ApiError 403.

`/health` and `/ready` are for load balancers, containers and Kubernetes, which ask at any address that they know.
"""

from typing import Final

from aiohttp import web

from gateway.anthropic.errors import ApiError
from gateway.hosts import Hosts, forwarding

_FOR_PROBES: Final = frozenset({"/health", "/ready"})
# `Origin` of pages; programs that show pages of their own have other schemes
_PAGES: Final = ("http://", "https://")
_HOST_SHOWN: Final = 100


def refuse_foreign_host(request: web.Request, hosts: Hosts) -> None:
    """Refuse a request for a name that is not this gateway's: it may be a page's, by DNS rebinding."""
    host = hosts.refused(request.headers, request.raw_path)
    if host is None or request.path in _FOR_PROBES:
        return
    named = f"asks for the host {host[:_HOST_SHOWN]!r}, which is no name of this machine" if host else "names no host"
    raise ApiError(
        403,
        f"this request {named}, so any web page could have sent it: use http://127.0.0.1 and the gateway's port, or "
        "add the name to ALLOWED_HOSTS (behind a proxy: the name of the proxy)",
    )


def refuse_foreign_reader(request: web.Request, hosts: Hosts) -> None:
    """Refuse a GET by a page of another site. `gateway.door.body` looks at requests with a body."""
    headers = request.headers
    origin = headers.get("Origin")
    if headers.get("Sec-Fetch-Site") != "cross-site" and (origin is None or _is_ours(origin, request, hosts)):
        return
    raise ApiError(
        403,
        "a web page of another site may not read from this gateway: let its server ask, or serve it under the "
        "gateway's own host name",
    )


def refuse_proxies(request: web.Request) -> None:
    """Refuse a request that came through a proxy, where only this machine may use the operator's key."""
    if (header := forwarding(request.headers)) is not None:
        raise ApiError(
            403,
            f"this request came through a proxy ({header}), and everybody who can reach the proxy would use this "
            "gateway's BACKEND_API_KEY: start the gateway with GATEWAY_API_KEYS or GATEWAY_API_KEYS_FILE, or with "
            "ALLOW_ANYONE=true if you want that",
        )


def _is_ours(origin: str, request: web.Request, hosts: Hosts) -> bool:
    if not origin.lower().startswith(_PAGES):
        return origin != "null"
    host = origin.partition("://")[2]
    return host == request.headers.get("Host") or hosts.accept(host)
