"""The body of `GET /v1/models` as backends send it."""

import math
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.openai import lenient


class Architecture(Struct):
    """OpenRouter and llama.cpp: the input that a model accepts."""

    input_modalities: list[str] | None = None


class TopProvider(Struct):
    """OpenRouter: the limits of the provider that it tries first."""

    context_length: int | None = None
    max_completion_tokens: int | None = None


class Meta(Struct):
    """llama.cpp: the server's own settings."""

    n_ctx: int | None = None


class Pricing(Struct):
    """Prices in US dollars. OpenRouter: per token, as strings. Others: per million tokens, as `input` and `output`."""

    prompt: float | None = None
    completion: float | None = None
    input: float | None = None
    output: float | None = None


class Usd(Struct):
    """Chutes: a price; currencies other than US dollars are not read."""

    usd: float | None = None


class Price(Struct):
    """Chutes: prices per million tokens."""

    input: Usd | None = None
    output: Usd | None = None


# OpenRouter lists some 500 models, whose ids have at most 70 characters
_MOST_MODELS: Final = 10_000
_LONGEST_ID: Final = 256
# of a list that is malformed but readable
_LENIENT_BYTES: Final = 1024 * 1024
# a price below this is per token; any other is per million tokens
_PER_TOKEN_BELOW: Final = 0.001
# the OpenRouter parameters and Chutes features that mark a model as able to think
_THINKS: Final = frozenset({"reasoning", "include_reasoning", "thinking"})


class Model(Struct):
    """One model, with the extra fields that give its limits, price and abilities."""

    id: str
    created: float | None = None
    owned_by: str | None = None
    root: str | None = None  # vLLM, SGLang: the model that is served under another name
    name: str | None = None
    max_model_len: int | None = None  # vLLM, SGLang, Chutes
    context_length: int | None = None  # OpenRouter
    meta: Meta | None = None
    architecture: Architecture | None = None
    top_provider: TopProvider | None = None
    supported_parameters: list[str] | None = None  # OpenRouter
    supported_features: list[str] | None = None  # Chutes
    pricing: Pricing | None = None
    price: Price | None = None

    @property
    def context_window(self) -> int | None:
        """The limit in tokens for prompt and answer together; None if the backend does not give it."""
        return self.max_model_len or (self.meta.n_ctx if self.meta else None) or self.context_length

    @property
    def sees_images(self) -> bool | None:
        """Whether it accepts images; None if the backend does not say."""
        modalities = self.architecture.input_modalities if self.architecture else None
        return None if modalities is None else "image" in modalities

    @property
    def thinks(self) -> bool | None:
        """Whether it can think before it answers; None if the backend does not say."""
        told = [words for words in (self.supported_parameters, self.supported_features) if words is not None]
        return None if not told else any(not _THINKS.isdisjoint(words) for words in told)

    @property
    def dollars(self) -> tuple[float, float] | None:
        """US dollars per million tokens of prompt and of answer; None if the backend does not give both."""
        if self.price and self.price.input and self.price.output:
            pair = self.price.input.usd, self.price.output.usd
        elif self.pricing:
            pair = _first(self.pricing.prompt, self.pricing.input), _first(self.pricing.completion, self.pricing.output)
        else:
            return None
        # OpenRouter's -1 means that the price depends on the provider that gets the request
        if pair[0] is None or pair[1] is None or not all(0 <= price < math.inf for price in pair if price is not None):
            return None
        scale = 1e6 if max(pair[0], pair[1]) < _PER_TOKEN_BELOW else 1
        return round(pair[0] * scale, 6), round(pair[1] * scale, 6)


def _first(price: float | None, other: float | None) -> float | None:
    return other if price is None else price


def decode_models(body: bytes) -> list[Model]:
    """The models in a list, in order; entries that are not models are skipped. Raises ValueError if there is no list.

    Servers send `{"data": [...]}` or a bare list. Models beyond the 10,000th, and those with a name of more than 256
    characters, are skipped.
    """
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if len(body) > _LENIENT_BYTES:
            raise ValueError("no JSON") from None
        value = lenient.parse(body)
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise ValueError("no list of models under `data`")
    named = [entry for entry in entries[:_MOST_MODELS] if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    return [lenient.fit(entry, Model) for entry in named if 0 < len(entry["id"]) <= _LONGEST_ID]
