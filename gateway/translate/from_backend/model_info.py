"""Translates a backend's model to an entry of `GET /v1/models` for clients."""

from msgspec import UNSET

from gateway.anthropic.models import ModelInfo, Pricing, timestamp
from gateway.openai.models import Model


def model_info(model: Model, shown: str | None = None) -> ModelInfo:
    """A backend's model in Anthropic's shape; its id is `shown` if given."""
    top = model.top_provider
    return ModelInfo(
        id=shown or model.id,
        display_name=model.name or model.id,
        created_at=timestamp(int(model.created or 0)),
        max_input_tokens=model.context_window or UNSET,
        max_tokens=(top.max_completion_tokens if top else None) or UNSET,
        thinking=UNSET if model.thinks is None else model.thinks,
        pricing=Pricing(*model.dollars) if model.dollars else UNSET,
    )
