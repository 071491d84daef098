"""A client for HTTP/3, for one request: aioquic knows the protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


class Client(QuicConnectionProtocol):
    """A connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._http = H3Connection(self._quic)
        self._received: asyncio.Queue[H3Event] = asyncio.Queue()

    def quic_event_received(self, event: QuicEvent) -> None:
        for received in self._http.handle_event(event):
            self._received.put_nowait(received)

    async def post(self, port: int, path: str, body: dict[str, Any], headers: dict[str, str]) -> int:
        """Send a request. Returns the status of its response, whose body `pieces` gives."""
        sent = json.dumps(body).encode()
        fields = {
            ":method": "POST",
            ":scheme": "https",
            ":authority": f"localhost:{port}",
            ":path": path,
            "content-type": "application/json",
            # without it, Caddy 2.6 takes the body for empty
            "content-length": str(len(sent)),
            **{name.lower(): value for name, value in headers.items()},
        }
        stream = self._quic.get_next_available_stream_id()
        self._http.send_headers(stream, [(name.encode(), value.encode()) for name, value in fields.items()])
        self._http.send_data(stream, sent, end_stream=True)
        self.transmit()
        head = await self._received.get()
        assert isinstance(head, HeadersReceived)
        return int(dict(head.headers)[b":status"])

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes."""
        ended = False
        while not ended:
            event = await self._received.get()
            if isinstance(event, DataReceived):
                ended = event.stream_ended
                yield event.data


@asynccontextmanager
async def connected(port: int, root: Path) -> AsyncIterator[Client]:
    """A connection to the server for `localhost` at a port of loopback, whose certificate is by this authority."""
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name="localhost", cafile=str(root))
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
        assert isinstance(client, Client)
        yield client
