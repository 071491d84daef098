"""Answers: in one piece, as a stream, how fast, and with token counts."""

from typing import Final

from gateway.commands.check.rows import Finding
from gateway.commands.check.visit import Visit

_PROMPT: Final = "Write the numbers from one to forty in words, one after the other, and nothing else."
# fewer tokens than this say nothing about how a stream flows
_ENOUGH_TOKENS: Final = 12
# an answer that took longer than this, and arrived within this fraction of that time, was buffered on the way
_LONG_SECONDS: Final = 0.4
_LUMP: Final = 0.1
_SLOW: Final = 8.0
_UNBUFFER: Final = (
    "turn off buffering and compression in the proxy in between (nginx: proxy_buffering off; gzip off for "
    "text/event-stream), or ask the server directly"
)


async def whole(visit: Visit) -> Finding:
    """An answer that is not streamed. On servers that load a model at its first request, this also loads it."""
    answer = visit.found.hello or await visit.asker.ask("Say hello.", max_tokens=64, stream=False)
    if not answer.blocks:
        said = f"an empty answer ({answer.finish.stop_reason})"
        return Finding("partly", said, "try another model or chat template: --model NAME")
    return Finding("good", f"{answer.finish.stop_reason}, {answer.finish.usage.output_tokens} tokens")


async def streaming(visit: Visit) -> Finding:
    """Does the answer arrive while it is generated, and in pieces of what size?"""
    answer = visit.found.story = await visit.asker.ask(_PROMPT, max_tokens=96)
    seen = answer.seen
    tokens = answer.finish.usage.output_tokens
    facts = {
        "events": seen.events,
        "arrivals": seen.arrivals,
        "tokens": tokens,
        "first_seconds": round(seen.first, 3),
        "last_seconds": round(seen.last, 3),
    }
    if not seen.streamed:
        said = "the backend answers a streaming request in one piece"
        return Finding(
            "partly", said, "Claude Code shows nothing until the answer is complete: turn on streaming", facts
        )
    if seen.events == 0:
        said = "an empty stream"
        return Finding("bad", said, "check the server's log, and try another model: --model NAME", facts)
    pace = f"{seen.events} events for {tokens} tokens"
    if tokens >= _ENOUGH_TOKENS and seen.events * 8 < tokens:
        return Finding(
            "partly", f"coarse: {pace}", "text arrives in large pieces: check the server's stream interval", facts
        )
    if tokens >= _ENOUGH_TOKENS and seen.last > _LONG_SECONDS and seen.last - seen.first < _LUMP * seen.last:
        said = f"held back: {pace} came all at once, after {seen.last:.1f} s"
        return Finding("partly", said, _UNBUFFER, facts)
    return Finding("good", f"{pace}, in {seen.arrivals} arrivals", "", facts)


async def speed(visit: Visit) -> Finding:
    """The time to the first token, and the speed after it."""
    answer = visit.found.story
    if answer is None or answer.seen.arrivals < 2:
        return Finding("unknown", "the answer came in one piece", "see Streaming")
    seen, tokens = answer.seen, answer.finish.usage.output_tokens
    writing = seen.last - seen.first
    facts: dict[str, float] = {"first_seconds": round(seen.first, 3)}
    said = f"first token after {_time(seen.first)}"
    if writing <= 0.02:
        return Finding("good", f"{said}, the rest at once", "", facts)
    facts["tokens_per_second"] = round((tokens - 1) / writing, 1)
    said += f", then {facts['tokens_per_second']:g} tokens per second"
    if facts["tokens_per_second"] < _SLOW:
        remedy = "slow for Claude Code, whose turns are thousands of tokens: use a smaller model, or a GPU"
        return Finding("partly", said, remedy, facts)
    return Finding("good", said, "", facts)


async def usage(visit: Visit) -> Finding:
    """Does the backend count tokens, in streams and in whole answers?"""
    story, hello = visit.found.story, visit.found.hello
    counted = {
        "streams": story is not None and story.seen.prompt_tokens > 0,
        "whole answers": hello is not None and hello.seen.prompt_tokens > 0,
    }
    if all(counted.values()):
        return Finding("good", "counted in streams and in whole answers")
    missing = " and ".join(name for name, there in counted.items() if not there)
    return Finding(
        "partly",
        f"no token counts in {missing}",
        "the gateway estimates them, and Claude Code compacts by the estimate: update the server, or the proxy that "
        "drops stream_options",
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
