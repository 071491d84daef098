"""Values for a schema from a prompt; the prompts that call tools are in test_script.py."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.commands.demo.values import Hints, fill, find_paths, needs_target, quoted, title


def filled(prompt: str, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return fill(schema, Hints.of(prompt))


def test_required_properties_are_filled_by_their_type() -> None:
    assert filled(
        "0 times 2.5 in Fahrenheit",
        count={"type": "integer", "minimum": 1},
        ratio={"type": ["number", "null"]},
        flag={"type": "boolean"},
        unit={"enum": ["celsius", "fahrenheit"]},
        other={"enum": ["first", "second"]},
        fixed={"const": 7},
        tags={"type": "array", "items": {"type": "string"}},
        pair={"type": "array", "items": {"type": "integer"}, "minItems": 2},
        nested={"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]},
        maybe={"anyOf": [{"type": "null"}, {"type": "object"}]},
        ref={"$ref": "#/properties/flag"},
    ) == {
        "count": 1,
        "ratio": 2.5,
        "flag": False,
        "unit": "fahrenheit",
        "other": "first",
        "fixed": 7,
        "tags": [],
        "pair": [1, 1],
        "nested": {"on": False},
        "maybe": {},
        "ref": False,
    }


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": 3}, 3),
        ({"type": "number", "minimum": 4.5}, 4.5),
        ({"type": "number", "minimum": float("inf")}, 1),
        ({"type": "null"}, None),
        ({"items": {"type": "integer"}}, []),
        ({"properties": {}}, {}),
        ({"type": "array", "minItems": 10**9, "items": {"type": "boolean"}}, [False] * 8),
    ],
)
def test_bounds_of_a_schema_are_kept(schema: dict[str, Any], value: Any) -> None:
    assert filled("take 4", x=schema) == {"x": value}


def test_a_schema_that_holds_itself_comes_to_an_end() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}
    assert 2 < str(fill(tree, Hints.of("grow"))).count("child") < 20


def test_a_reference_to_itself_comes_to_an_end() -> None:
    assert isinstance(fill({"$ref": "#"}, Hints.of("x")), str)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("file_path", "/srv/a.txt"),
        ("filePath", "/srv/a.txt"),
        ("notebook_path", "/srv/a.txt"),
        ("url", "https://a.example/x"),
        ("baseUrl", "https://a.example/x"),
        ("profile", "the quote"),
        ("content", "the quote"),
        ("title", "Copy to srv a txt the"),
        ("city", "the quote"),
    ],
)
def test_a_property_name_says_where_a_string_comes_from(name: str, value: str) -> None:
    prompt = 'copy https://a.example/x to /srv/a.txt, "the quote"'
    assert filled(prompt, **{name: {"type": "string"}}) == {name: value}


def test_quotes_are_used_in_their_order_and_then_the_rest() -> None:
    text = {"type": "string"}
    assert filled("it's \"one\" and 'two'", a=text, b=text, c=text) == {
        "a": "one",
        "b": "two",
        "c": "it's \"one\" and 'two'",
    }


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("read /srv/x/secret.txt, then", ["/srv/x/secret.txt"]),
        ("(see ~/notes.md)", ["~/notes.md"]),
        ("./run.sh and ../b", ["./run.sh", "../b"]),
        ("open src/app.py or README.md.", ["src/app.py", "README.md"]),
        ("look into src/app", ["src/app"]),
        ("e.g. nothing, i.e. none at 2.5", []),
        ("'/srv/a b/c' first", ["/srv/a b/c", "/srv/a"]),
    ],
)
def test_paths_are_found(text: str, paths: list[str]) -> None:
    assert find_paths(text) == paths


def test_a_url_is_no_path() -> None:
    hints = Hints.of("fetch https://a.example/b/c.html.")
    assert (hints.urls, hints.paths) == (["https://a.example/b/c.html"], [])


def test_an_apostrophe_is_no_quote() -> None:
    assert quoted("it's what's 'here', `x` “y”") == ["here", "x", "y"]


def test_a_title_has_few_words_and_no_markup() -> None:
    assert title("<b>fix</b> the login page at https://a.example/ now, please do it") == "Fix the login page at now"
    assert title("...") == "Untitled"


@pytest.mark.parametrize(
    ("name", "prompt", "missing"),
    [
        ("file_path", "write a poem", True),
        ("file_path", "write a poem to /srv/p.txt", False),
        ("url", "fetch it", True),
        ("url", "fetch https://a.example/", False),
        ("text", "write a poem", False),
    ],
)
def test_a_missing_target_is_noticed(name: str, prompt: str, missing: bool) -> None:
    schema = {"properties": {name: {"type": "string"}}, "required": [name]}
    assert needs_target(schema, prompt) is missing
    assert needs_target(None, prompt) is False
