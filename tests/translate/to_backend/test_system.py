"""The system prompt in front, and the system messages in the middle."""

import json
from typing import Any

import pytest

from gateway.anthropic.decode import decode_request
from gateway.anthropic.request import Block
from gateway.translate.to_backend.system import inline_system_text, system_text

BILLING = "x-anthropic-billing-header: cc_version=2.1.330.9bb; cc_entrypoint=sdk-cli;"


def system(value: Any) -> str | list[Block] | None:
    """A request's `system`, as it comes off the wire."""
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}], "system": value}
    return decode_request(json.dumps(body).encode()).system


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, "", id="none"),
        pytest.param("", "", id="empty string"),
        pytest.param([], "", id="empty list"),
        pytest.param([text("")], "", id="empty block"),
        pytest.param("Be brief.", "Be brief.", id="string"),
        pytest.param([text("Be brief.")], "Be brief.", id="one block is the string"),
        pytest.param([text("You are it."), text(""), text("Be brief.")], "You are it.\n\nBe brief.", id="blocks"),
        pytest.param([text("A", cache_control={"type": "ephemeral"})], "A", id="cache_control is not seen"),
        pytest.param([text(" two \n lines \n")], " two \n lines \n", id="blanks stay"),
        pytest.param("x" * 200_000, "x" * 200_000, id="no limit on its size"),
    ],
)
def test_blocks_and_strings_become_one_text(value: Any, expected: str) -> None:
    assert system_text(system(value)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param([text(BILLING), text("You are it.")], "You are it.", id="first block"),
        pytest.param([text("You are it."), text(BILLING)], "You are it.", id="any block"),
        pytest.param([text(BILLING)], "", id="only block"),
        pytest.param(BILLING, "", id="whole string"),
        pytest.param(BILLING + "\n\nYou are it.", "You are it.", id="the rest of a joined string is kept"),
        pytest.param([text(f"Not a header: {BILLING}")], f"Not a header: {BILLING}", id="only at the start of a text"),
    ],
)
def test_the_billing_header_is_left_out(value: Any, expected: str) -> None:
    assert system_text(system(value)) == expected


def test_notes_follow_the_prompt() -> None:
    assert system_text(system([text("You are it.")]), ["First.", "Second."]) == "You are it.\n\nFirst.\n\nSecond."
    assert system_text(None, ["First."]) == "First."


def test_a_block_that_is_no_text_is_noted() -> None:
    value = [text("Be brief."), {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}]
    assert system_text(system(value)) == "Be brief.\n\n[image left out: it cannot be passed on to this model]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("Today is Sunday.", "<system-reminder>\nToday is Sunday.\n</system-reminder>", id="string"),
        pytest.param([text("A"), text("B")], "<system-reminder>\nA\n\nB\n</system-reminder>", id="blocks"),
        pytest.param([text(BILLING), text("A")], "<system-reminder>\nA\n</system-reminder>", id="billing header"),
        pytest.param([text(BILLING)], "", id="billing header alone"),
        pytest.param("", "", id="empty"),
        pytest.param([text(" \n ")], "", id="blank"),
        pytest.param(
            [{"type": "tool_rumour", "tools": [{"name": "Read"}]}],
            "<system-reminder>\n[tool_rumour left out: it cannot be passed on to this model]\n</system-reminder>",
            id="unknown block",
        ),
    ],
)
def test_a_system_message_of_the_middle_becomes_a_reminder(value: Any, expected: str) -> None:
    content = system(value)
    assert content is not None
    assert inline_system_text(content) == expected
