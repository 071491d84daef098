"""`GET /v1/models` and `GET /v1/models/{id}`: the backend's models in Anthropic's shape."""

from typing import Final, TypeVar

import msgspec
from aiohttp import web

from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.models import page
from gateway.anthropic.request import LONGEST_NAME
from gateway.backend.models.model_list import alias
from gateway.door.context import GATEWAY
from gateway.door.middleware.auth import TOKEN
from gateway.translate.from_backend.model_info import model_info

# a number of thousands of digits is dear to parse
_DIGITS: Final = 9
_Value = TypeVar("_Value", bound=str | None)


async def list_models(request: web.Request) -> web.Response:
    """A page of models; `limit`, `after_id` and `before_id` as in Anthropic's API.

    After the backend's models come aliases for those that Claude Code's model picker would not show.
    """
    models = await request.app[GATEWAY].turns.catalogue.listed(request.get(TOKEN, ""))
    aliases = [(shown, model) for model in models if (shown := alias(model.id))]
    answer = page(
        [model_info(model) for model in models] + [model_info(model, shown) for shown, model in aliases],
        limit=_limit(request.query.get("limit", "20")),
        after_id=_short("after_id", request.query.get("after_id")),
        before_id=_short("before_id", request.query.get("before_id")),
    )
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


async def get_model(request: web.Request) -> web.Response:
    """One model, whatever the case of its name. Raises ApiError 404, which names the available models."""
    catalogue = request.app[GATEWAY].turns.catalogue
    model = await catalogue.resolve(_short("model_id", request.match_info["id"]), request.get(TOKEN, ""))
    return web.Response(body=msgspec.json.encode(model_info(model)), content_type="application/json")


def _short(field: str, value: _Value) -> _Value:
    if value is not None and len(value) > LONGEST_NAME:
        raise InvalidRequest(f"{field}: String should have at most {LONGEST_NAME} characters")
    return value


def _limit(value: str) -> int:
    if len(value) > _DIGITS or not value.isdecimal() or not 1 <= int(value) <= 1000:
        raise InvalidRequest("limit: Input should be a number from 1 to 1000")
    return int(value)
