"""Long conversations: the request is the one that it would be if its body was read in one piece."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.long_messages import cut_out_messages
from gateway.openai.request import plain

fuzz = settings(max_examples=150, deadline=None, database=None)

LONG = 'é ] } \\ " \n' * 7000
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {"messages": [{"role": "user", "content": "x"}]}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": LONG},
    {"role": "assistant", "content": [{"type": "text", "text": "ok"}, CALL]},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}]}],
    },
]
SYSTEM = [{"type": "text", "text": 'a ] "system": ], "model": ]'}]
TOOLS = [{"name": "f", "input_schema": {"type": "object", "properties": {"messages": {"type": "array"}}}}]
BEHIND = {"system": SYSTEM, "tools": TOOLS, "metadata": {"user_id": "u"}, "max_tokens": 9, "stream": True}


def body(**fields: Any) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def outcome(data: bytes) -> Any:
    """The request with its raw fields as text, or why it was refused, without the places of bytes."""
    try:
        request = decode_request(data, counting=True)
    except InvalidRequest as refused:
        return re.sub(r"(byte|position) \d+|in position \d+-\d+", "", refused.message)
    for message in request.messages:
        if isinstance(message.content, Raw):
            message.content = plain(message.content)
    return msgspec.to_builtins(request, enc_hook=lambda value: bytes(value).decode())


def outcome_in_one_piece(data: bytes) -> Any:
    """With so much in front of its messages that they are not looked for."""
    padded = b'{"padding":"' + b"x" * 5000 + b'",' + data[1:]
    with pytest.raises(AssertionError):
        assert cut_out_messages(padded) is not None
    return outcome(padded)


FORMS = {
    "Claude Code's": body(model="m", messages=MESSAGES, **BEHIND),
    "the Python SDK's": body(max_tokens=9, messages=MESSAGES, model="m", stream=True),
    "the Python SDK's, with more": body(max_tokens=9, messages=MESSAGES, model="m", system=SYSTEM, tools=TOOLS),
    "one for the TypeScript SDK": body(model="m", max_tokens=9, system=SYSTEM, messages=MESSAGES, tools=TOOLS),
    "messages last": body(model="m", max_tokens=9, messages=MESSAGES),
    "without blanks": json.dumps({"model": "m", "messages": MESSAGES, **BEHIND}, separators=(",", ":")).encode(),
    "with many blanks": json.dumps({"model": "m", "messages": MESSAGES, **BEHIND}, indent=4).encode(),
    "messages and one short list": body(model="m", messages=MESSAGES, max_tokens=9),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_messages_are_read_on_their_own_where_clients_put_them(data: bytes) -> None:
    cut = cut_out_messages(data)
    assert cut is not None
    assert len(cut[0]) < 2000
    assert outcome(data) == outcome_in_one_piece(data)
    assert outcome(data)["messages"][0]["content"] == LONG


def test_long_plain_texts_of_a_user_stay_as_they_were_written() -> None:
    texts = [LONG, "short", LONG + LONG]
    messages = [{"role": role, "content": text} for text in texts for role in ("user", "assistant")]
    read = decode_request(body(model="m", max_tokens=9, messages=messages)).messages
    assert [type(message.content) for message in read] == [Raw, str, str, str, Raw, str]
    assert [plain(message.content) for message in read if not isinstance(message.content, list)] == [
        message["content"] for message in messages
    ]


def test_many_shorter_texts_are_read_at_once() -> None:
    messages = [{"role": "user", "content": "text " * 1000}] * 50
    read = decode_request(body(model="m", max_tokens=9, messages=messages)).messages
    assert {type(message.content) for message in read} == {str}


ODD = {
    "short messages": body(model="m", system=LONG, messages=MESSAGES[1:]),
    "messages in a field that is skipped": body(metadata={"messages": MESSAGES}, model="m"),
    "messages in front of the messages": body(
        model="m", metadata={"messages": MESSAGES, "system": "s"}, messages=MESSAGES[1:]
    ),
    "messages in a field that is checked": body(system={"messages": MESSAGES}, model="m"),
    "messages in messages": body(model="m", messages={"messages": MESSAGES}),
    "messages given twice": body(model="m", messages=MESSAGES)[:-1] + b"," + body(messages=MESSAGES)[1:],
    "another key given twice": body(model="m", messages=MESSAGES)[:-1] + b"," + body(model="n")[1:],
    "no list": body(model="m", messages=LONG),
    "a list of something else": body(model="m", messages=[LONG, 7]),
    "an empty one behind": body(model="m", messages=MESSAGES)[:-1] + b',"messages":[]}',
    "a wrong role": body(model="m", messages=[*MESSAGES, {"role": "robot", "content": ""}]),
    "a wrong content": body(model="m", messages=[*MESSAGES, {"role": "user", "content": 7}], **BEHIND),
    "a block of a new type": body(
        model="m", messages=[*MESSAGES, {"role": "user", "content": [{"type": "x", "text": 7}]}]
    ),
    "a wrong field behind": body(model="m", messages=MESSAGES, system=7),
    "no end": body(model="m", messages=MESSAGES)[:-1],
    "a bracket too many": body(model="m", messages=MESSAGES)[:-1] + b"]}",
    "a comma too many": body(model="m", messages=MESSAGES)[:-1] + b",}",
    "half a character": body(model="m", messages=MESSAGES, system="?").replace(b"?", b"\\ud83d"),
    "half a character in them": body(model="m", messages=[*MESSAGES, {"role": "user", "content": "?"}]).replace(
        b"?", b"\\ud83d"
    ),
    "bytes that are no text": body(model="m", messages=MESSAGES, system="?").replace(b"?", b"\xff"),
    "bytes that are no text in an input": body(model="m", messages=MESSAGES).replace(b'"x"', b'"\xff"'),
    "deep nesting": body(model="m", messages=MESSAGES)[:-1] + b',"x":' + b"[" * 9999 + b"]" * 9999 + b"}",
    "deep nesting in them": body(model="m", messages=MESSAGES).replace(b'"x"', b"[" * 9999 + b"]" * 9999),
    "no key": body(model="m", system='"messages":[', x=LONG),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_what_is_odd_has_the_outcome_that_it_has_in_one_piece(data: bytes) -> None:
    assert len(data) > 64 * 1024
    assert outcome(data) == outcome_in_one_piece(data)


def test_what_is_wrong_is_told_with_its_place_in_the_body_as_it_came() -> None:
    data = body(model="m", messages=MESSAGES, top_p=7).replace(b'"top_p": 7', b'"top_p": ?')
    with pytest.raises(InvalidRequest, match=rf"\(byte {data.index(b'?')}\)"):
        decode_request(data)


@fuzz
@given(at=st.integers(min_value=0), byte=st.binary(max_size=2), form=st.sampled_from(list(FORMS)))
def test_one_odd_byte_has_the_same_outcome(at: int, byte: bytes, form: str) -> None:
    data = FORMS[form]
    text = range(data.index(b"\\n") + 400, data.rindex(b"\\n") - 400)
    # of the long text, a part is enough
    at %= len(data) - len(text)
    at += len(text) if at >= text.start else 0
    odd = data[:at] + byte + data[at + 1 :]
    if odd[:1] == b"{":
        assert outcome(odd) == outcome_in_one_piece(odd)
