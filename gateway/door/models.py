"""`GET /v1/models` and `GET /v1/models/{id}`: the backend's models in Anthropic's shape."""

import msgspec
from aiohttp import web
from msgspec import UNSET

from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.models import ModelInfo, Pricing, page, timestamp
from gateway.backend.models.catalogue import alias
from gateway.door.context import GATEWAY
from gateway.openai.models import Model
from gateway.record.request_record import EXCHANGE


async def list_models(request: web.Request) -> web.Response:
    """A page of models; `limit`, `after_id` and `before_id` as in Anthropic's API.

    Behind the backend's models come the same under the names that Claude Code's picker shows.
    """
    models = await request.app[GATEWAY].catalogue.listed(request[EXCHANGE].token)
    aliases = [(shown, model) for model in models if (shown := alias(model.id))]
    answer = page(
        [model_info(model) for model in models] + [model_info(model, shown) for shown, model in aliases],
        limit=_limit(request.query.get("limit", "20")),
        after_id=request.query.get("after_id"),
        before_id=request.query.get("before_id"),
    )
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


async def get_model(request: web.Request) -> web.Response:
    """One model, found in any case. Raises ApiError 404, with the names that exist."""
    model = await request.app[GATEWAY].catalogue.resolve(request.match_info["id"], request[EXCHANGE].token)
    return web.Response(body=msgspec.json.encode(model_info(model)), content_type="application/json")


def _limit(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 1000:
        raise InvalidRequest("limit: Input should be a number from 1 to 1000")
    return int(value)


def model_info(model: Model, shown: str | None = None) -> ModelInfo:
    """A backend's model in Anthropic's shape, under another name if one is given."""
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
