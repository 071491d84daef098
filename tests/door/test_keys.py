"""Keys of the gateway's own: what an entry says, who is found, and which limits hold."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path

import pytest
import structlog

from gateway.anthropic.errors import ApiError
from gateway.door.keys import Holder, Key, KeyRing, parse_keys

ALICE, BOB = "sk-team-alice-0001", "sk-team-bob-000002"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


def holder(requests: int | None = None, streams: int | None = None, clock: Clock | None = None) -> Holder:
    return Holder(Key(digest=digest(ALICE), name="alice", requests=requests, streams=streams), clock or Clock())


def refusal(holder: Holder) -> ApiError:
    with pytest.raises(ApiError) as caught, holder.request():
        pass
    return caught.value


# entries


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ()),
        (" \n# nobody\n", ()),
        (ALICE, (Key(digest=digest(ALICE), name="key 1"),)),
        (
            f"{ALICE} name=alice requests=60 streams=4 # here\n\n{BOB}",
            (Key(digest=digest(ALICE), name="alice", requests=60, streams=4), Key(digest=digest(BOB), name="key 2")),
        ),
        (f"{ALICE}, {BOB} name=bob", (Key(digest=digest(ALICE), name="key 1"), Key(digest=digest(BOB), name="bob"))),
        (f"sha256:{sha256(ALICE.encode()).hexdigest()}", (Key(digest=digest(ALICE), name="key 1"),)),
    ],
    ids=["nothing", "a comment", "a key", "lines", "between commas", "a hash"],
)
def test_entries(text: str, keys: tuple[Key, ...]) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("canary", "entry 1: a key must have at least 16 characters"),
        (
            f"{ALICE}\n{BOB} limit=5",
            "entry 2: only name=, requests= and streams= may follow a key; separate keys with commas",
        ),
        (f"{ALICE} requests=0", "entry 1: requests must be a whole number from 1 to 999999999"),
        (f"{ALICE} requests={'9' * 400}", "entry 1: requests must be a whole number from 1 to 999999999"),
        (f"{ALICE} streams={'9' * 5000}", "entry 1: streams must be a whole number from 1 to 999999999"),
        (f"{ALICE}\udcff", "entry 1: a key must consist of ASCII characters"),
        (f"{ALICE} streams=many", "entry 1: streams must be a whole number from 1 to 999999999"),
        ("sha256:canary", "entry 1: sha256: must be followed by 64 hexadecimal digits"),
        (f"{ALICE},{ALICE}", "two entries have the same key"),
    ],
    ids=[
        "too short",
        "an unknown word",
        "no requests",
        "too many",
        "too long",
        "no ASCII",
        "no number",
        "no hash",
        "twice",
    ],
)
def test_wrong_entries_are_named_without_their_key(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole text is compared
        parse_keys(text)
    assert str(caught.value) == said


# who is found


def test_only_a_key_opens() -> None:
    ring = KeyRing(parse_keys(f"{ALICE} name=alice,{BOB} name=bob"))
    assert ring.used
    assert [found.key.name if (found := ring.find(token)) else None for token in (BOB, ALICE, ALICE[:-1], "", "é")] == [
        "bob",
        "alice",
        None,
        None,
        None,
    ]


def test_without_keys_the_gateway_has_no_say() -> None:
    assert not KeyRing().used


def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# later\n")
    ring = KeyRing(file=tmp_path / "keys")
    assert ring.used
    assert ring.find("") is None


@pytest.mark.parametrize("text", [None, "short"], ids=["missing", "wrong"])
def test_a_file_that_cannot_be_read_is_an_error_at_the_start(text: str | None, tmp_path: Path) -> None:
    if text:
        (tmp_path / "keys").write_text(text)
    with pytest.raises(ValueError, match=f"^{tmp_path}/keys: "):
        KeyRing(file=tmp_path / "keys")


async def test_a_change_of_the_file_is_seen_and_keeps_what_was_used(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys", Clock()
    file.write_text(f"{ALICE} streams=1\n")
    ring = KeyRing(file=file, clock=clock)
    alice = ring.find(ALICE)
    assert alice is not None
    with alice.request():
        replace(file, f"{ALICE} streams=1\n{BOB}\n")
        assert not ring.due  # the file is looked at once a second
        clock.now = 1.0
        assert ring.due
        await ring.refresh()
        assert not ring.due
        assert ring.find(BOB)
        assert ring.find(ALICE) is alice
        replace(file, f"{BOB}\n")
        clock.now = 2.0
        await ring.refresh()
        assert ring.find(ALICE) is None


async def test_a_key_with_other_limits_is_another(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{ALICE} streams=1\n")
    ring = KeyRing(file=file)
    before = ring.find(ALICE)
    replace(file, f"{ALICE} streams=20\n")

    await ring.refresh()

    after = ring.find(ALICE)
    assert after is not None
    assert after is not before
    assert after.key.streams == 20


async def test_a_change_that_is_wrong_changes_nothing_and_is_logged(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys", Clock()
    file.write_text(ALICE)
    ring = KeyRing(file=file, clock=clock)
    with structlog.testing.capture_logs() as lines:
        for text in ("short", None, "x" * (17 << 20)):
            replace(file, text)
            await ring.refresh()
            assert ring.find(ALICE)
    assert [line["event"] for line in lines] == ["keys not read again"] * 3
    assert lines[-1]["reason"] == f"{file}: larger than 16 MiB: is it a file of keys?"
    assert ALICE not in str(lines)


async def test_the_loop_runs_while_many_keys_are_read(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys", Clock()
    file.write_text(ALICE)
    ring = KeyRing(file=file, clock=clock)
    replace(file, "".join(f"sha256:{number:064x} name=client-{number} streams=4\n" for number in range(100_000)))
    clock.now = 1.0

    reading = asyncio.create_task(ring.refresh())
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
        # all at once
        assert len(ring._holders) in (1, 100_000)
        clock.now += 1
        assert reading.done() or not ring.due

    assert turns > 100
    assert ring.find(ALICE) is None
    assert len(ring._holders) == 100_000


def replace(file: Path, text: str | None) -> None:
    """As editors do: another file under the same name."""
    if text is None:
        file.unlink()
    else:
        other = file.with_suffix(".new")
        other.write_text(text)
        os.utime(other, ns=(0, len(text)))
        other.replace(file)


# limits


def test_requests_are_granted_evenly_over_the_minute() -> None:
    clock = Clock()
    alice = holder(requests=6, clock=clock)
    for _ in range(6):
        with alice.request():
            pass
    error = refusal(alice)
    assert (error.status, error.retry_after) == (429, 10)
    assert error.message == "this key may send 6 requests a minute: wait 10 s, or ask the operator for more"
    clock.now = 10.0
    with alice.request():
        pass
    clock.now = 12.5
    assert refusal(alice).retry_after == 8


def test_a_pause_grants_no_more_than_the_limit_at_once() -> None:
    clock = Clock()
    alice = holder(requests=2, clock=clock)
    clock.now = 3600.0
    for _ in range(2):
        with alice.request():
            pass
    assert refusal(alice).status == 429


def test_streams_at_a_time() -> None:
    alice = holder(streams=2)
    with alice.request(), alice.request():
        error = refusal(alice)
        assert (error.status, error.message) == (
            429,
            "this key may have 2 answers at a time: wait for one to end, or ask the operator for more streams",
        )
    with alice.request():
        pass


def test_one_of_several_keys_gets_a_share_of_all_places(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{ALICE}\n{BOB} streams=3")
    alice, bob = (KeyRing(file=file, share=2).find(key) for key in (ALICE, BOB))
    assert alice is not None
    assert bob is not None
    with alice.request(), alice.request():
        assert refusal(alice).status == 429
    with bob.request(), bob.request(), bob.request():
        assert refusal(bob).status == 429


async def test_a_key_that_is_alone_may_have_all_places_until_there_is_another(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys", Clock()
    file.write_text(ALICE)
    ring = KeyRing(file=file, share=1, clock=clock)
    alice = ring.find(ALICE)
    assert alice is not None
    with alice.request(), alice.request():
        replace(file, f"{ALICE}\n{BOB}")
        clock.now = 1.0
        await ring.refresh()
        assert refusal(alice).status == 429
    replace(file, f"{ALICE}\n")
    clock.now = 2.0
    await ring.refresh()
    with alice.request(), alice.request():
        pass
