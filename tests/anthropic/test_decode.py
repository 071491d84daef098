"""Requests: what clients really send, what later clients may send, and what is refused with the place named."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import (
    KNOWN_BLOCKS,
    Block,
    Format,
    Message,
    MessagesRequest,
    OutputConfig,
    Source,
    Thinking,
    Tool,
    ToolChoice,
)
from tests.odd_json import fuzz, json_values, paths_in, with_odd
from tests.samples import recorded_requests


def body(**fields: Any) -> bytes:
    request = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps({name: value for name, value in request.items() if value is not ...}).encode()


def of_blocks(*blocks: Any) -> bytes:
    return body(messages=[{"role": "user", "content": list(blocks)}])


def blocks_of(data: bytes) -> list[Block]:
    content = decode_request(data).messages[0].content
    assert isinstance(content, list)
    return content


def refusal(data: bytes, *, counting: bool = False) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(data, counting=counting)
    assert caught.value.status == 400
    return caught.value.message


def raw(request: Any) -> Any:
    """Structs with their raw fields as text, so that they can be compared."""
    return msgspec.to_builtins(request, enc_hook=lambda value: bytes(value).decode(), builtin_types=())


RECORDED = recorded_requests()


def test_there_are_recorded_requests() -> None:
    assert len(RECORDED) > 12


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_requests_are_read(name: str) -> None:
    recorded = RECORDED[name]
    request = decode_request(json.dumps(recorded).encode(), counting="count-tokens" in name)
    assert (request.model, request.max_tokens) == (recorded["model"], recorded.get("max_tokens"))
    assert [message.role for message in request.messages] == [message["role"] for message in recorded["messages"]]
    for message, sent in zip(request.messages, recorded["messages"], strict=True):
        if isinstance(message.content, str):
            assert message.content == sent["content"]
        else:
            assert [block.type for block in message.content] == [block["type"] for block in sent["content"]]
            inputs = [bytes(block.input) for block in message.content if block.type == "tool_use"]
            assert [json.loads(text) for text in inputs] == [
                block["input"] for block in sent["content"] if block["type"] == "tool_use"
            ]
    tools = request.tools or []
    assert [tool.name for tool in tools] == [tool["name"] for tool in recorded.get("tools", [])]
    assert [json.loads(bytes(tool.input_schema) or "null") for tool in tools] == [
        tool.get("input_schema") for tool in recorded.get("tools", [])
    ]


def test_every_field_is_read() -> None:
    data = body(
        system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        tools=[{"name": "f", "description": "d", "input_schema": {"type": "object"}, "defer_loading": True}],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        stream=True,
        stop_sequences=["S"],
        temperature=1,
        top_p=0.5,
        top_k=40,
        thinking={"type": "enabled", "budget_tokens": 1024, "display": "updates"},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": {"a": 1}}},
        output_format={"type": "json_schema", "schema": {}},
        metadata={"user_id": "u"},
        context_management={"edits": []},
        something_new={"a": [1]},
    )
    assert raw(decode_request(data)) == raw(
        MessagesRequest(
            model="m",
            messages=[Message("user", "hi")],
            max_tokens=9,
            system=[Block("text", text="s", cache_control={"type": "ephemeral"})],
            tools=[
                Tool(name="f", description="d", input_schema=msgspec.Raw(b'{"type": "object"}'), defer_loading=True)
            ],
            tool_choice=ToolChoice("tool", "f", disable_parallel_tool_use=True),
            stream=True,
            stop_sequences=["S"],
            temperature=1.0,
            top_p=0.5,
            top_k=40,
            thinking=Thinking("enabled", 1024, "updates"),
            output_config=OutputConfig("high", Format("json_schema", msgspec.Raw(b'{"a": 1}'))),
            output_format=Format("json_schema", msgspec.Raw(b"{}")),
        )
    )


LEGAL: dict[str, bytes] = {
    "no content and one token": body(messages=[{"role": "user", "content": []}], max_tokens=1),
    "an empty text": body(messages=[{"role": "user", "content": ""}]),
    "a system turn at the end": body(messages=[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]),
    "a prefill": body(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "{"}]),
    "nulls": body(
        system=None, tools=None, tool_choice=None, stream=None, stop_sequences=None, thinking=None, top_k=None
    ),
    "output_config on a message": body(messages=[{"role": "user", "content": "a", "output_config": {"effort": "low"}}]),
    "blanks around": b" \r\n\t" + body() + b"\n",
    "blanks everywhere": body().replace(b":", b" :\t").replace(b",", b"\n, ").replace(b"}", b" }"),
    "equal keys in an input": of_blocks({"type": "tool_use", "input": "@"}).replace(b'"@"', b'{"a":1,"a":2}'),
    "equal keys in a schema": body(tools=[{"name": "f", "input_schema": "@"}]).replace(b'"@"', b'{"a":1,"a":2}'),
    "a pair of escapes": body(system="@").replace(b"@", rb"\ud83d\ude00"),
    "a backslash in front of what looks like half a pair": body(system="@").replace(b"@", rb"\\ud83d"),
}


@pytest.mark.parametrize("data", LEGAL.values(), ids=LEGAL)
def test_what_the_api_takes_is_taken(data: bytes) -> None:
    assert decode_request(data).model == "m"


def test_counting_needs_no_max_tokens() -> None:
    assert decode_request(body(max_tokens=...), counting=True).max_tokens is None
    assert decode_request(body(max_tokens=0), counting=True).max_tokens == 0


REFUSED: dict[str, tuple[bytes, str]] = {
    "no model": (body(model=...), "model: Field required"),
    "an empty model": (body(model=""), "model: must not be empty"),
    "model null": (body(model=None), "model: Expected `str`, got `null`"),
    "no messages": (body(messages=...), "messages: Field required"),
    "an empty list of messages": (body(messages=[]), "messages: at least one message is required"),
    "messages as text": (body(messages="hi"), "messages: Expected `array`, got `str`"),
    "a message as text": (body(messages=["hi"]), "messages.0: Expected `object`, got `str`"),
    "no max_tokens": (body(max_tokens=...), "max_tokens: Field required"),
    "negative max_tokens": (body(max_tokens=-1), "max_tokens: must not be negative"),
    "max_tokens as text": (body(max_tokens="9"), "max_tokens: Expected `int | null`, got `str`"),
    "max_tokens as a fraction": (body(max_tokens=1.5), "max_tokens: Expected `int | null`, got `float`"),
    "no role": (body(messages=[{"content": "hi"}]), "messages.0.role: Field required"),
    "no content": (body(messages=[{"role": "user"}]), "messages.0.content: Field required"),
    "a role that is none": (
        body(messages=[{"role": "user", "content": "a"}, {"role": "tool" * 20, "content": "b"}]),
        f"messages.1.role: Input should be 'user', 'assistant' or 'system', not {('tool' * 10)!r}",
    ),
    "content as a number": (
        body(messages=[{"role": "user", "content": 7}]),
        "messages.0.content: Expected `str | array`, got `int`",
    ),
    "a block as text": (
        of_blocks({"type": "text", "text": "a"}, "b"),
        "messages.0.content.1: Expected `object`, got `str`",
    ),
    "a block without a type": (of_blocks({"text": "a"}), "messages.0.content.0.type: Field required"),
    "a type as a number": (of_blocks({"type": 7}), "messages.0.content.0.type: Expected `str`, got `int`"),
    "a text as a number": (
        of_blocks({"type": "text", "text": "a"}, {"type": "text", "text": 7}),
        "messages.0.content.1.text: Expected `str | null`, got `int`",
    ),
    "a text as a number beside an unknown block": (
        of_blocks({"type": "new", "text": []}, {"type": "text", "text": 7}),
        "messages.0.content.1.text: Expected `str | null`, got `int`",
    ),
    "a source as a number": (
        of_blocks({"type": "image", "source": 7}),
        "messages.0.content.0.source: Expected `str | object | null`, got `int`",
    ),
    "a media type as a number": (
        of_blocks({"type": "image", "source": {"type": "base64", "media_type": 7}}),
        "messages.0.content.0.source.media_type: Expected `str | null`, got `int`",
    ),
    "a text in a tool result": (
        of_blocks(
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "new"}, {"type": "text", "text": 7}]}
        ),
        "messages.0.content.0.content.1.text: Expected `str | null`, got `int`",
    ),
    "a text in a document in a tool result": (
        of_blocks(
            {
                "type": "tool_result",
                "content": [
                    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": 7}]}}
                ],
            }
        ),
        "messages.0.content.0.content.0.source.content.0.text: Expected `str | null`, got `int`",
    ),
    "a number out of range": (
        of_blocks({"type": "mcp_tool_result", "content": {"a": [0.5]}}).replace(b"0.5", b"1e999"),
        "messages.0.content.0.content.*.0: Number out of range",
    ),
    "system as a number": (body(system=7), "system: Expected `str | array | null`, got `int`"),
    "a block of system": (
        body(system=[{"type": "text", "text": 7}]),
        "system.0.text: Expected `str | null`, got `int`",
    ),
    "tools as an object": (body(tools={}), "tools: Expected `array | null`, got `object`"),
    "a tool's name": (body(tools=[{"name": "a"}, {"name": 7}]), "tools.1.name: Expected `str | null`, got `int`"),
    "a custom tool's description": (
        body(tools=[{"type": "custom", "name": "a", "description": 7}]),
        "tools.0.description: Expected `str | null`, got `int`",
    ),
    "a tool as text": (body(tools=["a"]), "tools.0: Expected `object`, got `str`"),
    "a tool choice as text": (body(tool_choice="auto"), "tool_choice: Expected `object | null`, got `str`"),
    "a tool choice without a type": (body(tool_choice={}), "tool_choice.type: Field required"),
    "stream as text": (body(stream="true"), "stream: Expected `bool | null`, got `str`"),
    "stop sequences as text": (body(stop_sequences="S"), "stop_sequences: Expected `array | null`, got `str`"),
    "a stop sequence": (body(stop_sequences=["S", 7]), "stop_sequences.1: Expected `str`, got `int`"),
    "temperature as text": (body(temperature="1"), "temperature: Expected `float | null`, got `str`"),
    "top_k as a fraction": (body(top_k=1.5), "top_k: Expected `int | null`, got `float`"),
    "thinking as true": (body(thinking=True), "thinking: Expected `object | null`, got `bool`"),
    "a budget as text": (
        body(thinking={"type": "enabled", "budget_tokens": "9"}),
        "thinking.budget_tokens: Expected `int | null`, got `str`",
    ),
    "effort as a number": (body(output_config={"effort": 7}), "output_config.effort: Expected `str | null`, got `int`"),
    "a format without a type": (body(output_config={"format": {}}), "output_config.format.type: Field required"),
    "a list": (b"[]", "the request body: Expected `object`, got `array`"),
    "a text": (b'"hi"', "the request body: Expected `object`, got `str`"),
    "null": (b"null", "the request body: Expected `object`, got `null`"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_place(data: bytes, message: str) -> None:
    assert refusal(data) == message


NO_JSON: dict[str, bytes] = {
    "cut": body()[:-5],
    "two at once": body() + body(),
    "NaN": body(temperature=0.5).replace(b"0.5", b"NaN"),
    "NaN in a field that nobody reads": body(x=0.5).replace(b"0.5", b"NaN"),
    "NaN in an input": of_blocks({"type": "tool_use", "input": {"a": 0.5}}).replace(b"0.5", b"NaN"),
    "no UTF-8 in a text": body(system="@").replace(b"@", b"\xff"),
    "no UTF-8 in a field that nobody reads": body(x="@").replace(b"@", b"\xff"),
    "no UTF-8 in an input": of_blocks({"type": "tool_use", "input": {"a": "@"}}).replace(b"@", b"\xff"),
    "no UTF-8 in a schema": body(tools=[{"name": "f", "input_schema": {"a": "@"}}]).replace(b"@", b"\xed\xa0\x80"),
    "UTF-16": body().decode().encode("utf-16"),
    "a BOM": b"\xef\xbb\xbf" + body(),
    "a form": b"model=m&max_tokens=9",
    "an escape that is none": body(x="@").replace(b"@", rb"\x41"),
}


@pytest.mark.parametrize("data", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    assert refusal(data).startswith("the request body is not valid JSON in UTF-8: ")


DEEP: dict[str, bytes] = {
    "an input": of_blocks({"type": "tool_use", "input": "@"}),
    "a schema": body(tools=[{"name": "f", "input_schema": "@"}]),
    "a field that nobody reads": body(x="@"),
    "an unknown block": of_blocks({"type": "new", "text": 7, "x": "@"}),
    "a server tool's content": of_blocks({"type": "mcp_tool_result", "content": {"a": "@"}}),
    "a tool result": of_blocks({"type": "tool_result", "content": "@"}),
}


@pytest.mark.parametrize("data", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize(
    ("opened", "closed"), [("[", "]"), ('{"a":', "}"), ('[{"type":"tool_result","content":', "}]")]
)
def test_no_depth_is_too_deep_for_a_refusal(data: bytes, opened: str, closed: str) -> None:
    for depth in (*range(100, 1200, 50), 100_000):
        nested = opened * depth + '""' + closed * depth
        assert decoded_or_refused(data.replace(b'"@"', nested.encode()))
    assert refusal(data.replace(b'"@"', nested.encode())) in (
        "the request body is nested too deeply",
        "messages.0.content.0.content.0: Expected `object`, got `array`",
        "messages.0.content.0.content: Expected `str | array | object | null`, got `int`",
    )


ODD_BLOCKS: list[Any] = [
    {"type": "new"},
    {"type": "new", "text": 7, "source": [1], "content": True, "id": {}, "is_error": "x", "tool_name": []},
    {"type": "new", "content": [{"type": "text", "text": 7}]},
    {"type": "new", "content": [7]},
    {"type": "code_execution_tool_result", "content": {"type": "code_execution_result", "stdout": "", "content": []}},
    {"type": "container_upload", "file_id": "f"},
    {"type": "compaction", "content": None, "name": 7},
]


@pytest.mark.parametrize("odd", ODD_BLOCKS, ids=json.dumps)
def test_a_block_of_an_unknown_type_may_hold_anything(odd: Any) -> None:
    text = {"type": "text", "text": "a"}
    for data in (
        of_blocks(text, odd, text),
        of_blocks({"type": "text", "text": "a", "content": [odd]}),
        body(system=[text, odd]),
    ):
        request = decode_request(data)
        assert request.model == "m"
    assert [block.type for block in blocks_of(of_blocks(text, odd, text))] == ["text", odd["type"], "text"]
    [result] = blocks_of(of_blocks({"type": "tool_result", "tool_use_id": "t", "content": [text, odd]}))
    assert isinstance(result.content, list)
    assert (result.tool_use_id, [block.type for block in result.content]) == ("t", ["text", odd["type"]])
    source = {"type": "content", "content": [odd, text]}
    [result] = blocks_of(of_blocks({"type": "tool_result", "content": [{"type": "document", "source": source}]}))
    assert isinstance(result.content, list)
    assert isinstance(result.content[0].source, Source)
    assert [block.type for block in result.content[0].source.content or ()] == [odd["type"], "text"]  # type: ignore[union-attr]


def test_an_unknown_block_that_fits_keeps_its_fields_beside_one_that_does_not() -> None:
    fitting = {"type": "new", "title": "t", "text": "a"}
    assert blocks_of(of_blocks(fitting)) == [Block("new", title="t", text="a")]
    assert blocks_of(of_blocks(fitting, {"type": "new", "title": 7})) == [
        Block("new", title="t", text="a"),
        Block("new"),
    ]


@pytest.mark.parametrize("kind", sorted(KNOWN_BLOCKS))
def test_a_block_of_a_known_type_must_fit(kind: str) -> None:
    assert (
        refusal(of_blocks({"type": kind, "text": 7})) == "messages.0.content.0.text: Expected `str | null`, got `int`"
    )


def test_a_tool_of_an_unknown_type_may_hold_anything() -> None:
    tools = [
        {"type": "new_tool", "name": "n", "description": {"a": 1}},
        {"type": "mcp_toolset", "defer_loading": "no"},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        {"name": "f", "input_schema": {"type": "object"}},
    ]
    assert raw(decode_request(body(tools=tools)).tools) == raw(
        [
            Tool(type="new_tool"),
            Tool(type="mcp_toolset"),
            Tool(name="web_search", type="web_search_20250305"),
            Tool(name="f", input_schema=msgspec.Raw(b'{"type": "object"}')),
        ]
    )


@pytest.mark.parametrize("odd", [{"type": "text", "text": ""}, {"type": "new", "text": 7}], ids=["fitting", "reduced"])
def test_raw_json_stays_as_it_was_written(odd: Any) -> None:
    written = b'{ "a" : 1.10, "b":123456789012345678901234567890, "c":"\\u00e9\\/", "d":1E400, "a":[ ] }'
    data = body(
        messages=[{"role": "assistant", "content": [{"type": "tool_use", "input": "@"}, odd]}],
        tools=[{"name": "f", "input_schema": "@"}],
    ).replace(b'"@"', written)
    assert bytes(blocks_of(data)[0].input) == written
    assert bytes((decode_request(data).tools or [])[0].input_schema) == written


HALVES = [
    rb"a\ud83d",
    rb"\ud83db",
    rb"\uDE00",
    rb"\ud83d\ud83d\ude00",
    rb"\ude00\ud83d",
    rb"\ud83d\u0041",
    rb"\\ud83d\ud83d",
    rb"\\\ud83d\n",
    rb"\uD83D\n and much more behind it",
]
WITH_TEXT: dict[str, bytes] = {
    "a text": body(system="@"),
    "a text at the end": b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"@"}]}',
    "an input": of_blocks({"type": "tool_use", "input": {"a": "@"}}),
    "an input beside a block that is reduced": of_blocks(
        {"type": "tool_use", "input": "@"}, {"type": "new", "text": 7}
    ),
    "a schema": body(tools=[{"name": "f", "input_schema": {"description": "@"}}]),
    "a key": of_blocks({"type": "tool_use", "input": {"@": 1}}),
    "a field that nobody reads": body(x="@"),
    "the last field, which nobody reads": body(x="@").replace(b" ", b""),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("data", WITH_TEXT.values(), ids=WITH_TEXT)
def test_half_of_a_surrogate_pair_is_refused_with_what_to_do(data: bytes, half: bytes) -> None:
    """As Anthropic's API does, in its words."""
    message = refusal(data.replace(b"@", half))

    start = "the request body is not valid JSON in UTF-8: no low surrogate in string: a text was cut inside a character"
    found = re.fullmatch(
        rf"{start} close to byte (\d+), which leaves an escape such as \\ud83d without its other half; "
        "cut the text before that character",
        message,
    )
    assert found is not None, message
    assert 0 <= int(found[1]) - data.index(b"@") <= 20


REPEATED: dict[str, tuple[bytes, str]] = {
    "the first counts nowhere": (b'{"model":"a",' + body()[1:], "model"),
    "the last is equal": (body()[:-1] + b',"model":"m"}', "model"),
    "the last begins with the first": (b'{"max_tokens":99,' + body()[1:], "max_tokens"),
    "the first begins with the last": (body(x=1)[:-1] + b',"x":12}', "x"),
    "of other types": (b'{"messages":7,' + body()[1:], "messages"),
    "written with an escape": (rb'{"m\u006fdel":"m",' + body()[1:], "model"),
    "that nobody reads": (body(x=[])[:-1] + b' , "x" : {}}', "x"),
    "passed over": (body(metadata={})[:-1] + b',"metadata":{"user_id":"u"}}', "metadata"),
    "three times": (body(x=1)[:-1] + b',"y":1,"x":1,"x":1}', "x"),
    "empty": (b'{"":1,"":1,' + body()[1:], ""),
    "empty, without blanks": (b'{"":1,"":1,' + body()[1:].replace(b" ", b""), ""),
    "short, without blanks": (b'{"top_k":1,' + body(top_k=1)[1:].replace(b" ", b""), "top_k"),
    "long": (body(**{"x" * 99: 1})[:-1] + b',"' + b"x" * 99 + b'":1}', "x" * 40),
}


@pytest.mark.parametrize(("data", "key"), REPEATED.values(), ids=REPEATED)
def test_a_key_of_the_body_is_given_once(data: bytes, key: str) -> None:
    assert refusal(data) == f"{key}: must not appear twice"


def test_fields_that_nobody_knows_may_be_large_but_not_larger_than_all_the_rest() -> None:
    mib = 1024 * 1024
    nested = {"a": [{"b": '}"\\'}] * 999, "c": "x" * (mib - 99_999)}
    assert decode_request(body(x=nested, y=-1.5e3, z=[])).model == "m"
    message = (
        "the request body holds more than 1048576 bytes outside the known fields: "
        "a field is repeated, or is not part of the Messages API"
    )
    assert refusal(body(x="x" * mib)) == message
    assert refusal(b'{"messages":[' + b"7," * mib + b"7]," + body()[1:]) == message
    # millions of fields take no memory of their own
    assert refusal(b"{" + b"".join(b'"k%d":1,' % number for number in range(200_000)) + body()[1:]) == message


def test_a_body_that_is_empty_or_marked_says_so() -> None:
    assert refusal(b"") == "the request body is empty"
    assert refusal(b"\xef\xbb\xbf" + body()) == (
        "the request body is not valid JSON in UTF-8: it begins with a byte order mark; remove it"
    )


@pytest.mark.parametrize("data", [body(), of_blocks({"type": "new", "text": 7}), body(x="é" * 999)])
def test_a_body_is_read_from_a_bytearray_as_from_bytes(data: bytes) -> None:
    assert raw(decode_request(bytearray(data))) == raw(decode_request(data))


VALID: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "url", "url": "u"}}],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "text", "text": "r"}, {"type": "new", "x": 1}],
                    "is_error": False,
                }
            ],
        },
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}, {"type": "new"}],
    "tool_choice": {"type": "tool", "name": "f"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {}}},
    "stop_sequences": ["S"],
    "temperature": 0.5,
    "stream": True,
}
odd_values = json_values(
    words=["text", "new", "tool_result", "document", "user", "\ud83d"],
    keys=["type", "text", "content", "source", "role", "messages", "model", "input", "x"],
)


TOOL = {"name": "t", "input_schema": {}}
LONG_NAMES = {
    "model": body(model="m" * 257),
    "tools.0.name": body(tools=[{**TOOL, "name": "t" * 257}]),
    "tool_choice.name": body(tool_choice={"type": "tool", "name": "t" * 257}),
    "messages.0.content.0.name": of_blocks({"type": "tool_use", "id": "1", "name": "t" * 257, "input": {}}),
    "messages.0.content.0.id": of_blocks({"type": "tool_use", "id": "1" * 16385, "name": "t", "input": {}}),
    "messages.0.content.0.tool_use_id": of_blocks({"type": "tool_result", "tool_use_id": "1" * 16385}),
    "messages.0.content.0.source.media_type": of_blocks({"type": "image", "source": {"media_type": "m" * 257}}),
}


@pytest.mark.parametrize("place", LONG_NAMES)
def test_a_name_of_any_length_is_refused_with_its_place(place: str) -> None:
    most = 16384 if place.endswith("id") else 256
    assert refusal(LONG_NAMES[place]) == f"{place}: String should have at most {most} characters"


def test_the_longest_names_are_taken() -> None:
    name, call = "é" * 256, "x" * 16384
    data = body(model=name, tools=[{**TOOL, "name": name}])
    assert decode_request(data).model == name
    assert blocks_of(of_blocks({"type": "tool_use", "id": call, "name": name, "input": {}}))[0].id == call


def decoded_or_refused(data: bytes) -> MessagesRequest | str:
    try:
        return decode_request(data)
    except InvalidRequest as refused:
        return refused.message


@fuzz
@given(data=st.binary(max_size=100) | odd_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    assert isinstance(decoded_or_refused(data), str)


@fuzz
@given(path=st.sampled_from(paths_in(VALID)), odd=odd_values)
def test_one_odd_value_is_taken_or_refused_with_its_place(path: tuple[Any, ...], odd: Any) -> None:
    outcome = decoded_or_refused(json.dumps(with_odd(VALID, path, odd)).encode())
    if isinstance(outcome, str):
        place = outcome.split(": ", 1)[0].split(".")
        outer = [str(key) for key in path[: len(place)]]
        assert place[: len(outer)] == outer or "not valid JSON" in outcome
    elif path[0] != "messages":
        assert raw(outcome.messages) == raw(decode_request(json.dumps(VALID).encode()).messages)


@fuzz
@given(at=st.integers(min_value=0), byte=st.binary(min_size=1, max_size=2))
def test_one_odd_byte_is_taken_or_refused(at: int, byte: bytes) -> None:
    data = json.dumps(VALID).encode()
    at %= len(data)
    assert decoded_or_refused(data[:at] + byte + data[at + 1 :])
