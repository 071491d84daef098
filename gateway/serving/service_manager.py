"""Notifies systemd about a unit of `Type=notify`, over the datagram socket that NOTIFY_SOCKET names; see sd_notify(3).

Without that variable nothing is sent, so other ways to start the gateway need no setting.
"""

import os
import socket
from math import ceil
from typing import Final

import structlog

# answers end within the grace period; the rest of the shutdown takes a moment more
_MARGIN_SECONDS: Final = 15.0

log = structlog.get_logger(__name__)


def report_listening(url: str, backend: str) -> None:
    """Report the end of start-up: units that wait for the gateway can start. `backend`: its address without secrets."""
    _send("READY=1", f"STATUS=listening on {url}, backend {backend}")


def report_stopping(seconds: float) -> None:
    """Report that shutdown has begun and takes up to `seconds`, however short the unit's TimeoutStopSec is."""
    microseconds = ceil((seconds + _MARGIN_SECONDS) * 1e6)
    _send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={microseconds}", "STATUS=answers in progress are ending")


def _send(*lines: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    # a socket in the abstract namespace, which has no file, is written with an @
    address = f"\0{path[1:]}" if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto("\n".join(lines).encode(), address)
    except (OSError, AttributeError) as error:
        log.warning("systemd not told", socket=path, error=str(error))
