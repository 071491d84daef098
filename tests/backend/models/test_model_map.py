import pytest

from gateway.backend.models.model_map import ModelMap, parse_model_map


@pytest.mark.parametrize(
    ("value", "name", "target"),
    [
        ("haiku=small", "claude-haiku-4-5-20251001", "small"),
        ("haiku=small", "claude-3-5-haiku-latest", "small"),
        ("haiku=small", "claude-opus-5-5", None),
        ("HAIKU=Small/Model", "CLAUDE-HAIKU-5-5", "Small/Model"),
        ("haiku=small,default=big", "claude-opus-5-5", "big"),
        ("default=big", "gpt-5", "big"),
        ("Default=big", "a name of one's own", "big"),
        ("default=big,haiku=small", "claude-haiku-5-5", "small"),
        ("default=big,default=small", "gpt-5", "big"),
        ("gpt-5=big,*=small", "gpt-5", "big"),
        ("gpt-5=big,*=small", "gpt-6", "small"),
        (" a = b , ", "a", "b"),
        ("", "a", None),
    ],
)
def test_the_first_pattern_that_fits_counts(value: str, name: str, target: str | None) -> None:
    assert parse_model_map(value).target(name) == target


@pytest.mark.parametrize("value", ["haiku", "haiku=", "=small", "a=b,c"])
def test_what_is_no_pair_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be a list such as"):
        parse_model_map(value)


def test_an_empty_map_has_no_rules() -> None:
    assert parse_model_map(" ") == ModelMap()
