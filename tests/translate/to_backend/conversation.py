"""What holds for every conversation that goes to a backend."""

import json
from typing import Any


def check_conversation(messages: list[dict[str, Any]]) -> None:
    """The invariants that `gateway.translate.to_backend.messages` promises, and what must never reach a backend."""
    before = "start"
    waiting: list[str] = []
    for message in messages:
        role = message["role"]
        if waiting:
            assert (role, message["tool_call_id"]) == ("tool", waiting.pop(0))
        else:
            assert role != "tool", "a result without its call"
        assert role != "system" or before == "start", "a system message in the middle"
        assert role == "tool" or role != before, f"two neighbours of role {role}"
        assert message["content"] or message.get("tool_calls"), "an empty message"
        waiting += [call["id"] for call in message.get("tool_calls", ())]
        assert len(set(waiting)) == len(waiting)
        for call in message.get("tool_calls", ()):
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
        before = role
    assert not waiting, "a call without its result"
    wire = json.dumps(messages)
    assert "cache_control" not in wire
    assert "x-anthropic-billing-header" not in wire
