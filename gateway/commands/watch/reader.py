"""Reads a gateway's event feed: gives the state whenever it changes, and reconnects when the connection breaks.

aiohttp-sse-client parses the stream, reconnects when it ends, and remembers the last event's id. A connection that
breaks in the middle of an event leaves half of that event in its EventSource, so a new EventSource continues from the
same id.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
from aiohttp_sse_client.client import EventSource

from gateway.observability.status.state import State

# the feed sends comments more often than this
_SILENCE_SECONDS: Final = 45.0
_CONNECT_SECONDS: Final = 10.0
# the longest line is that of a snapshot
_LINE_BYTES: Final = 2**20
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 10.0
_BROKEN: Final = (aiohttp.ClientError, ConnectionError, TimeoutError)


class FeedError(Exception):
    """The feed cannot be read. The text says why, and what to do."""


class News(NamedTuple):
    """A state, and whether the gateway can be reached. If not, the state is the last known one."""

    state: State
    connected: bool


async def follow(url: str, key: str) -> AsyncIterator[News]:
    """Yield the states of the gateway at `url`, without end. Raises FeedError for failures that retrying cannot fix,
    and for any failure before the first event.
    """
    fields: dict[str, Any] = {}
    last_id, pause = "", _FIRST_PAUSE_SECONDS
    async with _session(url, key) as session:
        while True:
            try:
                async for name, data, event_id in _events(session, url, last_id):
                    last_id = event_id
                    change = json.loads(data)
                    fields = change if name == "snapshot" else fields | change
                    pause = _FIRST_PAUSE_SECONDS
                    yield News(_state(url, fields), connected=True)
            except _BROKEN as error:
                if not fields:
                    raise _unreachable(url, error) from None
            except (ValueError, aiohttp.http_exceptions.HttpProcessingError):
                raise FeedError(f"{url}: the response is not a claude-gateway's event feed") from None
            yield News(_state(url, fields), connected=False)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def _events(session: aiohttp.ClientSession, url: str, last_id: str) -> AsyncIterator[tuple[str, str, str]]:
    """Name, data and id of each event, until the connection breaks."""
    source = EventSource(
        f"{url}/events",
        session=session,
        reconnection_time=timedelta(seconds=_FIRST_PAUSE_SECONDS / 2),
        max_connect_retry=0,
        headers={"Last-Event-Id": last_id} if last_id else {},
    )
    async with source:
        async for event in source:
            yield event.type, event.data, event.last_event_id


def _session(url: str, key: str) -> aiohttp.ClientSession:
    async def check(response: aiohttp.ClientResponse) -> None:
        if response.status != 200 or response.content_type != "text/event-stream":
            raise FeedError(await _refusal(url, key, response))

    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS),
        read_bufsize=_LINE_BYTES,
        raise_for_status=check,
        # like the user's other clients, honour HTTPS_PROXY and NO_PROXY
        trust_env=True,
    )


async def _refusal(url: str, key: str, response: aiohttp.ClientResponse) -> str:
    message = _message((await response.content.read(_LINE_BYTES)).decode(errors="replace"))
    if message is None or response.status == 404:
        return f"{url}: a server answers there ({response.status}), but it is not a claude-gateway with an event feed"
    if response.status == 401:
        wrong = "this STATUS_KEY is not the gateway's" if key else "the gateway requires its STATUS_KEY"
        return f"{url}: {wrong}; set STATUS_KEY in the environment to the one that the gateway was started with"
    return f"{url}: {message}"


def _message(body: str) -> str | None:
    """The message of a gateway error; None if the body is not one."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(message)


def _unreachable(url: str, error: BaseException) -> FeedError:
    if isinstance(error, aiohttp.InvalidURL):
        return FeedError(f"{url}: not a URL; give one such as http://127.0.0.1:8080")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return FeedError(f"{url}: its certificate is not trusted ({error.certificate_error})")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FeedError(f"{url}: no such host; check --url")
    if isinstance(error, aiohttp.ClientConnectorError):
        return FeedError(f"{url}: nothing is listening there; start claude-gateway, or give its address with --url")
    return FeedError(f"{url}: the connection failed before the first event ({type(error).__name__})")


def _state(url: str, fields: dict[str, Any]) -> State:
    try:
        return msgspec.convert(fields, State)
    except msgspec.ValidationError as error:
        raise FeedError(f"{url}: this gateway's feed has another format ({error}); use the same version") from None
