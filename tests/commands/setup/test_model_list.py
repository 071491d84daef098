"""The models to choose from: reading the list, and describing its entries."""

import asyncio
import json
from typing import Any

import pytest

from gateway.commands.setup.model_list import NoModels, Offer, describe, fetch, named, read_offers, search, warnings
from tests.conftest import ScriptedBackend, StartGateway

URL = "http://h"
HOSTED = {
    "id": "z-ai/glm-4.5-air",
    "context_length": 131072,
    "top_provider": {"max_completion_tokens": 65536},
    "supported_parameters": ["reasoning"],
    "pricing": {"prompt": "0.0000002", "completion": "0.0000011"},
}
GLM = Offer("z-ai/glm-4.5-air", 131072, 65536, True, (0.2, 1.1))


def offers(*entries: Any) -> list[Offer]:
    return read_offers(json.dumps({"data": entries}).encode(), URL)


async def test_a_gateways_models_come_once_with_all_that_is_known(
    scripted: ScriptedBackend, start_gateway: StartGateway
) -> None:
    scripted.models = json.dumps({"data": [HOSTED, {"id": "claude-like"}]}).encode()
    gateway = await start_gateway(scripted.url)

    listed = await asyncio.to_thread(fetch, str(gateway.make_url("/")).rstrip("/"), "cpk_secret")

    assert listed == [GLM, Offer("claude-like", None, None, None, None)]


async def test_the_token_goes_along(scripted: ScriptedBackend) -> None:
    await asyncio.to_thread(fetch, scripted.url, "cpk_secret")
    (listed,) = scripted.listed
    assert (listed.path, listed.headers["authorization"]) == ("/v1/models?limit=1000", "Bearer cpk_secret")


def test_a_backends_own_list_says_the_same() -> None:
    assert offers(HOSTED, {"id": "tiny", "max_model_len": 2048}) == [GLM, Offer("tiny", 2048, None, None, None)]


def test_odd_entries_are_left_out_or_lose_what_is_odd() -> None:
    odd = {"type": "model", "id": "odd", "max_input_tokens": "many", "pricing": 3}
    assert offers(None, 3, {"id": ""}, {"id": "a\nb"}, {"name": "x"}, odd) == [Offer("odd", None, None, None, None)]


@pytest.mark.parametrize("body", [b"<html>", b'{"data": {}}', b'"models"', b"\xff"])
def test_what_is_no_list_is_told(body: bytes) -> None:
    with pytest.raises(
        NoModels, match=r"^http://h/v1/models: no model list came back: is this the gateway's address\?$"
    ):
        read_offers(body, URL)


def test_an_empty_list_is_told() -> None:
    with pytest.raises(NoModels, match=r"^http://h serves no model: load one"):
        offers()


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (401, b'{"error":{"message":"Invalid\\n  token."}}', "{url} refuses the token (401): Invalid token."),
        (403, b'{"error":"no"}', "{url} refuses the token (403): no"),
        (404, b"\x1b[31mNot Found", "{url}/v1/models answers 404: [31mNot Found: is this the gateway's address?"),
        (302, b"", "{url}/v1/models answers 302: no text: is this the gateway's address?"),
    ],
)
async def test_a_refusal_is_told_in_its_own_words(
    status: int, body: bytes, fault: str, scripted: ScriptedBackend
) -> None:
    scripted.models, scripted.models_status = body, status
    with pytest.raises(NoModels) as raised:
        await asyncio.to_thread(fetch, scripted.url, "cpk_secret")
    assert str(raised.value) == fault.format(url=scripted.url)


@pytest.mark.parametrize(
    ("url", "reason"), [("http://127.0.0.1:9", "Connection refused"), ("http://nowhere.invalid", "nowhere.invalid")]
)
def test_a_gateway_that_does_not_answer_is_told(url: str, reason: str) -> None:
    with pytest.raises(NoModels, match=rf"^{url} does not answer \(.*{reason}.*\): is the gateway running there\?"):
        fetch(url, "cpk_secret")


async def test_the_environments_proxy_is_for_hosts_elsewhere(
    scripted: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", scripted.url)
    monkeypatch.delenv("no_proxy", raising=False)
    (one,) = await asyncio.to_thread(fetch, "http://gateway.example", "cpk_secret")
    assert one.id == "Vendor/Model-1"
    assert scripted.listed[-1].path == "http://gateway.example/v1/models?limit=1000"
    with pytest.raises(NoModels):
        await asyncio.to_thread(fetch, "http://127.0.0.1:9", "cpk_secret")


@pytest.mark.parametrize(
    ("offer", "shown"),
    [
        (GLM, "  131,072  thinks  $0.20 / $1.10    z-ai/glm-4.5-air"),
        (Offer("x", 2048, None, False, (0, 0)), "    2,048!         free             x"),
        (Offer("x", None, None, None, None), "        ?                           x"),
    ],
)
def test_a_model_is_described_in_columns(offer: Offer, shown: str) -> None:
    assert describe(offer) == shown


def test_a_window_that_is_small_or_not_told_is_warned_of() -> None:
    assert warnings(GLM) == []
    assert "A window of 2,048 tokens is small" in warnings(Offer("x", 2048, None, None, None))[0]
    assert "set CLAUDE_CODE_MAX_CONTEXT_TOKENS" in warnings(Offer("x", None, None, None, None))[0]


def test_models_are_found_by_words_and_named_in_any_case() -> None:
    listed = offers(*({"id": name} for name in ("Qwen/Coder", "qwen/coder", "z-ai/GLM-4.5-Air")))
    assert [offer.id for offer in search(listed, "air GLM")] == ["z-ai/GLM-4.5-Air"]
    assert named(listed, "Z-AI/glm-4.5-air").id == "z-ai/GLM-4.5-Air"
    assert named(listed, "qwen/coder").id == "qwen/coder"


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("zai/glm", "no model 'zai/glm'; available: z-ai/GLM-4.5-Air"),
        ("x", "no model 'x'; available: " + ", ".join(f"m{n}" for n in range(10)) + " and 3 more"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(name: str, fault: str) -> None:
    listed = offers(*({"id": f"m{n}"} for n in range(12)), {"id": "z-ai/GLM-4.5-Air"})
    with pytest.raises(NoModels) as raised:
        named(listed, name)
    assert str(raised.value) == fault
