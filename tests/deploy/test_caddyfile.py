"""What the Caddyfile says of itself is true, and fits the gateway. No Caddy is needed here: see test_caddy.py."""

import re

from gateway.settings import Settings
from tests.deploy.caddy import CADDYFILE

TEXT = CADDYFILE.read_text()
HEAD = TEXT.partition("\n\n")[0]
# as Caddy reads them: {$NAME:default}
VARIABLES = re.findall(r"\{\$(\w+):([^}]*)\}", TEXT)
SETTINGS = Settings()


def test_the_head_lists_each_variable() -> None:
    listed = re.findall(r"^#   ([A-Z_]+) ", HEAD, re.MULTILINE)

    assert set(listed) == {name for name, _ in VARIABLES}
    assert len(listed) == len(set(listed))


def test_a_variable_has_one_default() -> None:
    defaults = dict(VARIABLES)

    # without TLS, only this machine may listen in
    assert {(name, default) for name, default in VARIABLES if defaults[name] != default} == {
        ("CADDY_BIND", "127.0.0.1")
    }


def test_each_variable_has_a_default() -> None:
    assert TEXT.count("{$") == len(VARIABLES)


def test_the_defaults_are_the_gateways() -> None:
    defaults = dict(VARIABLES)

    assert defaults["GATEWAY"] == f"{SETTINGS.host}:{SETTINGS.host_port}"
    assert defaults["MAX_BODY_MIB"] == str(SETTINGS.max_body_mib)


def test_the_head_names_the_defaults() -> None:
    named = dict(re.findall(r"^#   ([A-Z_]+) [^(]*\(default ([^\s,:;)]+(?::\d+)?)", HEAD, re.MULTILINE | re.DOTALL))

    shown = {name: default for name, default in VARIABLES if default not in ('""', "false")}
    assert {name: named[name] for name in shown} == shown
