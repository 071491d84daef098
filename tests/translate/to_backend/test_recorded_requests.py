"""Requests of four versions of Claude Code, as recorded, translated for every profile.

The recordings' prose is filler; their shape is real.
"""

import json
from typing import Any

import msgspec
import pytest

from gateway.anthropic.decode import decode_request
from gateway.backend.profiles import PROFILES
from gateway.documents.pdf import pdf_text
from gateway.translate.to_backend.media import pdf_sources
from gateway.translate.to_backend.request import translate_request
from tests.samples import recorded_requests
from tests.translate.to_backend.conversation import check_conversation

Json = dict[str, Any]

RECORDED = recorded_requests()
REQUESTS = {name: decode_request(json.dumps(body).encode(), counting=True) for name, body in RECORDED.items()}
DOCUMENTS = {data: pdf_text(data) for request in REQUESTS.values() for data in pdf_sources(request)}


def translated(name: str, profile: str = "generic", **options: Any) -> Json:
    """The body that the backend gets, as it reads it."""
    chat = translate_request(REQUESTS[name], PROFILES[profile], model="backend-x", documents=DOCUMENTS, **options)
    result: Json = msgspec.json.decode(msgspec.json.encode(chat))
    return result


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", RECORDED)
def test_what_backends_insist_on(name: str, profile: str) -> None:
    chat = translated(name, profile)
    check_conversation(chat["messages"])
    assert chat.keys() <= {
        "model",
        "messages",
        "tools",
        "tool_stream",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "stream",
        "stream_options",
        "chat_template_kwargs",
        "enable_thinking",
        "thinking",
        "reasoning",
        "reasoning_effort",
    }
    for tool in chat.get("tools", ()):
        assert tool.keys() == {"type", "function"}
        assert tool["function"].keys() <= {"name", "description", "parameters"}
    assert chat.get("tools") != []


@pytest.mark.parametrize("name", RECORDED)
def test_nothing_that_can_be_told_is_lost(name: str) -> None:
    """Every text, argument and result of the request is in what the backend gets."""
    body = RECORDED[name]
    chat = translated(name)
    wire = json.dumps(chat["messages"])
    for block in body.get("system", ()):
        if not block["text"].startswith("x-anthropic-billing-header"):
            assert json.dumps(block["text"])[1:-1] in wire
    for message in body["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            result = block.get("content")
            told = block.get("text") or block.get("thinking") or (result if isinstance(result, str) else "")
            assert json.dumps(told)[1:-1] in wire
            if block["type"] == "tool_use":
                assert json.dumps(json.dumps(block["input"]))[1:-1] in wire
    sent = {tool["function"]["name"]: tool["function"]["parameters"] for tool in chat.get("tools", ())}
    assert sent == {
        tool["name"]: tool["input_schema"]
        for tool in body["tools"]
        if tool["name"] not in ("DeferredToolPlaceholder", "web_search")
    }


def messages_after_the_first(name: str) -> list[Json]:
    """The chat messages behind the system prompt and the first user message, which are filler."""
    messages = translated(name)["messages"]
    assert [message["role"] for message in messages[:2]] == ["system", "user"]
    return messages[2:]


def function(number: int, name: str, arguments: str) -> Json:
    return {
        "id": f"toolu_{number:022}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def tool(number: int, content: str) -> Json:
    return {"role": "tool", "tool_call_id": f"toolu_{number:022}", "content": content}


READ = '{"file_path": "/home/dev/project/file.txt"}'


def test_an_image_that_was_read() -> None:
    answer, result, images = messages_after_the_first("2.1.330-image-in-tool-result")
    assert answer == {"role": "assistant", "content": "", "tool_calls": [function(3, "Read", READ)]}
    assert result == tool(3, "[image: in the next user message]")
    assert images["role"] == "user"
    note, image = images["content"]
    assert note == {"type": "text", "text": "[image from the result of Read]"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_pdf_that_was_read() -> None:
    _, result = messages_after_the_first("2.1.330-pdf-in-tool-result")
    assert result == tool(
        5,
        "PDF file read: /home/dev/project/file.txt (387 bytes)\n<document>\n[page 1]\nHello PDF\n</document>",
    )


def test_a_command_that_failed() -> None:
    _, result = messages_after_the_first("2.1.330-tool-error")
    assert result == tool(11, "[tool error] Exit code 3\nout\nerr")


def test_tools_that_were_loaded() -> None:
    _, result = messages_after_the_first("2.1.330-tool-reference")
    assert result == tool(15, "loaded: WebFetch\nloaded: CronList")
    before = translated("2.1.330-turn1")["tools"]
    after = translated("2.1.330-tool-reference")["tools"]
    assert [spec["function"]["name"] for spec in after[len(before) :]] == ["CronList", "WebFetch"]
    assert after[: len(before)] == before


def test_thinking_that_is_replayed() -> None:
    answer, result = messages_after_the_first("2.1.330-thinking-replayed")
    assert answer == {
        "role": "assistant",
        "content": "Running a command.",
        "reasoning_content": "Let me think. I should run a command.",
        "tool_calls": [function(2, "Bash", '{"command": "echo hi-from-tool", "description": "Print text"}')],
    }
    assert result == tool(2, "hi-from-tool")


def test_a_search_on_anthropics_servers() -> None:
    chat = translated("2.1.330-web-search-side-call")
    assert "tools" not in chat
    assert "tool_choice" not in chat
    assert chat["messages"][0]["content"].endswith(
        "\n\nThese tools are not available here: web_search. Answer without them; do not make up what they would "
        "return, and say so if the user asks for it."
    )
    assert chat["messages"][1:] == [{"role": "user", "content": "Perform a web search for the query: test query"}]


def test_a_count() -> None:
    chat = translated("2.1.330-count-tokens")
    assert "tools" not in chat
    assert "max_tokens" not in chat
    assert [message["role"] for message in chat["messages"]] == ["user"]


def test_the_reminder_of_the_middle_stays_behind_the_prompt() -> None:
    prompt = translated("2.1.330-turn1")["messages"][1]["content"]
    assert prompt.startswith("<system-reminder>\n")
    assert "\n\nuse tools please\n\n<system-reminder>\nthe quick brown fox" in prompt
    assert prompt.endswith("\n</system-reminder>")
