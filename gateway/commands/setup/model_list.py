"""What there is to choose from: the models of `GET /v1/models`, and how they are shown and found.

A gateway answers in Anthropic's shape with extras; a backend that is asked itself answers in OpenAI's.
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
    """No list of models came; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be chosen. `context` and `output` are tokens, `dollars` for a million of prompt and answer."""

    id: str
    context: int | None
    output: int | None
    thinks: bool | None
    dollars: tuple[float, float] | None


def is_local(url: str) -> bool:
    """Whether the URL's host is this machine, as it is named."""
    return urlsplit(url).hostname in _LOOPBACK


def fetch(url: str, token: str) -> list[Offer]:
    """The models behind a base URL, in their order. Raises NoModels."""
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
    """The environment's proxy. (aiohttp's own way to find it would put a password of ~/.netrc in the token's place.)"""
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
    """The words of an error body of either shape, on one line; what came, where it is none."""
    try:
        error = json.loads(body)["error"]
        words = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        words = body.decode(errors="replace") or "no text"
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())[:300]


def read_offers(body: bytes, url: str) -> list[Offer]:
    """The models in the body of a list, without the second names that a gateway has for Claude Code's picker.

    Raises NoModels.
    """
    try:
        infos = [_info(entry) for entry in _entries(body)]
    except ValueError:
        raise NoModels(f"{url}/v1/models: no list of models came: is this the gateway's address?") from None
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
    """A model in columns: context (`!`: small), thinking, price of a million tokens in / out, and its id, which may be
    long.
    """
    context = f"{offer.context:,}" + ("!" if offer.context < _TOO_SMALL else " ") if offer.context else "? "
    thinks = "thinks" if offer.thinks else ""
    return f"{context:>10} {thinks:<6}  {_price(offer.dollars):<15}  {offer.id}"


def _price(dollars: tuple[float, float] | None) -> str:
    if dollars is None:
        return ""
    return "free" if max(dollars) == 0 else f"${dollars[0]:.2f} / ${dollars[1]:.2f}"


def warnings(offer: Offer) -> list[str]:
    """What speaks against a model, in words."""
    if offer.context is None:
        return ["The backend does not tell this model's context window: set CLAUDE_CODE_MAX_CONTEXT_TOKENS yourself."]
    if offer.context < _TOO_SMALL:
        small = f"A window of {offer.context:,} tokens is small: Claude Code's own prompt takes some 20,000."
        return [f"{small} Start the backend with {_TOO_SMALL:,} or more."]
    return []


def search(offers: list[Offer], words: str) -> list[Offer]:
    """The models whose ids hold all the words, in any case."""
    wanted = words.lower().split()
    return [offer for offer in offers if all(word in offer.id.lower() for word in wanted)]


def named(offers: list[Offer], name: str) -> Offer:
    """The model of this name, in any case. Raises NoModels, with names that are near."""
    found = [offer for offer in offers if offer.id == name] or [o for o in offers if o.id.lower() == name.lower()]
    if found:
        return found[0]
    near = search(offers, name.rpartition("/")[2]) or offers
    more = f" and {len(near) - 10} more" if len(near) > 10 else ""
    raise NoModels(f"no model {name!r} there; there are: {', '.join(offer.id for offer in near[:10])}{more}")
