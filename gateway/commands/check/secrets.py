"""No token is shown: not the user's, and not the parts of it that backends repeat in their errors."""

import re
from typing import Any, Final

# so many characters in a row give a token away; shorter ones may be placeholders, such as `any`
_PART: Final = 8
_SHOWN: Final = "…"
_LONGEST: Final = 400


class Secrets:
    """What must not be shown."""

    def __init__(self, *secrets: str) -> None:
        self._long = [secret for secret in secrets if len(secret) >= _PART]
        self._short = [
            re.compile(rf"(?<!\w){re.escape(secret)}(?!\w)") for secret in secrets if 0 < len(secret) < _PART
        ]

    def clean(self, value: Any) -> Any:
        """A text, or all texts inside lists and objects, without secrets, and without characters that a terminal
        obeys.
        """
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
        """A foreign text, in one line that is not too long; short secrets are looked for here, too, where they cannot
        be words of ours.
        """
        for secret in self._short:
            text = secret.sub(_SHOWN, text)
        text = " ".join(self.clean(text).split())
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + _SHOWN


def _without(text: str, secret: str) -> str:
    """The text with each run of characters that is a run of the secret, and long enough to tell, taken out."""
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
