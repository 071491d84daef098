import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.anthropic.errors import ApiError
from gateway.backend.adapter import Backend, Timeouts
from gateway.backend.endpoint import parse_endpoint
from gateway.backend.models.catalogue import Catalogue
from gateway.backend.models.model_map import parse_model_map
from gateway.backend.policy.breaker import Breaker
from gateway.backend.policy.retry import RetryPolicy
from gateway.backend.profiles import PROFILES
from gateway.openai.models import Model
from gateway.translate.refusals.faults import BackendFault
from tests.conftest import ScriptedBackend


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def backend(scripted: ScriptedBackend) -> AsyncIterator[Backend]:
    breaker = Breaker(enabled=False, fail_max=1, reset_seconds=1)
    backend = Backend(parse_endpoint(scripted.url), breaker, timeouts=Timeouts(), retry=RetryPolicy(0))
    yield backend
    await backend.close()


@pytest.fixture
async def catalogue(backend: Backend, clock: Clock) -> AsyncIterator[Catalogue]:
    catalogue = Catalogue(backend, clock=clock)
    yield catalogue
    await catalogue.stop()


def serve(scripted: ScriptedBackend, *ids: str, **fields: str) -> None:
    scripted.models = json.dumps({"data": [{"id": name, **fields} for name in ids]}).encode()
    scripted.models_status = 200


@pytest.mark.parametrize(
    "name", ["zai-org/GLM-4.5-Air", "zai-org/glm-4.5-air", "ZAI-ORG/GLM-4.5-AIR", "zai-org/GLM-4.5-Air[1m]"]
)
async def test_a_name_is_found_in_any_case(name: str, scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    serve(scripted, "other", "zai-org/GLM-4.5-Air")

    assert (await catalogue.resolve(name, "key")).id == "zai-org/GLM-4.5-Air"


async def test_an_exact_name_wins_over_one_in_another_case(scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    serve(scripted, "Model", "model")

    assert (await catalogue.resolve("model", "key")).id == "model"
    assert (await catalogue.resolve("MODEL", "key")).id == "Model"


async def test_an_unknown_name_is_told_the_nearest_and_the_available(
    scripted: ScriptedBackend, catalogue: Catalogue
) -> None:
    serve(scripted, "zai-org/GLM-4.5-Air", "qwen/qwen3")

    with pytest.raises(ApiError) as error:
        await catalogue.resolve("glm-4.5-air", "key")

    assert (error.value.status, error.value.type, error.value.should_retry) == (404, "not_found_error", False)
    assert error.value.message == (
        "model: 'glm-4.5-air' is not served by this backend. Did you mean zai-org/GLM-4.5-Air? "
        "Available: zai-org/GLM-4.5-Air, qwen/qwen3. Choose one, or map the name with MODEL_MAP."
    )


async def test_a_long_list_is_cut(scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    serve(scripted, *[f"m{number}" for number in range(25)])

    with pytest.raises(
        ApiError, match=r"Available: m0, .*, m19 and 5 more\. Choose one, or map the name with MODEL_MAP\.$"
    ):
        await catalogue.resolve("something else", "key")


async def test_a_miss_asks_again_but_not_each_time(
    scripted: ScriptedBackend, catalogue: Catalogue, clock: Clock
) -> None:
    serve(scripted, "old")
    await catalogue.resolve("old", "key")
    serve(scripted, "old", "new")

    with pytest.raises(ApiError):
        await catalogue.resolve("new", "key")
    assert len(scripted.listed) == 1
    clock.now += 5

    assert (await catalogue.resolve("new", "key")).id == "new"
    assert len(scripted.listed) == 2


async def test_many_that_miss_at_once_ask_once(scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    serve(scripted, "model")

    models = await asyncio.gather(*(catalogue.resolve("model", "key") for _ in range(20)))

    assert {model.id for model in models} == {"model"}
    assert len(scripted.listed) == 1


async def test_a_backend_without_a_list_takes_any_name(
    scripted: ScriptedBackend, catalogue: Catalogue, clock: Clock
) -> None:
    scripted.models, scripted.models_status = b"not found", 404

    assert (await catalogue.resolve("any[1m]", "key")).id == "any"
    assert (await catalogue.resolve("other", "key")).id == "other"
    assert len(scripted.listed) == 1
    clock.now += 60
    await catalogue.resolve("other", "key")

    assert len(scripted.listed) == 2
    assert not catalogue.loaded


async def test_the_list_is_fetched_at_the_start(scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    serve(scripted, "model")

    catalogue.start()
    await scripted.was_listed.wait()
    await catalogue.resolve("model", "key")

    assert "authorization" not in scripted.listed[0].headers
    assert len(scripted.listed) == 1


async def test_a_list_behind_a_key_is_fetched_with_the_clients(scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    scripted.models_status = 401
    catalogue.start()
    await scripted.was_listed.wait()
    serve(scripted, "model")

    assert (await catalogue.resolve("MODEL", "key")).id == "model"
    assert scripted.listed[-1].headers["authorization"] == "Bearer key"


async def test_a_list_behind_a_key_is_kept_fresh_by_requests(
    scripted: ScriptedBackend, catalogue: Catalogue, clock: Clock
) -> None:
    scripted.lists = {"first": ["model"]}
    await catalogue.resolve("model", "first")
    scripted.was_listed.clear()
    clock.now += 120

    assert (await catalogue.resolve("model", "first")).id == "model"

    await scripted.was_listed.wait()
    assert scripted.listed[-1].headers["authorization"] == "Bearer first"


async def test_a_failed_refresh_keeps_the_old_list(
    scripted: ScriptedBackend, catalogue: Catalogue, clock: Clock
) -> None:
    serve(scripted, "model")
    await catalogue.resolve("model", "key")
    scripted.models_status = 500
    clock.now += 10

    with pytest.raises(ApiError) as error:
        await catalogue.resolve("other", "key")

    assert error.value.status == 404
    assert (await catalogue.resolve("model", "key")).id == "model"


async def test_the_list_for_a_client_raises_what_the_backend_says(
    scripted: ScriptedBackend, catalogue: Catalogue
) -> None:
    scripted.models, scripted.models_status = b'{"error":"Unauthorized"}', 401

    with pytest.raises(BackendFault, match="Unauthorized"):
        await catalogue.listed("key")

    serve(scripted, "model")
    assert [model.id for model in await catalogue.listed("key")] == ["model"]


@pytest.mark.parametrize(
    ("owner", "profile"), [("vllm", "vllm"), ("llamacpp", "llama.cpp"), ("library", "ollama"), ("someone", "generic")]
)
async def test_the_lists_owner_picks_the_profile(
    owner: str, profile: str, scripted: ScriptedBackend, catalogue: Catalogue
) -> None:
    serve(scripted, "model", owned_by=owner)

    model = await catalogue.resolve("model", "key")

    assert catalogue.profile(model).name == profile


async def test_a_chosen_profile_wins(scripted: ScriptedBackend, backend: Backend) -> None:
    serve(scripted, "model", owned_by="vllm")
    catalogue = Catalogue(backend, profile=PROFILES["groq"])

    assert catalogue.profile(await catalogue.resolve("model", "key")).name == "groq"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("claude-haiku-4-5-20251001", "small"),
        ("claude-3-5-haiku-20241022", "small"),
        ("claude-opus-5-5", "big/Model"),
        ("Claude-Sonnet-5", "big/Model"),
        ("my-alias", "small"),
        ("small", "small"),
        ("claude-small", "small"),
        ("claude-SMALL[1m]", "small"),
    ],
)
async def test_the_users_map_names_models(asked: str, found: str, scripted: ScriptedBackend, backend: Backend) -> None:
    serve(scripted, "small", "big/Model")
    catalogue = Catalogue(
        backend, model_map=parse_model_map("haiku=small, opus=BIG/model, default=big/Model,my-*=small")
    )

    assert (await catalogue.resolve(asked, "key")).id == found


async def test_a_map_to_a_model_that_is_not_there_is_a_404_that_names_it(
    scripted: ScriptedBackend, backend: Backend
) -> None:
    serve(scripted, "small")
    catalogue = Catalogue(backend, model_map=parse_model_map("default=gone"))

    with pytest.raises(ApiError, match="model: 'gone' is not served"):
        await catalogue.resolve("claude-opus-5-5", "key")


async def test_a_map_is_right_for_a_request_whatever_the_list_says(scripted: ScriptedBackend, backend: Backend) -> None:
    serve(scripted, "small", owned_by="vllm")
    catalogue = Catalogue(backend, model_map=parse_model_map("default=gone"))

    assert (await catalogue.resolve("claude-opus-5-5", "key", listed=False)).id == "gone"


@pytest.mark.parametrize(
    ("profile", "asked", "found"),
    [
        ("openrouter", "z-ai/glm-5:nitro", "z-ai/glm-5:nitro"),
        ("openrouter", "z-ai/glm-9", "z-ai/glm-9"),
        ("azure", "my-deployment", "my-deployment"),
        ("ollama", "qwen3:70b", "qwen3:70b"),
        ("generic", "something else", None),
        ("generic", "z-ai/glm-5:nitro", "z-ai/glm-5:nitro"),
        ("generic", "z-ai/glm5", None),
        ("generic", "claude-opus-5-5", None),
        ("openrouter", "claude-opus-5-5", None),
        ("vllm", "something else", None),
    ],
)
async def test_a_backend_whose_list_is_not_the_whole_truth_is_asked(
    profile: str, asked: str, found: str | None, scripted: ScriptedBackend, backend: Backend
) -> None:
    serve(scripted, "z-ai/glm-5", "qwen3:latest")
    catalogue = Catalogue(backend, profile=PROFILES[profile])

    if found is None:
        with pytest.raises(ApiError, match="is not served by this backend"):
            await catalogue.resolve(asked, "key", listed=False)
    else:
        assert (await catalogue.resolve(asked, "key", listed=False)).id == found


async def test_claudes_names_stand_for_the_only_model(scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    serve(scripted, "only/Model", owned_by="vllm")

    assert (await catalogue.resolve("claude-haiku-4-5-20251001", "key")).id == "only/Model"
    with pytest.raises(ApiError, match="is not served by this backend"):
        await catalogue.resolve("gpt-9", "key")


# lists that depend on the token


async def refusal(catalogue: Catalogue, name: str, token: str) -> str:
    with pytest.raises(ApiError) as error:
        await catalogue.resolve(name, token)
    return error.value.message


async def test_each_token_sees_its_own_list_only(scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    scripted.lists = {"a": ["common", "private-a"], "b": ["common", "private-b"]}

    for _ in range(2):
        for token, other in (("a", "b"), ("b", "a")):
            assert [model.id for model in await catalogue.listed(token)] == ["common", f"private-{token}"]
            assert (await catalogue.resolve(f"claude-private-{token}", token)).id == f"private-{token}"
            message = await refusal(catalogue, f"private-{other}", token)
            assert message.endswith(f"Available: common, private-{token}. Choose one, or map the name with MODEL_MAP.")
            assert f"Did you mean private-{other}" not in message

    assert len(scripted.listed) == 2
    assert catalogue.models == []
    assert not catalogue.loaded


async def test_what_a_token_misses_is_unknown_for_it_alone(
    scripted: ScriptedBackend, catalogue: Catalogue, clock: Clock
) -> None:
    scripted.lists = {"a": ["old"], "b": ["old", "new"]}
    await catalogue.resolve("old", "a")
    clock.now += 10

    await refusal(catalogue, "new", "a")
    assert (await catalogue.resolve("new", "b")).id == "new"
    await refusal(catalogue, "new", "a")


async def test_a_refused_token_gets_no_list_and_any_name(scripted: ScriptedBackend, catalogue: Catalogue) -> None:
    scripted.lists = {"a": ["private-a"]}
    await catalogue.resolve("private-a", "a")

    with pytest.raises(BackendFault, match="Unauthorized"):
        await catalogue.listed("wrong")

    # the backend says what it thinks of the token
    assert (await catalogue.resolve("anything", "wrong")).id == "anything"
    assert len(scripted.listed) == 2


async def test_a_token_that_is_revoked_loses_its_list(
    scripted: ScriptedBackend, catalogue: Catalogue, clock: Clock
) -> None:
    scripted.lists = {"a": ["private-a"], "b": []}
    await catalogue.listed("a")
    del scripted.lists["a"]
    clock.now += 10

    # a name that is not in the list has it fetched again
    assert (await catalogue.resolve("other", "a")).id == "other"
    with pytest.raises(BackendFault, match="Unauthorized"):
        await catalogue.listed("a")


async def test_a_list_for_everybody_is_shared_and_a_token_may_know_more(
    scripted: ScriptedBackend, catalogue: Catalogue
) -> None:
    scripted.lists = {"": ["public"], "a": ["public", "private-a"], "b": ["public"]}
    catalogue.start()
    await scripted.was_listed.wait()

    assert (await catalogue.resolve("public", "b")).id == "public"
    assert len(scripted.listed) == 1
    assert (await catalogue.resolve("private-a", "a")).id == "private-a"
    assert "private-a" not in await refusal(catalogue, "private-x", "b")
    assert [model.id for model in await catalogue.listed("b")] == ["public"]
    assert [model.id for model in catalogue.models] == ["public"]
    assert not catalogue.has("private-a")


async def test_with_a_key_of_the_gateways_own_all_share_one_list(scripted: ScriptedBackend) -> None:
    scripted.lists = {"operator": ["model"]}
    breaker = Breaker(enabled=False, fail_max=1, reset_seconds=1)
    backend = Backend(parse_endpoint(scripted.url), breaker, timeouts=Timeouts(), retry=RetryPolicy(0), key="operator")
    catalogue = Catalogue(backend)

    for token in ("a", "b", ""):
        assert (await catalogue.resolve("model", token)).id == "model"

    assert len(scripted.listed) == 1
    assert catalogue.loaded
    await catalogue.stop()
    await backend.close()


async def test_what_was_learnt_is_forgotten_after_a_day(catalogue: Catalogue, clock: Clock) -> None:
    model, plain = Model(id="m"), catalogue.profile(Model(id="m"))
    catalogue.learn(model, PROFILES["openai"])
    clock.now += 24 * 3600 - 1
    assert catalogue.profile(model) == PROFILES["openai"]
    clock.now += 1
    assert catalogue.profile(model) == plain
    catalogue.learn(model, PROFILES["groq"])
    assert catalogue.profile(model) == PROFILES["groq"]


async def test_of_a_thousand_models_the_one_not_used_for_longest_is_forgotten(catalogue: Catalogue) -> None:
    plain = catalogue.profile(Model(id="other"))
    for number in range(1000):
        catalogue.learn(Model(id=f"m{number}"), PROFILES["openai"])
    catalogue.profile(Model(id="m0"))
    catalogue.learn(Model(id="one more"), PROFILES["openai"])
    assert [catalogue.profile(Model(id=name)) == plain for name in ("m0", "m1", "m2", "one more")] == [
        False, True, False, False,
    ]  # fmt: skip
