"""Explains why a backend cannot be reached over TLS, and what to do: certificates, protocols, ports."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

from yarl import URL

_HANDSHAKE_SECONDS: Final = 3
PORTS: Final = "vLLM uses 8000, llama.cpp 8080, Ollama 11434, LM Studio 1234, SGLang 30000"

# OpenSSL's verify codes (x509_vfy.h): what is wrong, what to do
_OWN_CA: Final = "give the CA's certificate, or the certificate itself, to the gateway: SSL_CERT_FILE=/path/to/ca.pem"
_CERTIFICATES: Final[Mapping[int, tuple[str, str]]] = {
    9: ("the certificate is not valid yet", "check this machine's clock, and the certificate's dates"),
    10: ("the certificate has expired", "renew it at the backend, or check this machine's clock"),
    18: ("the certificate is self-signed", _OWN_CA),
    19: ("the certificate comes from an unknown authority", _OWN_CA),
    20: ("the certificate comes from an unknown authority", _OWN_CA),
    62: ("the certificate is for another host name", "use the name in it as BACKEND_URL's host"),
    64: ("the certificate is not for this IP address", "use a host name from the certificate in BACKEND_URL"),
}


class Trouble(NamedTuple):
    """What is wrong and what to do; `verify_code` is OpenSSL's, if a certificate was refused."""

    said: str
    remedy: str
    verify_code: int | None = None


def tls_trouble(error: BaseException) -> Trouble:
    """Explain a TLS error of aiohttp or Python."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        known = _CERTIFICATES.get(cause.verify_code)
        return Trouble(*(known or (f"the certificate is refused: {cause.verify_message}", _OWN_CA)), cause.verify_code)
    reason = str(getattr(cause, "reason", None) or "the handshake failed").replace("_", " ").lower()
    if "wrong version" in reason or "record layer" in reason:
        return Trouble("the port does not speak TLS", "begin BACKEND_URL with http://, or use the TLS port")
    return Trouble(f"TLS fails: {reason}", "check that the port is the backend's TLS port")


def certificates_trouble(path: str) -> str | None:
    """Why the certificates in a file, which OpenSSL would silently do without, cannot be used; None if they can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return "it holds no certificates in PEM form"
    except OSError as error:
        return error.strerror or "it cannot be read"
    return None


async def speaks_tls(url: URL) -> bool:
    """Whether the server answers a TLS handshake. The certificate is not checked, because nothing is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return await shake_hands(url, context) is not None


async def shake_hands(url: URL, context: ssl.SSLContext) -> tuple[str, float | None] | None:
    """The TLS version, and the certificate's expiry in seconds since 1970 if it was checked; None if this fails."""
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            _, writer = await asyncio.open_connection(url.host, url.port, ssl=context)
    except (OSError, TimeoutError):
        return None
    used = writer.get_extra_info("ssl_object")
    ends = (used.getpeercert() or {}).get("notAfter")
    writer.transport.abort()
    return used.version() or "TLS", ssl.cert_time_to_seconds(ends) if ends else None
