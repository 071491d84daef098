"""A Messages request in, the whole chat request out."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest
from gateway.backend.profiles import PROFILES
from gateway.openai.profile import GENERIC, Profile
from gateway.translate.to_backend.request import translate_request

Json = dict[str, Any]

HI = [{"role": "user", "content": "Hi."}]
READ = {"name": "Read", "input_schema": {"type": "object"}}
READ_FUNCTION = {"type": "function", "function": {"name": "Read", "parameters": {"type": "object"}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
MISSING_NOTE = (
    "These tools are not available here: {}. Answer without them; do not make up what they would return, and say so if "
    "the user asks for it."
)
SEARCH_NOTE = MISSING_NOTE.format("web_search")
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}}
OFF = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}


def translated(fields: Json | None = None, profile: Profile = GENERIC, **options: Any) -> Json:
    """The body that the backend gets, as it reads it."""
    body = {"model": "claude-x", "max_tokens": 100, "messages": HI, **(fields or {})}
    chat = translate_request(decode_request(json.dumps(body).encode()), profile, model="backend-x", **options)
    decoded: Json = msgspec.json.decode(msgspec.json.encode(chat))
    return decoded


def plain(**fields: Any) -> Json:
    """The chat request of the plainest Messages request, with other fields."""
    body: Json = {"model": "backend-x", "messages": HI, "max_tokens": 100, "stream": False, **OFF, **fields}
    return {name: value for name, value in body.items() if value is not None}


def test_the_plainest_request() -> None:
    assert translated() == plain()


def test_a_request_with_everything() -> None:
    fields = {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            *HI,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "Read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "ok"}]},
        ],
        "tools": [READ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "stream": True,
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
        "metadata": {"user_id": "u"},
        "context_management": {"edits": []},
        "service_tier": "auto",
    }
    call = {"id": "a", "type": "function", "function": {"name": "Read", "arguments": "{}"}}
    assert translated(fields) == {
        "model": "backend-x",
        "messages": [
            {"role": "system", "content": "Be brief."},
            *HI,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "ok"},
        ],
        "tools": [READ_FUNCTION],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 100,
        "stop": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"enable_thinking": True, "thinking": True},
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"tools": []}, {}, id="empty list"),
        pytest.param({"tools": None}, {}, id="null"),
        pytest.param({"tools": [], "tool_choice": {"type": "any"}}, {}, id="a choice among none"),
        pytest.param(
            {"tools": [{"name": "DeferredToolPlaceholder", "defer_loading": True}], "tool_choice": {"type": "auto"}},
            {},
            id="a placeholder alone",
        ),
        pytest.param(
            {"tools": [READ], "tool_choice": {"type": "auto"}}, {"tools": [READ_FUNCTION]}, id="auto is not said"
        ),
        pytest.param(
            {"tools": [READ], "tool_choice": {"type": "none"}},
            {"tools": [READ_FUNCTION], "tool_choice": "none"},
            id="none",
        ),
        pytest.param(
            {"tools": [READ], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            {"tools": [READ_FUNCTION], "parallel_tool_calls": False},
            id="one call at a time",
        ),
        pytest.param(
            {"tools": [READ], "tool_choice": {"type": "auto", "disable_parallel_tool_use": False}},
            {"tools": [READ_FUNCTION]},
            id="several calls are the default",
        ),
        pytest.param(
            {"tools": [SEARCH], "tool_choice": {"type": "tool", "name": "web_search"}},
            {"messages": [{"role": "system", "content": SEARCH_NOTE}, *HI]},
            id="a server's tool alone",
        ),
        pytest.param(
            {"system": "Be brief.", "tools": [SEARCH, READ], "tool_choice": {"type": "tool", "name": "web_search"}},
            {
                "messages": [{"role": "system", "content": f"Be brief.\n\n{SEARCH_NOTE}"}, *HI],
                "tools": [READ_FUNCTION],
            },
            id="a server's tool, forced, among others",
        ),
    ],
)
def test_tools_and_the_choice(fields: Json, expected: Json) -> None:
    assert translated(fields) == plain(**expected)


@pytest.mark.parametrize(
    ("asked", "window", "sent"),
    [
        (128_000, 32_768, 32_768),
        (32_000, 131_072, 32_000),
        (128_000, None, 128_000),
        (1, 10, 1),
    ],
    ids=["more than the window", "less", "window not known", "one"],
)
def test_max_tokens_within_the_window(asked: int, window: int | None, sent: int) -> None:
    assert translated({"max_tokens": asked}, context_window=window) == plain(max_tokens=sent)


@pytest.mark.parametrize(("window", "sent"), [(None, 8192), (131_072, 8192), (4096, 4096)])
def test_max_tokens_within_what_the_backend_takes(window: int | None, sent: int) -> None:
    profile = Profile(name="small", most_tokens=8192)
    assert translated({"max_tokens": 32_000}, profile, context_window=window) == plain(max_tokens=sent)


def test_ids_in_the_form_that_the_backend_takes() -> None:
    history = [
        *HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]},
    ]
    _, answer, result = translated({"messages": history}, PROFILES["mistral"])["messages"]
    assert len(answer["tool_calls"][0]["id"]) == 9
    assert result == {"role": "tool", "tool_call_id": answer["tool_calls"][0]["id"], "content": "ok"}


def test_a_count_needs_no_max_tokens() -> None:
    body = json.dumps({"model": "m", "messages": HI, "tools": []}).encode()
    chat = translate_request(decode_request(body, counting=True), GENERIC, model="backend-x")
    assert chat == plain(max_tokens=None)


@pytest.mark.parametrize(
    ("stops", "profile", "expected"),
    [
        (["a", "b"], GENERIC, ["a", "b"]),
        ([], GENERIC, None),
        (["", "a"], GENERIC, ["a"]),
        ([""], GENERIC, None),
        (["a", "b", "c", "d", "e"], GENERIC, ["a", "b", "c", "d", "e"]),
        (["a", "", "b", "c", "d"], Profile(name="four", max_stops=4), ["a", "b", "c", "d"]),
    ],
    ids=["some", "none", "an empty one", "only an empty one", "any number", "as many as the backend takes"],
)
def test_stop_sequences(stops: list[str], profile: Profile, expected: list[str] | None) -> None:
    assert translated({"stop_sequences": stops}, profile) == plain(stop=expected)


def test_more_stop_sequences_than_the_backend_takes_are_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated({"stop_sequences": ["a", "b", "c", "d", "e"]}, Profile(name="four", max_stops=4))
    assert caught.value.message == "stop_sequences: this backend accepts at most 4, not 5"


@pytest.mark.parametrize(("stream", "tools", "sent"), [(True, [READ], True), (False, [READ], None), (True, [], None)])
def test_arguments_in_pieces_are_asked_for_where_they_must_be(
    stream: bool, tools: list[Json], sent: bool | None
) -> None:
    chat = translated({"stream": stream, "tools": tools}, PROFILES["zai"])
    assert chat.get("tool_stream") == sent


def test_tools_above_the_backends_limit_are_named_to_the_model() -> None:
    many = [{**READ, "name": f"t{number}"} for number in range(130)]
    chat = translated({"tools": many}, PROFILES["moonshot"])
    assert [tool["function"]["name"] for tool in chat["tools"]] == [f"t{number}" for number in range(128)]
    assert chat["messages"][0] == {
        "role": "system",
        "content": MISSING_NOTE.format("t128, t129"),
    }


def test_a_forced_tool_is_within_the_backends_limit() -> None:
    many = [{**READ, "name": f"t{number}"} for number in range(5)]
    chat = translated({"tools": many, "tool_choice": {"type": "tool", "name": "t4"}}, Profile(name="x", max_tools=3))
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["t0", "t1", "t4"]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "t4"}}
    assert chat["messages"][0]["content"] == MISSING_NOTE.format("t3, t2")


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_is_sent_only_if_asked_for_and_zero_is_asked_for(name: str) -> None:
    assert translated({name: 0}) == plain(**{name: 0})
    assert translated({name: None}) == plain()


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (True, {"stream": True, "stream_options": {"include_usage": True}}),
        (False, {"stream": False}),
        (None, {"stream": False}),
    ],
    ids=["true", "false", "null"],
)
def test_streaming(stream: bool | None, expected: Json) -> None:
    assert translated({"stream": stream}) == plain(**expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
    ids=["output_config.format", "output_format"],
)
def test_a_wanted_schema(fields: Json) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}
    assert translated(fields) == plain(response_format=wanted)


def test_a_wanted_schema_goes_through_byte_for_byte() -> None:
    schema = b'{"type":"object",  "properties":{"a":{"type":"number","default":5000.0}}}'
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"output_config":{"format":'
    request = decode_request(body + b'{"type":"json_schema","schema":' + schema + b"}}}")
    chat = translate_request(request, GENERIC, model="backend-x")
    assert b'"json_schema":{"name":"response","schema":' + schema + b"}" in msgspec.json.encode(chat)


def test_a_backend_that_takes_no_schema_is_told_in_words() -> None:
    fields = {"system": "Title?", "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}
    note = 'Answer with JSON that fits this JSON schema, and with nothing else: {"type": "object"}'
    chat = translated(fields, PROFILES["deepseek"])
    assert chat["messages"] == [{"role": "system", "content": f"Title?\n\n{note}"}, *HI]
    assert "response_format" not in chat


@pytest.mark.parametrize("config", [{}, {"format": None}, {"format": {"type": "text"}}], ids=["none", "null", "text"])
def test_no_wanted_schema(config: Json) -> None:
    assert translated({"output_config": config}) == plain()


@pytest.mark.parametrize("missing", [{}, {"schema": None}], ids=["none", "null"])
def test_a_format_without_its_schema_is_refused(missing: Json) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated({"output_config": {"format": {"type": "json_schema", **missing}}})
    assert caught.value.message == "output_config.format.schema: Field required"


def test_what_a_profile_drops_is_not_sent() -> None:
    fields = {"top_k": 5, "tools": [READ], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    profile = Profile(name="strict", drops=frozenset({"top_k", "parallel_tool_calls", "chat_template_kwargs"}))
    assert translated(fields, profile) == plain(tools=[READ_FUNCTION], chat_template_kwargs=None)


def test_the_field_for_max_tokens_is_the_profiles() -> None:
    profile = Profile(name="new", thinking_control="none", max_tokens_field="max_completion_tokens")
    expected = plain(max_tokens=None, max_completion_tokens=100, chat_template_kwargs=None)
    assert translated({}, profile) == expected


@pytest.mark.parametrize("profile", PROFILES)
def test_thinking_goes_back_in_the_field_of_the_profile(profile: str) -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    history = [*HI, {"role": "assistant", "content": [thinking, {"type": "text", "text": "Yes?"}]}]
    answer = translated({"messages": history}, PROFILES[profile])["messages"][1]
    field = PROFILES[profile].reasoning_field
    assert answer == {"role": "assistant", "content": "Yes?"} | ({field: "Hm."} if field else {})


@pytest.mark.parametrize("profile", ["deepseek", "moonshot"])
def test_a_turn_without_thinking_does_not_end_a_conversation_that_thinks(profile: str) -> None:
    history = [*HI, {"role": "assistant", "content": "Yes?"}]
    chat = translated({"messages": history, "thinking": {"type": "adaptive"}}, PROFILES[profile])
    assert chat["messages"][1] == {"role": "assistant", "content": "Yes?", "reasoning_content": " "}
    assert translated({"messages": history}, PROFILES[profile])["messages"][1] == history[1]


def test_documents_and_eyes_are_passed_on() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    image = {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}
    fields = {"messages": [{"role": "user", "content": [pdf, image]}]}
    text = "<document>\n[page 1]\nHello\n</document>"
    blind = translated(fields, structs.replace(GENERIC, sees_images=False), documents={"JVBERi0=": "[page 1]\nHello"})
    assert blind["messages"][0]["content"] == f"{text}\n\n[image left out: this model does not take images]"
    seeing = translated(fields, documents={"JVBERi0=": "[page 1]\nHello"})
    assert seeing["messages"][0]["content"] == [
        {"type": "text", "text": text},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    ]


def test_a_backend_that_wants_ids_of_nine_characters_gets_them() -> None:
    body = {
        "model": "m",
        "max_tokens": 10,
        "messages": [
            {"role": "user", "content": "Go"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "toolu_0123456789", "name": "a", "input": {}},
                    {"type": "tool_use", "id": "Abc123xyZ", "name": "b", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "Abc123xyZ", "content": "2"},
                    {"type": "tool_result", "tool_use_id": "toolu_0123456789", "content": "1"},
                ],
            },
        ],
    }
    chat = translate_request(decode_request(json.dumps(body).encode()), PROFILES["mistral"], model="m")

    calls = [call["id"] for call in chat["messages"][1]["tool_calls"]]
    assert [message["tool_call_id"] for message in chat["messages"][2:]] == calls
    assert [len(call) for call in calls] == [9, 9]
    assert (calls[0].isalnum(), calls[1]) == (True, "Abc123xyZ")


@pytest.mark.parametrize(
    ("profile", "last", "fields"),
    [
        ("mistral", {"prefix": True}, {}),
        ("dashscope", {"partial": True}, {}),
        ("vllm", {}, {"continue_final_message": True, "add_generation_prompt": False}),
        ("llama.cpp", {}, {}),
    ],
)
def test_a_prefill_is_gone_on_with(profile: str, last: dict[str, Any], fields: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The answer"}]
    body = {"model": "m", "max_tokens": 9, "messages": messages}
    for sent, prefilled in ((body, True), ({**body, "messages": messages[:1]}, False)):
        chat: dict[str, Any] = dict(
            translate_request(decode_request(json.dumps(sent).encode()), PROFILES[profile], model="m")
        )
        keys = {"continue_final_message", "add_generation_prompt"}
        assert {key: chat[key] for key in keys & chat.keys()} == (fields if prefilled else {})
        extra = {key: chat["messages"][-1][key] for key in {"prefix", "partial"} & chat["messages"][-1].keys()}
        assert extra == (last if prefilled else {})


def test_calls_are_given_tools_where_they_need_them() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "Read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]},
    ]
    body = decode_request(json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode())
    assert "tools" not in translate_request(body, GENERIC, model="m")
    chat = translate_request(body, structs.replace(GENERIC, calls_need_tools=True), model="m")
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["Read"]
