"""The observers of requests: logs, metrics, traces and status register here, so nothing below depends on them."""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from msgspec import Struct

from gateway.record.request_record import RequestRecord

Began = Callable[[web.Request, RequestRecord], None]
Ended = Callable[[web.Request, RequestRecord, int | None], None]
"""The last argument is the status; None if the client left before one was sent."""


class Observers(Struct, eq=False):
    """Functions called when a request begins and when it has ended, in the order of registration."""

    began: list[Began] = []
    ended: list[Ended] = []


OBSERVERS: Final = web.AppKey("observers", Observers)
