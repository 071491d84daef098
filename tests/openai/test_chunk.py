"""ChunkedBody and whole answers in every form that backends give them: read as far as they can be, or malformed."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openai.chunk import (
    Choice,
    Chunk,
    Delta,
    Function,
    MalformedChunk,
    PromptTokensDetails,
    ToolCall,
    Usage,
    decode_chunk,
)
from gateway.openai.sse import SSEDecoder
from tests.odd_json import fuzz, json_values, paths_in, with_odd
from tests.samples import answer_names, recorded_answer


def of_delta(**fields: Any) -> Chunk:
    return Chunk(choices=[Choice(delta=Delta(**fields))])


def of_call(*calls: ToolCall) -> Chunk:
    return of_delta(tool_calls=list(calls))


CHUNKS: dict[str, tuple[str, Chunk]] = {
    "the first of vLLM": (
        (
            '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
            '{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}'
        ),
        Chunk(object="chat.completion.chunk", choices=[Choice(index=0, delta=Delta(content=""))]),
    ),
    "the first of llama.cpp": (
        '{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]}',
        Chunk(choices=[Choice(index=0, delta=Delta())]),
    ),
    "the first of Azure": (
        '{"choices":[],"created":0,"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}',
        Chunk(choices=[]),
    ),
    "only a role": ('{"choices":[{"delta":{"role":"assistant"}}]}', of_delta()),
    "a delta that is null": ('{"choices":[{"index":0,"delta":null}]}', Chunk(choices=[Choice(index=0)])),
    "a delta that is text": ('{"choices":[{"index":0,"delta":"hi"}]}', Chunk(choices=[Choice(index=0)])),
    "choices null": ('{"choices":null}', Chunk()),
    "choices missing": ("{}", Chunk()),
    "choices as an object": ('{"choices":{"0":{}},"usage":{"prompt_tokens":1}}', Chunk(usage=Usage(prompt_tokens=1))),
    "a choice that is none": (
        '{"choices":[null,7,{"delta":{"content":"hi"}}]}',
        of_delta(content="hi"),
    ),
    "message instead of delta": (
        '{"choices":[{"index":0,"message":{"content":"hi"}}]}',
        Chunk(choices=[Choice(index=0, message=Delta(content="hi"))]),
    ),
    "an index as text": (
        '{"choices":[{"index":"0","delta":{"tool_calls":[{"index":"1","id":"a"}]}}]}',
        Chunk(choices=[Choice(index="0", delta=Delta(tool_calls=[ToolCall(index="1", id="a")]))]),
    ),
    "content as a list": (
        '{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}}]}',
        of_delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
    ),
    "both fields of reasoning": (
        '{"choices":[{"delta":{"reasoning":"hm","reasoning_content":"hm"}}]}',
        of_delta(reasoning="hm", reasoning_content="hm"),
    ),
    "reasoning details": (
        '{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.text","text":"hm"}]}}]}',
        of_delta(reasoning_details=[{"type": "reasoning.text", "text": "hm"}]),
    ),
    "arguments as an object": (
        '{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":{"a":[1,null]}}}]}}]}',
        of_call(ToolCall(function=Function(name="f", arguments={"a": [1, None]}))),
    ),
    "arguments as a number, null and nothing": (
        '{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":7}},{"function":{"arguments":null}},{"function":{}}]}}]}',
        of_call(ToolCall(function=Function(arguments=7)), ToolCall(function=Function()), ToolCall(function=Function())),
    ),
    "an empty id": ('{"choices":[{"delta":{"tool_calls":[{"id":""}]}}]}', of_call(ToolCall(id=""))),
    "a call without a function": (
        '{"choices":[{"delta":{"tool_calls":[{"id":"a","function":null},{"id":"b"}]}}]}',
        of_call(ToolCall(id="a"), ToolCall(id="b")),
    ),
    "a function that is text": (
        '{"choices":[{"delta":{"tool_calls":[{"id":"a","function":"f"}]}}]}',
        of_call(ToolCall(id="a")),
    ),
    "calls that are none": (
        '{"choices":[{"delta":{"content":"hi","tool_calls":[null,"f",{"id":"a"}]}}]}',
        of_delta(content="hi", tool_calls=[ToolCall(id="a")]),
    ),
    "calls as an object": (
        '{"choices":[{"delta":{"content":"hi","tool_calls":{"id":"a"}}}]}',
        of_delta(content="hi"),
    ),
    "a legacy function call": (
        '{"choices":[{"delta":{"function_call":{"name":"f","arguments":"{}"}}}]}',
        of_delta(function_call=Function(name="f", arguments="{}")),
    ),
    "Kimi's usage in the choice": (
        '{"choices":[{"usage":{"prompt_tokens":9,"completion_tokens":2,"cached_tokens":4}}]}',
        Chunk(choices=[Choice(usage=Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=4))]),
    ),
    "DeepSeek's cache hits": (
        '{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_cache_hit_tokens":4}}',
        Chunk(choices=[], usage=Usage(prompt_tokens=9, completion_tokens=2, prompt_cache_hit_tokens=4)),
    ),
    "usage with details": (
        '{"choices":[],"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}}',
        Chunk(choices=[], usage=Usage(prompt_tokens=9, prompt_tokens_details=PromptTokensDetails(cached_tokens=4))),
    ),
    "usage with null details": (
        '{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":null,"prompt_tokens_details":null}}',
        Chunk(choices=[], usage=Usage(prompt_tokens=9)),
    ),
    "usage as text": (
        '{"choices":[],"usage":{"prompt_tokens":"9","completion_tokens":2.0}}',
        Chunk(choices=[], usage=Usage(prompt_tokens=9, completion_tokens=2)),
    ),
    "usage that is odd in one field": (
        '{"choices":[],"usage":{"prompt_tokens":9.5,"completion_tokens":2,"prompt_tokens_details":[4]}}',
        Chunk(choices=[], usage=Usage(completion_tokens=2)),
    ),
    "usage as a number": ('{"choices":[{"delta":{"content":"hi"}}],"usage":7}', of_delta(content="hi")),
    "a stop reason as a number": ('{"choices":[{"stop_reason":7}]}', Chunk(choices=[Choice(stop_reason=7)])),
    "an empty finish reason": ('{"choices":[{"finish_reason":""}]}', Chunk(choices=[Choice(finish_reason="")])),
    "NaN in a field that nobody reads": (
        '{"choices":[{"delta":{"content":"hi"},"logprobs":{"x":NaN,"y":-Infinity}}],"timings":Infinity}',
        of_delta(content="hi"),
    ),
    "numbers out of range": (
        '{"choices":[{"index":1e999,"delta":{"content":"hi"}}],"usage":{"prompt_tokens":1e999}}',
        Chunk(choices=[Choice(delta=Delta(content="hi"))], usage=Usage()),
    ),
    "half of a surrogate pair": (
        r'{"choices":[{"delta":{"content":"a\ud83d","refusal":"\ude00b","reasoning":"\ud83d\ude00"}}]}',
        of_delta(content="a\ufffd", refusal="\ufffdb", reasoning="😀"),
    ),
    "half of a pair deep in the arguments": (
        r'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":{"\ud83d":["\ud83d"]}}}]}}]}',
        of_call(ToolCall(function=Function(arguments={"\ufffd": ["\ufffd"]}))),
    ),
    "a BOM": ('\ufeff{"choices":[{"delta":{"content":"hi"}}]}', of_delta(content="hi")),
    "blanks around": (' \r\n{"choices":[]}\n ', Chunk(choices=[])),
    "an error in a list": ('[{"error":{"code":400}}]', Chunk(error={"code": 400})),
}


@pytest.mark.parametrize(("text", "chunk"), CHUNKS.values(), ids=CHUNKS)
def test_what_is_readable_is_read(text: str, chunk: Chunk) -> None:
    assert decode_chunk(text.encode()) == chunk


def test_bytes_that_are_no_utf8_cost_only_their_characters() -> None:
    assert decode_chunk(b'{"choices":[{"delta":{"content":"a\xffb"}}]}') == of_delta(content="a\ufffdb")


@pytest.mark.parametrize(
    ("data", "excerpt"),
    [
        (b"", "''"),
        (b"null", "'null'"),
        (b"7", "'7'"),
        (b'"text"', "'\"text\"'"),
        (b"[]", "'[]'"),
        (b"[7]", "'[7]'"),
        (b'{"choices":[', "'{\"choices\":['"),
        (b"{}{}", "'{}{}'"),
        (b"<html>" + b"x" * 100, repr("<html>" + "x" * 74)),
        (b"\xff", "'\ufffd'"),
        (b'{"error":' + b"1" * 5000 + b"}", repr('{"error":' + "1" * 71)),
        (b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}", repr('{"choices":' + "[" * 69)),
    ],
    ids=[
        *("nothing", "null", "a number", "a text", "an empty list", "a list of no objects", "cut", "two at once"),
        *("HTML", "no text", "a number of 5000 digits", "nested 100,000 deep"),
    ],
)
def test_what_is_no_object_is_malformed_and_shown_in_part(data: bytes, excerpt: str) -> None:
    with pytest.raises(MalformedChunk) as caught:
        decode_chunk(data)
    assert str(caught.value) == excerpt


@pytest.mark.parametrize("around", ['{"x":%s}', '{"error":%s}', '{"x":NaN,"error":%s}', '{"x":NaN,"choices":[%s]}'])
def test_no_depth_is_too_deep(around: str) -> None:
    for depth in (*range(300, 1100, 20), 5000):
        for opened, closed in (("[", "]"), ('{"choices":', "}")):
            read_or_malformed((around % (opened * depth + "1" + closed * depth)).encode())


ERRORS = {
    "nested, vLLM with a number as code": '{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}',
    "flat, SGLang": '{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}',
    "text, vLLM and LM Studio": '{"error":"Unauthorized"}',
    "a list": '{"error":[{"message":"m"}]}',
    "Gemini's list": '[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]',
    "beside a choice, OpenRouter": '{"choices":[{"finish_reason":"error"}],"error":{"code":502,"message":"m"}}',
    "detail, Chutes": '{"detail":"No infrastructure available to serve request"}',
    "detail as a list, FastAPI": '{"detail":[{"loc":["body"],"msg":"m"}]}',
    "a message alone, Amazon and others": '{"message":"Too many requests"}',
    "msg, Zhipu": '{"code":500,"msg":"404 NOT_FOUND","success":false}',
    "with empty choices": '{"choices":[],"object":"error","message":"m"}',
}
NO_ERRORS = {
    "error null": '{"error":null,"choices":[{"delta":{"content":"hi"}}]}',
    "error null and nothing else": '{"error":null,"choices":[]}',
    "an empty error": '{"error":{},"choices":[{"delta":{"content":"hi"}}]}',
    "detail null": '{"detail":null,"choices":[]}',
    "detail beside a choice": '{"detail":"x","choices":[{"delta":{"content":"hi"}}]}',
    "detail beside usage": '{"detail":"x","choices":[],"usage":{"prompt_tokens":1}}',
    "message beside a choice": '{"message":"x","choices":[{"delta":{"content":"hi"}}]}',
    "message null": '{"message":null,"msg":"","choices":[]}',
    "an object of another kind": '{"object":"chat.completion.chunk","choices":[]}',
    "nothing": "{}",
}


@pytest.mark.parametrize("text", ERRORS.values(), ids=ERRORS)
def test_an_error_is_one_in_every_form(text: str) -> None:
    assert decode_chunk(text.encode()).is_error


@pytest.mark.parametrize("text", NO_ERRORS.values(), ids=NO_ERRORS)
def test_a_part_of_an_answer_is_no_error(text: str) -> None:
    assert not decode_chunk(text.encode()).is_error


def test_recorded_answers_of_real_backends_are_read() -> None:
    read = 0
    for name in answer_names():
        recorded = recorded_answer(name)
        if not name.endswith("_stream") or "anthropic" in name or not recorded.is_event_stream:
            continue
        decoder = SSEDecoder()
        for _, data in [*decoder.feed(recorded.body), *decoder.flush()]:
            if data != b"[DONE]":
                # the strict way: what real backends send must not need the slow one
                assert decode_chunk(data) == msgspec.json.decode(data, type=Chunk)
                read += 1
    assert read > 1000


VALID: dict[str, Any] = {
    "object": "chat.completion.chunk",
    "choices": [
        {
            "index": 0,
            "delta": {
                "content": "hi",
                "reasoning_content": "hm",
                "tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 3},
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
}

odd_values = json_values(words=["0", "\ud83d", "error"], keys=[*VALID, "delta", "error", "x"])


def read_or_malformed(data: bytes) -> Chunk | None:
    try:
        chunk = decode_chunk(data)
    except MalformedChunk:
        return None
    # all of it fits the schema and can be written
    assert msgspec.json.decode(msgspec.json.encode(chunk), type=Chunk)
    assert chunk.is_error in (True, False)
    return chunk


@fuzz
@given(data=st.binary(max_size=100) | odd_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_chunk_or_malformed(data: bytes) -> None:
    read_or_malformed(data)


@fuzz
@given(path=st.sampled_from(paths_in(VALID)), odd=odd_values)
def test_one_odd_value_costs_nothing_beside_it(path: tuple[Any, ...], odd: Any) -> None:
    chunk = read_or_malformed(json.dumps(with_odd(VALID, path, odd)).encode())
    if not path:
        return
    assert chunk is not None
    if path[0] != "usage":
        assert chunk.usage == Usage(9, 2, PromptTokensDetails(4))
    elif path[1:] and path[1] != "completion_tokens":
        assert chunk.usage is not None
        assert chunk.usage.completion_tokens == 2
    if path[0] == "choices" and len(path) > 2 and path[2] != "delta":
        assert chunk.choices is not None
        assert chunk.choices[0].delta == decode_chunk(json.dumps(VALID).encode()).choices[0].delta  # type: ignore[index]
    if path[-1] == "tool_calls" or "function" in path[:-1]:
        assert chunk.choices is not None
        assert chunk.choices[0].delta is not None
        assert chunk.choices[0].delta.content == "hi"
        assert chunk.choices[0].finish_reason == "stop"
