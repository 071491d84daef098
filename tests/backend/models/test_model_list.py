"""The nearest names of a list of models, whatever is in it and whatever is asked for."""

import pytest

from gateway.backend.models.model_list import ModelList
from gateway.openai.models import Model


def unknown(name: str, *ids: str) -> str:
    return ModelList([Model(id=model_id) for model_id in ids]).unknown(name).message


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("vendor/modle-77b-instruct", "vendor/model-77b-instruct"),
        ("VENDOR/MODEL-4999B", "vendor/model-4999b-instruct"),
    ],
)
def test_the_nearest_of_thousands_of_names_is_found(name: str, near: str) -> None:
    ids = [f"vendor/model-{number}b-instruct" for number in (*range(400), 4999)]
    assert f" Did you mean {near} or " in unknown(name, *ids)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["a" * 100, "a" * 256, "ab" * 50, "a"])
def test_a_search_among_thousands_of_long_names_ends(name: str) -> None:
    """Without limits, one search takes minutes."""
    ids = [f"{'a' * length}{number:04}" for length in (95, 250) for number in range(5000)]
    for _ in range(20):
        assert " is not served by this backend." in unknown(name, *ids)
