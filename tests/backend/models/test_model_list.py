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
    models = ModelList([Model(id=model_id) for model_id in ids])
    for _ in range(20):
        assert " is not served by this backend." in models.unknown(name).message


@pytest.mark.parametrize(
    ("asked", "listed"),
    [
        ("gemini-3-pro", "models/gemini-3-pro"),
        ("models/gemini-3-pro", "gemini-3-pro"),
        ("qwen3-coder", "qwen3-coder:latest"),
        ("qwen3-coder:latest", "qwen3-coder"),
        ("Qwen3-8B", "qwen3-8b.gguf"),
        ("claude-qwen3-coder[1m]", "qwen3-coder:latest"),
    ],
)
def test_what_backends_add_to_names_makes_no_difference(asked: str, listed: str) -> None:
    found = ModelList([Model(id="other"), Model(id=listed)]).find(asked)
    assert found is not None
    assert found.id == listed


def test_a_form_of_two_models_is_that_of_none() -> None:
    assert ModelList([Model(id="models/x"), Model(id="x:latest")]).find("x") is None


def test_a_variant_is_asked_for_by_its_whole_name() -> None:
    found = ModelList([Model(id="z-ai/GLM-5", max_model_len=9)]).variant("z-ai/glm-5:nitro")
    assert found == Model(id="z-ai/GLM-5:nitro", max_model_len=9)
