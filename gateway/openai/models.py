"""The body of `GET /v1/models` as backends give it."""

import math
from typing import Any, Final

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


class Pricing(Struct):
    """US dollars for tokens. OpenRouter: for one token, in words; others: for a million, and `input`, `output`."""

    prompt: float | None = None
    completion: float | None = None
    input: float | None = None
    output: float | None = None


class Usd(Struct):
    """Chutes: a price in one of its currencies."""

    usd: float | None = None


class Price(Struct):
    """Chutes: US dollars for a million tokens."""

    input: Usd | None = None
    output: Usd | None = None


# what one token costs is below this, what a million costs above
_PER_TOKEN_BELOW: Final = 0.001
# the words by which OpenRouter (parameters) and Chutes (features) say that a model thinks
_THINKS: Final = frozenset({"reasoning", "include_reasoning", "thinking"})


class Model(Struct):
    """One model, with the extras that tell its limits, its price, and what it can do."""

    id: str
    created: float | None = None
    owned_by: str | None = None
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
        """Tokens of prompt and answer together, where the backend tells it."""
        return self.max_model_len or (self.meta.n_ctx if self.meta else None) or self.context_length

    @property
    def sees_images(self) -> bool | None:
        """Whether it takes images; None where the backend does not tell."""
        modalities = self.architecture.input_modalities if self.architecture else None
        return None if modalities is None else "image" in modalities

    @property
    def thinks(self) -> bool | None:
        """Whether it can think before it answers; None where the backend does not tell."""
        told = [words for words in (self.supported_parameters, self.supported_features) if words is not None]
        return None if not told else any(not _THINKS.isdisjoint(words) for words in told)

    @property
    def dollars(self) -> tuple[float, float] | None:
        """US dollars for a million tokens of prompt, and of answer; None where the backend does not tell both."""
        if self.price and self.price.input and self.price.output:
            pair = self.price.input.usd, self.price.output.usd
        elif self.pricing:
            pair = _first(self.pricing.prompt, self.pricing.input), _first(self.pricing.completion, self.pricing.output)
        else:
            return None
        # OpenRouter's -1 says that the price depends on where the request goes
        if pair[0] is None or pair[1] is None or not all(0 <= price < math.inf for price in pair if price is not None):
            return None
        scale = 1e6 if max(pair[0], pair[1]) < _PER_TOKEN_BELOW else 1
        return round(pair[0] * scale, 6), round(pair[1] * scale, 6)


def _first(price: float | None, other: float | None) -> float | None:
    return other if price is None else price


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
