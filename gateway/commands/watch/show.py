"""Shows the reader's states: live on a terminal, as lines elsewhere, or once."""

import contextlib
import logging
import sys
from collections.abc import AsyncGenerator
from typing import cast

from rich.console import Console
from rich.live import Live

from gateway.commands.watch.lines import changes, stamped
from gateway.commands.watch.reader import FeedError, News, follow
from gateway.commands.watch.view import Screen


async def watch(url: str, key: str, *, once: bool) -> int:
    """Show the gateway at `url` until Ctrl-C, or `once`. Returns the exit code: 1 if the feed cannot be read."""
    # the error below says in one line what the library would log
    logging.getLogger("aiohttp_sse_client").setLevel(logging.CRITICAL)
    console = Console(highlight=False)
    # close it here rather than when the garbage collector runs
    async with contextlib.aclosing(cast(AsyncGenerator[News, None], follow(url, key))) as news:
        try:
            if once:
                console.print(Screen(url, await anext(news), whole=True))
            elif console.is_terminal:
                await _show_live(console, url, news)
            else:
                await _print_lines(news)
        except FeedError as error:
            print(f"claude-gateway: {error}", file=sys.stderr)
            return 1
    return 0


async def _show_live(console: Console, url: str, news: AsyncGenerator[News, None]) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        async for one in news:
            live.update(Screen(url, one), refresh=True)


async def _print_lines(news: AsyncGenerator[News, None]) -> None:
    before = None
    async for one in news:
        for line in changes(before, one):
            print(stamped(line), flush=True)
        before = one
