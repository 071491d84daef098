import argparse
from pathlib import Path

import pytest

from gateway.backend.endpoint import parse_endpoint
from gateway.backend.model_map import ModelMap
from gateway.backend.profiles import PROFILES
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
        backend_timeout_secs=600,
        headers_grace_secs=10,
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
        BACKEND_TIMEOUT_SECS="1.5",
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
        backend_timeout_secs=1.5,
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
        ("BACKEND_TIMEOUT_SECS", "0", "must be a number of seconds greater than 0"),
        ("BACKEND_TIMEOUT_SECS", "nan", "must be a number of seconds greater than 0"),
        ("BACKEND_TIMEOUT_SECS", "inf", "must be a number of seconds greater than 0"),
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
        ("BACKEND_TIMEOUT_SECS", "600"),
        ("ENABLE_CIRCUIT_BREAKER", "false"),
        ("CIRCUIT_BREAKER_FAIL_MAX", "5"),
        ("CIRCUIT_BREAKER_RESET_SECS", "30"),
        ("SHUTDOWN_GRACE_SECS", "30"),
        ("LOG_LEVEL", "info"),
        ("LOG_FORMAT", "auto"),
    ]:
        assert f"--{name.lower().replace('_', '-')} " in text
        assert f"[{name}, default: {default}]" in text
