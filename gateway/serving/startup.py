"""What the gateway reports at start-up: where it listens, its backend and models, what is wrong with them, and what to
do. Nothing here waits: the model list is reported when it arrives.

Each report is one log line; `gateway.observability.logs.console` formats it for a terminal.
"""

from pathlib import Path
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import structlog

from gateway import __version__
from gateway.backend.models.catalogue import Catalogue
from gateway.hosts import is_plainly_loopback
from gateway.settings import Settings, dotenv_file
from gateway.translate.refusals.faults import BackendFault

_NAMES_SHOWN: Final = 5

log = structlog.get_logger(__name__)


def tell_listening(settings: Settings, url: str, **more: Any) -> None:
    """Log where the gateway listens and its main settings, with `more`, then warn of each setting that needs it."""
    if (file := dotenv_file(Path.cwd())) is not None:
        more["settings"] = str(file)
    log.info(
        "listening",
        url=url,
        backend=settings.backend_url.shown,
        profile=settings.backend_profile.name if settings.backend_profile else "auto",
        version=__version__,
        **more,
    )
    _warn_of_strangers(settings)
    _warn_of_proxy(settings)


def _warn_of_strangers(settings: Settings) -> None:
    keys = settings.gateway_api_keys or settings.gateway_api_keys_file
    if keys or is_plainly_loopback(settings.host):
        return
    log.warning(
        "open to others",
        reason=f"everybody who can reach {settings.host} can use this gateway"
        + (", and BACKEND_API_KEY with it" if settings.backend_api_key else " with a key for the backend"),
        remedy="give out keys with GATEWAY_API_KEYS or GATEWAY_API_KEYS_FILE, or listen on HOST=127.0.0.1",
    )


def _warn_of_proxy(settings: Settings) -> None:
    scheme, host = settings.backend_url.chat.scheme, settings.backend_url.host
    proxies = getproxies()
    name = next((name for name in (scheme, "all") if proxies.get(name)), None)
    if name is None or is_plainly_loopback(host) or proxy_bypass(host):
        return
    log.warning(
        "proxy not used",
        reason=f"{name.upper()}_PROXY is set but not used: the gateway connects to {host} directly",
        remedy="if only the proxy reaches it, set BACKEND_URL to a relay behind it; otherwise add the host to NO_PROXY",
    )


def tell_models(settings: Settings, catalogue: Catalogue) -> None:
    """Log the models once the backend has listed them, and until then why it has not."""
    told: list[str] = []

    def tell(fault: BackendFault | None) -> None:
        # each reason is logged once until it changes; nothing follows the list
        text = "" if fault is None else f"{fault.status} {fault.message}"
        if told[-1:] == [text] or "" in told:
            return
        told.append(text)
        if fault is None:
            _tell_found(catalogue)
        else:
            _tell_fault(settings, fault)

    catalogue.watch(tell)


def _tell_found(catalogue: Catalogue) -> None:
    models = catalogue.models
    if not models:
        log.warning(
            "no models",
            reason="the backend's list of models is empty",
            remedy="load a model into the server (Ollama: ollama pull NAME)",
        )
        return
    first = [model.id for model in models[:_NAMES_SHOWN]]
    log.info("models found", models=len(models), first=first, profile=catalogue.profile(models[0]).name)


def _tell_fault(settings: Settings, fault: BackendFault) -> None:
    closer = f"claude-gateway check {settings.backend_url.shown} shows more"
    if fault.status in (401, 403) and not settings.backend_api_key:
        log.info("models not known yet", reason="the list requires a key: each client's token will be used")
    elif fault.status in (401, 403):
        reason = f"the backend refuses BACKEND_API_KEY for its list of models ({fault.status})"
        log.warning("key refused", reason=reason, remedy=f"copy the whole key from the backend again; {closer}")
    else:
        # the backend's own words might repeat a key
        reason = f"the backend answers {fault.status} when asked for its models" if fault.quotes else fault.message
        event = "no model list" if fault.status < 500 else "backend not reached"
        log.warning(event, reason=reason, remedy=closer)
