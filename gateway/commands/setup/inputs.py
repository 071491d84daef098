"""Checks of what the user enters: the gateway's URL and the token."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DEFAULT_URL: Final = "http://127.0.0.1:8080"
# the token to use with a backend that needs none: the client requires one
NO_TOKEN: Final = "none"  # noqa: S105 - a placeholder, not a secret
TOKEN_VARIABLES: Final = ("CLAUDE_GATEWAY_TOKEN", "ANTHROPIC_AUTH_TOKEN")

_URL: Final = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(/[A-Za-z0-9._~/%-]*)?")
# characters that a header carries unchanged
_TOKEN: Final = re.compile(r"[!-~]+")


class BadInput(ValueError):
    """An input cannot be used. The message says which and what to do, and never contains a token."""


def checked_url(url: str) -> str:
    """The base URL without trailing slashes. Raises BadInput."""
    if not _URL.fullmatch(url):
        raise BadInput(f"{url!r} is not a base URL: give one like {DEFAULT_URL} or https://gateway.example")
    return url.rstrip("/")


def checked_token(token: str) -> str:
    """The token without surrounding whitespace. Raises BadInput."""
    token = token.strip()
    if not token:
        raise BadInput(f"the token is empty: give your backend's key, or `{NO_TOKEN}` if it needs none")
    if token.startswith("sk-ant-"):
        raise BadInput(
            "this is a token for Anthropic (sk-ant-…), and a gateway talks to another backend: give that backend's "
            "key; the token was sent nowhere"
        )
    if not _TOKEN.fullmatch(token):
        raise BadInput("the token contains a blank or an invalid character: copy it again, on one line")
    return token


def given_token(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """The token from the file or, without one, from the environment; None if neither has it. Raises BadInput."""
    if file is not None:
        try:
            return checked_token(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"--token-file {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise BadInput(f"--token-file {file}: not a text file") from None
    return next((checked_token(environment[name]) for name in TOKEN_VARIABLES if environment.get(name)), None)
