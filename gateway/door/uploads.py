"""Limits on what clients upload: how many bodies may be arriving, and how much memory all bodies may take together.

A body counts from its first byte on, unpacked, for as long as anything refers to its `Held`: the request that was read
from it does, until its answer has begun. Of both limits, one client gets at most a half; a client is a key or an
address.

    429  the client is at its half
    529  the gateway is at its limit
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from gateway.anthropic.errors import ApiError

_MIB: Final = 1024 * 1024
# an upload takes seconds at most
_RETRY_SECONDS: Final = 2


class Held(Protocol):
    """Keeps the memory of a body counted while it exists."""


class Uploads:
    """The bodies that are arriving and those that requests in progress still need. Thread-safe."""

    def __init__(self, most: int, mib: int, *, least_mib: int) -> None:
        """At most `most` uploads, and bodies of `mib` MiB in all; a single body may always have `least_mib`."""
        self._most = most
        self._most_of_one = max(1, most // 2)
        self._mib = max(mib, least_mib)
        self._mib_of_one = max(self._mib // 2, least_mib)
        self._bytes = 0
        self._count = 0
        self._shares: dict[str, _Share] = {}
        # a body may be dropped by a thread, and by the garbage collector in the middle of a method
        self._lock = threading.RLock()

    @property
    def count(self) -> int:
        """How many bodies are arriving."""
        return self._count

    @property
    def bytes(self) -> int:
        """The size of all bodies in memory."""
        return self._bytes

    def hold(self, size: int) -> Held:
        """Count a body that has arrived in one piece. Raises ApiError 529."""
        if self._bytes + size > self._mib * _MIB:
            raise self._full()
        with self._lock:
            self._bytes += size
        return _Body(self, None, size)

    @contextmanager
    def begin(self, owner: str, expected: int) -> Iterator["_Body"]:
        """An upload by `owner`, of `expected` bytes as far as that is known; the body must grow as it arrives.

        Raises ApiError 429 or 529.
        """
        if self._count >= self._most:
            raise ApiError(
                529,
                f"this gateway already has {self._most} uploads in progress, the limit set by MAX_UPLOADS: try again "
                "in a moment",
                retry_after=_RETRY_SECONDS,
            )
        share = self._shares.get(owner) or _Share(owner)
        if share.uploads >= self._most_of_one:
            raise ApiError(
                429,
                f"this client already has {self._most_of_one} uploads in progress, half of MAX_UPLOADS: wait for one "
                "to end, or ask the operator for more",
                retry_after=_RETRY_SECONDS,
            )
        self._refuse_beyond(share, expected)
        self._shares[owner] = share
        self._count += 1
        share.uploads += 1
        try:
            yield _Body(self, share, 0)
        finally:
            self._count -= 1
            share.uploads -= 1
            self._tidy(share)

    def _refuse_beyond(self, share: "_Share", more: int) -> None:
        if self._bytes + more > self._mib * _MIB:
            raise self._full()
        if share.bytes + more > self._mib_of_one * _MIB:
            raise ApiError(
                429,
                f"this client's requests already take up {self._mib_of_one} MiB with this body, the most that one "
                "client may have: wait for one to be answered, or ask the operator for a larger MAX_BODIES_MIB",
                retry_after=_RETRY_SECONDS,
            )

    def _full(self) -> ApiError:
        return ApiError(
            529,
            f"the requests in progress take up {self._mib} MiB with this body, the limit set by MAX_BODIES_MIB: try "
            "again in a moment",
            retry_after=_RETRY_SECONDS,
        )

    def _grow(self, share: "_Share", more: int) -> None:
        self._refuse_beyond(share, more)
        with self._lock:
            self._bytes += more
            share.bytes += more

    def _drop(self, share: "_Share | None", size: int) -> None:
        with self._lock:
            self._bytes -= size
            if share is not None:
                share.bytes -= size
                self._tidy(share)

    def _tidy(self, share: "_Share") -> None:
        if not share.uploads and not share.bytes:
            self._shares.pop(share.owner, None)


class _Share:
    """What one client takes up."""

    __slots__ = ("bytes", "owner", "uploads")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.uploads = 0
        self.bytes = 0


class _Body:
    """A body's size, counted while this object exists."""

    __slots__ = ("_share", "_size", "_uploads")

    def __init__(self, uploads: Uploads, share: _Share | None, size: int) -> None:
        self._uploads = uploads
        self._share = share
        self._size = size

    def grow(self, more: int) -> None:
        """Count more bytes of an upload. Raises ApiError 429 or 529."""
        if self._share is not None:
            self._uploads._grow(self._share, more)  # noqa: SLF001  # two classes of one thing
            self._size += more

    def __del__(self) -> None:
        self._uploads._drop(self._share, self._size)  # noqa: SLF001  # two classes of one thing
