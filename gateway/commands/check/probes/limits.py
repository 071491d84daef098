"""Limits and costs: the context window, token counts, the prefix cache."""

import secrets
from typing import Any, Final

from gateway.anthropic.errors import ApiError
from gateway.commands.check.flags import CACHE, WINDOW, flags
from gateway.commands.check.rows import Finding
from gateway.commands.check.visit import Visit
from gateway.commands.check.wire import NoReply
from gateway.openai.errors import ErrorBody
from gateway.translate.refusals.overflow import overflow_message

# Claude Code's own prompt with its tools takes 20,000 to 25,000 tokens, and it compacts about 33,000 tokens below the
# window (measured with version 2.1.330)
_LEAST_WINDOW: Final = 32_768
_GOOD_WINDOW: Final = 65_536
_SENTENCE: Final = "The quick brown fox jumps over the lazy dog near the river bank at noon. "
_SENTENCE_TOKENS: Final = 16
_CACHE_TOKENS: Final = 1_600
_OVERSIZED: Final = 150_000
_FASTER: Final = 0.6
_LEAST_GAIN_SECONDS: Final = 0.05
_CLOSE: Final = 0.15


async def context(visit: Visit) -> Finding:
    """How many tokens fit, and is that enough for Claude Code?

    A backend that states no window is "unknown" here; `overflow` may find it.
    """
    window = visit.found.window or await _asked(visit)
    visit.found.window = window
    if window is None:
        said = "the backend does not state its context window"
        remedy = "find it with --full (sends one prompt of about 150,000 tokens), or in the model's documentation"
        return Finding("unknown", said, "see Overflow below" if visit.full else remedy)
    return _judged(visit, window)


def _judged(visit: Visit, window: int) -> Finding:
    facts = {"tokens": window}
    if window < _LEAST_WINDOW:
        return Finding("bad", f"{window:,} tokens: Claude Code's own prompt takes about 25,000", _larger(visit), facts)
    if window < _GOOD_WINDOW:
        return Finding("partly", f"{window:,} tokens: Claude Code will compact often", _larger(visit), facts)
    return Finding("good", f"{window:,} tokens", "", facts)


def _larger(visit: Visit) -> str:
    return f"start the server with a larger window ({flags(WINDOW, visit.first_profile.name)})"


async def _asked(visit: Visit) -> int | None:
    """The window from other endpoints than the model list: llama.cpp's `/props`, Ollama's `/api/ps` (loaded models)."""
    for path, read in (("/props", _of_props), ("/api/ps", _of_loaded)):
        try:
            reply = await visit.wire.ask("GET", visit.endpoint.models.with_path(path))
        except NoReply:
            return None
        window = read(reply.json, visit.asker.model) if reply.status == 200 else None
        if isinstance(window, int) and window > 0:
            return window
    return None


def _of_props(value: Any, _: str) -> Any:
    settings = value.get("default_generation_settings") if isinstance(value, dict) else None
    return settings.get("n_ctx") if isinstance(settings, dict) else None


def _of_loaded(value: Any, model: str) -> Any:
    loaded = value.get("models") if isinstance(value, dict) else None
    entries = [entry for entry in loaded if isinstance(entry, dict)] if isinstance(loaded, list) else []
    return next((entry.get("context_length") for entry in entries if entry.get("name") == model), None)


async def cache(visit: Visit) -> Finding:
    """Does the same prompt cost less the second time? It begins with random text, so no earlier prompt is cached."""
    tokens = min(_CACHE_TOKENS, (visit.found.window or _CACHE_TOKENS * 4) // 4)
    prompt = f"Notes {secrets.token_hex(8)}.\n{_prose(tokens)}\nAnswer with the word: done."
    first = await visit.asker.ask(prompt, max_tokens=8)
    second = await visit.asker.ask(prompt, max_tokens=8)
    cached = second.finish.usage.cache_read_input_tokens
    facts = {
        "cached_tokens": cached,
        "prompt_tokens": second.seen.prompt_tokens,
        "first_seconds": round(first.seen.first, 3),
        "second_seconds": round(second.seen.first, 3),
    }
    times = f"first token after {first.seen.first * 1000:,.0f} ms, then {second.seen.first * 1000:,.0f} ms"
    if cached:
        said = f"{cached:,} of {second.seen.prompt_tokens:,} tokens came from the cache ({times})"
        return Finding("good", said, "", facts)
    gained = first.seen.first - second.seen.first
    if gained > _LEAST_GAIN_SECONDS and second.seen.first < _FASTER * first.seen.first:
        return Finding("good", f"not reported, but the second request was faster ({times})", "", facts)
    said = f"none seen ({times})"
    how = flags(CACHE, visit.first_profile.name)
    remedy = f"each turn of Claude Code sends the whole conversation: turn on the server's prefix cache ({how})"
    return Finding("unknown", said, remedy, facts)


async def counting(visit: Visit) -> Finding:
    """How far is the gateway's token estimate from the backend's count?"""
    counted = [answer for answer in visit.asker.answers if answer.seen.prompt_tokens > 0]
    if not counted:
        return Finding("unknown", "the backend does not count prompt tokens", "the gateway uses its own estimates")
    largest = max(counted, key=lambda answer: answer.seen.prompt_tokens)
    real, estimated = largest.seen.prompt_tokens, largest.estimated
    error = (estimated - real) / real
    facts = {"estimated": estimated, "counted": real, "error_percent": round(error * 100, 1)}
    far = f"{abs(error):.0%} too {'high' if error > 0 else 'low'}"
    said = f"the gateway's estimate is {far}: {estimated:,} for {real:,} tokens"
    if abs(error) <= _CLOSE:
        return Finding("good", said, "", facts)
    remedy = "this affects only /context and count_tokens; Claude Code compacts by the backend's own counts"
    return Finding("partly", said, remedy, facts)


async def overflow(visit: Visit) -> Finding:
    """What happens to a prompt that is too long? Runs only with --full: a backend that accepts it may bill it."""
    known = visit.found.window
    size = int(known * 1.15) if known else _OVERSIZED
    if size > _OVERSIZED * 2:
        return Finding("unknown", f"a window of {known:,} tokens is too large to test")
    try:
        answer = await visit.asker.ask(_prose(size), max_tokens=8)
    except ApiError as fault:
        return _too_long(visit, fault)
    taken = answer.seen.prompt_tokens
    if taken and taken < size // 2:
        visit.found.window = taken
        said = f"truncated silently: of about {size:,} tokens, the model read only {taken:,}"
        return Finding(
            "bad", said, f"the model forgets the beginning of each conversation; {_larger(visit)}", {"tokens": taken}
        )
    visit.found.window = known or taken or None
    return Finding("good", f"a prompt of {taken or size:,} tokens is accepted", "", {"tokens": taken or size})


def _too_long(visit: Visit, fault: ApiError) -> Finding:
    said = visit.secrets.quote(fault.message)
    limit = fault.message.partition(" tokens > ")[2].partition(" maximum")[0]
    if not overflow_message(ErrorBody(fault.message)):
        return Finding(
            "partly",
            f"refused with an unrecognised message: {said}",
            "compact by hand before the window is full: /compact",
        )
    if limit.isdecimal():
        visit.found.window = visit.found.window or int(limit)
        return Finding(
            "good",
            f"refused with an error that makes Claude Code compact: {limit} tokens fit",
            "",
            {"tokens": int(limit)},
        )
    return Finding("good", f"refused with an error that makes Claude Code compact: {said}")


def _prose(tokens: int) -> str:
    """English text of about this many tokens."""
    return _SENTENCE * max(1, tokens // _SENTENCE_TOKENS)
