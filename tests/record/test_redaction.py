import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.redaction import Redactor, redactor_of_client, secrets_in

KEY = 'sk-Abc+/="12\\x&y-9f8e7d6c5b4a'
REDACTOR = Redactor([KEY])

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: key,
    "Bearer": lambda key: f"Bearer {key}",
    "JSON": json.dumps,
    "JSON with slashes": lambda key: json.dumps(key).replace("/", "\\/"),
    "JSON in JSON": lambda key: json.dumps(json.dumps(key)),
    "JSON, each letter": lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
    "JSON in JSON, each letter": lambda key: json.dumps("".join(f"\\u{ord(letter):04X}" for letter in key)),
    "URL": quote,
    "query": lambda key: quote(key, safe=""),
    "URL, lower case": lambda key: re.sub("%..", lambda match: match[0].lower(), quote(key, safe="")),
    "URL, each letter": lambda key: "".join(f"%{ord(letter):02X}" for letter in key),
    "HTML": html.escape,
    "HTML, numbers": lambda key: "".join(f"&#{ord(letter)};" for letter in key),
    "repr": repr,
    "base64": lambda key: b64encode(key.encode()).decode(),
    "base64 for URLs": lambda key: urlsafe_b64encode(key.encode()).decode(),
    "Basic": lambda key: b64encode(f"user:{key}".encode()).decode(),
    "Basic, user": lambda key: b64encode(f"{key}:".encode()).decode(),
    "Basic in a URL": lambda key: quote(b64encode(f"me:{key}".encode()).decode(), safe=""),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_cut_out_in_any_form(form: Callable[[str], str]) -> None:
    written = form(KEY)
    for cut in (REDACTOR.cut, REDACTOR.cut_parts, REDACTOR.cut_recurring):
        left = cut(f"Wrong key: {written}. Try again")
        assert left.startswith("Wrong key: ")
        assert left.endswith(". Try again")
        assert "…" in left
        assert all(written[at : at + 8] not in left for at in range(len(written) - 7))


@pytest.mark.parametrize("text", ["", "no secret", "100% of \\n & <b>", "sk-Abc", '{"a": "\\u00e9 %41"}', KEY[:-1]])
def test_other_texts_are_left_as_they_are(text: str) -> None:
    assert REDACTOR.cut(text) == text
    assert REDACTOR.cut_recurring(text) == text


def test_parts_of_a_secret_are_cut_out_of_an_error() -> None:
    assert REDACTOR.cut_parts(f"no: {KEY[:12]}") == "no: …"
    assert REDACTOR.cut_parts(f"no: {KEY[5:-3]}, {KEY[-8:]}!") == "no: …, …!"
    assert REDACTOR.cut_parts(f"no: {KEY[:7]}") == f"no: {KEY[:7]}"


def test_a_line_of_json_stays_json() -> None:
    line = json.dumps({"said": f"a{KEY}", KEY: [f'"{KEY}"']})
    assert json.loads(REDACTOR.cut(line)) == {"said": "a…", "…": ['"…"']}


def test_short_secrets_are_not_looked_for() -> None:
    assert Redactor(["abcde", ""]).cut("abcde") == "abcde"
    assert Redactor(["abcdef"]).cut("abcdef") == "…"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("to https://user:pass@host/path", "to https://…@host/path"),
        ("http://token@host", "http://…@host"),
        ("https://user:p@ss@host:1/a@b", "https://…@host:1/a@b"),
        ("https:\\/\\/user:pass@host", "https:\\/\\/…@host"),
        ("https://host/@user, a@b", "https://host/@user, a@b"),
        ("user@example.com", "user@example.com"),
    ],
)
def test_urls_lose_user_and_password(text: str, left: str) -> None:
    assert Redactor().cut(text) == left
    assert REDACTOR.cut(text) == left


@given(
    st.text(max_size=30), st.text(max_size=30), st.text(alphabet=st.characters(codec="ascii"), min_size=6, max_size=40)
)
def test_any_secret_is_cut_out_of_any_text(before: str, after: str, secret: str) -> None:
    assert secret not in Redactor([secret]).cut(before + secret + after).replace("…", "\0")


def test_it_remembers_only_so_many_texts() -> None:
    for number in range(3000):
        assert REDACTOR.cut_recurring(f"/v1/{number}/{KEY}") == f"/v1/{number}/…"


def test_a_megabyte_of_anything_takes_little_time() -> None:
    for text in (
        "//" * 500_000,
        "//a" * 300_000,
        "//" + "a" * 1_000_000,
        "\\" * 1_000_000,
        "%4" * 500_000,
        "&" * 1_000_000,
    ):
        assert REDACTOR.cut(text)


@pytest.mark.parametrize("name", ["Authorization", "x-api-key"])
def test_the_clients_token_is_what_it_sent(name: str) -> None:
    value = "Bearer my-own-token" if name == "Authorization" else "my-own-token"
    assert redactor_of_client(make_mocked_request("GET", "/", {name: value})).cut("my-own-token!") == "…!"


def test_the_environment_has_secrets_too() -> None:
    found = set(
        secrets_in(
            {
                "HTTPS_PROXY": "http://me:proxy%2Dword@proxy:3128",
                "ALL_PROXY": "socks5://only-a-token@proxy",
                "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20collector-key,x-team=seven-of-nine",
                "PATH": "/usr/bin",
            }
        )
    )
    assert found == {"proxy%2Dword", "proxy-word", "only-a-token", "collector-key"}
