"""JSON that was cut: completed, and with nothing in it that was not there."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from gateway.anthropic.partial_json import complete

fuzz = settings(max_examples=100, deadline=None, database=None)


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("{", "{}"),
        ("[", "[]"),
        ('{"', "{}"),
        ('{"a', "{}"),
        ('{"a\\', "{}"),
        ('{"a"', "{}"),
        ('{"a" :', "{}"),
        ('{"a": "', '{"a": ""}'),
        ('{"a":"b', '{"a":"b"}'),
        ('{"a":"b"', '{"a":"b"}'),
        ('{"a":"b",', '{"a":"b"}'),
        ('{"a":"b" , "c', '{"a":"b"}'),
        ('{"a":{"b":[{"c":"d', '{"a":{"b":[{"c":"d"}]}}'),
        ('{"a":[{"b":1},', '{"a":[{"b":1}]}'),
        ('{"a":[[],[', '{"a":[[],[]]}'),
        ('{"a":1', "{}"),
        ('{"a":1,"b":-2.5e', '{"a":1}'),
        ('{"a":1 ', '{"a":1}'),
        ('{"a":tru', "{}"),
        ('{"a":true', '{"a":true}'),
        ('{"a":[null,fals', '{"a":[null]}'),
        ('{"a":"\\', '{"a":""}'),
        ('{"a":"\\\\', '{"a":"\\\\"}'),
        ('{"a":"\\\\\\', '{"a":"\\\\"}'),
        ('{"a":"\\"', '{"a":"\\""}'),
        ('{"a":"x\\u', '{"a":"x"}'),
        ('{"a":"x\\u00e', '{"a":"x"}'),
        ('{"a":"x\\u00e9', '{"a":"x\\u00e9"}'),
        ('{"a":"\\\\u00e', '{"a":"\\\\u00e"}'),
        ('{"a":"x\\ud83d', '{"a":"x"}'),
        ('{"a":"x\\ud83d\\', '{"a":"x"}'),
        ('{"a":"x\\uD83D\\uDE0', '{"a":"x"}'),
        ('{"a":"x\\ud83d\\ude00', '{"a":"x\\ud83d\\ude00"}'),
        ('{"a":"\\\\ud83d', '{"a":"\\\\ud83d"}'),
        ('{"a":"}],{[', '{"a":"}],{["}'),
        ('{"a":1}', '{"a":1}'),
        ('{"a":1}\n', '{"a":1}'),
        ("", ""),
        (" ", ""),
        ('"a', '"a"'),
    ],
)
def test_what_is_open_is_closed_and_what_is_half_is_dropped(text: str, completed: str) -> None:
    assert complete(text) == completed


@pytest.mark.parametrize(
    "text",
    ["}", "]", "{]", "[}", '{"a":[1}', '{"a":1}}', '{"a":1}]'],
)
def test_a_bracket_that_closes_nothing_is_left_as_it_is(text: str) -> None:
    assert complete(text) == text


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.text(alphabet='\\"u{}[]:,\n\u2028é😀0d8', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(
    st.text(max_size=4) | st.sampled_from(["file_path", "😀", "\\", '"']), json_values, max_size=4
)


def is_beginning(part: Any, whole: Any) -> bool:
    """Whether `part` is what `whole` begins with: only its last, innermost value may be cut."""
    if isinstance(part, dict) and isinstance(whole, dict):
        keys = list(part)
        if keys != list(whole)[: len(keys)]:
            return False
        return all(part[key] == whole[key] for key in keys[:-1]) and all(
            is_beginning(part[key], whole[key]) for key in keys[-1:]
        )
    if isinstance(part, list) and isinstance(whole, list):
        last = len(part) - 1
        return (
            last < len(whole)
            and part[:-1] == whole[: max(last, 0)]
            and (last < 0 or is_beginning(part[-1], whole[last]))
        )
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    return type(part) is type(whole) and part == whole


@fuzz
@given(value=objects, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
@example(value={"a": "\\😀\\\\😀", "b": [{"\\": [1.5e300, True]}]}, ascii_only=True, indent=None)
def test_every_prefix_of_an_object_is_completed(value: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    seen = -1
    for end in range(1, len(text) + 1):
        completed = json.loads(complete(text[:end]))
        assert isinstance(completed, dict)
        assert is_beginning(completed, value), (text[:end], completed)
        # what was there once does not go again
        assert seen <= len(completed)
        seen = len(completed)
    assert json.loads(complete(text)) == value


@fuzz
@given(
    value=st.dictionaries(
        st.text(max_size=4), st.text(max_size=6) | st.lists(st.text(max_size=4), max_size=3), max_size=4
    )
)
def test_pydantic_makes_the_same_of_every_prefix(value: dict[str, Any]) -> None:
    # texts only: of a number that may be cut, each parser makes something of its own
    text = json.dumps(value, ensure_ascii=False)
    for end in range(1, len(text) + 1):
        assert json.loads(complete(text[:end])) == from_json(text[:end], allow_partial="trailing-strings")


@fuzz
@given(text=st.text(max_size=40) | st.text(alphabet='{}[]",:\\u d8tne1-.', max_size=40))
def test_any_text_is_taken(text: str) -> None:
    assert isinstance(complete(text), str)


@pytest.mark.timeout(10)
def test_a_model_that_opens_brackets_without_end_costs_no_more_than_its_text() -> None:
    """Small models fall into such loops. Work that grows with the depth at each bracket would take minutes here."""
    assert complete('{"a":' + "[" * 300_000) == '{"a":' + "[" * 300_000 + "]" * 300_000 + "}"
