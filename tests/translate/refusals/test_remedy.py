from typing import Any

import msgspec
import pytest
from msgspec import Raw, structs

from gateway.openai.profile import GENERIC, Profile
from gateway.openai.request import ChatRequest, ToolSpec
from gateway.translate.refusals.faults import fault_from_response
from gateway.translate.refusals.remedy import Remedy, find_remedy

CHAT: ChatRequest = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "reasoning_content": "hm"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h/i.png"}}]},
    ],
    "max_tokens": 32000,
    "temperature": 0.5,
    "top_k": 40,
    "stream": True,
    "chat_template_kwargs": {"enable_thinking": True},
    "reasoning_effort": "high",
}


def without(field: str) -> Profile:
    return structs.replace(GENERIC, drops=frozenset({field}))


def remedy(text: str, status: int = 400, chat: ChatRequest = CHAT, tokens: int = 5000) -> Remedy | None:
    return find_remedy(fault_from_response(status, {}, text.encode()), chat, GENERIC, tokens)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("property 'chat_template_kwargs' is unsupported", "chat_template_kwargs"),
        ('Invalid JSON payload received. Unknown name "top_k": Cannot find field.', "top_k"),
        ("Unrecognized request argument supplied: top_k", "top_k"),
        ("Unknown parameter: 'chat_template_kwargs'.", "chat_template_kwargs"),
        ("Unsupported parameter: 'reasoning_effort' is not supported with this model.", "reasoning_effort"),
        ("Unsupported value: 'temperature' does not support 0.5 with this model.", "temperature"),
        ("1 validation error:\n  {'type': 'extra_forbidden', 'loc': 'body.top_k', 'msg': 'Extra inputs are not permitted'}", "top_k"),
        ('{"detail":[{"type":"extra_forbidden","loc":["body","chat_template_kwargs"],"msg":"Extra inputs are not permitted"}]}', "chat_template_kwargs"),
        ("litellm.UnsupportedParamsError: x does not support parameters: ['top_k'], for model=m", "top_k"),
        ("chat_template is not supported for Mistral tokenizers.", "chat_template_kwargs"),
        ('"llama3.2" does not support thinking', "reasoning_effort"),
        ('think value "high" is not supported for this model', "reasoning_effort"),
        ("Function tools with reasoning_effort are not supported for gpt-x in /v1/chat/completions. Please use /v1/responses or set reasoning_effort to 'none'.", "reasoning_effort"),
        ("reasoning_effort=high is not supported by Mistral models", "reasoning_effort"),
    ],
    ids=["Groq", "Gemini", "OpenAI, older", "OpenAI, unknown", "OpenAI, unsupported", "OpenAI, value", "vLLM", "Mistral", "LiteLLM", "vLLM, Mistral's tokenizer", "Ollama", "Ollama, effort", "OpenAI, with tools", "vLLM, Mistral's models"],
)  # fmt: skip
def test_a_refused_field_is_left_out(text: str, field: str) -> None:
    assert remedy(text) == Remedy(profile=without(field))


FULL: ChatRequest = {
    **CHAT,
    "top_p": 0.9,
    "stop": ["END"],
    "thinking": {"type": "enabled"},  # type: ignore[typeddict-unknown-key]
}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("Validation: Unsupported parameter(s): `chat_template_kwargs`", {"chat_template_kwargs"}),
        ("Validation: Unsupported parameter(s): `chat_template_kwargs`, `top_k`", {"chat_template_kwargs", "top_k"}),
        ("body.chat_template_kwargs: property 'body.chat_template_kwargs' is unsupported", {"chat_template_kwargs"}),
        ("Unknown parameter: 'chat_template_kwargs.enable_thinking'.", {"chat_template_kwargs"}),
        ("Unknown parameter: `thinking.clear_thinking`", {"thinking"}),
        ("Model grok-4 does not support parameter stop.", {"stop"}),
        ("Argument not supported on this model: stop", {"stop"}),
        ("Unsupported parameter: 'stop' is not supported with this model.", {"stop"}),
        ("Unrecognized request arguments supplied: chat_template_kwargs, top_k", {"chat_template_kwargs", "top_k"}),
        ("litellm.UnsupportedParamsError: x does not support parameters: ['top_k', 'top_p'], for model=m", {"top_k", "top_p"}),
        ("litellm.UnsupportedParamsError: x does not support parameters: {'top_k': 40}, for model=m", {"top_k"}),
        ("invalid temperature: only 1 is allowed for this model", {"temperature"}),
        ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", {"top_p"}),
        ("`temperature` may only be set to 1 when thinking is enabled.", {"temperature"}),
        ("`temperature` is deprecated for this model.", {"temperature"}),
        ("Extra inputs are not permitted, field: 'chat_template_kwargs', value: {}", {"chat_template_kwargs"}),
        ("Malformed input request: #: extraneous key [top_k] is not permitted, please reformat", {"top_k"}),
        ("unknown field: parameter 'chat_template_kwargs' is not a valid field", {"chat_template_kwargs"}),
        ("Failed to deserialize the JSON body: unknown field `top_k`, expected one of `model`, `temperature`", {"top_k"}),
        ('json: unknown field "top_k"', {"top_k"}),
        ("Additional properties are not allowed ('top_k', 'top_p' were unexpected)", {"top_k", "top_p"}),
        ("create() got an unexpected keyword argument 'chat_template_kwargs'", {"chat_template_kwargs"}),
        ("The parameter `top_p` specified in the request are not valid: x", {"top_p"}),
        ("reasoning_effort is not supported for this model", {"reasoning_effort"}),
        ("This model does not support `reasoning_effort`.", {"reasoning_effort"}),
    ],
)  # fmt: skip
def test_refused_fields_are_found_in_any_form(text: str, fields: set[str]) -> None:
    assert remedy(text, chat=FULL) == Remedy(profile=structs.replace(GENERIC, drops=frozenset(fields)))


def test_the_newer_limit_is_refused() -> None:
    profile = structs.replace(GENERIC, max_tokens_field="max_completion_tokens")
    fault = fault_from_response(400, {}, b"Unrecognized request argument supplied: max_completion_tokens")
    found = find_remedy(fault, CHAT, profile, 5000)
    assert found == Remedy(profile=structs.replace(profile, max_tokens_field="max_tokens"))


@pytest.mark.parametrize(
    "text",
    [
        "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property "
        "'reasoning_content' is unsupported)]",
        "Unknown parameter: 'messages[1].reasoning_content'.",
        "body.messages.1.assistant.reasoning_content: property 'messages.1.assistant.reasoning_content' is unsupported",
        '{"detail":[{"type":"extra_forbidden","loc":["body","messages",1,"assistant","reasoning_content"],'
        '"msg":"Extra inputs are not permitted"}]}',
    ],
    ids=["Groq", "OpenAI", "Cerebras", "Mistral"],
)
def test_refused_thinking_history_is_left_out(text: str) -> None:
    assert remedy(text) == Remedy(profile=structs.replace(GENERIC, reasoning_field=None))


@pytest.mark.parametrize(
    "text",
    [
        "Unknown parameter: 'messages'.",
        "property 'store' is unsupported, did you mean 'stop'?",
        "something else altogether",
    ],
    ids=["needed", "not sent", "unknown"],
)
def test_what_cannot_be_helped_is_left_alone(text: str) -> None:
    assert remedy(text) is None


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_only_refusals_of_the_request_are_helped(status: int) -> None:
    assert remedy("Unrecognized request argument supplied: top_k", status) is None


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (400, "tiny is not a multimodal model"),
        (404, "No endpoints found that support image input"),
        (400, "Failed to deserialize: messages[2]: unknown variant `image_url`, expected `text`"),
    ],
    ids=["llama.cpp", "vLLM", "OpenRouter", "DeepSeek"],
)
def test_a_model_without_eyes_is_sent_no_images(status: int, text: str) -> None:
    assert remedy(text, status) == Remedy(profile=structs.replace(GENERIC, sees_images=False))


def test_without_images_the_same_words_mean_something_else() -> None:
    chat: ChatRequest = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}

    assert remedy("tiny is not a multimodal model", chat=chat) is None


@pytest.mark.parametrize(
    ("text", "learnt"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            {"max_tokens_field": "max_completion_tokens"},
        ),
        ("The `reasoning_content` in the thinking mode must be passed back to the API.", {"needs_thinking": True}),
        (
            "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
            {"needs_thinking": True},
        ),
        (
            '[{"error":{"code":400,"message":"Function call is missing a thought_signature in functionCall parts. This '
            'is required for tools to work correctly.","status":"INVALID_ARGUMENT"}}]',
            {"missing_signature": "skip_thought_signature_validator"},
        ),
        (
            "Unable to submit request because function call `Read` in the 2. content block is missing a "
            "`thought_signature`.",
            {"missing_signature": "skip_thought_signature_validator"},
        ),
        (
            '{"object":"error","message":"Unexpected role \'user\' after role \'tool\'","code":3230}',
            {"parts_user_from_tool": True},
        ),
        ("Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.", {"tool_id_length": 9}),
    ],
    ids=["OpenAI's newer limit", "DeepSeek", "Kimi", "Gemini", "Vertex", "Mistral's roles", "Mistral's ids"],
)
def test_a_way_of_the_backend_is_learnt(text: str, learnt: dict[str, Any]) -> None:
    assert remedy(text) == Remedy(profile=structs.replace(GENERIC, **learnt))


@pytest.mark.parametrize(
    "text",
    [
        "Invalid request: a max of 2 tools can be supported",
        "Invalid 'tools': array too long. Expected an array with maximum length 2, but got an array with length 3 instead.",
        "'tools' : maximum number of items is 2",
        "Maximum number of tools allowed is 2",
        "Too many tools: 3. Maximum allowed is 2",
        "This model accepts at most 2 tools.",
    ],
    ids=["Kimi", "OpenAI", "Groq", "a maximum", "too many", "at most"],
)
def test_the_most_tools_are_learnt(text: str) -> None:
    tool: ToolSpec = {"type": "function", "function": {"name": "Read", "parameters": Raw(b"{}")}}
    assert remedy(text, chat={**CHAT, "tools": [tool] * 3}) == Remedy(profile=structs.replace(GENERIC, max_tools=2))
    assert remedy(text, chat={**CHAT, "tools": [tool] * 2}) is None


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens",
        "max_tokens=32000 cannot be greater than max_model_len=8192. Please request fewer output tokens.",
        "max_tokens is too large: 32000. This model supports at most 8192 completion tokens",
        "`max_tokens` must be less than or equal to `8192`, the maximum value",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        "The parameter `max_tokens` specified in the request are not valid: integer above maximum value, expected a value <= 8192, but got 32000",
        "Invalid 'max_tokens': integer above maximum value. Expected a value <= 8192, but got 32000 instead.",
        "InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]",
        "max_tokens参数非法。取值范围[1, 8192]",
        "The maximum tokens you requested exceeds the model limit of 8192. Try again with a maximum tokens value that is lower than 8192.",
        "too many tokens: max tokens must be less than or equal to 8192, the limit for this model",
        "Unable to submit request because it has a maxOutputTokens value of 32000 but the supported range is from 1 (inclusive) to 8193 (exclusive).",
        "max_completion_tokens must be at most 8,192 for this model",
        "max_tokens must be between 1 and 8192",
    ],
    ids=[
        "Anthropic",
        "vLLM",
        "OpenAI",
        "Groq",
        "DeepSeek",
        "Ark",
        "OpenAI, new",
        "DashScope",
        "Z.ai",
        "Bedrock",
        "Cohere",
        "Gemini",
        "at most",
        "between",
    ],
)
def test_the_most_tokens_of_an_answer_are_learnt(text: str) -> None:
    assert remedy(text) == Remedy(profile=structs.replace(GENERIC, most_tokens=8192))


@pytest.mark.parametrize(
    ("text", "tokens", "room"),
    [
        (
            "This model's maximum context length is 131072 tokens. However, you requested 131134 tokens "
            "(122942 in the messages, 8192 in the completion).",
            5000,
            131072 - 122942,
        ),
        (
            "This model's maximum context length is 128000 tokens. However, you requested 65535 output tokens and "
            "your prompt contains at least 62466 input tokens, for a total of at least 128001 tokens.",
            70000,
            128000 - 80500,
        ),
        (
            "You passed 136001 input tokens and requested 64000 output tokens. However, the model's context length is "
            "only 200000 tokens, resulting in a maximum input length of 136000 tokens.",
            140000,
            200000 - 161000,
        ),
        (
            "You passed 136001 input tokens and requested 64000 output tokens. However, the model's context length is "
            "only 200000 tokens, resulting in a maximum input length of 136000 tokens.",
            10,
            63999,
        ),
    ],
    ids=["counted", "vLLM's bound", "vLLM's other bound", "vLLM, and a guess that is too low"],
)
def test_what_is_left_of_the_window_is_asked_for(text: str, tokens: int, room: int) -> None:
    assert remedy(text, tokens=tokens) == Remedy(profile=GENERIC, max_tokens=room)


def test_too_little_room_is_an_overflow() -> None:
    text = (
        "This model's maximum context length is 16384 tokens. However, you requested 26000 tokens "
        "(16000 in the messages, 10000 in the completion)."
    )

    assert remedy(text) is None


def test_the_longest_description_is_learnt() -> None:
    text = (
        "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but got "
        "a string with length 3000 instead."
    )
    assert remedy(text) == Remedy(profile=structs.replace(GENERIC, max_description=1024))


def test_refused_keywords_of_schemas_are_learnt_together() -> None:
    text = "\n".join(
        f"Invalid JSON payload received. Unknown name \"{name}\" at 'tools[0].function_declarations[0].parameters': "
        "Cannot find field."
        for name in ("$schema", "additionalProperties")
    )
    drops = frozenset({"$schema", "additionalProperties"})
    assert remedy(text) == Remedy(profile=structs.replace(GENERIC, schema_drops=drops))


DIGITS = "9" * 5_000


@pytest.mark.parametrize(
    "text",
    [
        f"a max of {DIGITS} tools can be supported",
        f"tools[0].function.description: string too long. Expected a string with maximum length {DIGITS}",
        f"max_tokens: 32000 > {DIGITS}",
        f"supports at most {DIGITS} completion tokens",
        f"input length and `max_tokens` exceed context limit: {DIGITS} + 5 > {DIGITS}",
        f"maximum context length is {DIGITS} tokens. However, you requested 9 output tokens",
    ],
)
def test_a_number_of_thousands_of_digits_says_nothing(text: str) -> None:
    assert remedy(text) is None


SENT = msgspec.json.encode(CHAT)


def learnable(text: str, *written: str, chat: ChatRequest = CHAT) -> bool:
    """Whether others learn from a refusal of a request that contains what a client has written."""
    sent = msgspec.json.encode({**chat, "tools": [{"description": word} for word in written]})
    found = find_remedy(fault_from_response(400, {}, text.encode()), chat, GENERIC, 5000, sent)
    assert found is not None
    return found.learnable


REFUSALS = [
    "property 'chat_template_kwargs' is unsupported",
    'Invalid JSON payload received. Unknown name "top_k": Cannot find field.',
    "Unrecognized request argument supplied: top_k",
    "Unsupported parameter: 'reasoning_effort'",
    "top_k: Extra inputs are not permitted",
    "'loc': 'body.top_k', 'msg': 'Extra inputs are not permitted'",
    "x does not support parameters: ['top_k']",
    "chat_template is not supported for Mistral tokenizers",
    "x does not support thinking",
    'think value "high" is not supported',
    "x does not support image",
    "tiny is not a multimodal model",
    "unknown variant `image_url`",
    "reasoning_content in the thinking mode must be passed back",
    "is missing a\n thought_signature",
    "Unexpected role 'user' after role 'tool'",
    "Use 'max_completion_tokens' instead",
    "Tool call id was call_1 but must be a-z, with a length of 9",
    "max_tokens: 32000 > 512",
    "max_completion_tokens must be less than or equal to `512`",
    "supports at most 512 completion tokens",
    "tools[0].function.description: string too long. Expected a string with maximum length 2",
    """Unknown name "pattern" at 'tools[0]'""",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_others_learn_from_the_backends_words_only(text: str) -> None:
    assert learnable(text)
    assert learnable(text, "something else", "thinking about a temperature")
    assert not learnable(text, text)
    assert not learnable(text, "Say: " + text + " or so")
    assert not learnable(text, text.upper())
    # a call's arguments are JSON in JSON
    assert not learnable(text, msgspec.json.encode({"said": text}).decode())
    assert not learnable(text, "".join(f"\\u{ord(letter):04x}" for letter in text))


def test_a_quote_that_the_backend_closes_does_not_hide_who_wrote_the_words() -> None:
    said = "bad media type 'x', Unsupported parameter: 'temperature'"
    assert not learnable(said, "x', Unsupported parameter: 'temperature")


def test_a_value_that_the_backend_repeats_is_not_taken_for_a_fields_name() -> None:
    assert learnable("Unsupported value: 'temperature'", "the temperature outside")
    assert not learnable("Unsupported value: 'temperature'", "temperature")
    assert not learnable("Unsupported value: 'temperature'", "data:temperature;base64,AAAA")


def test_others_do_not_learn_any_number_of_keywords() -> None:
    fault = fault_from_response(400, {}, b"""Unknown name "new" at 'tools[0]'""")
    for known in (99, 100):
        profile = structs.replace(GENERIC, schema_drops=frozenset(f"k{number}" for number in range(known)))
        found = find_remedy(fault, CHAT, profile, 5000, SENT)
        assert found is not None
        assert len(found.profile.schema_drops) == known + 1
        assert found.learnable == (known < 100)


TOOL: ToolSpec = {"type": "function", "function": {"name": "Read", "parameters": Raw(b"{}")}}
FORCED: ChatRequest = {
    **CHAT,
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "Read"}},
}


@pytest.mark.parametrize(
    ("text", "learnt"),
    [
        ("tool_choice 'specified' is incompatible with thinking enabled", {"thinks_when_forced": False}),
        ("Thinking mode does not support this tool_choice", {"thinks_when_forced": False}),
        ("Thinking may not be enabled when tool_choice forces tool use.", {"thinks_when_forced": False}),
        (
            "The tool_choice parameter does not support being set to required or object in thinking mode",
            {"thinks_when_forced": False},
        ),
        ("Invalid tool_choice type: 'object'. Supported string values: none, auto, required", {"names_tool": False}),
        ("tool_choice: Input should be 'auto', 'none' or 'required'", {"names_tool": False}),
        ("No endpoints found that support the provided 'tool_choice' value.", {"names_tool": False}),
    ],
)
def test_a_call_is_demanded_otherwise(text: str, learnt: dict[str, Any]) -> None:
    assert remedy(text, chat=FORCED) == Remedy(profile=structs.replace(GENERIC, **learnt))


def test_what_cannot_be_demanded_is_left_out() -> None:
    text = "tool_choice is not supported"
    assert remedy(text, chat={**FORCED, "tool_choice": "required"}) == Remedy(profile=without("tool_choice"))
    assert remedy(text, chat=CHAT) is None


def test_a_server_without_tools_says_how_to_start_it() -> None:
    text = 'tool_choice="required" requires --tool-call-parser to be set'
    assert remedy(text, chat={**FORCED, "tool_choice": "required"}) is None


def test_a_choice_that_a_client_wrote_of_teaches_nothing() -> None:
    text = "Invalid tool_choice type: 'object'"
    assert learnable(text, chat=FORCED)
    assert not learnable(text, "x/tool_choice", chat=FORCED)


@pytest.mark.parametrize(
    ("text", "keywords"),
    [
        (
            "* GenerateContentRequest.tools[0].function_declarations[3].parameters.properties[url].format: only 'enum' "
            "and 'date-time' are supported for STRING type",
            {"format"},
        ),
        ("In context=('properties', 'url'), 'pattern' is not permitted.", {"pattern"}),
        ("Unsupported JSON schema fields: {'minLength'}", {"minLength"}),
        ("""Grammar error: Unimplemented keys: ["multipleOf"]""", {"multipleOf"}),
    ],
)
def test_keywords_that_are_named_are_taken_out(text: str, keywords: set[str]) -> None:
    found = remedy(text, chat=FORCED)
    assert found == Remedy(profile=structs.replace(GENERIC, schema_drops=frozenset(keywords)))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("failed to parse grammar", 400),
        ("Failed to initialize samplers: failed to parse grammar", 500),
        ("The provided JSON schema contains features not supported by xgrammar.", 400),
        ("JSON schema conversion failed:\nPattern must start with '^' and end with '$'", 400),
        ("tools.function.parameters is not a valid moonshot flavored json schema, details: <x>", 400),
    ],
)
def test_what_names_no_keyword_takes_out_all_that_a_tool_can_spare(text: str, status: int) -> None:
    found = remedy(text, status, chat=FORCED)
    assert found is not None
    assert {"pattern", "format", "minLength", "not"} <= found.profile.schema_drops
    assert not {"type", "properties", "enum", "const", "default", "required", "items"} & found.profile.schema_drops
    again = find_remedy(fault_from_response(status, {}, text.encode()), FORCED, found.profile, 5000)
    assert again is None


def pictured(*urls: str) -> ChatRequest:
    parts: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {**CHAT, "messages": [{"role": "user", "content": parts}]}


PNG, WEBP, URL = "data:image/png;base64,iVBO", "data:image/webp;base64,UklG", "https://h/i.png"


@pytest.mark.parametrize(
    ("text", "urls", "learnt", "learnable"),
    [
        ("'url' field must be a base64 encoded image.", [URL], {"fetches_images": False}, True),
        ("Failed to load image or audio file", [WEBP], {"image_types": frozenset({"image/png", "image/jpeg"})}, True),
        ("failed to decode image bytes", [PNG], {"sees_images": False}, False),
        ("Could not process image", [PNG], {"sees_images": False}, False),
        ("Invalid base64 image", [PNG], {"sees_images": False}, False),
    ],
)
def test_images_that_cannot_be_read_are_left_out(
    text: str, urls: list[str], learnt: dict[str, Any], learnable: bool
) -> None:
    chat = pictured(*urls)
    found = find_remedy(fault_from_response(400, {}, text.encode()), chat, GENERIC, 5000, msgspec.json.encode(chat))
    assert found is not None
    assert found == Remedy(profile=structs.replace(GENERIC, **learnt), learnable=learnable)


@pytest.mark.parametrize(
    "text",
    [
        "litellm.UnsupportedParamsError: Bedrock doesn't support tool calling without `tools=` param specified. Pass "
        "`tools=` param OR set `litellm.modify_params = True`",
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        "Requests which include `tool_use` or `tool_result` blocks must define tools",
    ],
)
def test_calls_that_need_tools_get_them(text: str) -> None:
    assert remedy(text) == Remedy(profile=structs.replace(GENERIC, calls_need_tools=True))
