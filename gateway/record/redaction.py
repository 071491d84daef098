"""Keeps secrets out of what leaves the gateway: errors, logs, spans and the status feed.

A backend may repeat the key that it was sent, in any of its errors and in any form. Secrets are cut out where texts
leave, so it does not matter what has brought them.
"""

import html
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from aiohttp import web

# shorter ones occur in any text
_LEAST: Final = 6
# a run of this many characters gives a secret away, or is worth a guess
_PART: Final = 8
_CUT: Final = "…"
# in the names of parameters and headers that are secret
_SECRET_WORDS: Final = ("key", "token", "secret", "pass", "auth", "sig")
# values of which it is remembered whether they hold a secret: paths and models
_MOST_RECURRING: Final = 1024
# what base64 makes of the bytes before a secret depends on them: so many of its first characters
_SHIFTED: Final = (0, 2, 3)

# the user and password of a URL; a longer one is no URL that anything accepts
_USERINFO: Final = re.compile(r"""((?:\\?/){2})[^\s/?#"'<>\\]{1,2000}@""")
# a character in percent-encoding, as an escape of JSON (or of JSON in JSON), or as an entity of HTML
_ESCAPED: Final = re.compile(
    r"%[0-9A-Fa-f]{2}|\\+(?:u00[0-9A-Fa-f]{2}|[/\"'\\])|&(?:#[0-9A-Fa-fx]{2,6}|amp|lt|gt|quot|apos);"
)
_UNIT: Final = re.compile(rf"{_ESCAPED.pattern}|.", re.DOTALL)


class Redactor:
    """Cuts secrets out of texts: as they are, escaped for JSON, a URL or HTML, and within base64, as in Basic
    authentication. URLs lose their user and password. Secrets of fewer than 6 characters are not looked for.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        long = sorted({secret for secret in secrets if len(secret) >= _LEAST})
        self._forms = list(dict.fromkeys(form for secret in long for form in _forms(secret)))
        self._parts = {form[at : at + _PART] for form in self._forms for at in range(len(form) - _PART + 1)}
        self._recurring: dict[str, str] = {}

    @property
    def cuts(self) -> bool:
        """Whether there are secrets to look for."""
        return bool(self._forms)

    def cut(self, text: str) -> str:
        """The text without secrets."""
        if "@" in text:
            text = _USERINFO.sub(rf"\1{_CUT}@", text)
        if any(form in text for form in self._forms) or (self._forms and _ESCAPED.search(text)):
            return self._without(text)
        return text

    def cut_parts(self, text: str) -> str:
        """The text without secrets and parts of them: a text of a backend may have been cut anywhere. Slower."""
        return self._without(self.cut(text), parts=True) if self._forms else self.cut(text)

    def cut_recurring(self, text: str) -> str:
        """Like `cut`, for a short text that comes again and again."""
        found = self._recurring.get(text)
        if found is None:
            if len(self._recurring) >= _MOST_RECURRING:
                self._recurring.clear()
            found = self._recurring[text] = self.cut(text)
        return found

    def _without(self, text: str, *, parts: bool = False) -> str:
        # as it stands: what comes before a secret, or a percent sign in it, may make other characters of it
        for form in self._forms:
            text = text.replace(form, _CUT)
        units = _UNIT.findall(text)
        plain = "".join(map(_unescaped, units))
        hidden = bytearray(len(plain))
        for start, end in self._places(plain, parts=parts):
            hidden[start:end] = b"\1" * (end - start)
        if not any(hidden):
            return text
        kept = [_CUT if hides else unit for unit, hides in zip(units, hidden, strict=True)]
        return "".join(unit for at, unit in enumerate(kept) if not (at and hidden[at] and hidden[at - 1]))

    def _places(self, plain: str, *, parts: bool) -> Iterator[tuple[int, int]]:
        for form in self._forms:
            at = plain.find(form)
            while at >= 0:
                yield at, at + len(form)
                at = plain.find(form, at + 1)
        if parts:
            for at in range(len(plain) - _PART + 1):
                if plain[at : at + _PART] in self._parts:
                    yield at, at + _PART


REDACTOR: Final = web.AppKey("redactor", Redactor)


def redactor_of_client(request: web.Request) -> Redactor:
    """Cuts out the token that a client has sent: the client may see it, but no log may."""
    headers = request.headers
    return Redactor([headers.get("Authorization", "").rpartition(" ")[2], headers.get("x-api-key", "").strip()])


def _forms(secret: str) -> Iterator[str]:
    yield secret
    data = secret.encode()
    for before, shifted in enumerate(_SHIFTED):
        for encode in (b64encode, urlsafe_b64encode):
            # the last group depends on what follows
            whole = (before + len(data)) // 3 * 4
            form = encode(bytes(before) + data).decode()[shifted:whole]
            if len(form) >= _LEAST:
                yield form


def _unescaped(unit: str) -> str:
    """The character that a match of _UNIT stands for."""
    if len(unit) == 1:
        return unit
    if unit[0] == "%":
        return chr(int(unit[1:], 16))
    if unit[0] == "&":
        found = html.unescape(unit)
        return found if len(found) == 1 else "\0"
    name = unit.lstrip("\\")
    if name.startswith("u00"):
        return chr(int(name[3:], 16))
    return name or "\\"


def secrets_in(environment: Mapping[str, str]) -> Iterator[str]:
    """The passwords in URLs, such as those of proxies, and the headers for OpenTelemetry's collector."""
    for name, value in environment.items():
        for found in _USERINFO.finditer(value):
            user, _, password = found[0].lstrip("/\\")[:-1].partition(":")
            yield from (password or user, unquote(password or user))
        if name.startswith("OTEL_EXPORTER_OTLP") and name.endswith("HEADERS"):
            yield from secrets_among(
                (header, after) for header, _, after in (pair.partition("=") for pair in value.split(","))
            )


def secrets_among(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The values, of parameters or headers, whose names say that they are secret; without a scheme such as `Bearer`."""
    for name, value in pairs:
        if any(word in name.lower() for word in _SECRET_WORDS):
            yield from unquote(value).split()[-1:]
