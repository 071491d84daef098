"""What a backend's finish reason means.

OpenAI's five values are only the beginning: gateways pass on the values of the engines and models behind them, in any
case and with any separator. A value is looked up here in snake case.

Sources: https://platform.openai.com/docs/api-reference/chat/object, https://ai.google.dev/api/generate-content#FinishReason,
https://docs.cohere.com/v2/reference/chat, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
https://docs.mistral.ai/api, https://api-docs.deepseek.com/api/create-chat-completion, https://docs.z.ai/api-reference,
`vllm/v1/engine` (vllm-project/vllm#57082), `FinishReason` of text-generation-inference, LM Studio and watsonx.
"""

import re
from typing import Any, Final, Literal

from gateway.anthropic.writer import StopReason

Meaning = StopReason | Literal["fault"] | None
"""A stop reason; `fault`: the backend failed, whatever came before; None: the answer came to its normal end."""

_NORMAL: Final = frozenset(
    {"stop", "stop_sequence", "stop_string_found", "tool_calls", "tool_call", "tool_use", "function_call"}
    | {
        "eos",
        "eos_token",
        "eos_found",
        "end",
        "end_turn",
        "complete",
        "completed",
        "finish",
        "finished",
        "done",
        "word",
    }
)
_MEANINGS: Final[dict[str, Meaning]] = (
    dict.fromkeys(_NORMAL)
    | dict.fromkeys(
        (
            *("length", "max_tokens", "max_output_tokens", "max_length", "max_len", "max_new_tokens", "limit"),
            *("token_limit", "max_predicted_tokens_reached", "time_limit"),
        ),
        "max_tokens",
    )
    | dict.fromkeys(
        (
            *("model_context_window_exceeded", "context_window_exceeded", "context_length_exceeded"),
            # Mistral, Cohere, LM Studio
            *("model_length", "error_limit", "context_length_reached"),
        ),
        "model_context_window_exceeded",
    )
    | dict.fromkeys(
        (
            *("content_filter", "content_filtered", "sensitive", "refusal", "guardrail_intervened", "error_toxic"),
            # Gemini and Vertex
            *("safety", "recitation", "blocklist", "prohibited_content", "spii", "language", "model_armor"),
            *("image_safety", "image_prohibited_content", "image_recitation"),
        ),
        "refusal",
    )
    | dict.fromkeys(
        (
            *("error", "abort", "aborted", "cancelled", "canceled", "timeout", "failed", "failure", "not_finished"),
            *("network_error", "insufficient_system_resource", "repetition", "user_cancel", "user_stopped"),
            *("model_unloaded", "malformed_model_output", "malformed_tool_use"),
            # Gemini and Vertex
            *("malformed_function_call", "malformed_response", "unexpected_tool_call", "too_many_tool_calls"),
            *("missing_thought_signature", "no_image", "image_other", "other"),
        ),
        "fault",
    )
)
# for values that the table lacks; the first that matches counts
_BY_WORD: Final[tuple[tuple[re.Pattern[str], Meaning], ...]] = (
    (
        re.compile("filter|safety|sensitive|prohibited|blocked|refus|toxic|moderation|guardrail|polic(?:y|ies)"),
        "refusal",
    ),
    (re.compile("context_(?:window|length)"), "model_context_window_exceeded"),
    (re.compile("max_(?:output|completion|new|total)?_?tokens|token_(?:limit|budget)|max_length"), "max_tokens"),
    (
        re.compile(
            "error|abort|fail|cancel|malformed|invalid|timeout|timed_out|exception|interrupt|disconnect|overload"
        ),
        "fault",
    ),
)
# a longer value is no word, and is not searched
_LONGEST: Final = 100
_CAMEL: Final = re.compile("(?<=[a-z])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")


def meaning(reason: str) -> Meaning:
    """The meaning of a finish reason. One that is unknown is a normal end."""
    if reason in _MEANINGS:
        return _MEANINGS[reason]
    if len(reason) > _LONGEST:
        return None
    # Gemini's OpenAI-compatible API writes `content_filter: PROHIBITED_CONTENT`
    words = [_word(part) for part in (*reversed(reason.split(":")), reason)]
    for word in words:
        if word in _MEANINGS:
            return _MEANINGS[word]
    return next((found for pattern, found in _BY_WORD if pattern.search(words[-1])), None)


def is_known(reason: str) -> bool:
    """Whether the reason is one with which answers end, even if they are empty."""
    return reason in _MEANINGS or _word(reason) in _MEANINGS


def reason_text(value: Any) -> str:
    """A finish reason as a string: SGLang's own is an object, with the reason in `type`."""
    if isinstance(value, dict):
        value = value.get("type") or ""
    return str(value)


def _word(text: str) -> str:
    word = _SEPARATORS.sub("_", _CAMEL.sub("_", text).lower()).strip("_")
    return word.removeprefix("finish_reason_")
