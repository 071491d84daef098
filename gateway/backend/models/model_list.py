"""A list of models as a backend gave it, and the lookup of a client's names in it.

A name is looked up as it is, in any case, without `[1m]`, and without the `claude-` that the list for clients adds;
then with and without what backends add to names: `models/` (Gemini) and `:latest` (Ollama).
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from heapq import nlargest
from itertools import islice
from typing import Final

from msgspec import structs

from gateway.anthropic.errors import ApiError
from gateway.openai.models import Model

_NAMES_SHOWN: Final = 20
_NAMES_MEANT: Final = 3
# how alike a name must be; less than a third or more than three times as long, it cannot be
_ALIKE: Final = 0.5
# of the names that are searched for a similar one: their characters, how many are looked at, how many are compared
_LONGEST: Final = 64
_MOST_LISTED: Final = 500
_MOST_COMPARED: Final = 5
# Claude Code's suffix for a long context, which it removes itself; other clients may not
_LONG_CONTEXT: Final = "[1m]"
# what names may have or lack: Gemini's folder, Ollama's default tag, the ending of llama.cpp's files
_FOLDER: Final = "models/"
_ENDINGS: Final = (":latest", ".gguf")
# Claude Code shows only models whose id contains "claude" or "anthropic"
_ALIAS: Final = "claude-"
_SHOWN: Final = ("claude", "anthropic")


class ModelList:
    """Models in the backend's order. It does not change."""

    __slots__ = ("_by_id", "_by_lower_case", "_by_short_form", "_hash")

    def __init__(self, models: Sequence[Model] = ()) -> None:
        self._by_id = {model.id: model for model in models}
        self._by_lower_case = {model.id.lower(): model for model in reversed(models)}
        self._by_short_form: dict[str, Model | None] = {}
        for model in models:
            # a form that two models share says nothing
            short = _short_form(model.id)
            self._by_short_form[short] = None if short in self._by_short_form else model
        self._hash = hash(tuple(self._by_id))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._by_id

    @property
    def models(self) -> list[Model]:
        """All models."""
        return list(self._by_id.values())

    @property
    def only(self) -> Model | None:
        """The model, if there is exactly one."""
        return next(iter(self._by_id.values())) if len(self._by_id) == 1 else None

    @property
    def owner(self) -> str | None:
        """Who owns the first model."""
        return next((model.owned_by for model in self._by_id.values()), None)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same models, with the same fields."""
        # of lists that differ, nearly all have other ids
        return isinstance(other, ModelList) and hash(self) == hash(other) and self.models == other.models

    def __hash__(self) -> int:
        return self._hash

    def find(self, name: str) -> Model | None:
        """The model of this name; None if there is none."""
        if model := self._by_id.get(name):
            return model
        bare = without_suffix(name)
        for candidate in (name, bare, bare.lower().removeprefix(_ALIAS)):
            if model := self._by_id.get(candidate) or self._by_lower_case.get(candidate.lower()):
                return model
        short = _short_form(bare)
        return self._by_short_form.get(short) or self._by_short_form.get(short.removeprefix(_ALIAS))

    def variant(self, name: str) -> Model | None:
        """The model of this name without what follows its last colon (OpenRouter's `:nitro`), under the whole name."""
        base, colon, _ = without_suffix(name).rpartition(":")
        model = (self._by_id.get(base) or self._by_lower_case.get(base.lower())) if colon else None
        return structs.replace(model, id=f"{model.id}{without_suffix(name)[len(base) :]}") if model else None

    def unknown(self, name: str) -> ApiError:
        """The error for a name that is not in the list: 404, with the nearest and the available names."""
        near = [self._by_lower_case[match].id for match in _nearest(name.lower(), self._by_lower_case)]
        ids = list(self._by_id)
        shown = ", ".join(ids[:_NAMES_SHOWN]) + (f" and {len(ids) - _NAMES_SHOWN} more" * (len(ids) > _NAMES_SHOWN))
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return ApiError(
            404,
            f"model: {name[:200]!r} is not served by this backend.{hint} Available: {shown}. Choose one, or "
            "map the name with MODEL_MAP.",
        )


def _short_form(name: str) -> str:
    """A name without what some backends list and do not ask for."""
    short = name.lower().removeprefix(_FOLDER)
    for ending in _ENDINGS:
        short = short.removesuffix(ending)
    return short


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    """The names that resemble `name`, the most similar first.

    Comparing two names takes time by the product of their lengths: only a few names are compared, and no long ones.
    """
    if len(name) > _LONGEST:
        return []
    near = (other for other in names if len(other) <= _LONGEST and len(name) <= 3 * len(other) <= 9 * len(name))
    candidates = list(islice(near, _MOST_LISTED))
    if len(candidates) > _MOST_COMPARED:
        pairs = _pairs(name)
        candidates = nlargest(_MOST_COMPARED, candidates, key=lambda other: len(pairs & _pairs(other)))
    return get_close_matches(name, candidates, n=_NAMES_MEANT, cutoff=_ALIKE)


def _pairs(name: str) -> set[str]:
    """The pairs of characters that follow each other."""
    return set(map(str.__add__, name, name[1:]))


def alias(model_id: str) -> str | None:
    """The id under which Claude Code's model picker shows a model; None if it shows the model's own id."""
    return None if any(word in model_id.lower() for word in _SHOWN) else f"{_ALIAS}{model_id}"


def without_suffix(name: str) -> str:
    """A client's name for a model without `[1m]`."""
    return name.removesuffix(_LONG_CONTEXT)
