"""`METRICS_PORT`: serves `/metrics` at an address of its own, which a proxy in front of the gateway does not expose.

It runs from before the gateway accepts requests until the last answer has ended, so a shutdown can be observed as well.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.interprocess.addresses import Address, address_errors, url_of

if TYPE_CHECKING:
    from gateway.observability.metrics.exposition import Exposition

_LAST_SECONDS: Final = 1.0


@contextlib.asynccontextmanager
async def serving_metrics(
    exposition: "Exposition", address: Address, sockets: Sequence[socket.socket] = ()
) -> AsyncIterator[str]:
    """Serve for the duration of the block; gives the URL of the metrics. `sockets` are already bound; without them,
    listens on `address`. Raises AddressError if that fails.
    """
    runner = web.AppRunner(_make_app(exposition), access_log=None, shutdown_timeout=_LAST_SECONDS)
    await runner.setup()
    try:
        sites: Sequence[web.BaseSite] = [web.SockSite(runner, sock) for sock in sockets]
        if not sites:
            sites = [web.TCPSite(runner, address.host, address.port)]
        with address_errors(address):
            for site in sites:
                await site.start()
        yield url_of(runner.addresses[0]) + "/metrics"
    finally:
        await runner.cleanup()


def _make_app(exposition: "Exposition") -> web.Application:
    async def metrics(request: web.Request) -> web.Response:
        # thousands of lines take milliseconds; in a thread, they do not block the streams
        body, content_type = await asyncio.to_thread(exposition.render, request.headers.get("Accept", ""))
        response = web.Response(body=body, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def hint(_: web.Request) -> web.Response:
        return web.Response(text="claude-gateway: metrics for Prometheus are at /metrics\n")

    async def nameless(_: web.Request, response: web.StreamResponse) -> None:
        # aiohttp's default names its version and Python's
        response.headers["Server"] = "claude-gateway"

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/", hint)
    app.on_response_prepare.append(nameless)
    return app
