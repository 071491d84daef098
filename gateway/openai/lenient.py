"""Lenient decoding of slightly malformed JSON, and of objects that do not quite fit a schema.

Slow: only for data that the strict decoders refuse.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar, get_args

import msgspec
from msgspec import Struct

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Piece(str):
    """A piece of a longer text. It may begin or end with half of a character: a lone surrogate, which is kept."""

    __slots__ = ()


Shape = TypeVar("Shape", bound=Struct)


def parse(data: bytes, mark: Callable[[Any], None] | None = None) -> Any:
    """Parse JSON that may contain a BOM, raw control characters in strings, NaN or infinities (which become null), and
    lone surrogates or invalid UTF-8 (which become U+FFFD). Raises ValueError for any other error, and for JSON that is
    nested too deeply.

    `mark` may turn strings of the value into a Piece, before it is repaired.
    """
    text = data.decode("utf-8-sig", "replace")
    try:
        value = json.loads(text, strict=False, parse_float=_finite, parse_constant=_finite)
        if mark is not None:
            mark(value)
        return _repaired(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def fit(value: dict[str, Any], shape: type[Shape]) -> Shape:
    """`value` as a struct. A field of the wrong type is dropped at its level; its siblings are kept.

    A required field must be present and valid.
    """
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        given = value.get(field.name)
        if given is None:
            continue
        try:
            fields[field.name] = msgspec.convert(given, field.type, strict=False)
        except msgspec.ValidationError:
            fields[field.name] = _fit_nested(given, field.type)
    return shape(**fields)


def _fit_nested(value: Any, annotation: Any) -> Any:
    """`value` as the struct or list of structs in the optional type `annotation`; None if it is neither."""
    for wanted in get_args(annotation):
        if isinstance(value, dict) and _is_struct(wanted):
            return fit(value, wanted)
        items = get_args(wanted)
        if isinstance(value, list) and items and _is_struct(items[0]):
            return [fit(item, items[0]) for item in value if isinstance(item, dict)]
    return None


def _is_struct(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, Struct)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() or isinstance(value, Piece) else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_repaired(key): _repaired(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_repaired(item) for item in value]
    return value
