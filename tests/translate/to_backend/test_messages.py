"""Conversations: an Anthropic `messages` list in, the chat `messages` list out."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest
from gateway.openai.profile import GENERIC
from gateway.translate.to_backend.messages import translate_messages

Json = dict[str, Any]

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
IMAGE_NOTE = "[image: in the next user message]"
ORPHAN = "[result of a tool call that is not in the conversation]"
LONG = 'é "q" \\ \n' * 9000
NO_RESULT = "[no result: the call was interrupted]"


def translated(*messages: Json, **options: Any) -> Any:
    """The chat messages of a conversation that comes off the wire; the options are fields of the profile."""
    body = {"model": "m", "max_tokens": 1, "messages": messages}
    others = {name: options.pop(name) for name in ("documents", "missing_thinking") if name in options}
    profile = structs.replace(GENERIC, **{"reasoning_field": None, **options})
    request = decode_request(json.dumps(body).encode())
    return translate_messages(request.messages, **{"documents": {}, "profile": profile, **others})


# what clients send


def user(*content: str | Json) -> Json:
    return {"role": "user", "content": [_block(item) for item in content]}


def assistant(*content: str | Json) -> Json:
    return {"role": "assistant", "content": [_block(item) for item in content]}


def middle(*content: str | Json) -> Json:
    return {"role": "system", "content": [_block(item) for item in content]}


def _block(item: str | Json) -> Json:
    return {"type": "text", "text": item} if isinstance(item, str) else item


def call(call_id: str, name: str = "Bash", **arguments: Any) -> Json:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id: str, content: Any = "ok", **fields: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **fields}


# what backends get


def said(content: Any) -> Json:
    return {"role": "user", "content": content}


def answered(content: str, *calls: Json, **fields: Any) -> Json:
    message: Json = {"role": "assistant", "content": content, **fields}
    return {**message, "tool_calls": list(calls)} if calls else message


def function(call_id: str, name: str = "Bash", arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(call_id: str, content: str = "ok") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# turns


def test_a_conversation_of_texts() -> None:
    assert translated(user("Hi."), assistant("Hello."), user("Bye.")) == [
        said("Hi."),
        answered("Hello."),
        said("Bye."),
    ]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_a_string_is_one_block(role: str) -> None:
    messages = [user("Hi."), {"role": role, "content": "Text."}, assistant("Yes.")]
    blocks = [*messages[:1], {"role": role, "content": [{"type": "text", "text": "Text."}]}, *messages[2:]]
    assert translated(*messages) == translated(*blocks)


@pytest.mark.parametrize(
    "others",
    [
        [],
        [user("More.")],
        [assistant("Yes."), user("More.")],
        [user(PNG)],
        [{"role": "assistant", "content": LONG}, {"role": "user", "content": LONG}],
        [{"role": "system", "content": LONG}],
    ],
    ids=["alone", "more of the user's", "a conversation", "an image", "an assistant's long one", "a system's long one"],
)
def test_a_users_long_string_is_one_block_and_not_written_anew(others: list[Json]) -> None:
    (first, *_), blocks = translated({"role": "user", "content": LONG}, *others), translated(user(LONG), *others)
    assert json.loads(msgspec.json.encode(translated({"role": "user", "content": LONG}, *others))) == blocks
    if not others:
        assert bytes(first["content"]) == json.dumps(LONG).encode()


def test_cache_control_and_unknown_fields_are_not_seen() -> None:
    plain = [user("Hi.", PNG), assistant("Let me see.", call("a")), user(result("a", [{"type": "text", "text": "ok"}]))]
    marked = json.loads(json.dumps(plain))
    for message in marked:
        message["output_config"] = {"effort": "medium"}
        for block in message["content"]:
            block["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
            block["citations"] = [{"cited_text": "x"}]
    marked[2]["content"][0]["content"][0]["cache_control"] = {"type": "ephemeral"}
    assert translated(*marked) == translated(*plain)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([user("A"), user("B")], [said("A\n\nB")], id="users"),
        pytest.param([user("A", "B")], [said("A\n\nB")], id="texts of one user"),
        pytest.param([user("Q"), assistant("A"), assistant("B")], [said("Q"), answered("A\n\nB")], id="assistants"),
        pytest.param([user("Q"), assistant("A", "B")], [said("Q"), answered("A\n\nB")], id="texts of one assistant"),
        pytest.param(
            [user("A"), user(PNG), user("B")],
            [said([{"type": "text", "text": "A"}, PNG_PART, {"type": "text", "text": "B"}])],
            id="users with an image",
        ),
        pytest.param(
            [user("Q"), assistant("A"), assistant(call("a")), user(result("a"))],
            [said("Q"), answered("A", function("a")), tool("a")],
            id="a text and the call after it",
        ),
        pytest.param(
            [user("Q"), assistant(call("a")), assistant(call("b")), user(result("a", "1")), user(result("b", "2"))],
            [said("Q"), answered("", function("a"), function("b")), tool("a", "1"), tool("b", "2")],
            id="calls in turns of their own",
        ),
        pytest.param(
            [user("Q"), assistant(call("a")), user(result("a")), assistant(call("b")), user(result("b"))],
            [said("Q"), answered("", function("a")), tool("a"), answered("", function("b")), tool("b")],
            id="two rounds stay two",
        ),
    ],
)
def test_neighbours_of_one_role_are_merged(messages: list[Json], expected: list[Json]) -> None:
    assert translated(*messages) == expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([user(""), user("Hi.")], [said("Hi.")], id="user without text"),
        pytest.param([user("A"), assistant(""), user("B")], [said("A\n\nB")], id="assistant without text"),
        pytest.param([user("A"), assistant(), user("B")], [said("A\n\nB")], id="assistant without blocks"),
        pytest.param([user("Q"), assistant("", "A")], [said("Q"), answered("A")], id="empty text block"),
        pytest.param([assistant("A"), user(), assistant("B")], [answered("A\n\nB")], id="nothing between assistants"),
        pytest.param([middle(""), user("A")], [said("A")], id="system without text"),
    ],
)
def test_empty_messages_leave_no_trace(messages: list[Json], expected: list[Json]) -> None:
    assert translated(*messages) == expected


@pytest.mark.parametrize(
    "messages",
    [[user("")], [user(), assistant("")], [{"role": "system", "content": " "}]],
    ids=["empty text", "no blocks", "blank system"],
)
def test_a_conversation_without_content_is_refused(messages: list[Json]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated(*messages)
    assert caught.value.message == "messages: at least one message must have content"


def test_a_prefill_stays_last() -> None:
    assert translated(user("JSON, please."), assistant("{")) == [said("JSON, please."), answered("{")]


def test_blanks_of_a_text_stay() -> None:
    assert translated(user(" a\n"), assistant("\n b ")) == [said(" a\n"), answered("\n b ")]


# system messages in the middle


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [user("Hi."), middle("S")], [said("Hi.\n\n<system-reminder>\nS\n</system-reminder>")], id="second and last"
        ),
        pytest.param([middle("S"), user("Hi.")], [said("<system-reminder>\nS\n</system-reminder>\n\nHi.")], id="first"),
        pytest.param(
            [user("Hi."), assistant("Yes?"), middle("S")],
            [said("Hi."), answered("Yes?"), said("<system-reminder>\nS\n</system-reminder>")],
            id="after an answer",
        ),
        pytest.param(
            [user("Hi."), middle("S"), assistant("Yes?"), user("A")],
            [said("Hi.\n\n<system-reminder>\nS\n</system-reminder>"), answered("Yes?"), said("A")],
            id="before an answer",
        ),
        pytest.param(
            [user("Hi."), middle("S", "T"), middle("U")],
            [said("Hi.\n\n<system-reminder>\nS\n\nT\n</system-reminder>\n\n<system-reminder>\nU\n</system-reminder>")],
            id="several in a row, as blocks",
        ),
        pytest.param(
            [user("Go."), assistant(call("a")), middle("S"), user(result("a"), "next")],
            [
                said("Go."),
                answered("", function("a")),
                tool("a"),
                said("<system-reminder>\nS\n</system-reminder>\n\nnext"),
            ],
            id="between call and result",
        ),
        pytest.param(
            [user("Go."), assistant(call("a")), user(result("a")), middle("S")],
            [said("Go."), answered("", function("a")), tool("a"), said("<system-reminder>\nS\n</system-reminder>")],
            id="after a result",
        ),
    ],
)
def test_a_system_message_keeps_its_place(messages: list[Json], expected: list[Json]) -> None:
    assert translated(*messages) == expected


# calls and results


def test_a_call_and_its_result() -> None:
    assert translated(
        user("List."), assistant("Sure.", call("call_1", command="ls")), user(result("call_1", "a.py"))
    ) == [
        said("List."),
        answered("Sure.", function("call_1", arguments='{"command": "ls"}')),
        tool("call_1", "a.py"),
    ]


def test_text_behind_a_call_joins_the_text_before_it() -> None:
    assert translated(user("Q"), assistant("A", call("a"), "B"), user(result("a"))) == [
        said("Q"),
        answered("A\n\nB", function("a")),
        tool("a"),
    ]


@pytest.mark.parametrize(
    ("tool_input", "arguments"),
    [
        pytest.param(b'{"b":1,  "a":5000.0}', '{"b":1,  "a":5000.0}', id="as they came"),
        pytest.param(b'{"t":"\\u00e9\xc3\xa9"}', '{"t":"\\u00e9é"}', id="escapes and UTF-8"),
        pytest.param(b"{}", "{}", id="empty"),
        pytest.param(b"null", "{}", id="null"),
        pytest.param(b'{"__unparsedToolInput":{"raw":"{\\"a\\": 1}","len":8}}', '{"a": 1}', id="unparsed, but JSON"),
        pytest.param(b'{"__unparsedToolInput":{"raw":"{\\"a\\": ","len":6}}', "{}", id="unparsed"),
        pytest.param(b'{"__unparsedToolInput":{"raw":"[1]","len":3}}', "{}", id="unparsed, no object"),
        pytest.param(b'{"__unparsedToolInput":{"raw":5}}', "{}", id="unparsed, no text"),
        pytest.param(b'{"__unparsedToolInput":{}}', "{}", id="unparsed, without raw"),
        pytest.param(b'{"__unparsedToolInput":"x"}', "{}", id="unparsed, no object around it"),
        pytest.param(b'{"__unparsedToolInput":{"raw":"%s"}}' % (b"[" * 100_000), "{}", id="unparsed, nested deeply"),
    ],
)
def test_arguments(tool_input: bytes, arguments: str) -> None:
    body = (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":'
        b'[{"type":"tool_use","id":"a","name":"Bash","input":' + tool_input + b"}]}]}"
    )
    messages = decode_request(body).messages
    chat = translate_messages(messages, documents={}, profile=GENERIC)
    assert chat == [answered("", function("a", arguments=arguments)), tool("a", NO_RESULT)]


def test_a_call_without_input_has_empty_arguments() -> None:
    assert translated(assistant({"type": "tool_use", "id": "a", "name": "Now"}), user(result("a"))) == [
        answered("", function("a", "Now")),
        tool("a"),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("a.py", "a.py", id="string"),
        pytest.param([{"type": "text", "text": "a.py"}], "a.py", id="one block is the string"),
        pytest.param([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}], "A\nB", id="blocks"),
        pytest.param("", "[empty result]", id="empty string"),
        pytest.param([], "[empty result]", id="empty list"),
        pytest.param(None, "[empty result]", id="null"),
        pytest.param([{"type": "text", "text": ""}], "[empty result]", id="empty block"),
        pytest.param(
            [{"type": "tool_reference", "tool_name": "WebFetch"}, {"type": "tool_reference", "tool_name": "CronList"}],
            "loaded: WebFetch\nloaded: CronList",
            id="tool references",
        ),
        pytest.param(
            [{"type": "search_result", "title": "T", "source": "s", "content": [{"type": "text", "text": "B"}]}],
            "[search result] T (s)\nB",
            id="search result",
        ),
        pytest.param(
            [{"type": "browser_mood", "url": "https://x.test"}],
            "[browser_mood left out: it cannot be passed on to this model]",
            id="a block of an unknown type",
        ),
    ],
)
def test_the_content_of_a_result(content: Any, expected: str) -> None:
    assert translated(assistant(call("a")), user(result("a", content))) == [
        answered("", function("a")),
        tool("a", expected),
    ]


def test_a_result_may_lack_its_content() -> None:
    nothing = {"type": "tool_result", "tool_use_id": "a"}
    assert translated(assistant(call("a")), user(nothing))[-1] == tool("a", "[empty result]")


@pytest.mark.parametrize(
    ("fields", "content", "expected"),
    [
        ({"is_error": True}, "Exit code 3", "[tool error] Exit code 3"),
        ({"is_error": True}, "", "[tool error] [empty result]"),
        ({"is_error": False}, "fine", "fine"),
        ({"is_error": None}, "fine", "fine"),
    ],
    ids=["error", "error without words", "no error", "null"],
)
def test_an_error_is_named(fields: Json, content: str, expected: str) -> None:
    assert translated(assistant(call("a")), user(result("a", content, **fields)))[-1] == tool("a", expected)


def test_results_come_in_the_order_of_the_calls_and_text_after_them() -> None:
    assert translated(
        assistant(call("a"), call("b", "Read")), user("before", result("b", "2"), "between", result("a", "1"), "after")
    ) == [
        answered("", function("a"), function("b", "Read")),
        tool("a", "1"),
        tool("b", "2"),
        said("before\n\nbetween\n\nafter"),
    ]


def test_results_may_follow_after_other_messages() -> None:
    assert translated(assistant(call("a")), user("wait"), user(result("a")), assistant("Done.")) == [
        answered("", function("a")),
        tool("a"),
        said("wait"),
        answered("Done."),
    ]


def test_a_call_without_a_result_gets_one() -> None:
    assert translated(assistant(call("a"), call("b")), user("stop", result("b")), assistant("Stopped.")) == [
        answered("", function("a"), function("b")),
        tool("a", NO_RESULT),
        tool("b"),
        said("stop"),
        answered("Stopped."),
    ]


def test_a_call_at_the_end_gets_a_result() -> None:
    assert translated(user("Go."), assistant(call("a"))) == [
        said("Go."),
        answered("", function("a")),
        tool("a", NO_RESULT),
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([user(result("z", "old"))], [said(f"{ORPHAN}\nold")], id="the conversation begins with it"),
        pytest.param(
            [user("Q"), assistant("A"), user(result("z", "old", is_error=True), "next")],
            [said("Q"), answered("A"), said(f"{ORPHAN}\n[tool error] old\n\nnext")],
            id="its call was cut away",
        ),
        pytest.param(
            [assistant(call("a", "Read")), user(result("a", "1"), result("a", "2"))],
            [answered("", function("a", "Read")), tool("a", "1"), said("[another result of the call of Read]\n2")],
            id="a second result",
        ),
        pytest.param(
            [assistant(call("a", "Read")), user("never mind"), assistant("Fine."), user(result("a", "late"))],
            [
                answered("", function("a", "Read")),
                tool("a", NO_RESULT),
                said("never mind"),
                answered("Fine."),
                said("[another result of the call of Read]\nlate"),
            ],
            id="a late result",
        ),
    ],
)
def test_a_result_without_a_waiting_call_becomes_text(messages: list[Json], expected: list[Json]) -> None:
    assert translated(*messages) == expected


def test_two_calls_of_one_id_are_told_apart() -> None:
    assert translated(
        assistant(call("tool_0", n=1), call("tool_0", n=2)), user(result("tool_0", "1"), result("tool_0", "2"))
    ) == [
        answered("", function("tool_0", arguments='{"n": 1}'), function("tool_0-1", arguments='{"n": 2}')),
        tool("tool_0", "1"),
        tool("tool_0-1", "2"),
    ]


def test_one_id_in_two_turns_is_two_calls() -> None:
    turn = [assistant(call("tool_0")), user(result("tool_0", "1"))]
    assert translated(*turn, *turn) == [answered("", function("tool_0")), tool("tool_0", "1")] * 2


def test_the_backend_gets_its_own_ids_back() -> None:
    encoded = "toolu_b64_ZnVuY3Rpb25zLkJhc2g6MA"
    assert translated(assistant(call(encoded)), user(result(encoded))) == [
        answered("", function("functions.Bash:0")),
        tool("functions.Bash:0"),
    ]


def test_long_names_are_short_everywhere() -> None:
    name = "mcp__plugin__" + "x" * 60
    short = "mcp__plugin__" + "x" * 42 + "_d63cf620"
    chat = translated(
        assistant(call("s", "ToolSearch"), call("a", name)),
        user(result("s", [{"type": "tool_reference", "tool_name": name}]), result("a", [PNG])),
    )
    assert chat == [
        answered("", function("s", "ToolSearch"), function("a", short)),
        tool("s", f"loaded: {short}"),
        tool("a", IMAGE_NOTE),
        said([{"type": "text", "text": f"[image from the result of {short}]"}, PNG_PART]),
    ]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "tool_use", "name": "Bash", "input": {}}, "a tool_use block needs `id` and `name`"),
        ({"type": "tool_use", "id": "a", "input": {}}, "a tool_use block needs `id` and `name`"),
        ({"type": "tool_use", "id": "a", "name": "b", "input": [1]}, "`input` of a tool_use block must be an object"),
    ],
    ids=["no id", "no name", "input is a list"],
)
def test_a_broken_call_is_refused_with_its_place(block: Json, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated(user("Q"), assistant(block))
    assert caught.value.message == f"messages.1.content: {message}"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "tool_result", "content": "x"}, "a tool_result block needs `tool_use_id`"),
        (
            {"type": "tool_result", "tool_use_id": "a", "content": {"text": "x"}},
            "the content of a tool_result block must be a string or a list of blocks",
        ),
    ],
    ids=["no id", "content is an object"],
)
def test_a_broken_result_is_refused_with_its_place(block: Json, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated(assistant(call("a")), user(block))
    assert caught.value.message == f"messages.1.content: {message}"


# images


def test_an_image_stays_in_its_place() -> None:
    assert translated(user("Before.", PNG, "After.")) == [
        said([{"type": "text", "text": "Before."}, PNG_PART, {"type": "text", "text": "After."}])
    ]


def test_the_image_of_a_result_goes_to_the_user() -> None:
    assert translated(
        assistant(call("a", "Read"), call("b")),
        user(result("a", [{"type": "text", "text": "a.png"}, PNG]), result("b"), "What is it?"),
    ) == [
        answered("", function("a", "Read"), function("b")),
        tool("a", f"a.png\n{IMAGE_NOTE}"),
        tool("b"),
        said(
            [
                {"type": "text", "text": "[image from the result of Read]"},
                PNG_PART,
                {"type": "text", "text": "What is it?"},
            ]
        ),
    ]


def test_the_image_of_an_orphan_result_stays_with_it() -> None:
    assert translated(user(result("z", [PNG]))) == [
        said(
            [
                {"type": "text", "text": f"{ORPHAN}\n{IMAGE_NOTE}"},
                {"type": "text", "text": "[image from the result of a tool]"},
                PNG_PART,
            ]
        )
    ]


def test_a_model_that_does_not_see_is_told_of_images() -> None:
    note = "[image left out: this model does not take images]"
    assert translated(user(PNG), assistant(call("a")), user(result("a", [PNG])), sees_images=False) == [
        said(note),
        answered("", function("a")),
        tool("a", note),
    ]


# other blocks


REPORT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Sales rose."}}
REPORT_TEXT = "<document>\nSales rose.\n</document>"


def test_a_document_in_a_turn_and_in_a_result() -> None:
    assert translated(user(REPORT, "Sum up."), assistant(call("a")), user(result("a", [REPORT]))) == [
        said(f"{REPORT_TEXT}\n\nSum up."),
        answered("", function("a")),
        tool("a", REPORT_TEXT),
    ]


def test_the_text_of_a_pdf_is_found_by_its_data() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    assert translated(user(pdf), documents={"JVBERi0=": "Hello"}) == [said("<document>\nHello\n</document>")]


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            "[web_search was called on the server with {}]",
        ),
        (
            {"type": "mcp_tool_use", "id": "s", "name": "find", "input": {}},
            "[find was called on the server with {}]",
        ),
        ({"type": "mcp_tool_result", "tool_use_id": "s", "content": "Found."}, "[mcp_tool_result]\nFound."),
        (
            {"type": "web_search_tool_result", "content": [{"type": "web_search_result", "title": "X"}]},
            "[web_search_tool_result]\nX",
        ),
        ({"type": "web_fetch_tool_result", "content": {"error_code": "e"}}, "[web_fetch_tool_result]\ne"),
        ({"type": "compaction", "content": "We built it."}, "[summary of the conversation so far]\nWe built it."),
        ({"type": "tool_reference"}, "loaded: a tool"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_what_anthropics_servers_did_stays_in_its_place(block: Json, text: str) -> None:
    assert translated(user("Q"), assistant("A", block, "B")) == [said("Q"), answered(f"A\n\n{text}\n\nB")]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "container_upload", "file_id": "f"},
        {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "1"}},
        {"type": "tool_search_tool_result", "tool_use_id": "s", "content": {"tool_references": []}},
        {"type": "advisor_tool_result", "content": [1, 2], "source": 5},
        {"type": "of_the_future", "input": "x"},
    ],
    ids=lambda block: block["type"],
)
@pytest.mark.parametrize("turn", [user, assistant])
def test_a_block_of_an_unknown_type_is_noted(turn: Any, block: Json) -> None:
    (message,) = translated(turn("Text.", block))
    assert message["content"] == f"Text.\n\n[{block['type']} left out: it cannot be passed on to this model]"


@pytest.mark.parametrize(
    ("turn", "block", "kind"),
    [
        (user, {"type": "thinking", "thinking": "Hm.", "signature": ""}, "thinking"),
        (user, call("a"), "tool_use"),
        (assistant, result("a"), "tool_result"),
        (assistant, PNG, "image"),
    ],
    ids=["thinking of a user", "call of a user", "result of an assistant", "image of an assistant"],
)
def test_a_block_in_a_foreign_turn_is_noted(turn: Any, block: Json, kind: str) -> None:
    (message,) = translated(turn("Text.", block))
    assert message["content"] == f"Text.\n\n[{kind} left out: it cannot be passed on to this model]"


# thinking in the history


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("signature", ["", "claude-gateway", "EuYBCkQYAiJA" * 50], ids=["none", "own", "foreign"])
def test_thinking_goes_back_in_the_backends_field(field: str, signature: str) -> None:
    thinking = {"type": "thinking", "thinking": "Hm.\n", "signature": signature}
    chat = translated(user("Q"), assistant(thinking, "A", call("a")), user(result("a")), reasoning_field=field)
    assert chat[1] == answered("A", function("a"), **{field: "Hm.\n"})


def test_thinking_of_every_turn_goes_back() -> None:
    one, two, three = ({"type": "thinking", "thinking": text, "signature": ""} for text in ("1", "2", "3"))
    chat = translated(
        user("Q"),
        assistant(one, "A", two, call("a")),
        user(result("a")),
        assistant(three),
        assistant(one, "B"),
        reasoning_field="reasoning",
    )
    assert chat == [
        said("Q"),
        answered("A", function("a"), reasoning="1\n2"),
        tool("a"),
        answered("B", reasoning="3\n1"),
    ]


def test_thinking_is_left_out_where_the_backend_refuses_it() -> None:
    assert translated(user("Q"), assistant({"type": "thinking", "thinking": "Hm."}, "A")) == [said("Q"), answered("A")]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "", "signature": "s"},
        {"type": "thinking"},
        {"type": "redacted_thinking", "data": "EmwKAhgB"},
    ],
    ids=["empty", "without its text", "redacted"],
)
def test_thinking_that_cannot_be_read_leaves_no_trace(block: Json) -> None:
    assert translated(user("Q"), assistant(block, "A"), reasoning_field="reasoning") == [said("Q"), answered("A")]


@pytest.mark.parametrize("field", ["reasoning_content", None])
def test_a_turn_of_thinking_alone_is_none(field: str | None) -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    chat = translated(user("Q"), assistant(thinking), user("Well?"), reasoning_field=field)
    assert chat == [said("Q\n\nWell?")]


def test_missing_thinking_is_filled_in_where_the_backend_demands_it() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    messages = [user("Q"), assistant("A"), user("R"), assistant(thinking, call("a")), user(result("a"))]
    chat = translated(*messages, reasoning_field="reasoning_content", missing_thinking=" ")
    assert chat == [
        said("Q"),
        answered("A", reasoning_content=" "),
        said("R"),
        answered("", function("a"), reasoning_content="Hm."),
        tool("a"),
    ]


# what a backend gave to be sent back unread


def signed(**fields: Any) -> Json:
    return {"type": "redacted_thinking", "data": f"claude-gateway:{json.dumps(fields)}"}


SIGNED = {"google": {"thought_signature": "CiQB"}}
DETAILS = [{"type": "reasoning.encrypted", "id": "rs_1", "data": "gAAA", "format": "openai-responses-v1", "index": 0}]


@pytest.mark.parametrize("late", [False, True], ids=["before its call", "behind it"])
def test_what_came_with_a_call_goes_back_with_it(late: bool) -> None:
    signature = signed(extra_content={"b": SIGNED})
    calls = [call("a"), call("b"), signature] if late else [call("a"), signature, call("b")]
    chat = translated(user("Q"), assistant(*calls), user(result("a"), result("b")))
    assert chat == [
        said("Q"),
        answered("", function("a"), {**function("b"), "extra_content": SIGNED}),
        tool("a"),
        tool("b"),
    ]


def test_reasoning_details_go_back_in_place_of_the_thinking() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "claude-gateway"}
    blocks = [thinking, signed(reasoning_details=DETAILS[:1]), "A", signed(reasoning_details=[{"signature": "s"}])]
    chat = translated(user("Q"), assistant(*blocks), user("R"), reasoning_field="reasoning")
    assert chat[1] == answered("A", reasoning_details=[*DETAILS, {"signature": "s"}])


def test_what_another_backend_gave_stays_here() -> None:
    blocks = [signed(reasoning_details=DETAILS, extra_content={"a": SIGNED}), "A", call("a")]
    chat = translated(user("Q"), assistant(*blocks), user(result("a")), wants_back=frozenset())
    assert chat[1] == answered("A", function("a"))


@pytest.mark.parametrize(
    "data",
    [
        "EmwKAhgB",
        "claude-gateway:",
        "claude-gateway:{",
        'claude-gateway:{"reasoning_details":"x"}',
        'claude-gateway:{"extra_content":{"a":5}}',
        "claude-gateway:" + "[" * 100_000,
        None,
        7,
    ],
    ids=["Anthropic's", "nothing", "cut", "no list", "no object", "nested deeply", "null", "a number"],
)
def test_what_is_not_ours_or_was_changed_counts_for_nothing(data: Any) -> None:
    block = {"type": "redacted_thinking", "data": data}
    assert translated(user("Q"), assistant(block, "A", call("a")))[1] == answered("A", function("a"))


def test_the_first_call_of_a_turn_is_signed_for_a_backend_that_checks() -> None:
    made_here = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    turns = [
        user("Q"),
        assistant(call("a"), call("b")),
        user(result("a"), result("b")),
        assistant(signed(extra_content={"c": SIGNED}), call("c")),
        user(result("c")),
    ]
    chat = translated(*turns, missing_signature="skip_thought_signature_validator")
    assert [message.get("tool_calls") for message in chat] == [
        None,
        [{**function("a"), "extra_content": made_here}, function("b")],
        None,
        None,
        [{**function("c"), "extra_content": SIGNED}],
        None,
    ]


def test_words_behind_a_result_follow_an_assistants_where_the_backend_wants_it() -> None:  # Mistral, code 3230
    turns = [user("Q"), assistant(call("a")), user(result("a"), "Go on."), assistant(call("b")), user(result("b"))]
    assert translated(*turns, parts_user_from_tool=True) == [
        said("Q"),
        answered("", function("a")),
        tool("a"),
        answered("OK."),
        said("Go on."),
        answered("", function("b")),
        tool("b"),
    ]
