"""The paths of the status page and its event feed."""

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.observability.status.access import StatusAccess
from gateway.observability.status.feed import ACCESS, events
from gateway.observability.status.page import front_page


def add_status_routes(app: web.Application, access: StatusAccess, *, otherwise: Handler) -> None:
    """`access` says who may read the feed; `otherwise` answers at `/` whoever takes no HTML."""
    app[ACCESS] = access
    # a HEAD would have no end
    app.router.add_get("/events", events, allow_head=False)
    app.router.add_get("/", front_page(otherwise))
