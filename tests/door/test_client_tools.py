"""Anthropic's own client tools and toolsets, and tools that change in mid-conversation, from client to backend and back."""

import json
from typing import Any

import pytest

from tests.conftest import TOKEN, ScriptedBackend, StartGateway, ask, chunk, events, respond, stream

Json = dict[str, Any]

COMPUTER = {"type": "computer_toolset_20260801"}
BROWSER = {"type": "browser_toolset_20260801"}
CLICK = {"coordinate": [1, 2]}


def called(name: str, arguments: Json) -> Json:
    call = {"id": "call_1a", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def answered(message: Json, *, streaming: bool) -> Any:
    if streaming:
        return stream(
            chunk(message | {"tool_calls": [message["tool_calls"][0] | {"index": 0}]}), chunk({}, "tool_calls")
        )
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return respond(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def only_block(body: bytes, *, streaming: bool) -> Json:
    """The one block of an answer, with the input that its deltas hold."""
    if not streaming:
        [block] = json.loads(body)["content"]
        return dict(block)
    shown = events(body)
    [block] = [data["content_block"] for name, data in shown if name == "content_block_start"]
    written = "".join(data["delta"]["partial_json"] for name, data in shown if name == "content_block_delta")
    return {**block, "input": json.loads(written)}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("tools", "name", "block"),
    [
        ([{"type": "bash_20250124", "name": "bash"}], "bash", {"name": "bash"}),
        (
            [{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}],
            "str_replace_based_edit_tool",
            {"name": "str_replace_based_edit_tool"},
        ),
        ([{"type": "memory_20250818", "name": "memory"}], "memory", {"name": "memory"}),
        ([COMPUTER, BROWSER], "computer__left_click", {"name": "left_click", "toolset_name": "computer"}),
        ([COMPUTER, BROWSER], "browser__left_click", {"name": "left_click", "toolset_name": "browser"}),
    ],
    ids=["bash", "the editor", "memory", "a computer's click", "a browser's click"],
)
async def test_a_call_comes_back_under_the_clients_own_names(
    tools: list[Json],
    name: str,
    block: Json,
    streaming: bool,
    scripted: ScriptedBackend,
    start_gateway: StartGateway,
) -> None:
    scripted.answers = [answered(called(name, CLICK), streaming=streaming)]
    gateway = await start_gateway(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(tools=tools, stream=streaming), headers=TOKEN)

    assert only_block(await response.read(), streaming=streaming) == {
        "type": "tool_use",
        "id": "call_1a",
        "input": CLICK,
        **block,
    }
    assert name in {tool["function"]["name"] for tool in scripted.requests[0].json["tools"]}


async def test_a_members_call_is_replayed_as_it_was_made(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [answered(called("browser__new_tab", {}), streaming=False)]
    gateway = await start_gateway(scripted.url)
    use = {"type": "tool_use", "id": "call_0", "name": "list_tabs", "toolset_name": "browser", "input": {}}
    tabs = [{"tab_id": "t1", "title": "Home", "url": "https://a.test/"}, {"tab_id": "t2", "title": "", "url": ""}]
    tabs[1]["active"] = True
    state = {"type": "browser_state", "tabs": tabs, "state_changes": [{"type": "tab_opened", "tab_id": "t2"}]}
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [use]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_0", "toolset_name": "browser", "content": [state]}
            ],
        },
    ]

    await gateway.post("/v1/messages", json=ask(tools=[BROWSER], messages=history), headers=TOKEN)

    _, assistant, result = scripted.requests[0].json["messages"]
    assert assistant["tool_calls"][0]["function"] == {"name": "browser__list_tabs", "arguments": "{}"}
    assert result["content"] == (
        '[browser tabs]\nt1: Home https://a.test/\nt2 (active): untitled\n{"type":"tab_opened","tab_id":"t2"}'
    )


def function(name: str) -> Json:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize(
    ("tools", "name", "expected"),
    [
        ([{"type": "bash_20250124", "name": "bash"}], "bash", function("bash")),
        ([COMPUTER], "screenshot", function("computer__screenshot")),
        ([COMPUTER, BROWSER], "navigate", function("browser__navigate")),
        # one of two: a backend cannot be told which
        ([COMPUTER, BROWSER], "screenshot", None),
        ([COMPUTER], "computer", "required"),
        ([COMPUTER, BROWSER], "computer", None),
        ([COMPUTER, {"name": "screenshot", "input_schema": {"type": "object"}}], "screenshot", function("screenshot")),
    ],
)
async def test_client_tools_are_forced_like_any_other(
    tools: list[Json], name: str, expected: Any, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [answered(called("bash", {}), streaming=False)]
    gateway = await start_gateway(scripted.url)

    body = ask(tools=tools, tool_choice={"type": "tool", "name": name})
    await gateway.post("/v1/messages", json=body, headers=TOKEN)

    assert scripted.requests[0].json.get("tool_choice") == expected


# tools that change


def spec(name: str) -> Json:
    return {"name": name, "input_schema": {"type": "object"}}


def named(name: str) -> Json:
    return {"type": "tool_reference", "name": name}


def defined(tool: Json) -> Json:
    return {"type": "tool_definition", "definition": tool}


def added(tool: Json) -> Json:
    return {"type": "tool_addition", "tool": tool}


def removed(name: str) -> Json:
    return {"type": "tool_removal", "tool": named(name)}


CHANGES: dict[str, tuple[list[Json], list[str]]] = {
    "nothing": ([], ["a", "b", "c"]),
    "one goes": ([removed("b")], ["a", "c"]),
    "one goes and comes back to its place": ([removed("b"), added(named("b"))], ["a", "b", "c"]),
    "a new one comes last": ([added(defined(spec("0")))], ["a", "b", "c", "0"]),
    "new ones come in their order, and may go": (
        [added(defined(spec("z"))), added(defined(spec("y"))), removed("z")],
        ["a", "b", "c", "y"],
    ),
    "a new one is known from then on": (
        [added(defined(spec("z"))), removed("z"), added(named("z"))],
        ["a", "b", "c", "z"],
    ),
    "one is defined anew": ([added(defined(spec("b")))], ["a", "b", "c"]),
    "a client tool comes": ([added(defined({"type": "bash_20250124", "name": "bash"}))], ["a", "b", "c", "bash"]),
    "all go": ([removed("a"), removed("b"), removed("c")], []),
    "an unknown one goes": ([removed("x")], ["a", "b", "c"]),
}


@pytest.mark.parametrize("role", ["system", "user"])
@pytest.mark.parametrize(("changes", "names"), CHANGES.values(), ids=CHANGES)
async def test_tools_are_offered_as_they_are_at_the_end(
    changes: list[Json],
    names: list[str],
    role: str,
    scripted: ScriptedBackend,
    start_gateway: StartGateway,
) -> None:
    scripted.answers = [answered(called("a", {}), streaming=False)]
    gateway = await start_gateway(scripted.url)
    history = [{"role": "user", "content": "Hi"}, *({"role": role, "content": [change]} for change in changes)]

    response = await gateway.post(
        "/v1/messages", json=ask(tools=[spec("a"), spec("b"), spec("c")], messages=history), headers=TOKEN
    )

    assert response.status == 200
    sent = scripted.requests[0].json
    assert [tool["function"]["name"] for tool in sent.get("tools", ())] == names


async def test_the_conversation_tells_where_a_tool_came_and_went(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.answers = [answered(called("a", {}), streaming=False)]
    gateway = await start_gateway(scripted.url)
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "New."}, added(named("a")), removed("b")]},
    ]

    await gateway.post("/v1/messages", json=ask(tools=[spec("a"), spec("b")], messages=history), headers=TOKEN)

    assert scripted.requests[0].json["messages"] == [
        {
            "role": "user",
            "content": "Hi\n\n<system-reminder>\nNew.\n\n[from here on, a is available]\n\n"
            "[from here on, b is not available]\n</system-reminder>",
        }
    ]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (added(named("x")), "tool_addition refers to 'x', which is not in `tools`"),
        ({"type": "tool_addition"}, "a tool_addition block needs the name of a tool in `tool`"),
        ({"type": "tool_removal", "tool": {"type": "tool_reference"}}, "a tool_removal block needs"),
    ],
)
async def test_a_change_that_names_no_known_tool_is_refused(
    block: Json, said: str, scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(scripted.url)
    history = [{"role": "user", "content": "Hi"}, {"role": "system", "content": [block]}]

    response = await gateway.post("/v1/messages", json=ask(tools=[spec("a")], messages=history), headers=TOKEN)

    assert response.status == 400
    assert (await response.json())["error"]["message"].startswith(f"messages.1.content: {said}")
