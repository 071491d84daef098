import argparse
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.backend.endpoint import parse_endpoint
from gateway.backend.models.model_map import ModelMap
from gateway.backend.profiles import PROFILES
from gateway.door.keys import Key
from gateway.settings import Settings, SettingsError, add_flags, load_settings


def load(
    flags: dict[str, str | None] | None = None, folder: Path = Path("/nonexistent"), **environment: str
) -> Settings:
    return load_settings(flags or {}, environment, folder)


def test_the_defaults_are_the_promised_ones() -> None:
    assert load() == Settings(
        backend_url=parse_endpoint("http://127.0.0.1:8000/v1/chat/completions"),
        backend_profile=None,
        model_map=ModelMap(),
        host="127.0.0.1",
        host_port=8080,
        metrics_port=None,
        metrics_host="127.0.0.1",
        backend_api_key="",
        gateway_api_keys=(),
        gateway_api_keys_file=None,
        allow_anyone=False,
        workers=1,
        connect_timeout_secs=10,
        send_timeout_secs=60,
        backend_timeout_secs=600,
        silence_timeout_secs=600,
        client_timeout_secs=600,
        max_streams=2000,
        backend_connections=0,
        backend_retries=2,
        backend_retry_secs=5,
        shutdown_delay_secs=0,
        headers_grace_secs=10,
        max_body_mib=64,
        request_timeout_secs=300,
        enable_circuit_breaker=False,
        circuit_breaker_fail_max=5,
        circuit_breaker_reset_secs=30,
        shutdown_grace_secs=30,
        log_level="info",
        log_format="auto",
    )


def test_the_environment_is_read() -> None:
    settings = load(
        BACKEND_URL="http://h:1/v1",
        BACKEND_PROFILE="vLLM",
        MODEL_MAP="haiku=small",
        HEADERS_GRACE_SECS="0",
        HOST="0.0.0.0",  # noqa: S104  # a setting to be read, nothing listens on it
        HOST_PORT="0",
        BACKEND_API_KEY="cpk_own",
        GATEWAY_API_KEYS="sk-team-0123456789 name=alice requests=60, sk-team-9876543210 streams=4",
        GATEWAY_API_KEYS_FILE="/run/secrets/keys",
        ALLOW_ANYONE="yes",
        WORKERS="4",
        CONNECT_TIMEOUT_SECS="2",
        SEND_TIMEOUT_SECS="3",
        BACKEND_TIMEOUT_SECS="1.5",
        SILENCE_TIMEOUT_SECS="4",
        CLIENT_TIMEOUT_SECS="5",
        MAX_STREAMS="6",
        BACKEND_CONNECTIONS="7",
        BACKEND_RETRIES="0",
        BACKEND_RETRY_SECS="8",
        SHUTDOWN_DELAY_SECS="9",
        MAX_BODY_MIB="8",
        REQUEST_TIMEOUT_SECS="2.5",
        ENABLE_CIRCUIT_BREAKER="TRUE",
        CIRCUIT_BREAKER_FAIL_MAX="2",
        CIRCUIT_BREAKER_RESET_SECS="0.5",
        SHUTDOWN_GRACE_SECS="0",
        LOG_LEVEL="Warning",
        LOG_FORMAT="json",
    )

    assert settings == Settings(
        backend_url=parse_endpoint("http://h:1/v1"),
        backend_profile=PROFILES["vllm"],
        model_map=ModelMap(rules=(("claude*haiku*", "small"),)),
        headers_grace_secs=0,
        host="0.0.0.0",  # noqa: S104
        host_port=0,
        backend_api_key="cpk_own",
        gateway_api_keys=(
            Key(digest=sha256(b"sk-team-0123456789").digest(), name="alice", requests=60),
            Key(digest=sha256(b"sk-team-9876543210").digest(), name="key 2", streams=4),
        ),
        gateway_api_keys_file=Path("/run/secrets/keys"),
        allow_anyone=True,
        workers=4,
        connect_timeout_secs=2,
        send_timeout_secs=3,
        backend_timeout_secs=1.5,
        silence_timeout_secs=4,
        client_timeout_secs=5,
        max_streams=6,
        backend_connections=7,
        backend_retries=0,
        backend_retry_secs=8,
        shutdown_delay_secs=9,
        max_body_mib=8,
        request_timeout_secs=2.5,
        enable_circuit_breaker=True,
        circuit_breaker_fail_max=2,
        circuit_breaker_reset_secs=0.5,
        shutdown_grace_secs=0,
        log_level="warning",
        log_format="json",
    )


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HOST_PORT=1\nHOST=file\nLOG_LEVEL=error\n# a comment\nexport LOG_FORMAT='json'\n")

    settings = load({"host_port": "3", "host": None}, tmp_path, HOST_PORT="2", HOST="environment")

    assert (settings.host_port, settings.host) == (3, "environment")
    assert (settings.log_level, settings.log_format) == ("error", "json")


def test_an_empty_value_counts_as_not_given() -> None:
    assert load(HOST_PORT="", HOST=" ") == load()


@pytest.mark.parametrize(
    ("value", "level"),
    [("debug", "debug"), ("warn", "warning"), ("trace", "debug"), ("warn,claude_proxy=debug", "warning"),
     ("claude_proxy=debug", "debug"), ("off", "critical")],
)  # fmt: skip
def test_rust_log_counts_while_log_level_is_unset(value: str, level: str) -> None:
    assert load(RUST_LOG=value).log_level == level
    assert load(RUST_LOG=value, LOG_LEVEL="error").log_level == "error"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("BACKEND_URL", "localhost:8000", "must be an http:// or https:// URL"),
        ("BACKEND_PROFILE", "vlm", "must be auto or one of generic, vllm, "),
        ("MODEL_MAP", "haiku", "must be a list such as haiku=small-model,claude-*=big-model"),
        ("HOST", "a b", "must be an address or a host name"),
        ("HOST_PORT", "http", "must be a port from 0 to 65535"),
        ("HOST_PORT", "65536", "must be a port from 0 to 65535"),
        ("METRICS_PORT", "none", "must be a port from 0 to 65535"),
        ("METRICS_HOST", "127.0.0.1/8", "must be an address or a host name"),
        ("WORKERS", "0", "must be a whole number of at least 1"),
        ("WORKERS", "auto", "must be a whole number of at least 1"),
        ("BACKEND_TIMEOUT_SECS", "0", "must be a number of seconds greater than 0"),
        ("BACKEND_TIMEOUT_SECS", "nan", "must be a number of seconds greater than 0"),
        ("BACKEND_TIMEOUT_SECS", "inf", "must be a number of seconds greater than 0"),
        ("MAX_BODY_MIB", "0", "must be a whole number of at least 1"),
        ("MAX_BODY_MIB", "9" * 10, "must have at most 9 digits"),
        ("BACKEND_CONNECTIONS", "9" * 10, "must have at most 9 digits"),
        ("MAX_BODY_MIB", "0.5", "must be a whole number of at least 1"),
        ("REQUEST_TIMEOUT_SECS", "0", "must be a number of seconds greater than 0"),
        ("ENABLE_CIRCUIT_BREAKER", "maybe", "must be true or false"),
        ("CIRCUIT_BREAKER_FAIL_MAX", "0", "must be a whole number of at least 1"),
        ("CIRCUIT_BREAKER_FAIL_MAX", "1.5", "must be a whole number of at least 1"),
        ("SHUTDOWN_GRACE_SECS", "-1", "must be a number of seconds"),
        ("LOG_LEVEL", "loud", "must be debug, info, warning or error"),
        ("LOG_FORMAT", "xml", "must be auto, console or json"),
        ("RUST_LOG", "loud", "must be a level such as info"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(**{name: value})

    assert str(error.value).startswith(f"{name}={value}: {allowed}")


def test_a_file_that_is_not_text_says_so(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"HOST=\xff\xfe\n")

    with pytest.raises(SettingsError, match=r"\.env: cannot be read"):
        load({}, tmp_path)


def test_help_names_every_setting_with_its_variable_and_default() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)

    # argparse breaks lines at dashes, too
    text = " ".join(parser.format_help().replace("-\n", "-").split())

    for name, default in [
        ("BACKEND_URL", "http://127.0.0.1:8000/v1/chat/completions"),
        ("BACKEND_PROFILE", "auto"),
        ("MODEL_MAP", "none"),
        ("HEADERS_GRACE_SECS", "10"),
        ("HOST", "127.0.0.1"),
        ("HOST_PORT", "8080"),
        ("METRICS_PORT", "none"),
        ("METRICS_HOST", "127.0.0.1"),
        ("BACKEND_TIMEOUT_SECS", "600"),
        ("MAX_BODY_MIB", "64"),
        ("REQUEST_TIMEOUT_SECS", "300"),
        ("ENABLE_CIRCUIT_BREAKER", "false"),
        ("CIRCUIT_BREAKER_FAIL_MAX", "5"),
        ("CIRCUIT_BREAKER_RESET_SECS", "30"),
        ("SHUTDOWN_GRACE_SECS", "30"),
        ("LOG_LEVEL", "info"),
        ("LOG_FORMAT", "auto"),
    ]:
        assert f"--{name.lower().replace('_', '-')} " in text
        assert f"[{name}, default: {default}]" in text


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "gateway.example", "::"])  # noqa: S104
def test_the_operators_key_is_not_for_everybody(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(HOST=host, BACKEND_API_KEY="cpk_own")
    assert str(caught.value) == (
        f"HOST={host}: with BACKEND_API_KEY, everybody who can reach this address would use that key: set "
        "GATEWAY_API_KEYS or GATEWAY_API_KEYS_FILE, or ALLOW_ANYONE=true if you want that"
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"HOST": "127.0.0.1", "BACKEND_API_KEY": "cpk_own"},
        {"HOST": "localhost", "BACKEND_API_KEY": "cpk_own"},
        {"HOST": "::1", "BACKEND_API_KEY": "cpk_own"},
        {"HOST": "::"},
        {"HOST": "::", "BACKEND_API_KEY": "cpk_own", "GATEWAY_API_KEYS": "sk-team-0123456789"},
        {"HOST": "::", "BACKEND_API_KEY": "cpk_own", "GATEWAY_API_KEYS_FILE": "keys"},
        {"HOST": "::", "BACKEND_API_KEY": "cpk_own", "ALLOW_ANYONE": "true"},
    ],
    ids=["loopback", "its name", "IPv6's", "no key", "keys", "a file of keys", "meant"],
)
def test_doors_that_may_stand_open(environment: dict[str, str]) -> None:
    assert load(**environment).host == environment["HOST"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("BACKEND_API_KEY", "cpk_canary two"), ("GATEWAY_API_KEYS", "canary")],
    ids=["a blank", "too short"],
)
def test_a_wrong_secret_is_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}=…: ") as caught:
        load(**{name: value})
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(load(BACKEND_API_KEY="cpk_canary", GATEWAY_API_KEYS="canary-0123456789"))


def test_secrets_have_no_flag() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    assert not {"--backend-api-key", "--gateway-api-keys"} & set(parser.format_help().split())


@pytest.mark.parametrize("port", ["8080", "9000"])
def test_metrics_have_a_port_that_is_not_the_clients(port: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(HOST_PORT=port, METRICS_PORT=port)
    assert str(caught.value) == f"METRICS_PORT={port}: must not be HOST_PORT, which clients can reach"


def test_of_two_ports_each_may_be_any() -> None:
    settings = load(HOST_PORT="0", METRICS_PORT="0")

    assert (settings.host_port, settings.metrics_port) == (0, 0)


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(SettingsError) as caught:
        load(MAX_BODY_MIB="9" * 5000)
    assert str(caught.value) == f"MAX_BODY_MIB={'9' * 200}…: must have at most 9 digits"
