"""JSON that is nearly right, and objects that nearly fit; how chunks and models use it is in their own tests."""

from typing import Any

import pytest
from msgspec import Struct

from gateway.openai import lenient


class Inner(Struct):
    number: int | None = None
    names: list[str] | None = None


class Outer(Struct):
    id: str
    inner: Inner | None = None
    items: list[Inner] | None = None
    anything: Any = None


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":[NaN,Infinity,-Infinity,1e999,-1e999,1.5]}', {"a": [None, None, None, None, None, 1.5]}),
        (b"\xef\xbb\xbf[1]", [1]),
        (rb'{"\ud800":["\udc00","\ud83d\ude00"]}', {"\ufffd": ["\ufffd", "😀"]}),
        (b'"a\xff"', "a\ufffd"),
        (b"7", 7),
    ],
    ids=["numbers that are none", "a BOM", "halves of surrogate pairs", "no UTF-8", "a scalar"],
)
def test_json_that_is_nearly_right_is_read(data: bytes, value: Any) -> None:
    assert lenient.parse(data) == value


@pytest.mark.parametrize("data", [b"", b"{", b"{}x", b"[" * 5000 + b"]" * 5000, b"[" * 100_000, b"1" * 5000])
def test_all_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        lenient.parse(data)


@pytest.mark.parametrize(
    ("value", "struct"),
    [
        ({"id": "a", "inner": {"number": "7"}}, Outer("a", inner=Inner(7))),
        ({"id": "a", "inner": {"number": [], "names": ["x"]}}, Outer("a", inner=Inner(names=["x"]))),
        ({"id": "a", "inner": {"number": 7, "names": ["x", None, {}]}}, Outer("a", inner=Inner(7))),
        ({"id": "a", "inner": 7, "anything": {"b": [1]}}, Outer("a", anything={"b": [1]})),
        ({"id": "a", "items": [{"number": 1}, None, {"number": {}}]}, Outer("a", items=[Inner(1), Inner()])),
        ({"id": "a", "items": {"number": 1}, "unknown": 1}, Outer("a")),
    ],
    ids=["a number as text", "a field", "a list of texts", "a struct", "an item", "a list"],
)
def test_what_does_not_fit_is_dropped_where_it_stands(value: dict[str, Any], struct: Outer) -> None:
    assert lenient.fit(value, Outer) == struct
