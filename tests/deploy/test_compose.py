"""The compose file, as the current `docker compose` reads it, and by the Compose specification's schema."""

import json
import os
import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from tests.command_blocks import Block, blocks_of
from tests.deploy.tools import DEPLOY, ROOT, docker_compose, tool

COMPOSE = DEPLOY / "docker-compose.yaml"
SETTINGS = {setting.name.upper() for setting in fields(Settings)}
# of the container, not of the machine
FIXED = {"HOST", "METRICS_HOST"}


def compose(*arguments: str, files: tuple[Path, ...] = (COMPOSE,), **variables: str) -> tuple[int, str, str]:
    chosen = [argument for file in files for argument in ("-f", str(file))]
    done = subprocess.run(
        [docker_compose(), *chosen, *arguments],
        # no variable of the one who runs the tests, and no deploy/.env of theirs
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COMPOSE_DISABLE_ENV_FILE": "true"} | variables,
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def services(*, files: tuple[Path, ...] = (COMPOSE,), **variables: str) -> Any:
    code, out, err = compose("config", "--format", "json", files=files, **variables)
    assert (code, err) == (0, "")
    return json.loads(out)["services"]


def published(service: Any) -> list[str]:
    return [
        f"{port.get('host_ip', '*')}:{port['published']}:{port['target']}/{port['protocol']}"
        for port in service["ports"]
    ]


def test_every_setting_can_be_given() -> None:
    named = set(re.findall(r"^      ([A-Z_]+):", COMPOSE.read_text(), re.MULTILINE))

    assert named >= SETTINGS | {"RUST_LOG"}, (
        "add the setting to the gateway's environment in deploy/docker-compose.yaml"
    )


def test_the_example_names_only_what_there_is() -> None:
    files = [COMPOSE, *DEPLOY.glob("compose/*.yaml")]
    known = SETTINGS | {name for file in files for name in re.findall(r"\$\{([A-Z_]+)", file.read_text())}

    named = set(re.findall(r"^#?([A-Z_]+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))

    assert named - (known - FIXED) == set()
    assert {"BACKEND_URL", "HOST_PORT", "CADDY_PORT", "CADDY_TLS", "CADDY_DOMAIN"} <= named


@pytest.mark.deploy_tools
@pytest.mark.parametrize(
    ("variables", "ports"),
    [
        (
            {"HOST_PORT": "8181", "CADDY_PORT": "8180", "CADDY_TLS": "false", "BACKEND_URL": "http://llm:8000/v1"},
            ["127.0.0.1:8181:8080/tcp", "127.0.0.1:8180:8180/tcp"],
        ),
        ({}, ["127.0.0.1:8080:8080/tcp", "127.0.0.1:8180:8180/tcp"]),
        ({"BIND_ADDRESS": "10.0.0.1"}, ["10.0.0.1:8080:8080/tcp", "10.0.0.1:8180:8180/tcp"]),
        (
            {"CADDY_TLS": "true", "CADDY_DOMAIN": "llm.example.org"},
            ["127.0.0.1:8080:8080/tcp", "*:80:80/tcp", "*:443:443/tcp", "*:443:443/udp"],
        ),
        (
            {"CADDY_TLS": "internal", "CADDY_PORT": "8443", "CADDY_HTTP_PORT": "8081"},
            ["127.0.0.1:8080:8080/tcp", "*:8081:80/tcp", "*:8443:443/tcp", "*:8443:443/udp"],
        ),
    ],
    ids=["the README's", "defaults", "for the local network", "automatic HTTPS", "own authority"],
)
def test_ports(variables: dict[str, str], ports: list[str]) -> None:
    found = services(**variables)

    assert published(found["gateway"]) + published(found["caddy"]) == ports
    caddy = found["caddy"]["environment"]
    assert caddy["CADDY_TLS"] == variables.get("CADDY_TLS", "false")
    assert caddy["CADDY_DOMAIN"] == variables.get("CADDY_DOMAIN", "localhost")
    assert str(found["caddy"]["ports"][-1]["target"]) == caddy["CADDY_PORT"]
    assert caddy["GATEWAY"] == "gateway:8080"


@pytest.mark.deploy_tools
@pytest.mark.parametrize(
    "block", blocks_of("test_the_commands_of_the_readme_are_taken"), ids=lambda block: str(block.place)
)
def test_the_commands_of_the_readme_are_taken(block: Block) -> None:
    """As far as they go without an engine: what would be brought up is read, by the same variables and files."""
    commands = [line for line in block.text.replace("\\\n", " ").splitlines() if not line.startswith("curl ")]
    assert all(command.endswith(" up -d --build") for command in commands)

    for command in commands:
        read = command.replace("docker compose", docker_compose()).replace("up -d --build", "config --quiet")
        done = subprocess.run(
            ["bash", "-euc", read], cwd=ROOT, env={"PATH": os.environ["PATH"], "COMPOSE_DISABLE_ENV_FILE": "true"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.deploy_tools
def test_caddys_image_can_be_given_by_digest() -> None:
    image = f"docker.io/library/caddy:2-alpine@sha256:{'0123456789abcdef' * 4}"

    assert services(CADDY_IMAGE=image)["caddy"]["image"] == image
    assert "#CADDY_IMAGE=docker.io/library/caddy:2-alpine@sha256:" in (DEPLOY / ".env.example").read_text()


@pytest.mark.deploy_tools
def test_the_machine_is_the_default_backend() -> None:
    gateway = services()["gateway"]

    assert gateway["environment"]["BACKEND_URL"] == "http://host.docker.internal:8000/v1/chat/completions"
    assert gateway["extra_hosts"] == ["host.docker.internal=host-gateway"]


@pytest.mark.deploy_tools
def test_settings_of_the_shell_reach_the_gateway_and_no_others_do() -> None:
    gateway = services(BACKEND_API_KEY="k", GATEWAY_API_KEYS_FILE="/etc/keys", WORKERS="3", HOST_PORT="1")["gateway"]

    given = {name: value for name, value in gateway["environment"].items() if value is not None}
    assert given == {
        "HOST": "0.0.0.0",  # noqa: S104 - of the container
        "HOST_PORT": "8080",
        "METRICS_HOST": "0.0.0.0",  # noqa: S104 - of the container
        "BACKEND_URL": "http://host.docker.internal:8000/v1/chat/completions",
        "BACKEND_API_KEY": "k",
        "GATEWAY_API_KEYS_FILE": "/run/secrets/gateway_api_keys",
        "WORKERS": "3",
    }
    assert [(volume["source"], volume["target"]) for volume in gateway["volumes"]] == [
        ("/etc/keys", "/run/secrets/gateway_api_keys")
    ]


@pytest.mark.deploy_tools
@pytest.mark.parametrize(
    ("variables", "seconds"),
    [({}, "45s"), ({"SHUTDOWN_GRACE_SECS": "300", "SHUTDOWN_DELAY_SECS": "5"}, "5m20s")],
)
def test_containers_get_longer_for_their_end_than_the_gateway_takes(variables: dict[str, str], seconds: str) -> None:
    found = services(**variables)

    assert [service["stop_grace_period"] for service in found.values()] == [seconds, seconds]


@pytest.mark.deploy_tools
def test_containers_can_do_little_and_take_little() -> None:
    found = services()

    for name, service in found.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert service["logging"] == {"driver": "json-file", "options": {"max-file": "5", "max-size": "10m"}}, name
        assert int(service["mem_limit"]) <= 1 << 30, name
        assert (service["cpus"], service["pids_limit"]) == (1, 512), name
        assert service["ulimits"] == {"nofile": {"soft": 65536, "hard": 65536}}, name
        assert service["healthcheck"]["test"], name
    assert "cap_add" not in found["gateway"]
    assert found["caddy"]["cap_add"] == ["NET_BIND_SERVICE"]
    assert found["caddy"]["depends_on"]["gateway"]["condition"] == "service_healthy"


@pytest.mark.deploy_tools
def test_a_word_that_is_no_way_of_tls_is_refused() -> None:
    code, _, err = compose("config", CADDY_TLS="yes")

    assert code != 0
    assert "compose/tls-yes.yaml" in err


@pytest.mark.deploy_tools
def test_a_backend_on_loopback_is_reached_over_the_machines_own_network() -> None:
    found = services(files=(COMPOSE, DEPLOY / "compose/host-network.yaml"), HOST_PORT="8181", CADDY_PORT="8180")

    assert [service["network_mode"] for service in found.values()] == ["host", "host"]
    assert not any("ports" in service for service in found.values())
    gateway, caddy = found["gateway"]["environment"], found["caddy"]["environment"]
    assert gateway["BACKEND_URL"] == "http://127.0.0.1:8000/v1/chat/completions"
    assert (gateway["HOST"], gateway["HOST_PORT"]) == ("127.0.0.1", "8181")
    assert (caddy["GATEWAY"], caddy["CADDY_BIND"], caddy["CADDY_PORT"]) == ("127.0.0.1:8181", "127.0.0.1", "8180")


@pytest.mark.deploy_tools
def test_the_files_keep_to_the_specifications_schema(tmp_path: Path) -> None:
    files = [COMPOSE, *sorted(DEPLOY.glob("compose/tls-*.yaml"))]
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(COMPOSE.read_text().replace("pids_limit", "pid_limit"))

    assert len(files) == 4
    assert check_schema(*files) == 0
    assert check_schema(wrong) == 1


def check_schema(*files: Path) -> int:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *files]
    return subprocess.run(command, capture_output=True).returncode
