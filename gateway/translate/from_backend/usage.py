"""Translates a backend's `usage` to Anthropic's token counts."""

from gateway.anthropic import writer
from gateway.openai.chunk import Usage


def translate_usage(usage: Usage | None, *, estimated_input: int, characters: int) -> writer.Usage:
    """The counts of an answer. `prompt_tokens` includes cached tokens; Anthropic's `input_tokens` does not.

    Counts that the backend does not give are estimated: `estimated_input` for the input, and one token per four
    `characters` for the output.
    """
    usage = usage or Usage()
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens if details else None) or usage.cached_tokens or usage.prompt_cache_hit_tokens
    prompt = _count(usage.prompt_tokens) or estimated_input
    read = min(_count(cached), prompt)
    return writer.Usage(
        input_tokens=prompt - read,
        output_tokens=_count(usage.completion_tokens) or -(-characters // 4),
        cache_read_input_tokens=read,
    )


def _count(tokens: int | None) -> int:
    """A count, or 0 if the backend gave none (some send -1)."""
    return max(0, tokens or 0)
