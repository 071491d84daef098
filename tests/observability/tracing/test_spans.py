"""What a collector receives about requests, over OTLP."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError
from aiohttp.test_utils import TestClient

from gateway.app import make_app
from gateway.observability.tracing.configuration import load_tracing
from gateway.settings import load_settings
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, ask, chunk, read_until, respond, stream
from tests.observability.tracing.collector import Collector, Recorded, collecting

Client = TestClient[Any, Any]
Start = Callable[..., Awaitable[Client]]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
WHOLE = {
    "model": "Vendor/Model-1-Instruct",
    "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}},
}


@pytest.fixture
async def collector(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collecting() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


@pytest.fixture
async def start(collector: Collector, aiohttp_client: Any, tmp_path: Path) -> Start:
    """Starts a gateway with tracing by the given environment; once closed, it has sent all spans."""

    async def run(backend_url: str, **settings: str) -> Client:
        loaded = load_settings({"backend_url": backend_url, **settings}, {}, tmp_path)
        client: Client = await aiohttp_client(make_app(loaded, tracing=load_tracing(os.environ)))
        return client

    return run


async def post(
    gateway: Client, path: str = "/v1/messages", *, head: dict[str, str] | None = None, **fields: Any
) -> int:
    response = await gateway.post(path, json=ask(**fields), headers={**TOKEN, **(head or {})})
    await response.read()
    return response.status


async def only(gateway: Client, collector: Collector) -> tuple[Recorded, list[Recorded]]:
    """The request's span, and those of its calls."""
    await gateway.close()
    (server,) = collector.of("server")
    calls = collector.of("client")
    assert {call.trace_id for call in calls} <= {server.trace_id}
    assert {call.parent_id for call in calls} <= {server.span_id}
    assert all(server.start <= call.start <= call.end <= server.end for call in calls)
    return server, calls


async def test_a_stream_is_two_spans_with_all_that_is_known(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    before = time.time_ns()
    rest = asyncio.Event()
    named = chunk({"role": "assistant", "content": ""}, model="Vendor/Model-1-Instruct")
    scripted.answers = [stream(named, *HELLO, rest, *END)]
    gateway = await start(scripted.url)

    response = await gateway.post(
        "/v1/messages?beta=true",
        json=ask(model="vendor/model-1", stream=True, temperature=0.5, top_p=0.25, top_k=3),
        headers={**TOKEN, "User-Agent": "claude-cli/2"},
    )
    await read_until(response, b'"lo"')
    held = time.time_ns()
    rest.set()
    await response.read()
    server, (call,) = await only(gateway, collector)

    assert (server.name, server.parent_id, server.failed) == ("POST /v1/messages", "", False)
    assert server.attributes.pop("claude_gateway.request_id") == response.headers["request-id"]
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/messages",
        "http.response.status_code": 200,
        "url.path": "/v1/messages",
        "url.scheme": "http",
        "user_agent.original": "claude-cli/2",
        "claude_gateway.outcome": "ok",
        "claude_gateway.request.model": "vendor/model-1",
    }
    assert (call.name, call.failed) == ("chat Vendor/Model-1", False)
    port = int(scripted.url.rpartition(":")[2])
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "Vendor/Model-1",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.25,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "Vendor/Model-1-Instruct",
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.output_tokens": 4,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.full": f"{scripted.url}/v1/chat/completions",
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    first, end = call.events
    assert (first.name, end.name) == ("claude_gateway.first_token", "claude_gateway.end")
    assert before <= call.start <= first.time <= held <= end.time <= call.end <= server.end <= time.time_ns()
    assert server.resource["service.name"] == "claude-gateway"
    assert server.resource["service.version"].count(".") == 2


async def test_an_answer_that_is_no_stream_has_no_first_token(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    scripted.answers = [respond(json.dumps(WHOLE).encode())]
    gateway = await start(scripted.url, backend_profile="mistral")

    assert await post(gateway) == 200
    _, (call,) = await only(gateway, collector)

    assert [event.name for event in call.events] == ["claude_gateway.end"]
    assert call.attributes["gen_ai.provider.name"] == "mistral_ai"
    assert call.attributes["gen_ai.response.model"] == "Vendor/Model-1-Instruct"
    assert call.attributes["gen_ai.request.stream"] is False
    assert call.attributes["gen_ai.usage.input_tokens"] == 30
    assert "gen_ai.request.temperature" not in call.attributes


async def test_a_json_answer_to_a_request_for_a_stream_names_its_model(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    scripted.answers = [respond(json.dumps(WHOLE).encode())]
    gateway = await start(scripted.url)

    assert await post(gateway, stream=True) == 200
    _, (call,) = await only(gateway, collector)

    assert call.attributes["gen_ai.response.model"] == "Vendor/Model-1-Instruct"
    assert [event.name for event in call.events] == ["claude_gateway.first_token", "claude_gateway.end"]


async def test_counting_tokens_is_one_span(scripted: ScriptedBackend, start: Start, collector: Collector) -> None:
    gateway = await start(scripted.url)

    assert await post(gateway, "/v1/v1/messages/count_tokens") == 200
    server, calls = await only(gateway, collector)

    assert (server.name, calls) == ("POST /v1/messages/count_tokens", [])
    assert server.attributes["http.route"] == "/v1/messages/count_tokens"
    assert server.attributes["url.path"] == "/v1/v1/messages/count_tokens"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health"), ("GET", "/v1/models"), ("GET", "/v1/nothing"), ("DELETE", "/v1/messages"), ("GET", "/")],
)
async def test_other_requests_are_not_traced(
    method: str, path: str, scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    gateway = await start(scripted.url)

    await gateway.request(method, path, headers=TOKEN)
    await gateway.close()

    assert collector.raw == []


async def test_each_try_is_a_span(scripted: ScriptedBackend, start: Start, collector: Collector) -> None:
    scripted.answers = [respond(b'{"error":"full"}', status=503, retry_after="0"), stream(*HELLO, *END)]
    gateway = await start(scripted.url)

    assert await post(gateway, stream=True) == 200
    server, (first, second) = await only(gateway, collector)

    assert not server.failed
    assert (first.failed, first.attributes["error.type"], first.events) == (True, "overloaded", [])
    assert first.attributes["http.response.status_code"] == 503
    assert "http.request.resend_count" not in first.attributes
    assert "gen_ai.usage.output_tokens" not in first.attributes
    assert first.end <= second.start
    assert (second.failed, second.attributes["http.request.resend_count"]) == (False, 1)
    assert second.attributes["gen_ai.usage.output_tokens"] == 4
    assert [request.headers["traceparent"] for request in scripted.requests] == [
        f"00-{server.trace_id}-{call.span_id}-03" for call in (first, second)
    ]


async def test_an_answer_that_is_asked_for_again_is_two_calls(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    scripted.answers = [stream(b": nothing\n\n", cut=True), stream(*HELLO, *END)]
    gateway = await start(scripted.url)

    assert await post(gateway, stream=True) == 200
    _, (first, second) = await only(gateway, collector)

    assert (first.failed, first.attributes["error.type"]) == (True, "bad_answer")
    assert first.description == "the backend's answer broke off before its end; try again"
    assert (second.failed, len(second.events)) == (False, 2)


async def test_a_backends_error_is_one_of_both_spans(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    scripted.answers = [respond(b'{"error":"boom"}', status=500)]
    gateway = await start(scripted.url)

    assert await post(gateway) == 500
    server, (call,) = await only(gateway, collector)

    assert (server.failed, server.attributes["error.type"]) == (True, "api_error")
    assert (server.description, call.description) == ("api_error from the backend", "")
    assert server.attributes["http.response.status_code"] == 500
    assert (call.failed, call.attributes["error.type"]) == (True, "server_error")
    assert call.attributes["http.response.status_code"] == 500


async def test_a_backend_that_is_away_has_no_status(start: Start, collector: Collector) -> None:
    gateway = await start("http://127.0.0.1:9", backend_retries="0")

    assert await post(gateway) == 502
    server, (call,) = await only(gateway, collector)

    assert server.failed
    assert (call.failed, call.attributes["error.type"]) == (True, "unreachable")
    assert "http.response.status_code" not in call.attributes


async def test_a_stream_that_broke_off_is_an_error_though_its_status_was_200(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, cut=True)]
    gateway = await start(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    await read_until(response, b'"lo"')
    rest.set()
    await response.read()
    server, (call,) = await only(gateway, collector)

    assert (server.failed, server.attributes["error.type"]) == (True, "api_error")
    assert server.attributes["http.response.status_code"] == 200
    assert (call.failed, call.attributes["error.type"]) == (True, "bad_answer")
    assert [event.name for event in call.events] == ["claude_gateway.first_token"]
    assert "gen_ai.usage.output_tokens" not in call.attributes


async def test_what_is_refused_is_no_error_of_the_gateway(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    gateway = await start(scripted.url)

    assert await post(gateway, max_tokens=-1) == 400
    server, calls = await only(gateway, collector)

    assert (server.failed, calls) == (False, [])
    assert server.attributes["http.response.status_code"] == 400
    assert server.attributes["claude_gateway.outcome"] == "refused"


async def test_a_client_that_leaves_is_no_error(scripted: ScriptedBackend, start: Start, collector: Collector) -> None:
    scripted.answers = [stream(*HELLO, asyncio.Event())]
    gateway = await start(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    await read_until(response, b'"lo"')
    response.close()
    server, (call,) = await only(gateway, collector)

    assert (server.failed, call.failed) == (False, False)
    assert server.attributes["claude_gateway.outcome"] == "client_gone"
    assert "http.response.status_code" not in server.attributes
    assert [event.name for event in call.events] == ["claude_gateway.first_token"]


async def test_a_client_that_does_not_wait_for_the_answer_ends_its_call(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    scripted.answers = [stream(asyncio.Event())]
    gateway = await start(scripted.url)

    asked = asyncio.create_task(gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN))
    await scripted.asked.wait()
    asked.cancel()
    await asyncio.wait([asked])
    server, (call,) = await only(gateway, collector)

    assert (server.failed, call.failed, call.events) == (False, False, [])


async def test_a_request_is_part_of_its_clients_trace(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    scripted.answers = [respond(json.dumps(WHOLE).encode())]
    gateway = await start(scripted.url)

    head = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1, b=2", "baggage": "user=canary"}
    assert await post(gateway, head=head) == 200
    server, (call,) = await only(gateway, collector)

    assert (server.trace_id, server.parent_id, server.state) == (TRACE, SPAN, "a=1,b=2")
    (request,) = scripted.requests
    assert request.headers["traceparent"] == f"00-{TRACE}-{call.span_id}-01"
    assert request.headers["tracestate"] == "a=1,b=2"
    assert "baggage" not in request.headers


async def test_a_client_that_does_not_sample_is_not_sampled(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    scripted.answers = [respond(json.dumps(WHOLE).encode())]
    gateway = await start(scripted.url)

    assert await post(gateway, head={"traceparent": f"00-{TRACE}-{SPAN}-00"}) == 200
    await gateway.close()

    assert collector.raw == []
    (request,) = scripted.requests
    version, trace_id, span_id, flags = request.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "00")
    assert span_id != SPAN


@pytest.mark.parametrize(
    ("sampler", "ratio", "parent", "spans"),
    [
        ("always_off", "", None, 0),
        ("always_on", "", "00", 2),
        ("parentbased_always_off", "", None, 0),
        ("parentbased_always_off", "", "01", 2),
        ("traceidratio", "0", "01", 0),
        ("parentbased_traceidratio", "1", None, 2),
    ],
)
async def test_the_sampler_of_the_environment_decides(
    sampler: str,
    ratio: str,
    parent: str | None,
    spans: int,
    scripted: ScriptedBackend,
    start: Start,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    scripted.answers = [respond(json.dumps(WHOLE).encode())]
    gateway = await start(scripted.url)

    assert await post(gateway, head={"traceparent": f"00-{TRACE}-{SPAN}-{parent}"} if parent else None) == 200
    await gateway.close()

    assert len(collector.spans) == spans
    flags = int(scripted.requests[0].headers["traceparent"][-2:], 16)
    assert flags & 1 == bool(spans)


async def test_no_token_prompt_or_answer_is_in_a_span(
    scripted: ScriptedBackend, start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.answers = [
        respond(b'{"error":{"message":"canary"}}', status=400),
        respond(b'{"error":{"message":"canary"}}', status=500),
        stream(*HELLO, b'data: {"choices":[{"delta":{"content":"canary"}}]}\n\n', *END),
        stream(*HELLO, b"data: canary\n\n"),
        respond(b"canary, but not JSON"),
    ]
    gateway = await start(
        f"{scripted.url}/v1?api-key=canary",
        gateway_api_keys="canary-key-0123456789 name=canary",
        backend_api_key="canary",
    )

    for streaming in (True, True, True, True, False):
        response = await gateway.post(
            "/v1/messages?canary",
            json=ask(
                "canary", stream=streaming, system="canary", stop_sequences=["canary"], metadata={"user_id": "canary"}
            ),
            headers={"x-api-key": "canary-key-0123456789", "cookie": "canary", "baggage": "a=canary"},
        )
        # some break off
        with contextlib.suppress(ClientPayloadError):
            await response.read()
    await gateway.close()

    assert len(collector.of("server")) == len(collector.of("client")) == 5
    assert not [body for body in collector.raw if b"canary" in body]


async def test_what_strangers_choose_is_cut(scripted: ScriptedBackend, start: Start, collector: Collector) -> None:
    scripted.models_status = 404
    scripted.answers = [respond(json.dumps({**WHOLE, "model": "m" * 1000}).encode())]
    gateway = await start(scripted.url)

    assert await post(gateway, model="n" * 250, head={"User-Agent": "u" * 1000}) == 200
    server, (call,) = await only(gateway, collector)

    texts = [value for span in (server, call) for value in span.attributes.values() if isinstance(value, str)]
    assert max(map(len, [*texts, call.name])) < 210
    assert server.attributes["user_agent.original"] == "u" * 200 + "…"


async def test_the_environment_names_the_service(
    scripted: ScriptedBackend, start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "team-gateway")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=production")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20otlp")
    gateway = await start(scripted.url)

    await post(gateway, "/v1/messages/count_tokens")
    server, _ = await only(gateway, collector)

    assert server.resource["service.name"] == "team-gateway"
    assert server.resource["deployment.environment.name"] == "production"
    assert collector.headers[0]["Authorization"] == "Bearer otlp"


async def test_no_span_has_a_secret_that_a_backend_or_a_client_repeats(
    scripted: ScriptedBackend, start: Start, collector: Collector
) -> None:
    key, token = "bk-7d9f1b3c5e2a4d6f", TOKEN["Authorization"].removeprefix("Bearer ")
    moved = respond(b"", status=308, Location=f"https://user:{key}@h/{key}/{token}?{key}")
    scripted.answers = [moved, respond(json.dumps(WHOLE | {"model": f"a model with {key}"}).encode())]
    gateway = await start(scripted.url, backend_api_key=key)

    assert await post(gateway, head={"User-Agent": f"agent {key}"}) == 502
    assert await post(gateway) == 200
    await gateway.close()

    said = b"".join(collector.raw)
    assert b"redirects to https://h/" in said
    assert b"a model with" in said
    assert key.encode() not in said
    assert token.encode() not in said
