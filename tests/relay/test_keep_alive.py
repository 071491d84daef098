import asyncio

import pytest
import structlog

from gateway.relay.keep_alive import KeepAlive


class Stream:
    """Counts its ticks; fails at the ones that it is told to."""

    def __init__(self, fail: bool = False) -> None:
        self.fail = fail
        self.ticked = asyncio.Event()

    async def tick(self, now: float) -> None:
        assert now > 0
        self.ticked.set()
        if self.fail:
            raise RuntimeError("a fault of this stream")


async def test_streams_are_looked_after_until_they_end() -> None:
    keep_alive = KeepAlive(tick=0.001)
    stream = Stream()
    forget = keep_alive.add(stream)
    assert keep_alive.streams == 1
    keep_alive.start()

    await stream.ticked.wait()
    forget()

    assert keep_alive.streams == 0
    await keep_alive.stop()


async def test_one_streams_fault_is_not_the_others() -> None:
    keep_alive = KeepAlive(tick=0.001)
    faulty, healthy = Stream(fail=True), Stream()
    keep_alive.add(faulty)
    keep_alive.start()

    with structlog.testing.capture_logs() as lines:
        await faulty.ticked.wait()
        keep_alive.add(healthy)
        await healthy.ticked.wait()

    assert lines[0]["event"] == "stream not kept alive"
    await keep_alive.stop()


@pytest.mark.parametrize("times", [1, 2])
async def test_it_can_be_stopped_before_it_starts(times: int) -> None:
    keep_alive = KeepAlive()

    for _ in range(times):
        await keep_alive.stop()


def test_without_being_told_it_is_in_time_for_every_client() -> None:
    keep_alive = KeepAlive()

    # load balancers close what is silent for 60 s; Claude Code gave streams up after 180 s, and some versions do not
    # count pings
    assert keep_alive.open_after + keep_alive.ping_after < 60
    assert keep_alive.heartbeat_after < 180
