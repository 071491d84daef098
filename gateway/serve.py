"""`claude-gateway serve`."""

import structlog

from gateway import __version__
from gateway.app import make_app
from gateway.log import configure_logging
from gateway.server import listening, wait_for_signal
from gateway.settings import Settings
from gateway.web.context import GATEWAY

log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> int:
    """Serve until a signal comes, then give running answers their grace. Returns the exit code."""
    configure_logging(settings.log_level, settings.log_format)
    app = make_app(settings)
    async with listening(app, settings) as url:
        log.info("listening", url=url, backend=settings.backend_url.shown, version=__version__)
        app[GATEWAY].warm_up()
        await wait_for_signal()
        log.info("shutting down", streams=app[GATEWAY].keep_alive.streams, grace_secs=settings.shutdown_grace_secs)
    return 0
