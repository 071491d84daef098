"""Ids that clients see."""

import re
from collections.abc import Callable

import pytest

from gateway.anthropic.ids import new_message_id, new_request_id, new_server_tool_use_id, new_tool_use_id


@pytest.mark.parametrize(
    ("new_id", "prefix"),
    [
        (new_message_id, "msg_"),
        (new_tool_use_id, "toolu_"),
        (new_server_tool_use_id, "srvtoolu_"),
        (new_request_id, "req_"),
    ],
)
def test_ids_are_in_anthropics_form_and_never_the_same(new_id: Callable[[], str], prefix: str) -> None:
    ids = [new_id() for _ in range(1000)]
    assert all(re.fullmatch(prefix + "[0-9a-f]{24}", made) for made in ids)
    assert len(set(ids)) == 1000
