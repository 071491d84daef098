"""Addresses to listen on: reserved by one process, listened on by several."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

_REMEDIES: Final = {
    errno.EADDRINUSE: "another program, perhaps another gateway, listens there: end it, or set {port} to a free port",
    errno.EACCES: "ports below 1024 need root privileges: set {port} to a higher one, such as 8080",
    errno.EADDRNOTAVAIL: "this machine has no such address: set {host}=127.0.0.1, or 0.0.0.0 for all",
}


class AddressError(Exception):
    """An address cannot be listened on; the message names its settings, and says why and what to do."""


class Address(NamedTuple):
    """A host and a port, and the settings that they come from. Port 0 is any free port."""

    host: str
    port: int
    host_setting: str = "HOST"
    port_setting: str = "HOST_PORT"


@contextlib.contextmanager
def address_errors(address: Address) -> Iterator[None]:
    """Inside the block, an address that cannot be listened on raises AddressError."""
    try:
        yield
    except socket.gaierror as error:
        raise AddressError(
            f"{address.host_setting}={address.host}: {error.strerror}: give an address of this machine, such as "
            "127.0.0.1, or 0.0.0.0 for all"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        where = f"{address.host_setting}={address.host} {address.port_setting}={address.port}"
        remedy = _REMEDIES.get(error.errno or 0, "set {host} or {port} to another").format(
            host=address.host_setting, port=address.port_setting
        )
        raise AddressError(f"{where}: {reason}: {remedy}") from None


@contextlib.contextmanager
def reserved(address: Address, *, balanced: bool) -> Iterator[Sequence[socket.socket]]:
    """Bind a socket to each address of the host, all with one port. Raises AddressError.

    `balanced`: the sockets do not listen; they only reserve the port for the workers' own sockets.
    """
    with contextlib.ExitStack() as stack:
        with address_errors(address):
            sockets: list[socket.socket] = []
            port = address.port
            for family, resolved in _resolved(address.host):
                sock = stack.enter_context(_bound(family, (resolved[0], port, *resolved[2:])))
                port = sock.getsockname()[1]
                # set only after binding: otherwise a port on which another gateway's workers listen would seem free
                if balanced:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                else:
                    sock.listen()
                sockets.append(sock)
        yield sockets


def beside(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """A worker's own sockets, bound to the addresses of the reserved ones."""
    return [_bound(sock.family, sock.getsockname(), shared=True) for sock in sockets]


def url_of(bound: Any) -> str:
    """The URL of a bound socket's address."""
    host, port = bound[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _resolved(host: str) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: int, address: Any, *, shared: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # an earlier process's closing connections must not hold the port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
