"""Rewords the error for an overlong prompt so that Claude Code compacts the conversation.

Backends word it in some fifty ways (examples: vllm-project/vllm#20409, vllm-project/vllm#42474). The client
understands two: `prompt is too long: N tokens > M maximum`, and, if only prompt and answer together are too long,
"input length and `max_tokens` exceed context limit: N + K > M".
"""

import re
from typing import Final

from gateway.openai.errors import ErrorBody

# bounded, and only at the beginning of a number, so that no text can slow the search down
_N: Final = r"(?<![\d,])(\d[\d,]{0,14}+)"

# phrases that indicate an overflow, in lower case
_MARKS: Final = (
    "maximum context length",
    "maximum context limit",
    "context_length_exceeded",
    "exceed_context_size_error",
    "exceeds the available context size",
    "larger than the max context size",
    "model's context length",
    "maximum model length",
    "maximum input length is",
    "input too long",
    "exceeds the context window",
    "context window exceeds limit",
    "exceeds the context length",
    "exceeded max context length",
    "longer than the context length",
    "exceeds the maximum number of tokens allowed",
    "input token count",
    "exceeded model token limit",
    "exceed the configured limit",
    "model_max_prompt_tokens_exceeded",
    "prompt token count of",
    "maximum prompt length",
    "exceeds the maximum allowed input length",
    "reduce the length of the messages",
    "range of input length should be",
    "`inputs` tokens + `max_new_tokens` must be",
    "`inputs` must have less than",
    "tokens to keep from the initial prompt",
    "when context the overflows",
    "input is too long for requested model",
    "prompt is too long",
    "exceed context limit",
    "prompt 超长",
    "context size has been exceeded",
    "context_exceeded",
    "context_window_exceeded",
    "context_too_long",
    "string_too_long_for_context",
    "tokens_limit_reached",
    "input_too_long",
    "prompt_too_long",
    "request_too_long",
    "prompt too long",
    "prompt exceeds max length",
    "prompt exceeds the length limit",
    "number of input tokens exceeds",
    "too many input tokens",
    "number of tokens in the prompt cannot exceed",
    "tokens in request more than max tokens allowed",
    "too long to fit into the model",
    "larger than the model capacity",
    "输入长度超过",
    "上下文长度超过",
    "超出最大上下文",
    "超过最大上下文",
)
# A sentence that says of an input that it is longer than a context is about an overflow in any words. One that is about
# the size of the output alone, or about a setting, is not.
_SENTENCE_END: Final = re.compile(r"[.!?;] |\n")
_INPUT: Final = re.compile(
    r"\b(?:prompts?|inputs?|requests?|messages?|conversation|total tokens|requested tokens|prompt_tokens|input_ids)\b",
    re.IGNORECASE,
)
_EXCEEDS: Final = re.compile(
    r"exceed|too (?:long|large|big)|(?:longer|larger|greater|bigger|more) than|less than|overflow|does not fit"
    r"|doesn't fit|cannot fit|over the limit|, but ",
    re.IGNORECASE,
)
_CONTEXT: Final = re.compile(
    r"context[ _-]?(?:length|window|size|limit)|max[_ ](?:seq|model|context|input|prompt|sequence)[_ ]?len"
    r"|max(?:imum)? (?:allowed )?(?:input|prompt|sequence|context) (?:length|size|tokens)"
    r"|maximum (?:allowed )?length \(|session_len|\bn_ctx\b|model capacity",
    re.IGNORECASE,
)
_OUTPUT: Final = re.compile(
    r"max_(?:completion_|output_|new_)?tokens|max_gen_toks|num_predict|\bn_predict\b|output tokens|completion tokens",
    re.IGNORECASE,
)
# phrases in errors that use similar words or numbers but are not overflows
_GUARDS: Final = re.compile(r"rate.limit|too many requests|throttling|tokens per (?:minute|day)|\bTPM\b", re.IGNORECASE)

_LIMITS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"context length (?:is|of) only {_N}",
        rf"maximum context length (?:is|of) {_N}",
        rf"maximum prompt length is {_N}",
        rf"model's context length \({_N}",
        rf"(?:available|max) context size \({_N}",
        rf"tokens allowed \({_N}",
        rf"model with {_N} maximum context",
        rf"allowed input length of {_N}",
        rf"supports up to {_N}",
        rf"(?:token|configured) limit(?: of|:) {_N}",
        rf"exceeds the limit of {_N}",
        rf"should be \[1, {_N}",
        rf"must be <= {_N}",
        rf"maximum (?:model|input) length (?:is|of) {_N}",
        rf"limit is {_N}",
        rf"> {_N}",
        rf"context (?:window|size|length|limit)(?: is| of|:)? \(?{_N}",
        rf"max_(?:seq|model|context|input|prompt)_len(?:gth)?(?: is| of| =|=|:)? ?\(?{_N}",
        rf"max(?:imum)? (?:allowed )?(?:input |prompt |sequence )?(?:length|size)(?: is| of|:)? \(?{_N}",
        rf"model capacity \(?{_N}",
        rf"session_len(?: of|:|=)? ?\(?{_N}",
        rf"(?:cannot|not|must not) exceed {_N}",
        rf"must have less than {_N}",
        rf"\bn_ctx: {_N}",
    )
)
_INPUTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_N} (?:tokens )?(?:in|from) the (?:input )?messages",
        rf"request \({_N} tokens\)",
        rf"input \({_N} tokens\)",
        rf"{_N} in your prompt",
        rf"contains (?:at least )?{_N} input",
        rf"resulted in {_N}",
        rf"token count(?: of)?(?: is)? \(?{_N}",
        rf"Prompt contains {_N}",
        rf"request contains {_N}",
        rf"Input length {_N}",
        rf"requested: {_N}",
        rf"Given: {_N}",
        rf"Current length is {_N}",
        rf"keep the first {_N}",
        rf"prompt is too long: {_N}",
        rf"input too long: {_N}",
        rf"context limit: {_N} \+",
        rf"request has {_N} input",
        rf"prompt \(length {_N}\)",
        rf"passed {_N} input tokens",
        rf"prompt too long: {_N}",
        rf"prompt has {_N}",
        rf"(?:prompt|input|requested|prompt_tokens|input_ids|request)(?: tokens?)?(?: length)? \({_N}",
        rf"(?:prompt|input)(?: token)? length(?: is| of)? {_N}",
        rf"prompt of {_N}",
        rf"\breceived {_N}",
        rf"n_prompt_tokens: {_N}",
    )
)
_OUTPUTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_N} (?:tokens )?(?:in|for) the (?:completion|output)",
        rf"requested {_N} (?:output|completion) tokens",
        rf"{_N} `max_new_tokens`",
        rf"context limit: \d{{1,15}} \+ {_N}",
        rf"is too large: {_N}\.",
    )
)
# OpenRouter counts each kind of input separately
_INPUT_PARTS: Final = re.compile(rf"{_N} of \w{{1,64}} input")
# vLLM: a lower bound, not a size; the prompt may be longer (vllm-project/vllm#42474)
_AT_LEAST: Final = re.compile(r"at least \d", re.IGNORECASE)
# the same in other words: vLLM stops to count once the prompt leaves too little room
_PASSED: Final = re.compile(r"You passed \d")


def overflow_message(error: ErrorBody) -> str | None:
    """The reworded message if the error means that the prompt is too long; otherwise None."""
    text = f"{error.message} {error.type} {error.code}"
    lowered = text.lower()
    if _GUARDS.search(text) or not (any(mark in lowered for mark in _MARKS) or _in_other_words(error.message)):
        return None
    limit, prompt, output = _first(_LIMITS, text), _prompt(text), _first(_OUTPUTS, text)
    if limit is None:
        return f"prompt is too long ({error.message})"
    at_least = _AT_LEAST.search(text) or (_PASSED.search(text) and prompt and output and prompt + output == limit + 1)
    if prompt and output and prompt < limit < prompt + output and not at_least:
        return (
            f"input length and `max_tokens` exceed context limit: {prompt} + {output} > {limit}, "
            "decrease input length or `max_tokens` and try again"
        )
    size = prompt if prompt is not None and prompt > limit else limit + 1
    reworded = f"prompt is too long: {size} tokens > {limit} maximum"
    return reworded if reworded in error.message else f"{reworded} ({error.message})"


def _in_other_words(text: str) -> bool:
    """Whether one of the sentences says that an input does not fit the context."""
    return any(
        _CONTEXT.search(sentence) and _EXCEEDS.search(sentence) and _INPUT.search(sentence)
        for sentence in _SENTENCE_END.split(text)
        if not _OUTPUT.search(sentence)
    )


def _prompt(text: str) -> int | None:
    parts = _INPUT_PARTS.findall(text)
    return sum(map(_number, parts)) if parts else _first(_INPUTS, text)


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> int | None:
    for pattern in patterns:
        if match := pattern.search(text):
            return _number(match[1])
    return None


def _number(digits: str) -> int:
    return int(digits.replace(",", ""))
