"""Every wording of a prompt that is too long, and what Claude Code reads in ours."""

import json
import re

import pytest

from gateway.openai.errors import ErrorBody
from gateway.translate.refusals.faults import fault_from_response, fault_in_answer
from gateway.translate.refusals.overflow import overflow_message

# what Claude Code 2.1.x looks for: numbers for its message, and the words that make it lower `max_tokens`
TOO_LONG = re.compile(r"prompt is too long[^0-9]*(\d+)\s*tokens?\s*>\s*(\d+)", re.IGNORECASE)
LOWER_MAX_TOKENS = re.compile(r"input length and `max_tokens` exceed context limit: (\d+) \+ (\d+) > (\d+)")

PROMPT_TOO_LONG = [
    pytest.param(
        "This model's maximum context length is 262144 tokens. However, you requested 0 output tokens and your prompt "
        "contains at least 262145 input tokens, for a total of at least 262145 tokens. Please reduce the length of the "
        "input prompt or the number of requested output tokens. (parameter=input_tokens, value=262145)",
        262145,
        262144,
        id="vllm 2026",
    ),
    pytest.param(
        "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
        "(parameter=input_tokens, value=2049)",
        2049,
        2048,
        id="vllm 0.32",
    ),
    pytest.param(
        "This model's maximum context length is 128000 tokens. However, you requested 65535 output tokens and "
        "your prompt "
        "contains at least 62466 input tokens, for a total of at least 128001 tokens.",
        128001,
        128000,
        id="vllm: a lower bound is no size",
    ),
    pytest.param(
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that "
        "`max_model_len` is no smaller than the number of text tokens.",
        5000,
        4096,
        id="vllm: decoder prompt",
    ),
    pytest.param(
        "The input (345516 tokens) is longer than the model's context length (262144 tokens).",
        345516,
        262144,
        id="sglang, together",
    ),
    pytest.param(
        "request (2572 tokens) exceeds the available context size (2048 tokens), try increasing it",
        2572,
        2048,
        id="llama.cpp",
    ),
    pytest.param(
        "input (9000 tokens) is larger than the max context size (8192 tokens). skipping",
        9000,
        8192,
        id="llama.cpp: larger",
    ),
    pytest.param(
        "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context "
        "length of only 4096 tokens, which is not enough. Try to load the model with a larger context length.",
        9000,
        4096,
        id="lm studio",
    ),
    pytest.param(
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 132166 tokens "
        "(including 317 in the response_format schemas.). Please reduce the length of the messages or schemas.",
        132166,
        128000,
        id="openai",
    ),
    pytest.param(
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 273500 tokens.",
        273500,
        272000,
        id="openai: configured limit",
    ),
    pytest.param("prompt token count of 130000 exceeds the limit of 128000", 130000, 128000, id="copilot"),
    pytest.param(
        "This endpoint's maximum context length is 65536 tokens. However, you requested about 92208 tokens "
        "(60833 of text "
        "input, 10042 of tool input, 21333 in the output). Please reduce the length of either one, or use the "
        '"middle-out" '
        "transform to compress your prompt automatically.",
        70875,
        65536,
        id="openrouter",
    ),
    pytest.param(
        "This model's maximum context length is 196608 tokens. However, your messages resulted in 199906 "
        "tokens. Please "
        "reduce the length of the messages.",
        199906,
        196608,
        id="nvidia nim",
    ),
    pytest.param(
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        1200000,
        1048576,
        id="gemini",
    ),
    pytest.param(
        "Unable to submit request because the input token count is 32825 but model only supports up to 32768. "
        "Reduce the "
        "input token count and try again.",
        32825,
        32768,
        id="gemini: vertex",
    ),
    pytest.param(
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        40000,
        32768,
        id="mistral",
    ),
    pytest.param(
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.", 537812, 131072, id="xai"
    ),
    pytest.param(
        "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",
        269030,
        262144,
        id="kimi",
    ),
    pytest.param("Range of input length should be [1, 30720]", 30721, 30720, id="dashscope"),
    pytest.param(
        "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
        9000,
        8192,
        id="cerebras",
    ),
    pytest.param(
        "Input length 140000 exceeds the maximum allowed input length of 131072 tokens.", 140000, 131072, id="poolside"
    ),
    pytest.param("Input too long: 9,000 input tokens, limit is 8,192.", 9000, 8192, id="with separators"),
    pytest.param("Prompt too long: 32799 tokens exceeds max context window of 32768 tokens", 32799, 32768, id="omlx"),
    pytest.param(
        "Prompt too long: 5152 tokens exceeds max_seq_len 2048 (leave room for output tokens)", 5152, 2048, id="atlas"
    ),
    pytest.param(
        "Prompt has 5,958,968 tokens, but the configured context size is 256,000 tokens", 5958968, 256000, id="ds4"
    ),
    pytest.param("Prompt tokens (9000) exceeds context size (8192)", 9000, 8192, id="ds4, with a type"),
    pytest.param("Requested tokens (5062) exceed context window of 4096", 5062, 4096, id="llama-cpp-python"),
    pytest.param(
        "length of prompt_tokens (34389) must be less than max_seq_len (32768).", 34389, 32768, id="siliconflow"
    ),
    pytest.param(
        "The prompt is too long: 140000, model maximum context length: 131071", 140000, 131071, id="fireworks"
    ),
    pytest.param(
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Try using a shorter "
        "prompt",
        4292,
        4081,
        id="cohere",
    ),
    pytest.param(
        "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", 5000, 4095, id="tgi: inputs"
    ),
    pytest.param(
        "Input length (9000 tokens) exceeds the maximum allowed length (8192 tokens). Use a shorter input or enable "
        "--allow-auto-truncate.",
        9000,
        8192,
        id="sglang: auto-truncate",
    ),
    pytest.param(
        "Prompt length (9000) exceeds maximum input length (8192). Set truncate_prompt_tokens", 9000, 8192, id="trtllm"
    ),
    pytest.param("Request prompt has 9000 tokens in total, larger than the model capacity 8192.", 9000, 8192, id="mlc"),
    pytest.param("Prompt length 33000 is greater than max_seq_len 32768", 33000, 32768, id="tabbyapi"),
    pytest.param(
        "Request body too large for gpt-4o model. Max size: 8000 tokens. tokens_limit_reached",
        8001,
        8000,
        id="github models",
    ),
    pytest.param(
        "You passed 200500 input tokens and requested 64000 output tokens. However, the model's context length is only "
        "200000 tokens, resulting in a maximum input length of 136000 tokens. Please reduce the length of the input "
        "prompt. (parameter=input_tokens, value=200500)",
        200500,
        200000,
        id="vllm: passed",
    ),
    pytest.param("The maximum input length is 8192 tokens.", 8193, 8192, id="only a limit"),
    pytest.param("The model's maximum context limit is exceeded, it is > 8192", 8193, 8192, id="another limit"),
    pytest.param("This exceeds the maximum number of tokens allowed (8192).", 8193, 8192, id="gemini: only a limit"),
    pytest.param(
        "This model's maximum context length is 8192 tokens. However, your prompt contains at least 9000 input tokens.",
        9000,
        8192,
        id="a lower bound above the limit",
    ),
    pytest.param(
        "max_tokens is too large: 4000. This model's maximum context length is 8192 tokens.",
        8193,
        8192,
        id="an output without a prompt",
    ),
    pytest.param(
        "request (100 tokens) exceeds the available context size (2048 tokens)", 2049, 2048, id="a size below the limit"
    ),
    pytest.param(
        "This model's maximum context length is 8192 tokens. However, you requested 8292 tokens (8192 in the messages, "
        "100 in the completion).",
        8193,
        8192,
        id="a prompt that leaves no room",
    ),
    pytest.param(
        "This model's maximum context length is 8192 tokens. However, you requested 8192 tokens (8000 in the messages, "
        "192 in the completion).",
        8193,
        8192,
        id="numbers that would fit",
    ),
    pytest.param(
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 100 `max_new_tokens`",
        5000,
        4096,
        id="tgi, together: the prompt alone",
    ),
]

TOGETHER_TOO_LONG = [
    pytest.param(
        "This model's maximum context length is 4097 tokens, however you requested 5200 tokens (1200 in your prompt; 4000 "
        "for the completion). Please reduce your prompt; or completion length.",
        1200,
        4000,
        4097,
        id="openai, older",
    ),
    pytest.param(
        "This model's maximum context length is 128000 tokens. However, you requested 65535 output tokens and your "
        "prompt contains 70000 input tokens.",
        70000,
        65535,
        128000,
        id="vllm: a size, no lower bound",
    ),
    pytest.param(
        "This model's maximum context length is 16384 tokens. However, you requested 19591 tokens (9591 in "
        "the messages, "
        "10000 in the completion). Please reduce the length of the messages or completion. None",
        9591,
        10000,
        16384,
        id="vllm, older",
    ),
    pytest.param(
        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is "
        "40960 tokens "
        "and your request has 12000 input tokens (32000 > 40960 - 12000).",
        12000,
        32000,
        40960,
        id="vllm 2025",
    ),
    pytest.param(
        "Requested token count exceeds the model's maximum context length of 262144 tokens. You requested a "
        "total of 262462 "
        "tokens: 230462 tokens from the input messages and 32000 tokens for the completion. Please reduce the "
        "number of "
        "tokens in the input messages or the completion to fit within the limit.",
        230462,
        32000,
        262144,
        id="sglang",
    ),
    pytest.param(
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (5000 in the "
        "messages, 4000 "
        "in the completion). Please reduce your prompt; or completion length.",
        5000,
        4000,
        8192,
        id="azure",
    ),
    pytest.param(
        "This model's maximum context length is 131072 tokens. However, you requested 131134 tokens (122942 "
        "in the messages, "
        "8192 in the completion). Please reduce the length of the messages or completion.",
        122942,
        8192,
        131072,
        id="deepseek",
    ),
    pytest.param(
        "This endpoint's maximum context length is 65536 tokens. However, you requested about 72208 tokens "
        "(40833 of text "
        "input, 10042 of tool input, 21333 in the output).",
        50875,
        21333,
        65536,
        id="openrouter",
    ),
    pytest.param(
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 3000 `inputs` tokens and 2000 `max_new_tokens`",
        3000,
        2000,
        4096,
        id="tgi, together",
    ),
    pytest.param(
        "input length and `max_tokens` exceed context limit: 189727 + 16000 > 200000, decrease input length "
        "or `max_tokens` "
        "and try again",
        189727,
        16000,
        200000,
        id="anthropic",
    ),
]

WITHOUT_NUMBERS = [
    pytest.param("Context size has been exceeded.", id="llama.cpp: on the way"),
    pytest.param("the request exceeds the available context size, try increasing it", id="llama.cpp: no numbers"),
    pytest.param("Prompt exceeds max length", id="z.ai"),
    pytest.param("input length exceeds maximum context length", id="ollama: maximum"),
    pytest.param("Input Tokens Exceeded: Number of input tokens exceeds maximum length.", id="bedrock: length"),
    pytest.param("Your conversation does not fit the model's context window.", id="a sentence of no known server"),
    pytest.param("the input length exceeds the context length", id="ollama"),
    pytest.param("prompt too long; exceeded max context length by 12 tokens", id="ollama: by how much"),
    pytest.param("the prompt is longer than the context length currently available", id="ollama: available"),
    pytest.param(
        "The number of tokens to keep from the initial prompt is greater than the context length", id="lm studio, older"
    ),
    pytest.param(
        "Your input exceeds the context window of this model. Please adjust your input and try again.", id="openai, new"
    ),
    pytest.param("Please reduce the length of the messages or completion.", id="groq"),
    pytest.param("invalid params, context window exceeds limit", id="minimax"),
    pytest.param("Prompt 超长", id="zhipu"),
    pytest.param("Input is too long for requested model.", id="bedrock"),
    pytest.param("Prompt exceeds maximum context length", id="mlx-serve"),
]


@pytest.mark.parametrize(("message", "size", "limit"), PROMPT_TOO_LONG)
def test_a_prompt_that_is_too_long(message: str, size: int, limit: int) -> None:
    written = overflow_message(ErrorBody(message))
    assert written == f"prompt is too long: {size} tokens > {limit} maximum ({message})"
    found = TOO_LONG.search(written)
    assert found is not None
    assert found.groups() == (str(size), str(limit))
    assert LOWER_MAX_TOKENS.search(written) is None


@pytest.mark.parametrize(("message", "prompt", "output", "limit"), TOGETHER_TOO_LONG)
def test_prompt_and_answer_together_are_too_long(message: str, prompt: int, output: int, limit: int) -> None:
    written = overflow_message(ErrorBody(message))
    assert written == (
        f"input length and `max_tokens` exceed context limit: {prompt} + {output} > {limit}, decrease input length or "
        "`max_tokens` and try again"
    )
    found = LOWER_MAX_TOKENS.search(written)
    assert found is not None
    # the client asks again with this; it must be less than before, or it would ask for ever
    assert int(found[3]) - int(found[1]) - 1000 < output


@pytest.mark.parametrize("message", WITHOUT_NUMBERS)
def test_without_numbers_the_words_are_enough(message: str) -> None:
    assert overflow_message(ErrorBody(message)) == f"prompt is too long ({message})"


def test_what_is_right_already_stays() -> None:
    message = "prompt is too long: 215692 tokens > 200000 maximum"
    assert overflow_message(ErrorBody(message)) == message


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ErrorBody("Too big", type="exceed_context_size_error"), id="llama.cpp's type"),
        pytest.param(ErrorBody("Too big", code="context_length_exceeded"), id="openai's code"),
        pytest.param(ErrorBody("Too big", code="model_max_prompt_tokens_exceeded"), id="copilot's code"),
    ],
)
def test_type_and_code_tell_it_too(error: ErrorBody) -> None:
    assert overflow_message(error) == "prompt is too long (Too big)"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(
            "Rate limit reached for gpt-4: Limit 10000, Requested 12000. Maximum context length is 8192.",
            id="rate limit",
        ),
        pytest.param("Too many requests: maximum context length of 8192 in use", id="too many requests"),
        pytest.param("ThrottlingException: Too many tokens, please wait before trying again.", id="bedrock"),
        pytest.param(
            "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000, please "
            "reduce the length "
            "of the messages and try again.",
            id="groq: tokens per minute",
        ),
        pytest.param("Invalid 'user': string too long. Expected a string with maximum length 64", id="openai: a field"),
        pytest.param("Invalid 'tools[0].function.name': string_above_max_length", id="openai: a name"),
        pytest.param(
            "max_tokens=1000000 cannot be greater than max_model_len=2048. Please request fewer output tokens.",
            id="vllm: max_tokens alone",
        ),
        pytest.param("`tools` must not be an empty array", id="something else"),
        pytest.param(
            "The parameter `max_tokens` specified in the request are not valid: integer above maximum value, expected a "
            "value <= 32768, but got 65536",
            id="ark: max_tokens",
        ),
        pytest.param(
            "Invalid request: max_output_tokens exceeds the model's context window", id="an output beyond the window"
        ),
        pytest.param("The context window of this model is 32768 tokens. The request lacks a user.", id="two sentences"),
        pytest.param("Request too large: the image exceeds 5 MB", id="an image"),
        pytest.param("no message", id="nothing"),
    ],
)
def test_what_is_no_overflow(message: str) -> None:
    assert overflow_message(ErrorBody(message)) is None


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_an_overflow_is_a_400_whatever_the_backends_status(status: int) -> None:
    body = json.dumps({"error": {"message": "the input length exceeds the context length"}}).encode()
    found = fault_from_response(status, {"retry-after": "5"}, body)
    assert (found.status, found.type) == (400, "invalid_request_error")
    assert found.message == "prompt is too long (the input length exceeds the context length)"
    assert (found.counts, found.quotes) == (False, True)
    assert found.headers() == {"x-should-retry": "false"}


def test_numbers_besides_the_words_are_read() -> None:
    body = {
        "error": {"message": "Too long", "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 4096}
    }
    found = fault_from_response(400, {}, json.dumps(body).encode())
    assert found.message.startswith("prompt is too long: 9000 tokens > 4096 maximum (Too long")


def test_an_overflow_in_the_stream_is_one() -> None:
    body = {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}
    found = fault_in_answer(json.dumps(body).encode())
    assert (found.status, found.message) == (400, "prompt is too long (Context size has been exceeded.)")


@pytest.mark.parametrize("status", [429, 503])
def test_other_statuses_are_no_overflow(status: int) -> None:
    body = json.dumps({"error": {"message": "the input length exceeds the context length"}}).encode()
    assert fault_from_response(status, {}, body).should_retry


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {
                "error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is "
                "loaded with context length of only 4096 tokens"
            },
            id="a string",
        ),
        pytest.param(
            {
                "object": "error",
                "message": "The input (9000 tokens) is longer than the model's context length (4096 tokens).",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
            id="flat",
        ),
        pytest.param({"detail": "input (9000 tokens) is larger than the max context size (4096 tokens)"}, id="fastapi"),
        pytest.param(
            [
                {
                    "error": {
                        "message": "The input token count (9000) exceeds the maximum number of tokens allowed (4096)."
                    }
                }
            ],
            id="an array",
        ),
        pytest.param(
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 400,
                    "metadata": {
                        "raw": '{"message":"request (9000 tokens) exceeds the available context size (4096 tokens)"}'
                    },
                }
            },
            id="openrouter's metadata",
        ),
    ],
)
def test_every_shape_of_body(body: object) -> None:
    assert fault_from_response(400, {}, json.dumps(body).encode()).message.startswith(
        "prompt is too long: 9000 tokens > 4096 maximum ("
    )


def test_a_text_of_many_digits_is_read_in_no_time() -> None:
    message = "maximum context length is " + "9" * 100_000
    assert overflow_message(ErrorBody(message)) == (
        f"prompt is too long: 1000000000000000 tokens > 999999999999999 maximum ({message})"
    )
