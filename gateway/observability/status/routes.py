"""The paths of the status page and its event feed."""

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.observability.status.access import StatusAccess
from gateway.observability.status.feed import ACCESS, events
from gateway.observability.status.page import front_page


def add_status_routes(app: web.Application, access: StatusAccess, *, otherwise: Handler) -> None:
    """Add the routes. `access` decides who may read the feed; `otherwise` answers requests at `/` from clients that do
    not accept HTML.
    """
    app[ACCESS] = access
    # the response to a HEAD request would never end
    app.router.add_get("/events", events, allow_head=False)
    app.router.add_get("/", front_page(otherwise))
