"""Anthropic's model list: pages and times."""

import msgspec
import pytest
from anthropic.types import ModelInfo as SDKModelInfo
from pydantic import TypeAdapter

from gateway.anthropic.models import ModelInfo, ModelPage, page, timestamp

MODELS = [ModelInfo(id=name, display_name=name.upper(), created_at="2025-01-01T00:00:00Z") for name in "abcde"]


def ids(found: ModelPage) -> tuple[str, bool]:
    assert (found.first_id, found.last_id) == ((found.data[0].id, found.data[-1].id) if found.data else (None, None))
    return "".join(model.id for model in found.data), found.has_more


@pytest.mark.parametrize(
    ("arguments", "names", "has_more"),
    [
        ({}, "abcde", False),
        ({"limit": 5}, "abcde", False),
        ({"limit": 4}, "abcd", True),
        ({"limit": 1}, "a", True),
        ({"after_id": "b"}, "cde", False),
        ({"after_id": "b", "limit": 3}, "cde", False),
        ({"after_id": "b", "limit": 2}, "cd", True),
        ({"after_id": "e"}, "", False),
        ({"after_id": "x", "limit": 2}, "", False),
        ({"before_id": "d"}, "abc", False),
        ({"before_id": "d", "limit": 3}, "abc", False),
        ({"before_id": "d", "limit": 2}, "bc", True),
        ({"before_id": "a"}, "", False),
        ({"before_id": "x", "limit": 2}, "", False),
    ],
    ids=str,
)
def test_a_page_is_what_lies_next_to_its_cursor(arguments: dict[str, object], names: str, has_more: bool) -> None:
    assert ids(page(MODELS, **arguments)) == (names, has_more)  # type: ignore[arg-type]


def test_no_models_are_an_empty_page() -> None:
    assert page([]) == ModelPage(data=[], has_more=False, first_id=None, last_id=None)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
def test_pages_follow_each_other_in_both_directions_without_a_gap(limit: int) -> None:
    forward, found = "", page(MODELS, limit=limit)
    while forward := forward + ids(found)[0]:
        if not found.has_more:
            break
        found = page(MODELS, limit=limit, after_id=found.last_id)
    assert forward == "abcde"
    backward, found = "e", page(MODELS, limit=limit, before_id="e")
    while backward := ids(found)[0] + backward:
        if not found.has_more:
            break
        found = page(MODELS, limit=limit, before_id=found.first_id)
    assert backward == "abcde"


def test_the_body_is_what_the_sdk_expects() -> None:
    limits = ModelInfo("m", "M", "2025-01-01T00:00:00Z", max_input_tokens=131072, max_tokens=8192)
    body = msgspec.json.encode(page([limits, MODELS[0]]))
    assert msgspec.json.decode(body) == {
        "data": [
            {
                "id": "m",
                "display_name": "M",
                "created_at": "2025-01-01T00:00:00Z",
                "type": "model",
                "lifecycle": "active",
                "max_input_tokens": 131072,
                "max_tokens": 8192,
            },
            {
                "id": "a",
                "display_name": "A",
                "created_at": "2025-01-01T00:00:00Z",
                "type": "model",
                "lifecycle": "active",
            },
        ],
        "has_more": False,
        "first_id": "m",
        "last_id": "a",
    }
    sdk = TypeAdapter(list[SDKModelInfo]).validate_python(msgspec.json.decode(body)["data"])
    assert [model.max_tokens for model in sdk] == [8192, None]


@pytest.mark.parametrize(
    ("created", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1753471258, "2025-07-25T19:20:58Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (-62135596800, "0001-01-01T00:00:00Z"),
        (1753471258000, "1970-01-01T00:00:00Z"),
        (10**30, "1970-01-01T00:00:00Z"),
    ],
    ids=["unknown", "a time", "before 1970", "the first year", "milliseconds", "no time at all"],
)
def test_times_are_written_by_rfc_3339(created: int, text: str) -> None:
    assert timestamp(created) == text
