"""How the cost grows: with events, streams, bytes, and turns of a conversation."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bodies
from measure import open_streams, whole
from servers import Running, Server
from workloads import LENGTHS, OPEN_COUNTS, SHORT, SIZES, TURNS, model


@dataclass(frozen=True, slots=True)
class Growth:
    """A table: `columns` are titles, the first of which is what grows; `plotted` are the titles of a plot's lines."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[float]]
    plotted: Sequence[str]
    unit: str


def events(servers: Sequence[Running], rounds: int) -> Growth:
    """Longer answers: what an event costs."""
    rows = []
    for count, requests in LENGTHS.items():

        def cost(running: Running, count: int = count, requests: int = requests) -> float:
            result = whole(running, model(count, 1), connections=10, requests=requests)
            return float(result["cpu_seconds"] / max(1, result["done"] * count) * 1e6)

        rows.append([count, *(_least(rounds, cost, running) for running in servers)])
    names = [f"{running.server.name}, µs per event" for running in servers]
    return Growth("Events in a stream", ["events", *names], rows, names, "µs per event")


def streams(servers: Sequence[Server], backend: int, rounds: int) -> Growth:
    """More streams open at a time, with as many events a second in all: what an event costs, and an open stream."""
    rows = []
    for count in OPEN_COUNTS:
        costs, sizes = [], []
        for server in servers:
            results = [open_streams(server, backend, count, seconds=3) for _ in range(rounds)]
            costs.append(min(result["cpu_us"] for result in results))
            sizes.append(min(result["kib"] for result in results))
        rows.append([count, *costs, *sizes])
    cost_names = [f"{server.name}, µs per event" for server in servers]
    size_names = [f"{server.name}, KiB per stream" for server in servers]
    return Growth("Streams open", ["streams", *cost_names, *size_names], rows, [*cost_names, *size_names], "µs or KiB")


def body(servers: Sequence[Running], rounds: int) -> Growth:
    """Larger bodies, of messages of 2 KiB: what a request costs."""
    rows = []
    for kilobytes, requests in SIZES.items():

        def cost(running: Running, kilobytes: int = kilobytes, requests: int = requests) -> float:
            result = whole(running, SHORT, connections=1, requests=requests, body="conversation", kilobytes=kilobytes)
            return float(result["cpu_seconds"] / max(1, result["done"]) * 1e3)

        rows.append([kilobytes, *(_least(rounds, cost, running) for running in servers)])
    names = [f"{running.server.name}, ms per request" for running in servers]
    return Growth("Size of the body", ["KiB", *names], rows, names, "ms per request")


def turns(servers: Sequence[Running], rounds: int) -> Growth:
    """Turn n of a conversation that grows by 4 KiB with each: what the request costs, and the estimate of its tokens
    alone, with the counts of the turns before, and without.
    """
    costs = [_turns(running, rounds) for running in servers]
    estimates = _estimates(rounds)
    rows = [
        [
            turn,
            len(bodies.encoded(bodies.turn(turn, 0), "")) / 1024,
            *(cost[turn - 1] for cost in costs),
            *estimates[turn],
        ]
        for turn in TURNS
    ]
    names = [f"{running.server.name}, ms per request" for running in servers]
    estimated = ["estimate, ms", "estimate of all anew, ms"]
    return Growth("Turns of a conversation", ["turn", "KiB", *names, *estimated], rows, [*names, estimated[0]], "ms")


def _turns(running: Running, rounds: int) -> list[float]:
    """The least CPU time in milliseconds of each turn, of as many conversations as rounds, and one that is not
    counted.
    """
    conversations = rounds + 1
    last = TURNS[-1]
    result = whole(running, SHORT, connections=1, requests=conversations, turns=last)
    seconds = result["turns"]
    return [min(seconds[last * number + turn] for number in range(1, conversations)) * 1e3 for turn in range(last)]


def _estimates(rounds: int) -> Mapping[int, tuple[float, float]]:
    """Of each turn, in milliseconds: the estimate by a counter that counted the turns before, and by a new one."""
    # imported late: the rest runs without the package
    from gateway.tokens.count import TokenCounter

    costs = dict.fromkeys(TURNS, (math.inf, math.inf))
    for _ in range(rounds):
        growing = TokenCounter()
        growing.load()
        for turn in range(1, TURNS[-1] + 1):
            # decoded for each turn, as it is by the gateway: a text that comes again is another object
            data = json.dumps(bodies.turn(turn, 0)["messages"])
            known = _estimate(growing, json.loads(data))
            if turn in costs:
                anew = TokenCounter()
                anew.load()
                costs[turn] = min(known, costs[turn][0]), min(_estimate(anew, json.loads(data)), costs[turn][1])
    return costs


def _estimate(counter: Any, messages: list[Any]) -> float:
    began = time.thread_time()
    counter.request({"model": "", "messages": messages})
    return (time.thread_time() - began) * 1e3


def _least(rounds: int, cost: Callable[[Running], float], running: Running) -> float:
    return min(cost(running) for _ in range(rounds))
