"""The body of `GET /v1/models` as backends give it."""

from typing import Any

import msgspec
from msgspec import Struct

from gateway.openai import lenient


class Architecture(Struct):
    """OpenRouter and llama.cpp: what a model takes."""

    input_modalities: list[str] | None = None


class TopProvider(Struct):
    """OpenRouter: the limits of the provider that a request goes to first."""

    context_length: int | None = None
    max_completion_tokens: int | None = None


class Meta(Struct):
    """llama.cpp: what the server was started with."""

    n_ctx: int | None = None


class Model(Struct):
    """One model, with the extras that tell its limits."""

    id: str
    created: float | None = None
    owned_by: str | None = None
    name: str | None = None
    max_model_len: int | None = None  # vLLM, SGLang, Chutes
    context_length: int | None = None  # OpenRouter
    meta: Meta | None = None
    architecture: Architecture | None = None
    top_provider: TopProvider | None = None

    @property
    def context_window(self) -> int | None:
        """Tokens of prompt and answer together, where the backend tells it."""
        return self.max_model_len or (self.meta.n_ctx if self.meta else None) or self.context_length

    @property
    def sees_images(self) -> bool | None:
        """Whether it takes images; None where the backend does not tell."""
        modalities = self.architecture.input_modalities if self.architecture else None
        return None if modalities is None else "image" in modalities


def decode_models(body: bytes) -> list[Model]:
    """The models of a list, in its order; entries that are no models are skipped. Raises ValueError if it is no list.

    Servers give `{"data": [...]}` or the bare list.
    """
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = lenient.parse(body)
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise ValueError("no list of models under `data`")
    named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    return [lenient.fit(entry, Model) for entry in named if entry["id"]]
