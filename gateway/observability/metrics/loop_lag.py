"""How late the event loop is: what it works on between two events is what streams wait for."""

import asyncio
from collections.abc import Callable
from typing import Final

_INTERVAL_SECONDS: Final = 0.1


async def watch_loop(observe: Callable[[float], None], *, interval: float = _INTERVAL_SECONDS) -> None:
    """Tell `observe`, every `interval` seconds, how many seconds later than due a timer fired. Ends when cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        # a loop may round its timers down
        observe(max(0.0, loop.time() - due))
