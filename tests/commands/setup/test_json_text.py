"""Edits of JSON as text, compared with Python's own parser."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.setup.json_text import InvalidJson, canonical, delete, get, parse, put

PUTS = {
    "into an empty object": ("{}", ("a",), "1", '{\n  "a": 1\n}'),
    "as the last member, laid out like the first": ('{\n    "a": 1\n}\n', ("b",), "2", '{\n    "a": 1,\n    "b": 2\n}\n'),
    "on one line": ('{"a":1}', ("b",), "2", '{"a":1,"b": 2}'),
    "in the place of a value": ('{ "a" : [1, 2] , "b": 3}', ("a",), "{}", '{ "a" : {} , "b": 3}'),
    "in the place of the last of two": ('{"a":1,"a":2}', ("a",), "3", '{"a":1,"a":3}'),
    "of two keys": ('{"e": {"x":1}}', ("e", "y"), "2", '{"e": {"x":1,"y": 2}}'),
    "with its object": ('{\n\t"a": 1\n}', ("e", "y"), "2", '{\n\t"a": 1,\n\t"e": {\n\t\t"y": 2\n\t}\n}'),
    "with its object, on one line": ('{"a":1}', ("e", "y"), "2", '{"a":1,"e": {"y": 2}}'),
    "into an empty object within": ('{\r\n  "e": {}\r\n}', ("e", "y"), "2", '{\r\n  "e": {\r\n    "y": 2\r\n  }\r\n}'),
    "beside numbers that no float holds": ('{"n":123456789012345678901e400}', ("b",), "2", '{"n":123456789012345678901e400,"b": 2}'),
    "behind a byte order mark": ('\ufeff{"a":1}', ("a",), "2", '\ufeff{"a":2}'),
    "with a key that needs quoting": ("{}", ('"',), "1", '{\n  "\\"": 1\n}'),
}  # fmt: skip


@pytest.mark.parametrize("case", PUTS)
def test_a_value_is_put(case: str) -> None:
    text, path, value, expected = PUTS[case]
    assert put(text, path, value) == expected


DELETES = {
    "the only one": ('{ "a": 1 }\n', ("a",), "{}\n"),
    "the first": ('{\n  "a": 1,\n  "b": 2\n}', ("a",), '{\n  "b": 2\n}'),
    "one in the middle": ('{"a": 1, "b": 2, "c": 3}', ("b",), '{"a": 1, "c": 3}'),
    "the last": ('{\n  "a": 1,\n  "b": 2\n}', ("b",), '{\n  "a": 1\n}'),
    "all of one name": ('{"a":1,"b":2,"a":3,"a":4}', ("a",), '{"b":2}'),
    "one within": ('{"e": {"x": 1, "y": 2}}', ("e", "x"), '{"e": {"y": 2}}'),
    "one that is not there": ('{"a":1}', ("b",), '{"a":1}'),
    "one in what is no object": ('{"e":[1]}', ("e", "x"), '{"e":[1]}'),
}


@pytest.mark.parametrize("case", DELETES)
def test_a_member_is_deleted(case: str) -> None:
    text, path, expected = DELETES[case]
    assert delete(text, path) == expected


def test_a_value_within_what_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidJson, match=r"^`env` is not an object, \{…\}$"):
        put('{"env": ["A"]}', ("env", "A"), "1")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1, column 1: an object, {…} expected"),
        ("[1]", "line 1, column 1: an object, {…} expected"),
        ('{"a": 1,}', 'line 1, column 9: a key in double quotes, "…" expected'),
        ('{\n  // why\n  "a": 1}', 'line 2, column 3: a key in double quotes, "…" expected'),
        ("{'a': 1}", 'line 1, column 2: a key in double quotes, "…" expected'),
        ('{"a" 1}', "line 1, column 6: a colon expected"),
        ('{"a": }', "line 1, column 7: a value expected"),
        ('{"a": [1 2]}', "line 1, column 10: a comma or ] expected"),
        ('{"a": 1', "line 1, column 8: a comma or } expected"),
        ('{"a": 01}', "line 1, column 8: a comma or } expected"),
        ('{"a": 1}\nx', "line 2, column 1: the end expected"),
        ('{"a": ' + "[" * 300, "line 1, column 206: less nesting expected"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: str, fault: str) -> None:
    with pytest.raises(InvalidJson) as raised:
        parse(text)
    assert str(raised.value) == fault


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "e", "\u2028", 'é"\\']), VALUES, max_size=5)
LAYOUTS = st.sampled_from(
    [{"indent": 2}, {"indent": "\t", "ensure_ascii": False}, {"separators": (",", ":")}, {"sort_keys": True}]
)


@given(OBJECTS, LAYOUTS, st.sampled_from([("a",), ("new",), ("e", "x"), ("new", "x")]), VALUES)
def test_a_put_changes_what_it_names_and_nothing_else(
    value: dict[str, Any], layout: dict[str, Any], path: tuple[str, ...], new: Any
) -> None:
    text = json.dumps(value, **layout)
    inner = value.setdefault(path[0], {}) if len(path) > 1 else value
    if not isinstance(inner, dict):
        with pytest.raises(InvalidJson):
            put(text, path, json.dumps(new))
        return
    edited = put(text, path, json.dumps(new))
    inner[path[-1]] = new
    assert json.loads(edited) == value
    assert get(edited, path) == json.dumps(new)
    assert canonical(edited) == canonical(json.dumps(value, sort_keys=True))
    del inner[path[-1]]
    assert json.loads(delete(edited, path)) == value


@given(st.text(alphabet='{}[]":,\\ \n\t01.eE+-tfnulrasbx\x00\x1fé', max_size=12))
def test_what_python_reads_is_read_and_nothing_else(text: str) -> None:
    text = "{" + text
    try:
        # Python accepts some values that JSON does not have
        read: Any = json.loads(text, parse_constant=lambda _: [][0])
    except (ValueError, IndexError):
        with pytest.raises(InvalidJson):
            parse(text)
        return
    parse(text)
    assert isinstance(read, dict)
