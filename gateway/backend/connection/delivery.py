"""Whether a request arrived at the backend before the connection closed: one that may have must not be sent again.

The server's kernel acknowledges what it receives. A server that closed an idle connection acknowledges nothing of a
request that was sent on it, whether the client then sees an end of file or a reset.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

# struct tcp_info of Linux 4.19 and later (include/uapi/linux/tcp.h)
_INFO_BYTES: Final = 216
# the SYN counts
_ACKNOWLEDGED: Final = struct.Struct("=120xQ")
# with the bytes that were sent more than once
_SENT: Final = struct.Struct("=200xQQ")


def may_have_arrived(transport: asyncio.Transport) -> bool:
    """Whether all that was written may have arrived. True if the system does not tell."""
    sock, option = transport.get_extra_info("socket"), getattr(socket, "TCP_INFO", None)
    if sock is None or option is None:
        return True
    info = b""
    with suppress(OSError):
        info = sock.getsockopt(socket.IPPROTO_TCP, option, _INFO_BYTES)
    if len(info) < _INFO_BYTES:
        return True
    (acknowledged,) = _ACKNOWLEDGED.unpack_from(info)
    sent, again = _SENT.unpack_from(info)
    return bool(acknowledged > sent - again)
