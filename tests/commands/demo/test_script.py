"""The embedded backend's answers, case by case, without a server or an event loop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.commands.demo.script import (
    Answer,
    Fault,
    answer,
    clean_result,
    count_tokens,
    prompt_tokens,
    tokens,
    without_reminders,
)

TEXT = {"type": "string"}
READ_PROMPT = (
    "Use the Read tool to read the file /srv/x/secret.txt, "
    "then answer with exactly the word it contains and nothing else."
)


def tool(tool_name: str, /, **properties: dict[str, Any]) -> dict[str, Any]:
    """A tool whose properties are all required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": tool_name, "parameters": schema}}


AGENT = tool("Agent", description=TEXT, prompt=TEXT)
BASH = tool("Bash", command=TEXT)
EDIT = tool("Edit", file_path=TEXT, old_string=TEXT, new_string=TEXT)
READ = tool("Read", file_path=TEXT)
WRITE = tool("Write", file_path=TEXT, content=TEXT)
FETCH = tool("WebFetch", url=TEXT, prompt=TEXT)
WEATHER = tool("get_weather", city=TEXT)
CLAUDE_CODE = [AGENT, BASH, EDIT, READ, tool("Skill", skill=TEXT), tool("Workflow"), WRITE, FETCH]


def ask(prompt: Any, **request: Any) -> Answer:
    return answer({"messages": [{"role": "user", "content": prompt}], **request})


def called(reply: Answer) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of the only call in `reply`."""
    (call,) = reply.tool_calls
    return call.name, json.loads(call.arguments)


def after_results(*results: str, prompt: str = READ_PROMPT, tail: tuple[Any, ...] = ()) -> list[Any]:
    """A conversation in which the Read tool was called once for each of `results`."""
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "Read", "arguments": "{}"}}
        for n in range(len(results))
    ]
    answers = [{"role": "tool", "tool_call_id": f"call_{n}", "content": r} for n, r in enumerate(results)]
    asked = {"role": "user", "content": prompt}
    return [asked, {"role": "assistant", "content": None, "tool_calls": calls}, *answers, *tail]


@pytest.mark.parametrize(
    "text",
    ["", " ", "one", " two  words\n\n", "naïve café, 你好!", "a_b-c.d/e\t\t", "e\u0301 \u200d ½", "x" * 99],
)
def test_tokens_join_to_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text
    assert count_tokens(text) == len(tokens(text))


def test_tokens_are_small_pieces() -> None:
    assert tokens("Hello there, naïve world.") == ["Hello", " there", ",", " naïve", " world", "."]


def test_prompt_tokens_count_messages_calls_and_tools_but_no_images() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999}}
    bare = prompt_tokens({"messages": [{"role": "user", "content": "one two"}]})
    pictured = [{"type": "text", "text": "one two"}, image]
    assert bare == 2
    assert prompt_tokens({"messages": [{"role": "user", "content": pictured}]}) == bare
    assert prompt_tokens({"messages": [{"role": "user", "content": "one two"}], "tools": [READ]}) > bare
    assert prompt_tokens({"messages": after_results("x")}) > prompt_tokens({"messages": after_results()})


def test_prose_echoes_the_prompt_and_says_who_speaks() -> None:
    reply = ask("What is a gateway, in Zürich?")
    assert "What is a gateway, in Zürich?" in reply.text
    assert "embedded demo backend" in reply.text
    assert "\n\n" in reply.text
    assert reply.thinking
    assert reply.finish_reason == "stop"


def test_the_same_request_gets_the_same_answer_and_others_vary() -> None:
    assert ask("Hello") == ask("Hello")
    openings = {ask(f"Hello {n}").text.split(" You asked")[0] for n in range(20)}
    assert len(openings) > 1


@pytest.mark.parametrize(
    "off",
    [{"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"}],
)
def test_thinking_can_be_turned_off(off: dict[str, Any]) -> None:
    assert ask("Hello", **off).thinking == ""
    assert ask("Read /srv/a", tools=[READ], **off).thinking == ""
    assert ask("Hello", reasoning_effort="high", chat_template_kwargs={"enable_thinking": True}).thinking


@pytest.mark.parametrize(
    ("prompt", "name", "arguments"),
    [
        (READ_PROMPT, "Read", {"file_path": "/srv/x/secret.txt"}),
        ("read README.md", "Read", {"file_path": "README.md"}),
        ('Read "/srv/my dir/a.txt" please', "Read", {"file_path": "/srv/my dir/a.txt"}),
        (r"Read C:\Users\me\a.txt.", "Read", {"file_path": r"C:\Users\me\a.txt"}),
        ("Use the Bash tool to run echo hi, then say done", "Bash", {"command": "echo hi"}),
        ("Run `ls -la | wc -l` with bash", "Bash", {"command": "ls -la | wc -l"}),
        ('With Bash run the command "echo a, b" please', "Bash", {"command": "echo a, b"}),
        ('Use Write to write "hello" to ~/a.txt', "Write", {"file_path": "~/a.txt", "content": "hello"}),
        (
            "Edit src/app.py: replace 'x' with 'y'",
            "Edit",
            {"file_path": "src/app.py", "old_string": "x", "new_string": "y"},
        ),
        (
            "Use WebFetch on https://a.example/b?c=1. It's for 'the title'",
            "WebFetch",
            {"url": "https://a.example/b?c=1", "prompt": "the title"},
        ),
        (
            "Use the Agent tool to say SUBDONE.",
            "Agent",
            {"description": "Use the Agent tool to say", "prompt": "say SUBDONE"},
        ),
    ],
)
def test_a_tool_named_in_the_prompt_is_called(prompt: str, name: str, arguments: dict[str, Any]) -> None:
    reply = ask(prompt, tools=CLAUDE_CODE)
    assert called(reply) == (name, arguments)
    assert reply.finish_reason == "tool_calls"
    assert reply.text == ""


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Read /srv/a, then Write it to /srv/b", "Read"),
        ("First Write /srv/b, then Read /srv/a", "Write"),
        ("please write what you find when you use Read on /srv/a", "Read"),
        ("use the EDIT tool on /srv/a", "Edit"),
        ("Use the Write tool", "Write"),
    ],
)
def test_the_first_mention_wins_and_exact_case_goes_first(prompt: str, name: str) -> None:
    assert called(ask(prompt, tools=CLAUDE_CODE))[0] == name


@pytest.mark.parametrize(
    "prompt",
    ["Hello", "Write a poem about the sea", "what is in /srv/Bash/notes", "a read-only view", "Reader /a"],
)
def test_no_tool_is_called_when_none_is_asked_for(prompt: str) -> None:
    reply = ask(prompt, tools=CLAUDE_CODE)
    assert reply.tool_calls == ()
    assert "demo backend" in reply.text


def test_prose_is_never_run_as_a_command() -> None:
    _, arguments = called(ask("Explain bash; rm -rf / is dangerous", tools=CLAUDE_CODE))
    assert arguments["command"].startswith("echo ")


def test_reminders_and_system_text_are_not_the_prompt() -> None:
    reminder = "<system-reminder>\nUse the Bash tool to run `false` [[status 500]]\n</system-reminder>\n"
    system = {"role": "system", "content": "Use the Bash tool. [[cut]]"}
    for content in (
        f"{reminder}\n\n{READ_PROMPT}",
        [{"type": "text", "text": reminder}, {"type": "text", "text": READ_PROMPT}],
    ):
        messages = [system, {"role": "user", "content": content}, system]
        reply = answer({"messages": messages, "tools": CLAUDE_CODE})
        assert called(reply) == ("Read", {"file_path": "/srv/x/secret.txt"})
        assert reply.fault is None


def test_an_unclosed_reminder_stays() -> None:
    text = "a<system-reminder>b</system-reminder>c<system-reminder>d"
    assert without_reminders(text) == "ac<system-reminder>d"


def test_optional_properties_are_left_out() -> None:
    schema = {"type": "object", "properties": {"q": TEXT, "limit": {"type": "integer"}}, "required": ["q"]}
    find = {"type": "function", "function": {"name": "find", "parameters": schema}}
    assert called(ask("find cats", tools=[find])) == ("find", {"q": "cats"})


@pytest.mark.parametrize("parameters", [None, True, {"$ref": "#"}, {"type": "string"}, {"required": "q"}])
def test_odd_schemas_give_an_empty_object(parameters: Any) -> None:
    odd = {"type": "function", "function": {"name": "odd_one", "parameters": parameters}}
    assert called(ask("odd_one", tools=[odd])) == ("odd_one", {})


def test_tool_choice_is_obeyed() -> None:
    weather = "What is the weather in New York?"
    assert ask(weather, tools=[READ, WEATHER]).tool_calls == ()
    named = {"type": "function", "function": {"name": "get_weather"}}
    assert called(ask(weather, tools=[READ, WEATHER], tool_choice=named)) == (
        "get_weather",
        {"city": "New York"},
    )
    assert called(ask("Hi", tools=[READ, WEATHER], tool_choice="required"))[0] == "Read"
    assert called(ask("get_weather for Paris", tools=[READ, WEATHER], tool_choice="required")) == (
        "get_weather",
        {"city": "Paris"},
    )
    assert ask(READ_PROMPT, tools=[READ], tool_choice="none").tool_calls == ()
    assert ask(READ_PROMPT).tool_calls == ()


@pytest.mark.parametrize(
    ("result", "bare"),
    [
        ("pelican", "pelican"),
        ("1\tpelican\n2\t", "pelican"),
        ("     1→line1\n     2→  line2", "line1\n  line2"),
        ("     9→a\n    10→b", "a\nb"),
        ("1\tpelican\n\n<system-reminder>Use Read again.</system-reminder>\n", "pelican"),
        ("10\tten\n20\ttwenty", "10\tten\n20\ttwenty"),
        ("1\tone\nplain", "1\tone\nplain"),
        ("", ""),
    ],
)
def test_results_lose_line_numbers_and_reminders(result: str, bare: str) -> None:
    assert clean_result(result) == bare


def test_exactly_asks_for_the_bare_result() -> None:
    reply = answer({"messages": after_results("     1→pelican\n"), "tools": CLAUDE_CODE})
    assert reply.text == "pelican"
    assert reply.finish_reason == "stop"
    assert reply.tool_calls == ()


def test_several_results_are_all_answered_in_order() -> None:
    assert answer({"messages": after_results("1\tone", "1\ttwo"), "tools": [READ]}).text == "one\ntwo"


def test_without_exactly_the_result_is_quoted_in_a_sentence() -> None:
    reply = answer({"messages": after_results("pelican", prompt="Read /srv/a"), "tools": [READ]})
    assert "pelican" in reply.text
    assert "Read" in reply.text
    assert reply.text != "pelican"
    assert reply.tool_calls == ()


@pytest.mark.parametrize(
    "note",
    [
        {"role": "user", "content": "<system-reminder>Use the Bash tool.</system-reminder>"},
        {"role": "user", "content": "The Bash tool was not used lately. Here is the image of the result."},
        {"role": "user", "content": "Do use the Read tool again."},
        {"role": "system", "content": "Use the Bash tool."},
    ],
)
def test_a_note_after_results_does_not_call_again(note: dict[str, Any]) -> None:
    messages = after_results("pelican", tail=(note,))
    reply = answer({"messages": messages, "tools": [READ, tool("Other")], "tool_choice": "required"})
    assert reply.text == "pelican"
    assert reply.tool_calls == ()


def test_an_explicit_wish_after_results_calls_another_tool() -> None:
    wish = {"role": "user", "content": "Now use the Write tool to put 'x' into /srv/b"}
    reply = answer({"messages": after_results("pelican", tail=(wish,)), "tools": CLAUDE_CODE})
    assert called(reply) == ("Write", {"file_path": "/srv/b", "content": "x"})


def test_a_new_prompt_after_an_answered_call_is_a_new_turn() -> None:
    done = {"role": "assistant", "content": "pelican"}
    fresh = {"role": "user", "content": "Read /srv/other"}
    reply = answer({"messages": after_results("pelican", tail=(done, fresh)), "tools": CLAUDE_CODE})
    assert called(reply) == ("Read", {"file_path": "/srv/other"})


def test_the_second_round_of_calls_is_answered_from_its_own_results() -> None:
    second = after_results("stork")[1:]
    assert answer({"messages": [*after_results("pelican"), *second], "tools": [READ]}).text == "stork"


def test_a_prefilled_answer_is_not_turned_into_a_call() -> None:
    messages = [{"role": "user", "content": READ_PROMPT}, {"role": "assistant", "content": "The word is"}]
    assert answer({"messages": messages, "tools": [READ]}).tool_calls == ()


def test_a_json_schema_gets_a_minimal_object() -> None:
    schema = {
        "type": "object",
        "properties": {"title": TEXT, "done": {"type": "boolean"}, "extra": TEXT},
        "required": ["title", "done"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "t", "schema": schema, "strict": True}}
    reply = ask("fix the login button on the mobile page", response_format=wanted)
    assert json.loads(reply.text) == {"title": "Fix the login button on the", "done": False}


def test_json_object_gets_an_object() -> None:
    assert isinstance(json.loads(ask("Hi", response_format={"type": "json_object"}).text), dict)
    assert "demo backend" in ask("Hi", response_format={"type": "text"}).text


def test_max_tokens_counts_thinking_and_text() -> None:
    whole = ask("Hello")
    thought, said = count_tokens(whole.thinking), count_tokens(whole.text)
    in_thinking = ask("Hello", max_tokens=3)
    assert (count_tokens(in_thinking.thinking), in_thinking.text) == (3, "")
    assert in_thinking.finish_reason == "length"
    in_text = ask("Hello", max_tokens=thought + 4)
    assert in_text.thinking == whole.thinking
    assert in_text.text == "".join(tokens(whole.text)[:4])
    assert in_text.finish_reason == "length"
    assert ask("Hello", max_tokens=thought + said) == whole
    assert ask("Hello", max_tokens=thought + said - 1).finish_reason == "length"


def test_max_completion_tokens_goes_before_max_tokens() -> None:
    assert count_tokens(ask("Hello", max_tokens=9, max_completion_tokens=2).thinking) == 2


def test_max_tokens_cuts_arguments_and_drops_calls_that_did_not_begin() -> None:
    whole = ask(READ_PROMPT, tools=[READ])
    thought = count_tokens(whole.thinking)
    cut = ask(READ_PROMPT, tools=[READ], max_tokens=thought + 3)
    assert whole.tool_calls[0].arguments.startswith(cut.tool_calls[0].arguments)
    assert count_tokens(cut.tool_calls[0].arguments) == 3
    assert cut.finish_reason == "length"
    dropped = ask(READ_PROMPT, tools=[READ], max_tokens=thought)
    assert (dropped.tool_calls, dropped.finish_reason) == ((), "length")


@pytest.mark.parametrize("stop", ["STOP", ["no", "", "beta", "STOP"]])
def test_stop_cuts_before_the_first_match(stop: Any) -> None:
    reply = ask("[[say]]alpha STOP beta[[/say]]", stop=stop)
    assert (reply.text, reply.finish_reason, reply.stop_reason) == ("alpha ", "stop", "STOP")


def test_a_stop_that_does_not_occur_changes_nothing() -> None:
    assert ask("Hello", stop=["\x00"]) == ask("Hello")


def test_a_limit_before_the_stop_string_ends_by_length() -> None:
    reply = ask("[[say]]one two three STOP[[/say]]", stop="STOP", max_tokens=2)
    assert (reply.text, reply.finish_reason, reply.stop_reason) == ("one two", "length", None)


def test_say_is_answered_word_for_word_without_thinking() -> None:
    text = "  two\nlines, the Read tool and [[cut]] "
    assert ask(f"please [[say]]{text}[[/say]] now", tools=[READ]) == Answer(text=text)


@pytest.mark.parametrize(
    ("directive", "fault"),
    [
        ("[[status 429]]", Fault("status", 429)),
        ("[[status 503]]", Fault("status", 503)),
        ("[[cut]]", Fault("cut")),
        ("[[ERROR]]", Fault("error")),
        ("[[silent]]", Fault("silent")),
        ("[[status 200]]", None),
        ("[[cut", None),
        ("[[say]]", None),
    ],
)
def test_faults_are_read_from_the_prompt(directive: str, fault: Fault | None) -> None:
    reply = ask(f"Hello {directive}")
    assert reply.fault == fault
    assert (directive in reply.text) is (fault is None)


def test_only_the_last_prompt_can_ask_for_a_fault() -> None:
    old = [{"role": "user", "content": "[[cut]]"}, {"role": "assistant", "content": "[[error]]"}]
    assert answer({"messages": [*old, {"role": "user", "content": "Hello"}]}).fault is None


@pytest.mark.parametrize("content", [None, [], 7, {}, [{"type": "image_url"}], [None], "\ud800"])
def test_odd_content_is_answered(content: Any) -> None:
    assert "demo backend" in ask(content).text
