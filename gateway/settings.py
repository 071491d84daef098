"""Every setting: its name, type, default and one line of help; read from flags, the environment and `.env`.

Flags override the environment, and the environment overrides `.env`. The field `host_port` is `HOST_PORT` in the
environment and `--host-port` as a flag.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from gateway.backend.endpoint import Endpoint, parse_endpoint
from gateway.backend.models.model_map import ModelMap, parse_model_map
from gateway.backend.profiles import PROFILES
from gateway.backend.tls import certificates_trouble
from gateway.door.keys import LEAST_CHARACTERS, Key, clear_keys, parse_keys
from gateway.hosts import is_plainly_loopback, parse_hosts
from gateway.openai.profile import Profile
from gateway.record.redaction import Redactor, secrets_among, secrets_in

_LEVELS: Final = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "off": "critical",
}
_MOST_DIGITS: Final = 9
# of a value that an error repeats
_MOST_SHOWN: Final = 200
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


class SettingsError(Exception):
    """A setting is invalid; the message names it, its value, and what is allowed."""


def _setting(default: str, parse: Callable[[str], Any], metavar: str, text: str, *, secret: bool = False) -> Any:
    """`secret`: the value is never shown, and there is no flag, because other users can read command lines."""
    metadata = {"default": default, "parse": parse, "metavar": metavar, "help": text, "secret": secret}
    return field(default=parse(default), repr=not secret, metadata=metadata)


def _is_whole(value: str) -> bool:
    """Whether it is a whole number that can be counted with. Raises ValueError for one that is too long."""
    if value.isdecimal() and len(value) > _MOST_DIGITS:
        raise ValueError(f"must have at most {_MOST_DIGITS} digits")
    return value.isdecimal()


def _port(value: str) -> int:
    if not _is_whole(value) or int(value) > 65535:
        raise ValueError("must be a port from 0 to 65535 (0: any free one)")
    return int(value)


def _port_or_none(value: str) -> int | None:
    return _port(value) if value else None


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1
    if not 0 < seconds < 1e9:
        raise ValueError("must be a number of seconds greater than 0")
    return seconds


def _grace(value: str) -> float:
    return 0.0 if value.strip() in ("0", "0.0") else _seconds(value)


def _count(value: str) -> int:
    if not _is_whole(value) or int(value) < 1:
        raise ValueError("must be a whole number of at least 1")
    return int(value)


def _count_or_none(value: str) -> int:
    if not _is_whole(value):
        raise ValueError("must be a whole number; 0 for none")
    return int(value)


def _mib_or_auto(value: str) -> int | None:
    if value.lower() == "auto":
        return None
    if not _is_whole(value) or int(value) < 1:
        raise ValueError("must be auto or a whole number of at least 1")
    return int(value)


def _flag(value: str) -> bool:
    if value.lower() not in _YES | _NO:
        raise ValueError("must be true or false")
    return value.lower() in _YES


def _level(value: str) -> str:
    level = _LEVELS.get(value.lower())
    if level is None:
        raise ValueError("must be debug, info, warning or error")
    return level


def _rust_level(value: str) -> str:
    """RUST_LOG's form: directives such as `warn,claude_proxy=debug`; the first known level counts."""
    for directive in value.split(","):
        level = _LEVELS.get(directive.rpartition("=")[2].strip().lower())
        if level is not None:
            return level
    raise ValueError("must be a level such as info, or directives such as warn,claude_proxy=debug")


def _format(value: str) -> str:
    if value not in ("auto", "console", "json"):
        raise ValueError("must be auto, console or json")
    return value


def _host(value: str) -> str:
    if any(character.isspace() or character == "/" for character in value):
        raise ValueError("must be an address or a host name, such as 127.0.0.1 or 0.0.0.0")
    return value


def _key(value: str) -> str:
    if not all("!" <= character <= "~" for character in value):
        raise ValueError("must be one word of ASCII characters")
    return value


def _status_key(value: str) -> str:
    if value and len(_key(value)) < LEAST_CHARACTERS:
        raise ValueError(f"must have at least {LEAST_CHARACTERS} characters: shorter ones can be guessed")
    return value


def _file(value: str) -> Path | None:
    return Path(value) if value else None


def _profile(value: str) -> Profile | None:
    if value.lower() != "auto" and value.lower() not in PROFILES:
        raise ValueError(f"must be auto or one of {', '.join(PROFILES)}")
    return PROFILES.get(value.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one gateway."""

    backend_url: Endpoint = _setting(
        "http://127.0.0.1:8000/v1/chat/completions",
        parse_endpoint,
        "URL",
        "the backend: its root, its /v1, or the full path to chat completions",
    )
    backend_profile: Profile | None = _setting(
        "auto", _profile, "NAME", f"the kind of backend: auto, or one of {', '.join(PROFILES)}"
    )
    model_map: ModelMap = _setting(
        "", parse_model_map, "MAP", "aliases for the backend's models, such as haiku=small-model,claude-*=big-model"
    )
    backend_api_key: str = _setting(
        "", _key, "KEY", "the backend's API key; without it, the client's token goes to the backend", secret=True
    )
    gateway_api_keys: tuple[Key, ...] = _setting(
        "",
        parse_keys,
        "KEYS",
        "keys that clients need to use this gateway, separated by commas; without any, everybody may use it",
        secret=True,
    )
    gateway_api_keys_file: Path | None = _setting(
        "", _file, "FILE", "a file with more keys, one per line; read again when it changes"
    )
    status_key: str = _setting(
        "",
        _status_key,
        "KEY",
        "opens the status page and GET /events to other machines; without it, only this machine sees them",
        secret=True,
    )
    allow_anyone: bool = _setting(
        "false", _flag, "BOOL", "let everybody who can reach this gateway use BACKEND_API_KEY"
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "", parse_hosts, "HOSTS", "host names for which requests are served beside this machine's own, such as *.lan"
    )
    host: str = _setting("127.0.0.1", _host, "ADDRESS", "the address to listen on; 0.0.0.0 for all")
    host_port: int = _setting("8080", _port, "PORT", "the port to listen on; 0 for any free one")
    metrics_port: int | None = _setting(
        "", _port_or_none, "PORT", "the port for Prometheus metrics at /metrics; 0 for any free one; none: no metrics"
    )
    metrics_host: str = _setting("127.0.0.1", _host, "ADDRESS", "the address to serve /metrics on; 0.0.0.0 for all")
    workers: int = _setting("1", _count, "N", "the number of serving processes; each can use one core")
    connect_timeout_secs: float = _setting("10", _seconds, "SECONDS", "how long connecting to the backend may take")
    send_timeout_secs: float = _setting(
        "60", _seconds, "SECONDS", "how long the backend may accept no data while a request is being sent"
    )
    backend_timeout_secs: float = _setting(
        "600", _seconds, "SECONDS", "how long the backend may take to begin its answer"
    )
    silence_timeout_secs: float = _setting(
        "600", _seconds, "SECONDS", "the longest silence within an answer, whose total time is not limited"
    )
    client_timeout_secs: float = _setting(
        "600", _seconds, "SECONDS", "how long a client may read nothing of a stream before it is cut off"
    )
    headers_grace_secs: float = _setting(
        "10", _grace, "SECONDS", "how long a stream waits for the backend's answer or error before its headers are sent"
    )
    max_body_mib: int = _setting(
        "64", _count, "MIB", "the largest request body; conversations with many images are large"
    )
    max_bodies_mib: int | None = _setting(
        "auto",
        _mib_or_auto,
        "MIB",
        "the memory for all request bodies together, of which one client gets half; auto: a quarter of this machine's",
    )
    max_answer_mib: int = _setting(
        "64", _count, "MIB", "the largest answer of the backend that is not a stream; it must fit into memory"
    )
    request_timeout_secs: float = _setting(
        "300", _seconds, "SECONDS", "how long a client may take to send a whole request body"
    )
    upload_pause_secs: float = _setting(
        "20", _seconds, "SECONDS", "how long a request body may stay below 4 KiB/s before its client is cut off (408)"
    )
    max_uploads: int = _setting(
        "1000", _count, "N", "the most request bodies that may be arriving at a time, half of them from one client"
    )
    max_streams: int = _setting(
        "2000", _count, "N", "the most requests for messages at a time; one of several keys gets half of them"
    )
    backend_connections: int = _setting(
        "0", _count_or_none, "N", "the most connections to the backend at a time; 0 for no limit"
    )
    backend_retries: int = _setting(
        "2", _count_or_none, "N", "retries of a request that the backend has not begun to work on; 0 for none"
    )
    backend_retry_secs: float = _setting(
        "5", _seconds, "SECONDS", "how long all attempts at a request may take before it fails"
    )
    enable_circuit_breaker: bool = _setting(
        "false", _flag, "BOOL", "stop calling the backend for a while after repeated failures"
    )
    circuit_breaker_fail_max: int = _setting("5", _count, "N", "failures in a row that open the circuit breaker")
    circuit_breaker_reset_secs: float = _setting(
        "30", _seconds, "SECONDS", "how long the circuit breaker stays open before a trial request"
    )
    circuit_breaker_trial_secs: float = _setting(
        "30", _seconds, "SECONDS", "how long a trial request may bring no answer before another one is made"
    )
    shutdown_delay_secs: float = _setting(
        "0", _grace, "SECONDS", "how long new requests are still accepted at shutdown, while /ready answers 503"
    )
    shutdown_grace_secs: float = _setting("30", _grace, "SECONDS", "how long answers in progress may take at shutdown")
    log_level: str = _setting("info", _level, "LEVEL", "debug, info, warning or error; RUST_LOG is used if it is unset")
    log_format: str = _setting(
        "auto", _format, "FORMAT", "console, json, or auto: console on a terminal, otherwise json"
    )


def add_flags(parser: argparse.ArgumentParser, *, without: frozenset[str] = frozenset()) -> None:
    """Add a flag for each setting; its help names the environment variable and the default."""
    group = parser.add_argument_group("settings (as a flag, in the environment or in ./.env; the first one wins)")
    for setting in fields(Settings):
        if setting.name not in without and not setting.metadata["secret"]:
            default = setting.metadata["default"] or "none"
            group.add_argument(
                f"--{setting.name.replace('_', '-')}",
                dest=setting.name,
                metavar=setting.metadata["metavar"],
                help=f"{setting.metadata['help']} [{setting.name.upper()}, default: {default}]",
            )


def load_settings(flags: Mapping[str, str | None], environment: Mapping[str, str], folder: Path) -> Settings:
    """The settings from all three sources. Empty values count as unset. Raises SettingsError."""
    sources = ({name.upper(): value for name, value in flags.items()}, environment, read_dotenv(folder))
    values = {}
    for setting in fields(Settings):
        name = setting.name.upper()
        parse = setting.metadata["parse"]
        given = _first(sources, name)
        if given is None and setting.name == "log_level" and (given := _first(sources, "RUST_LOG")) is not None:
            name, parse = "RUST_LOG", _rust_level
        if given is not None:
            try:
                values[setting.name] = parse(given)
            except ValueError as error:
                shown = "…" if setting.metadata["secret"] or "@" in given else _cut(given)
                raise SettingsError(f"{name}={shown}: {error}") from None
    settings = Settings(**values)
    _refuse_open_door(settings)
    _refuse_missing_certificates(settings, environment)
    if settings.metrics_port and settings.metrics_port == settings.host_port:
        raise SettingsError(f"METRICS_PORT={settings.metrics_port}: must not be HOST_PORT, which clients can reach")
    return settings


def _refuse_open_door(settings: Settings) -> None:
    """Refuse to share the operator's key on an address that others can reach. Raises SettingsError."""
    guarded = settings.gateway_api_keys or settings.gateway_api_keys_file or settings.allow_anyone
    if settings.backend_api_key and not guarded and not is_plainly_loopback(settings.host):
        raise SettingsError(
            f"HOST={settings.host}: with BACKEND_API_KEY, everybody who can reach this address would use that key: set "
            "GATEWAY_API_KEYS or GATEWAY_API_KEYS_FILE, or ALLOW_ANYONE=true if you want that"
        )


def _refuse_missing_certificates(settings: Settings, environment: Mapping[str, str]) -> None:
    """Refuse a file of certificates that does not work: TLS to the backend would not use it. Raises SettingsError."""
    path = environment.get("SSL_CERT_FILE")
    if path and settings.backend_url.chat.scheme == "https" and (trouble := certificates_trouble(path)):
        raise SettingsError(f"SSL_CERT_FILE={path}: {trouble}: name a file of CA certificates, or unset it")


def _cut(value: str) -> str:
    return value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…"


def _first(sources: tuple[Mapping[str, str | None], ...], name: str) -> str | None:
    return next((value.strip() for source in sources if (value := source.get(name)) and value.strip()), None)


def dotenv_file(folder: Path) -> Path | None:
    """The `.env` of a folder, or None if there is none."""
    path = folder / ".env"
    return path if path.is_file() else None


def read_dotenv(folder: Path) -> Mapping[str, str | None]:
    """The variables in a folder's `.env`; empty if there is none. Raises SettingsError."""
    path = dotenv_file(folder)
    if path is None:
        return {}
    # imported only if there is such a file, to keep start-up fast
    from dotenv import dotenv_values

    try:
        return dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error})") from None


def make_redactor(settings: Settings, environment: Mapping[str, str] | None = None) -> Redactor:
    """Cuts this gateway's secrets out of texts: its keys, secrets in the query of BACKEND_URL, passwords in URLs.

    Of `GATEWAY_API_KEYS`, only hashes are kept in the settings; it is read again from the environment and `.env`.
    """
    given = {name: value or "" for name, value in read_dotenv(Path.cwd()).items()}
    given |= os.environ if environment is None else environment
    return Redactor(
        [
            settings.backend_api_key,
            settings.status_key,
            *clear_keys(given.get("GATEWAY_API_KEYS", "")),
            *secrets_among(settings.backend_url.chat.query.items()),
            *secrets_in(given),
        ]
    )
