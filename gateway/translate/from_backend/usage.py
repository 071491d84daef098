"""Translates a backend's `usage` to Anthropic's token counts."""

from gateway.anthropic import writer
from gateway.openai.chunk import PromptTokensDetails, Usage


def translate_usage(usage: Usage | None, *, estimated_input: int, characters: int) -> writer.Usage:
    """The counts of an answer. `prompt_tokens` includes tokens read from and written to a cache; Anthropic's
    `input_tokens` does not.

    Counts that the backend does not give are estimated: `estimated_input` for the input, and one token per four
    `characters` for the output.
    """
    usage = usage or Usage()
    details = usage.prompt_tokens_details or PromptTokensDetails()
    cached = (
        details.cached_tokens or usage.cached_tokens or usage.prompt_cache_hit_tokens or usage.cache_read_input_tokens
    )
    new = (
        details.cache_write_tokens
        or details.cache_creation_input_tokens
        or details.created_cache_tokens
        or usage.cache_creation_input_tokens
    )
    prompt = _count(usage.prompt_tokens) or estimated_input
    read = min(_count(cached), prompt)
    written = min(_count(new), prompt - read)
    return writer.Usage(
        input_tokens=prompt - read - written,
        output_tokens=_count(usage.completion_tokens) or -(-characters // 4),
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
    )


def _count(tokens: int | None) -> int:
    """A count, or 0 if the backend gave none (some send -1)."""
    return max(0, tokens or 0)
