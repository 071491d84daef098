"""Checks of what the user enters."""

from pathlib import Path

import pytest

from gateway.commands.setup.inputs import BadInput, checked_token, checked_url, given_token


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost/", "http://localhost"),
        ("https://gateway.example/team-1/v1//", "https://gateway.example/team-1/v1"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_a_base_url_loses_its_last_slash(url: str, base: str) -> None:
    assert checked_url(url) == base


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8080", "ftp://h", "http://", "http://u:p@h", "http://h/?a=1", "http://h/#a", "http://h h", "http://h\n"],
)  # fmt: skip
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"is not a base URL: give one like http://127\.0\.0\.1:8080 or https"):
        checked_url(url)


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        (" \n", "the token is empty"),
        ("sk-ant-api03-x", "this is a token for Anthropic"),
        ("cpk_a b", "the token contains a blank"),
        ("cpk_ä", "the token contains a blank"),
        ("a\nb", "the token contains a blank"),
    ],
)
def test_what_is_no_token_is_refused_and_not_shown(token: str, fault: str) -> None:
    with pytest.raises(BadInput, match=fault) as raised:
        checked_token(token)
    assert token.strip() not in str(raised.value) or not token.strip()


def test_the_file_wins_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("cpk_file\r\n")
    environment = {"ANTHROPIC_AUTH_TOKEN": "cpk_client", "CLAUDE_GATEWAY_TOKEN": "cpk_own"}
    assert given_token(file, environment) == "cpk_file"
    assert given_token(None, environment) == "cpk_own"
    assert given_token(None, {**environment, "CLAUDE_GATEWAY_TOKEN": ""}) == "cpk_client"
    assert given_token(None, {}) is None


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^--token-file .*missing: No such file or directory$"):
        given_token(tmp_path / "missing", {})
    (tmp_path / "image").write_bytes(b"\xff\xd8")
    with pytest.raises(BadInput, match=r"^--token-file .*image: not a text file$"):
        given_token(tmp_path / "image", {})
