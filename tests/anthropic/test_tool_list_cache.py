"""Tools that come with each turn: read once, and the request is the one that it would be if they were read each time."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import MessagesRequest
from gateway.anthropic.tool_list_cache import KnownTools
from tests.odd_json import fuzz
from tests.samples import recorded_requests

RECORDED = recorded_requests("*-turn*")
MIB = 1024 * 1024


def tool(name: str, size: int = 3000) -> dict[str, Any]:
    return {"name": name, "description": "é" + "d" * size, "input_schema": {"type": "object", "properties": {"a": {}}}}


TOOLS = [tool("Read"), tool("Edit")]


def body(**fields: Any) -> bytes:
    request = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(request, ensure_ascii=False).encode()


def having_read(*bodies: bytes) -> KnownTools:
    known = KnownTools()
    for data in bodies:
        decode_request(data, known=known)
    return known


def is_known(data: bytes, known: KnownTools) -> bool:
    return known.cut_out(data) is not None


def outcome(data: bytes, known: KnownTools | None = None) -> Any:
    """The request with its raw fields as text, or why it was refused."""
    try:
        request = decode_request(data, counting=True, known=known)
    except InvalidRequest as refused:
        return refused.message
    return msgspec.to_builtins(request, enc_hook=lambda value: bytes(value).decode())


def tools_of(request: MessagesRequest) -> list[str | None]:
    return [tool.name for tool in request.tools or ()]


def test_tools_that_came_before_are_not_read_again() -> None:
    known = KnownTools()
    first, second = (decode_request(body(tools=TOOLS, system="s" * turn), known=known) for turn in range(2))
    assert first.tools is second.tools
    assert tools_of(second) == ["Read", "Edit"]
    assert second.system == "s"


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_request_is_the_same_with_known_tools(name: str) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        data = json.dumps(RECORDED[name], separators=separators).encode()
        known = having_read(data)
        assert is_known(data, known) == ("tools" in RECORDED[name])
        assert outcome(data, known) == outcome(data)


ELSEWHERE = {
    "in a call's arguments": body(
        messages=[
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"x": TOOLS}}]}
        ]
    ),
    "in a field that is skipped": body(metadata={"tools": TOOLS}),
    "in a field that is checked": body(system=TOOLS),
    "in the tools": body(tools=[TOOLS]),
    "in a tool": body(tools=[{"name": "f", "input_schema": {"type": "object", "enum": TOOLS}}]),
    "behind other tools": body(tools=TOOLS)[:-1] + b',"tools":' + json.dumps([tool("f")]).encode() + b"}",
    "in front of other tools": body(tools=[tool("f")])[:-1] + body(tools=TOOLS)[body().rindex(b"]") + 1 :],
    "and then nothing": body(tools=TOOLS)[:-1],
    "and then a comma": body(tools=TOOLS)[:-1] + b",}",
    "of a request without messages": body(messages=[], tools=TOOLS),
    "of a request that is refused": body(messages=7, tools=TOOLS),
    "and a block of a new type": body(
        messages=[{"role": "user", "content": [{"type": "new", "text": 7}]}], tools=TOOLS
    ),
    "and bytes that are no text": body(tools=TOOLS, system="?").replace(b"?", b"\xff"),
    "and half a character": body(tools=TOOLS, system="?").replace(b"?", b"\\ud83d"),
    "and deep nesting": body(tools=TOOLS)[:-1] + b',"x":' + b"[" * 9999 + b"]" * 9999 + b"}",
    "alone": json.dumps(TOOLS, ensure_ascii=False).encode(),
}


@pytest.mark.parametrize("data", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_known_list_changes_nothing_where_it_stands_in_another_place(data: bytes) -> None:
    known = having_read(body(tools=TOOLS))
    assert outcome(data, known) == outcome(data)


def test_what_is_wrong_is_told_with_its_place_in_the_body_as_it_came() -> None:
    known = having_read(body(tools=TOOLS))
    data = body(tools=TOOLS, top_p=7).replace(b'"top_p": 7', b'"top_p": ?')
    assert is_known(data, known)
    assert f"(byte {data.index(b'?')})" in outcome(data, known)


def test_lists_that_begin_or_end_alike_are_told_apart() -> None:
    lists = [TOOLS, [*TOOLS, tool("Bash")], [tool("Bash"), *TOOLS], TOOLS[1:]]
    known = having_read(*(body(tools=tools) for tools in lists))
    for tools in lists:
        data = body(tools=tools)
        assert is_known(data, known)
        assert outcome(data, known) == outcome(data)


@pytest.mark.parametrize(
    "tools",
    [
        [],
        [tool("Read", 100)],
        [tool("Read", 9 * MIB)],
        [*TOOLS, {"type": "later_20300101", "name": 7}],
    ],
    ids=["none", "a short one", "one of megabytes", "one of later types"],
)
def test_other_lists_are_not_kept(tools: list[dict[str, Any]]) -> None:
    data = body(tools=tools)
    known = having_read(data, data)
    assert not is_known(data, known)
    assert outcome(data, known) == outcome(data)


def test_32_lists_are_kept_and_those_that_were_used_last() -> None:
    bodies = [body(tools=[tool(f"t{number}")]) for number in range(34)]
    known = having_read(*bodies[:32], bodies[0], *bodies[32:])
    forgotten = [number for number, data in enumerate(bodies) if not is_known(data, known)]
    assert forgotten == [1, 2]


def test_no_more_than_8_mib_are_kept() -> None:
    bodies = [body(tools=[tool(f"t{number}", 3 * MIB)]) for number in range(3)]
    known = having_read(*bodies)
    assert [is_known(data, known) for data in bodies] == [False, True, True]


@fuzz
@given(at=st.integers(min_value=0), byte=st.binary(max_size=2))
def test_one_odd_byte_has_the_same_outcome(at: int, byte: bytes) -> None:
    data = body(tools=[tool("Read", 1500), tool("Edit", 500)], system=[{"type": "text", "text": "s"}], stream=True)
    known = having_read(data)
    at %= len(data)
    odd = data[:at] + byte + data[at + 1 :]
    assert outcome(odd, known) == outcome(odd)
