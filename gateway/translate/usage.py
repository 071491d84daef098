"""Token counts: a backend's `usage` in Anthropic's terms."""

from gateway.anthropic import writer
from gateway.openai.chunk import Usage


def translate_usage(usage: Usage | None, *, estimated_input: int, characters: int) -> writer.Usage:
    """The counts of an answer. `prompt_tokens` holds the cached tokens, Anthropic's `input_tokens` does not.

    A backend that told nothing gets the estimate of the input, and an output of one token for four characters.
    """
    if usage is None:
        return writer.Usage(input_tokens=estimated_input, output_tokens=-(-characters // 4))
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens if details else None) or usage.cached_tokens or usage.prompt_cache_hit_tokens or 0
    prompt = estimated_input if usage.prompt_tokens is None else usage.prompt_tokens
    return writer.Usage(
        input_tokens=max(0, prompt - cached),
        output_tokens=usage.completion_tokens or 0,
        cache_read_input_tokens=cached,
    )
