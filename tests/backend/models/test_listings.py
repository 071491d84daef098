import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.backend.adapter import Backend, Timeouts
from gateway.backend.endpoint import parse_endpoint
from gateway.backend.models import listings
from gateway.backend.models.listings import Listing, PrivateListings
from gateway.backend.models.model_list import ModelList
from gateway.backend.policy.breaker import Breaker
from gateway.backend.policy.retry import RetryPolicy
from gateway.openai.models import Model
from tests.conftest import ScriptedBackend


@pytest.fixture
async def backend(scripted: ScriptedBackend) -> AsyncIterator[Backend]:
    breaker = Breaker(enabled=False, fail_max=1, reset_seconds=1)
    backend = Backend(parse_endpoint(scripted.url), breaker, timeouts=Timeouts(), retry=RetryPolicy(0))
    yield backend
    await backend.close()


@pytest.fixture
def private(backend: Backend) -> PrivateListings:
    return PrivateListings(lambda: Listing(backend))


def models(*ids: str) -> ModelList:
    return ModelList([Model(id=name) for name in ids])


async def test_the_last_used_tokens_are_kept(private: PrivateListings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "_MOST_TOKENS", 3)
    first = private.of("a")
    for token in ("b", "c"):
        private.of(token)
    assert private.get("a") is first

    private.of("d")

    assert len(private) == 3
    assert private.get("a") is first
    assert private.get("b") is None


async def test_no_token_is_kept(private: PrivateListings) -> None:
    private.of("cpk_secret")

    assert b"cpk_secret" not in b"".join(private._listings)
    assert "cpk_secret" not in repr(vars(private))


async def test_many_tokens_with_one_list_keep_it_once(private: PrivateListings) -> None:
    for token in "abc":
        listing = private.of(token)
        listing.list = models("one", "two")
        private.fetched(listing, models())

    assert len({id(private.of(token).list) for token in "abc"}) == 1


async def test_lists_are_kept_up_to_a_number_of_models(
    private: PrivateListings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "_MOST_MODELS", 5)
    for token in "abc":
        listing = private.of(token)
        listing.list = models(f"{token}1", f"{token}2")
        private.fetched(listing, models())

    assert [private.get(token) is not None for token in "abc"] == [False, True, True]


async def test_of_many_at_once_one_fetches(backend: Backend, scripted: ScriptedBackend) -> None:
    listing = Listing(backend)

    fetched = await asyncio.gather(*(listing.refresh("key") for _ in range(20)))

    assert fetched == [True] + [False] * 19
    assert len(scripted.listed) == 1
