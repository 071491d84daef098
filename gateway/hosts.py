"""Where a request comes from: the names of this machine, and the headers that proxies add.

A web page can reach this machine through a name of its own that resolves to a loopback address (DNS rebinding). To the
browser, the gateway then belongs to the page's site, so the page may send what it likes and read the answers. `Host`
gives it away: browsers send the name of the page's site there (RFC 9110, section 7.2).
"""

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from multidict import CIMultiDictProxy

# what proxies add to requests
FORWARDING: Final = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
# a name or an address, and perhaps a port (RFC 3986, section 3.2)
_AUTHORITY: Final = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[0-9A-Za-z._-]{1,255})(?::[0-9]{0,5})?")
# IPv4 addresses in the forms that resolvers take: 127.1, 2130706433, 0x7f000001, 0177.0.0.1 (inet_aton(3))
_NUMBERS: Final = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}")
_FORWARDED_HOST: Final = re.compile(r"(?:^|[;,\s])host=(\"[^\"]*\"|[^;,\s]*)", re.IGNORECASE)
_TARGET_HOST: Final = re.compile(r"(?:[^:/?#]*://)?([^/?#]*).*", re.DOTALL)
_NO_HOST: Final = ("",)
# values of `Host` that were accepted; a gateway has a few names, each with one port
_MOST_KNOWN: Final = 100


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is this machine's own, which no other machine can reach."""
    name = host.lower().removesuffix(".")
    if (address := _address(name)) is not None:
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")


def is_plainly_loopback(host: str) -> bool:
    """Whether `is_loopback` holds, and for no unusual form of a name or an address, which may be read differently where
    it is listened on.
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(authority: str) -> str | None:
    """The host in the value of `Host`, in lower case, without port, brackets or final dot; None if there is none."""
    match = _AUTHORITY.fullmatch(authority)
    return match[1].strip("[]").lower().removesuffix(".") if match else None


def parse_hosts(value: str) -> tuple[str, ...]:
    """Parse `name,*.name,…`; `*` is any name. Raises ValueError, which says what is allowed."""
    names = []
    for entry in filter(None, (part.strip() for part in value.split(","))):
        wild = "*." if entry.startswith("*.") else ""
        name = entry.removeprefix("*.")
        host = "*" if entry == "*" else host_of(f"[{name}]" if name.count(":") > 1 and "[" not in name else name)
        if host is None:
            raise ValueError("must be a list of host names, such as llm.example,*.lan")
        names.append(wild + host)
    return tuple(names)


class Hosts:
    """The names under which the gateway is asked: this machine's own, and those that the operator allows."""

    def __init__(self, own: Iterable[str], allowed: Iterable[str] = ()) -> None:
        """`allowed`: as `parse_hosts` gives them."""
        allowed = set(allowed)
        self._all = "*" in allowed
        self._domains = tuple(name[1:] for name in allowed if name.startswith("*."))
        self._names = {host.removesuffix(".").lower() for host in own} | allowed
        self._known: set[str] = set()

    def accept(self, authority: str) -> bool:
        """Whether the value of a `Host` header is one of the names."""
        if authority in self._known:
            return True
        name = host_of(authority)
        if name is None or not (self._all or self._is_ours(name)):
            return False
        if len(self._known) < _MOST_KNOWN:
            self._known.add(authority)
        return True

    def refused(self, headers: CIMultiDictProxy[str], target: str) -> str | None:
        """The first host that a request names and that is not accepted; "" if it names none, None if all are accepted.

        `target` is the request's target: if it is a whole URL, its host replaces `Host` (RFC 9112, section 3.2.2).
        """
        hosts = headers.getall("Host", _NO_HOST)
        usual = len(hosts) == 1 and hosts[0] in self._known and target[:1] == "/"
        if usual and "X-Forwarded-Host" not in headers and "Forwarded" not in headers:
            return None
        return next((host for host in self._claimed(headers, target) if not self.accept(host)), None)

    def _claimed(self, headers: CIMultiDictProxy[str], target: str) -> list[str]:
        hosts = list(headers.getall("Host", _NO_HOST))
        if target[:1] not in ("/", "*"):
            hosts.append(_TARGET_HOST.sub(r"\1", target))
        for value in headers.getall("X-Forwarded-Host", []):
            hosts += [part.strip() for part in value.split(",")]
        for value in headers.getall("Forwarded", []):
            hosts += [part.strip('"') for part in _FORWARDED_HOST.findall(value)]
        return hosts

    def _is_ours(self, name: str) -> bool:
        return name in self._names or is_loopback(name) or name.endswith(self._domains)


def own_hosts(address: str) -> list[str]:
    """The names of this machine: its host name, and the address to listen on."""
    return [socket.gethostname(), address]


def forwarding(headers: CIMultiDictProxy[str]) -> str | None:
    """The first header that shows that a request came through a proxy; None if there is none."""
    for name in FORWARDING:
        if name in headers:
            return name
    return None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(socket.inet_ntoa(socket.inet_aton(name)) if _NUMBERS.fullmatch(name) else name)
    except (ValueError, OSError):
        return None
    # a dual-stack socket reports IPv4 addresses as IPv4-mapped IPv6 addresses
    return getattr(found, "ipv4_mapped", None) or found
