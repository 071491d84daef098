"""What only Anthropic's servers can do is refused where silence would lose what was asked for."""

import json
from typing import Any

import pytest

from gateway.anthropic.decode import decode_request
from gateway.anthropic.errors import InvalidRequest

SERVERS = [{"type": "url", "name": "files", "url": "https://mcp.example/sse"}]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "tools of an MCP server": ({"mcp_servers": SERVERS}, "mcp_servers: "),
    "a container by its id": ({"container": "container_1"}, "container: "),
    "a container with skills": ({"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}, "container: "),
    "a compaction": ({"compaction": {"type": "summarize"}}, "compaction: "),
    "a compaction in one's own words": (
        {"compaction": {"type": "summarize", "instructions": "In French."}},
        "compaction: ",
    ),
}
THREADS: dict[str, dict[str, Any]] = {
    "a new thread": {"thread": {"type": "create"}},
    "a thread that goes on": {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
    "a thread of a later form": {"thread": "thread_1"},
    "a thread without any message": {"thread": {"type": "continue", "previous_message_id": "msg_1"}, "messages": []},
}
NOTHING_ASKED: dict[str, dict[str, Any]] = {
    "no thread": {"thread": None},
    "no servers": {"mcp_servers": []},
    "null servers": {"mcp_servers": None},
    "no container": {"container": None},
    "a container without anything": {"container": {"id": None, "skills": []}},
    "no compaction": {"compaction": None},
}


def body(**fields: Any) -> bytes:
    return json.dumps(
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    ).encode()


def refusal(data: bytes, *, counting: bool) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(data, counting=counting)
    return caught.value


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED)
def test_what_this_gateway_cannot_do_is_refused_with_the_way_round(fields: dict[str, Any], message: str) -> None:
    said = refusal(body(**fields), counting=False)

    assert said.status == 400
    assert said.message.startswith(message)
    assert said.details is None


@pytest.mark.parametrize("counting", [False, True])
@pytest.mark.parametrize("fields", THREADS.values(), ids=THREADS)
def test_a_thread_is_refused_in_the_form_that_makes_sdks_send_the_whole_conversation(
    fields: dict[str, Any], counting: bool
) -> None:
    said = refusal(body(**fields), counting=counting)

    assert json.loads(said.body("req_1")) == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": said.message,
            "details": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
        },
        "request_id": "req_1",
    }


@pytest.mark.parametrize("fields", NOTHING_ASKED.values(), ids=NOTHING_ASKED)
def test_a_field_without_a_value_asks_for_nothing(fields: dict[str, Any]) -> None:
    assert decode_request(body(**fields)).model == "m"


def test_counting_ignores_a_compaction() -> None:
    assert decode_request(body(compaction={"type": "summarize"}), counting=True).model == "m"
