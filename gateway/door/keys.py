"""Who may use a gateway that has keys of its own: `GATEWAY_API_KEYS` and `GATEWAY_API_KEYS_FILE`.

An entry is a key and its options, separated by blanks; entries are separated by line breaks or commas:

    sk-team-2f9c…                                 # a comment
    sha256:9f86d081884c7d65…  name=alice  requests=60  streams=4

`requests` limits the requests per minute, `streams` the answers at a time; without it, one of several keys gets half of
all places, so that nobody can keep the others out. Only the SHA-256 hash of a key is kept; keys
are random, so they need no slow hash. A token is found by its hash, so the time says nothing about the keys.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from msgspec import Struct

from gateway.anthropic.errors import ApiError

_HASHED: Final = "sha256:"
_HASH: Final = re.compile("[0-9a-fA-F]{64}")
# shorter ones can be guessed
LEAST_CHARACTERS: Final = 16
_OPTIONS: Final = ("name", "requests", "streams")
# of a limit; longer numbers cannot be counted with
_MOST_DIGITS: Final = 9
# how soon a change to the file is noticed
_CHECK_SECONDS: Final = 1.0
# 100,000 hashed keys with names and limits
_MOST_FILE_MIB: Final = 16

log = structlog.get_logger(__name__)


class Key(Struct, frozen=True, kw_only=True):
    """A key by its hash, with its limits: `requests` per minute and `streams` at a time; None for no limit."""

    digest: bytes
    name: str
    requests: int | None = None
    streams: int | None = None


def parse_keys(text: str) -> tuple[Key, ...]:
    """Parse the entries of a setting or a file. Raises ValueError, which names the entry by number, never by key."""
    keys: list[Key] = []
    for line in text.replace(",", "\n").splitlines():
        if words := line.partition("#")[0].split():
            number = len(keys) + 1
            try:
                keys.append(_parse_entry(words, number))
            except ValueError as error:
                raise ValueError(f"entry {number}: {error}") from None
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("two entries have the same key")
    return tuple(keys)


def clear_keys(text: str) -> list[str]:
    """The keys in a setting that are not given by their hash."""
    entries = (line.partition("#")[0].split() for line in text.replace(",", "\n").splitlines())
    return [words[0] for words in entries if words and not words[0].startswith(_HASHED)]


def _parse_entry(words: Sequence[str], number: int) -> Key:
    said: dict[str, str] = {}
    for word in words[1:]:
        option, _, value = word.partition("=")
        if option not in _OPTIONS:
            # not quoted: the word may be another key
            raise ValueError("only name=, requests= and streams= may follow a key; separate keys with commas")
        said[option] = value
    return Key(
        digest=_digest(words[0]),
        name=said.get("name") or f"key {number}",
        requests=_limit("requests", said.get("requests")),
        streams=_limit("streams", said.get("streams")),
    )


def _digest(word: str) -> bytes:
    if word.startswith(_HASHED):
        digits = word.removeprefix(_HASHED)
        if not _HASH.fullmatch(digits):
            raise ValueError("sha256: must be followed by 64 hexadecimal digits")
        return bytes.fromhex(digits)
    if len(word) < LEAST_CHARACTERS:
        raise ValueError(f"a key must have at least {LEAST_CHARACTERS} characters")
    if not word.isascii():
        # no client could send it
        raise ValueError("a key must consist of ASCII characters")
    return sha256(word.encode()).digest()


def _limit(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isdecimal() or len(value) > _MOST_DIGITS or int(value) < 1:
        raise ValueError(f"{name} must be a whole number from 1 to {10**_MOST_DIGITS - 1}")
    return int(value)


class Holder:
    """The holder of a key, and how much of its limits is used."""

    __slots__ = ("_allowance", "_clock", "_counted_at", "_streams", "key", "most_streams")

    def __init__(self, key: Key, clock: Callable[[], float]) -> None:
        self.key = key
        self.most_streams = key.streams
        self._clock = clock
        self._streams = 0
        self._allowance = float(key.requests or 0)
        self._counted_at = clock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request for a message while it is in progress. Raises ApiError 429."""
        self.refuse_if_busy()
        self._take()
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def refuse_if_busy(self) -> None:
        """Raises ApiError 429 if no more answers may be in progress."""
        if self.most_streams is not None and self._streams >= self.most_streams:
            raise ApiError(
                429,
                f"this key may have {self.most_streams} answers at a time: wait for one to end, or ask the operator "
                "for more streams",
                retry_after=1,
            )

    def _take(self) -> None:
        """Use one request of the allowance, which refills evenly and holds at most the limit. Raises ApiError 429."""
        if self.key.requests is None:
            return
        per_second = self.key.requests / 60
        now = self._clock()
        self._allowance = min(self.key.requests, self._allowance + (now - self._counted_at) * per_second)
        self._counted_at = now
        if self._allowance < 1:
            wait = math.ceil((1 - self._allowance) / per_second)
            raise ApiError(
                429,
                f"this key may send {self.key.requests} requests a minute: wait {wait} s, or ask the operator for more",
                retry_after=wait,
            )
        self._allowance -= 1


# set on requests that carry one of this gateway's keys
HOLDER: Final = web.RequestKey("holder", Holder)


class KeyRing:
    """The keys that open the gateway. The file is read again when it changes; an invalid file changes nothing."""

    def __init__(
        self,
        keys: Sequence[Key] = (),
        file: Path | None = None,
        *,
        share: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`share`: the answers at a time for one of several keys that has no limit of its own.

        Raises ValueError for a file that cannot be read.
        """
        self._fixed = keys
        self._file = file
        self._share = share
        self._clock = clock
        # by the hash of the key; replaced as a whole
        self._holders: dict[bytes, Holder] = {}
        self._version = self._file_version()
        self._checked_at = clock()
        self._refreshing = False
        self._set(self._read_file())

    @property
    def used(self) -> bool:
        """Whether only holders of a key may use the gateway; with an empty file, nobody may."""
        return bool(self._holders) or self._file is not None

    @property
    def due(self) -> bool:
        """Whether it is time to see whether the file has changed."""
        return self._file is not None and self._clock() - self._checked_at >= _CHECK_SECONDS and not self._refreshing

    def find(self, token: str) -> Holder | None:
        """The holder of this key, or None."""
        return self._holders.get(sha256(token.encode()).digest())

    async def refresh(self) -> None:
        """Read the file again if it has changed, in a thread. Meanwhile, the keys known so far are valid."""
        self._refreshing = True
        self._checked_at = self._clock()
        try:
            await asyncio.to_thread(self._read_again)
        finally:
            self._refreshing = False

    def _read_again(self) -> None:
        version = self._file_version()
        if version == self._version:
            return
        self._version = version
        try:
            self._set(self._read_file())
        except ValueError as error:
            log.error("keys not read again", reason=str(error))  # noqa: TRY400  # the reason says it all
        else:
            log.info("keys read again", keys=len(self._holders))

    def _set(self, from_file: Sequence[Key]) -> None:
        before = self._holders
        holders = {}
        for key in (*self._fixed, *from_file):
            holder = before.get(key.digest)
            holders[key.digest] = holder if holder is not None and holder.key == key else Holder(key, self._clock)
        share = self._share if len(holders) > 1 else None
        for holder in holders.values():
            holder.most_streams = share if holder.key.streams is None else holder.key.streams
        self._holders = holders

    def _file_version(self) -> tuple[int, ...]:
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return ()
        return (status.st_mtime_ns, status.st_size, status.st_ino) if status else ()

    def _read_file(self) -> tuple[Key, ...]:
        if self._file is None:
            return ()
        try:
            with self._file.open("rb") as file:
                text = file.read(_MOST_FILE_MIB * 1024 * 1024 + 1)
            if len(text) > _MOST_FILE_MIB * 1024 * 1024:
                raise ValueError(f"larger than {_MOST_FILE_MIB} MiB: is it a file of keys?")
            return parse_keys(text.decode())
        except OSError as error:
            raise ValueError(f"{self._file}: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{self._file}: {error}") from None
