"""Keeps tokens out of the report, including the parts of them that backends repeat in their errors."""

import re
from typing import Any, Final

# a run of this many characters gives a token away; a shorter token may be a placeholder, such as `any`
_PART: Final = 8
_SHOWN: Final = "…"
_LONGEST: Final = 400


class Secrets:
    """Removes secrets from texts."""

    def __init__(self, *secrets: str) -> None:
        self._long = [secret for secret in secrets if len(secret) >= _PART]
        self._short = [
            re.compile(rf"(?<!\w){re.escape(secret)}(?!\w)") for secret in secrets if 0 < len(secret) < _PART
        ]

    def clean(self, value: Any) -> Any:
        """Remove secrets and control characters from a text, or from every text inside lists and objects."""
        if isinstance(value, str):
            text = value
            for secret in self._long:
                text = _without(text, secret)
            return "".join(character if character.isprintable() else " " for character in text)
        if isinstance(value, dict):
            return {self.clean(name): self.clean(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean(inner) for inner in value]
        return value

    def quote(self, text: str) -> str:
        """Clean a text that came from elsewhere: one line of at most 400 characters. Short secrets are removed as well,
        since here they cannot be words of the report itself.
        """
        for secret in self._short:
            text = secret.sub(_SHOWN, text)
        text = " ".join(self.clean(text).split())
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + _SHOWN


def _without(text: str, secret: str) -> str:
    """Replace each part of `text` that is also a part of `secret` and at least `_PART` characters long."""
    parts, at = [], 0
    while at < len(text):
        length = 0
        while at + length < len(text) and text[at : at + length + 1] in secret:
            length += 1
        if length >= _PART:
            parts.append(_SHOWN)
            at += length
        else:
            parts.append(text[at])
            at += 1
    return "".join(parts)
