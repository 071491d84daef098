"""The reader of a gateway's event feed: gives the state whenever it changes, and comes back when the connection breaks.

aiohttp-sse-client parses the stream, asks again when it ends, and remembers the last event's id. A connection that
breaks in the middle of an event leaves half of it in its EventSource: then a new one takes over, with the same id.
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

# comments come more often than this
_SILENCE_SECONDS: Final = 45.0
_CONNECT_SECONDS: Final = 10.0
# the longest line: a snapshot
_LINE_BYTES: Final = 2**20
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 10.0
_BROKEN: Final = (aiohttp.ClientError, ConnectionError, TimeoutError)


class FeedError(Exception):
    """The feed cannot be read; the text says why, and what to do."""


class News(NamedTuple):
    """The state, and whether the gateway can be reached; if not, it is the last that was known."""

    state: State
    connected: bool


async def follow(url: str, key: str) -> AsyncIterator[News]:
    """The news of the gateway at `url`, without end. Raises FeedError for what will not get better by waiting."""
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
                raise FeedError(f"{url}: what comes is no feed of a claude-gateway") from None
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
        # as for every client of the user's: HTTPS_PROXY, NO_PROXY
        trust_env=True,
    )


async def _refusal(url: str, key: str, response: aiohttp.ClientResponse) -> str:
    message = _message((await response.content.read(_LINE_BYTES)).decode(errors="replace"))
    if message is None or response.status == 404:
        return f"{url}: something answers there ({response.status}), but no claude-gateway with an event feed"
    if response.status == 401:
        wrong = "the STATUS_KEY given is not the gateway's" if key else "the gateway wants its STATUS_KEY"
        return f"{url}: {wrong}; set STATUS_KEY in the environment to the one that the gateway was started with"
    return f"{url}: {message}"


def _message(body: str) -> str | None:
    """The message of an error of the gateway's; None if it is none."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(message)


def _unreachable(url: str, error: BaseException) -> FeedError:
    if isinstance(error, aiohttp.InvalidURL):
        return FeedError(f"{url}: is no URL; give one such as http://127.0.0.1:8080")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return FeedError(f"{url}: its certificate is not trusted ({error.certificate_error})")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FeedError(f"{url}: no such host; check --url")
    if isinstance(error, aiohttp.ClientConnectorError):
        return FeedError(f"{url}: nothing listens there; start claude-gateway, or give its address with --url")
    return FeedError(f"{url}: the connection failed before the first event ({type(error).__name__})")


def _state(url: str, fields: dict[str, Any]) -> State:
    try:
        return msgspec.convert(fields, State)
    except msgspec.ValidationError as error:
        raise FeedError(f"{url}: this gateway's feed is of another kind ({error}); use the same version") from None
