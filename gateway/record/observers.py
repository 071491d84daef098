"""Who is told of each request: logs, metrics, traces and status register here, and nothing below knows them."""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from msgspec import Struct

from gateway.record.request_record import RequestRecord

Began = Callable[[web.Request, RequestRecord], None]
Ended = Callable[[web.Request, RequestRecord, int | None], None]
"""The last argument is the status; None if the client left before it was told any."""


class Observers(Struct, eq=False):
    """Functions that are called when a request begins, and when it has ended; `ended` in the order of registration."""

    began: list[Began] = []
    ended: list[Ended] = []


OBSERVERS: Final = web.AppKey("observers", Observers)
