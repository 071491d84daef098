import asyncio
import time

from gateway.observability.metrics.loop_lag import watch_loop


async def test_work_that_holds_the_loop_is_seen() -> None:
    lags: asyncio.Queue[float] = asyncio.Queue()
    watch = asyncio.create_task(watch_loop(lags.put_nowait, interval=0.01))
    await lags.get()

    time.sleep(0.2)  # noqa: ASYNC251  # that is what is looked for
    seen = await lags.get()
    watch.cancel()
    await asyncio.wait([watch])

    assert seen >= 0.15
    assert watch.cancelled()
