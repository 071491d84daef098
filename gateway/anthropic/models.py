"""The model list in Anthropic's shape: `GET /v1/models` and `GET /v1/models/{id}`."""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import UNSET, Struct, UnsetType


class Pricing(Struct):
    """US dollars for a million tokens."""

    input: float
    output: float


class ModelInfo(Struct):
    """One model. `created_at` is RFC 3339; fields that default to UNSET are omitted if the backend does not give them.

    `thinking` and `pricing` are not Anthropic's: `claude-gateway setup` shows them. The SDKs require the other fields.
    """

    id: str
    display_name: str
    created_at: str
    type: str = "model"
    lifecycle: str = "active"
    max_input_tokens: int | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    thinking: bool | UnsetType = UNSET
    pricing: Pricing | UnsetType = UNSET


class ModelPage(Struct):
    """A page of models; the ids of its first and last model serve as cursors."""

    data: Sequence[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None


def timestamp(created: int) -> str:
    """Seconds since 1970 as RFC 3339 in UTC; an invalid time becomes 1970, Anthropic's value for unknown."""
    try:
        moment = datetime.fromtimestamp(created, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def page(
    models: Sequence[ModelInfo], *, limit: int = 20, after_id: str | None = None, before_id: str | None = None
) -> ModelPage:
    """At most `limit` models after (or before) a cursor. An unknown cursor gives an empty page."""
    ids = [model.id for model in models]
    if after_id is not None:
        start = ids.index(after_id) + 1 if after_id in ids else len(ids)
        chosen = models[start : start + limit]
        has_more = start + limit < len(models)
    elif before_id is not None:
        end = ids.index(before_id) if before_id in ids else 0
        chosen = models[max(0, end - limit) : end]
        has_more = end - limit > 0
    else:
        chosen = models[:limit]
        has_more = len(models) > limit
    return ModelPage(
        data=chosen,
        has_more=has_more,
        first_id=chosen[0].id if chosen else None,
        last_id=chosen[-1].id if chosen else None,
    )
