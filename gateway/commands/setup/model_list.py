"""The models to choose from: fetched with `GET /v1/models`, described, searched.

A gateway answers in Anthropic's format with extra fields; a backend that is asked directly answers in OpenAI's.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from msgspec import UNSET

from gateway.anthropic.models import ModelInfo
from gateway.openai.models import decode_models
from gateway.translate.from_backend.model_info import model_info

_SECONDS: Final = aiohttp.ClientTimeout(total=30, connect=10)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Claude Code's own prompt with its tools takes about this many tokens
_TOO_SMALL: Final = 32_768


class NoModels(Exception):
    """There is no model list, or not the wanted model. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model to choose. `context` and `output` are in tokens; `dollars` are the prices of a million prompt and output
    tokens. None means unknown.
    """

    id: str
    context: int | None
    output: int | None
    thinks: bool | None
    dollars: tuple[float, float] | None


def is_local(url: str) -> bool:
    """Whether the URL's host is a loopback name or address."""
    return urlsplit(url).hostname in _LOOPBACK


def fetch(url: str, token: str) -> list[Offer]:
    """Fetch the models at a base URL, in the order of the list. Raises NoModels."""
    return read_offers(asyncio.run(_fetch(url, token)), url)


async def _fetch(url: str, token: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "anthropic-version": "2023-06-01"}
    models = f"{url}/v1/models?limit=1000"
    try:
        async with (
            aiohttp.ClientSession(timeout=_SECONDS) as session,
            session.get(models, headers=headers, allow_redirects=False, proxy=_proxy(url)) as response,
        ):
            body = await response.read()
            if response.status != 200:
                raise NoModels(_refusal(url, response.status, body))
            return body
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NoModels(
            f"{url} does not answer ({_reason(error)}): is the gateway running there? "
            "Start it with `claude-gateway`, or give its address with --url"
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return str(error) or type(error).__name__


def _proxy(url: str) -> str | None:
    """The environment's proxy. aiohttp's `trust_env` would find it too, but could replace the token by a ~/.netrc
    password.
    """
    parts = urlsplit(url)
    if is_local(url) or proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _refusal(url: str, status: int, body: bytes) -> str:
    said = _message(body)
    if status in (401, 403):
        return f"{url} refuses the token ({status}): {said}"
    return f"{url}/v1/models answers {status}: {said}: is this the gateway's address?"


def _message(body: bytes) -> str:
    """The message of an error body in either format, on one line; the body itself if it is not one."""
    try:
        error = json.loads(body)["error"]
        words = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        words = body.decode(errors="replace") or "no text"
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())[:300]


def read_offers(body: bytes, url: str) -> list[Offer]:
    """The models in the body of a list, without the `claude-` aliases that a gateway adds for Claude Code's picker.

    Raises NoModels.
    """
    try:
        infos = [_info(entry) for entry in _entries(body)]
    except ValueError:
        raise NoModels(f"{url}/v1/models: no model list came back: is this the gateway's address?") from None
    ids = {info.id for info in infos}
    offers = [_offer(info) for info in infos if info.id.removeprefix("claude-") not in ids - {info.id}]
    if not offers:
        raise NoModels(f"{url} serves no model: load one in the backend, then run this again")
    return offers


def _entries(body: bytes) -> list[dict[str, Any]]:
    value: Any = json.loads(body)
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise ValueError("no list")
    return [entry for entry in entries if isinstance(entry, dict) and _shown(entry.get("id"))]


def _shown(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and name.isprintable()


def _info(entry: dict[str, Any]) -> ModelInfo:
    if entry.get("type") == "model":
        bare = {"id": entry["id"], "display_name": entry["id"], "created_at": ""}
        try:
            return msgspec.convert({**bare, **entry}, ModelInfo)
        except msgspec.ValidationError:
            return msgspec.convert(bare, ModelInfo)
    return model_info(decode_models(json.dumps([entry]).encode())[0])


def _offer(info: ModelInfo) -> Offer:
    return Offer(
        id=info.id,
        context=info.max_input_tokens or None,
        output=info.max_tokens or None,
        thinks=None if info.thinking is UNSET else info.thinking,
        dollars=None if info.pricing is UNSET else (info.pricing.input, info.pricing.output),
    )


def describe(offer: Offer) -> str:
    """A model in columns: context (`!`: small), thinking, price of a million tokens in / out, id. The id comes last
    because it may be long.
    """
    context = f"{offer.context:,}" + ("!" if offer.context < _TOO_SMALL else " ") if offer.context else "? "
    thinks = "thinks" if offer.thinks else ""
    return f"{context:>10} {thinks:<6}  {_price(offer.dollars):<15}  {offer.id}"


def _price(dollars: tuple[float, float] | None) -> str:
    if dollars is None:
        return ""
    return "free" if max(dollars) == 0 else f"${dollars[0]:.2f} / ${dollars[1]:.2f}"


def warnings(offer: Offer) -> list[str]:
    """Warnings about a model."""
    if offer.context is None:
        return ["The backend does not state this model's context window: set CLAUDE_CODE_MAX_CONTEXT_TOKENS yourself."]
    if offer.context < _TOO_SMALL:
        small = f"A window of {offer.context:,} tokens is small: Claude Code's own prompt takes about 20,000."
        return [f"{small} Start the backend with a window of {_TOO_SMALL:,} or more."]
    return []


def search(offers: list[Offer], words: str) -> list[Offer]:
    """The models whose ids contain all the words, ignoring case."""
    wanted = words.lower().split()
    return [offer for offer in offers if all(word in offer.id.lower() for word in wanted)]


def named(offers: list[Offer], name: str) -> Offer:
    """The model of this name, ignoring case. Raises NoModels, whose message lists similar names."""
    found = [offer for offer in offers if offer.id == name] or [o for o in offers if o.id.lower() == name.lower()]
    if found:
        return found[0]
    near = search(offers, name.rpartition("/")[2]) or offers
    more = f" and {len(near) - 10} more" if len(near) > 10 else ""
    raise NoModels(f"no model {name!r}; available: {', '.join(offer.id for offer in near[:10])}{more}")
