"""Plain requests to the backend's host, and explanations of what can go wrong: DNS, ports, TLS, other protocols."""

import re
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from gateway.backend.tls import PORTS, shake_hands, speaks_tls, tls_trouble
from gateway.commands.check.rows import Finding
from gateway.openai.models import decode_models

_MOST_BYTES: Final = 4 * 1024 * 1024
_DAY_SECONDS: Final = 86_400
_SOON_DAYS: Final = 14
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_TITLE: Final = re.compile(rb"<title[^<>]*>([^<]{1,80})", re.IGNORECASE)


class Reply(Struct, frozen=True):
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_page(self) -> bool:
        """Whether it is a web page."""
        return "html" in self.headers.get("content-type", "") or self.body.lstrip()[:1] == b"<"

    @property
    def title(self) -> str:
        """The page's title, or ""."""
        found = _TITLE.search(self.body)
        return found[1].decode("utf-8", "replace").strip() if found else ""

    @property
    def is_list(self) -> bool:
        """Whether it is a list of models."""
        try:
            decode_models(self.body)
        except ValueError:
            return False
        return self.status == 200

    @property
    def json(self) -> Any:
        """The decoded body; None if it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class NoReply(Exception):
    """No response came. `insecure`: the host was reached, but TLS failed."""

    def __init__(self, finding: Finding, *, insecure: bool = False) -> None:
        super().__init__(finding.said)
        self.finding = finding
        self.insecure = insecure


class Wire:
    """Sends single requests. Does not follow redirects, since the token is meant for this host only. Call `close` when
    done.
    """

    def __init__(self, headers: Mapping[str, str], *, connect_seconds: float, seconds: float) -> None:
        """`headers` carry the token. `seconds` limits a request and its response. Needs a running event loop."""
        self._headers = headers
        self._connect, self._total = connect_seconds, seconds
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=connect_seconds)
        self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def ask(self, method: str, url: URL, body: Any = None) -> Reply:
        """Send one request. Raises NoReply."""
        data = None if body is None else msgspec.json.encode(body)
        headers = {**self._headers, **({"Content-Type": "application/json"} if data else {})}
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                content = await response.content.read(_MOST_BYTES)
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, lowered, content)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise await self._no_reply(error, url) from None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _no_reply(self, error: BaseException, url: URL) -> NoReply:
        where = f"{f'[{url.host}]' if ':' in (url.host or '') else url.host}:{url.port}"
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
            return NoReply(_insecure(error), insecure=True)
        if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
            said, remedy = (
                f"the host {url.host!r} cannot be found",
                "check its spelling in BACKEND_URL, and your network",
            )
        elif isinstance(error, aiohttp.ConnectionTimeoutError):
            said = f"no connection to {where} within {self._connect:g} s"
            remedy = "check the address in BACKEND_URL, and any firewall in between"
        elif isinstance(error, TimeoutError):
            said = f"{where} accepts the connection but sends no answer within {self._total:g} s"
            remedy = f"check the port, and whether the server has loaded its model ({PORTS})"
        elif isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
            said = f"nothing is listening at {where}"
            remedy = f"start the server, or correct the port in BACKEND_URL ({PORTS})"
        elif isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionError):
            said = f"{where} accepts the connection but breaks off the TLS handshake"
            remedy = f"correct the port in BACKEND_URL, or start it with http:// ({PORTS})"
        elif isinstance(error, aiohttp.ClientConnectorError):
            said = f"no connection to {where}: {error.os_error.strerror or 'it cannot be reached'}"
            remedy = "check the address in BACKEND_URL, and your network"
        elif url.scheme == "http" and await speaks_tls(url):
            said, remedy = f"{where} speaks TLS, not plain HTTP", "start BACKEND_URL with https://"
        else:
            said = f"the service at {where} does not speak HTTP"
            remedy = f"correct the port in BACKEND_URL: another service uses it ({PORTS})"
        if (
            isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            and url.scheme in getproxies()
        ):
            remedy += f"; {url.scheme.upper()}_PROXY is set, but the gateway does not use proxies"
        return NoReply(Finding("bad", said, remedy))


def _insecure(error: BaseException) -> Finding:
    said, remedy, code = tls_trouble(error)
    return Finding("bad", said, remedy, {} if code is None else {"verify_code": code})


async def tls_finding(url: URL) -> Finding:
    """The finding for a connection that works."""
    if url.scheme == "http":
        if url.host in _LOCAL:
            return Finding("good", "not used and not needed: the backend is on this machine")
        said = "plain HTTP: others on the network can read the key and all prompts"
        return Finding("partly", said, "use https:// in BACKEND_URL, unless you alone use the network in between")
    version, ends = await shake_hands(url, ssl.create_default_context()) or ("TLS", None)
    if ends is None:
        return Finding("good", version, "", {"version": version})
    days = int((ends - time.time()) // _DAY_SECONDS)
    facts = {"version": version, "certificate_days": days}
    if days < _SOON_DAYS:
        return Finding("partly", f"{version}; the certificate expires in {days} days", "renew it at the backend", facts)
    return Finding("good", f"{version}; the certificate is valid for {days} days", "", facts)
