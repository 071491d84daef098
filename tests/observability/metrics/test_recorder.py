"""What requests count in the metrics, over real connections."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from gateway.app import METRICS_URL
from gateway.backend.policy.breaker import BreakerOpen
from gateway.interprocess.counters import CounterTable
from gateway.observability.metrics.recorder import METRICS, MOST_MODELS, Metrics
from gateway.observability.metrics.series import KINDS
from gateway.translate.refusals.faults import BackendFault, cut_short, fault_from_response, malformed
from tests.conftest import (
    END,
    HELLO,
    TOKEN,
    ScriptedBackend,
    StartGateway,
    ask,
    read_until,
    respond,
    stream,
)
from tests.observability.metrics.scrape import Scrape, scrape, scrape_until

MODEL = ("Vendor/Model-1",)
WHOLE = {
    "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}},
}
Client = TestClient[Any, Any]


def url_of(gateway: Client) -> str:
    app = gateway.app
    assert app is not None
    return app[METRICS_URL]


async def counted(gateway: Client, requests: int = 1) -> Scrape:
    """The metrics, once they include this many requests."""
    return await scrape_until(url_of(gateway), lambda seen: sum(seen.series("requests_total").values()) >= requests)


async def post(gateway: Client, path: str = "/v1/messages", **fields: Any) -> int:
    response = await gateway.post(path, json=ask(**fields), headers=TOKEN)
    await response.read()
    return response.status


@pytest.fixture
def start(start_gateway: StartGateway) -> StartGateway:
    """Starts a gateway with metrics."""

    async def run(backend_url: str, **settings: Any) -> Client:
        return await start_gateway(backend_url, metrics_port="0", **settings)

    return run


async def test_a_stream_is_counted_and_timed(scripted: ScriptedBackend, start: StartGateway) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, *END)]
    gateway = await start(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(model="vendor/model-1", stream=True), headers=TOKEN)
    await read_until(response, b'"lo"')
    during = await scrape(url_of(gateway))
    rest.set()
    await response.read()
    after = await counted(gateway)

    assert during.series("requests_in_flight") == {(): 1}
    assert during.series("requests_total") == {}
    assert after.series("requests_in_flight") == {(): 0}
    # the labels are outcome, path, status
    assert after.series("requests_total") == {("ok", "/v1/messages", "200"): 1}
    assert after.series("tokens_total") == {(*MODEL, "cached_input"): 10, (*MODEL, "input"): 20, (*MODEL, "output"): 4}
    for name in ("time_to_first_token", "time_per_output_token", "stream_duration"):
        assert after.series(f"{name}_seconds_count") == {MODEL: 1}
    whole = after.series("stream_duration_seconds_sum")[MODEL]
    first = after.series("time_to_first_token_seconds_sum")[MODEL]
    per_token = after.series("time_per_output_token_seconds_sum")[MODEL]
    assert 0 < first < first + 3 * per_token <= whole
    assert after.series("request_duration_seconds_count") == {("/v1/messages",): 1}
    assert whole == pytest.approx(after.series("request_duration_seconds_sum")["/v1/messages",])


async def test_buckets_add_up_to_the_count(scripted: ScriptedBackend, start: StartGateway) -> None:
    scripted.answers = [stream(*HELLO, *END) for _ in range(3)]
    gateway = await start(scripted.url)

    for _ in range(3):
        await post(gateway, stream=True)
    seen = await counted(gateway, 3)

    # the labels are le, model
    buckets = {float(le): count for (le, _), count in seen.series("stream_duration_seconds_bucket").items()}
    assert [buckets[le] for le in sorted(buckets)] == sorted(buckets.values())
    assert (buckets[1280], buckets[float("inf")]) == (3, 3)


async def test_an_answer_in_one_piece_has_no_time_between_its_tokens(
    scripted: ScriptedBackend, start: StartGateway
) -> None:
    scripted.answers = [stream(b"".join((*HELLO, *END)))]
    gateway = await start(scripted.url)

    await post(gateway, stream=True)
    seen = await counted(gateway)

    assert seen.series("time_to_first_token_seconds_count") == {MODEL: 1}
    assert seen.series("time_per_output_token_seconds_count") == {MODEL: 0}


async def test_an_answer_that_is_no_stream_has_tokens_and_no_first_one(
    scripted: ScriptedBackend, start: StartGateway
) -> None:
    scripted.answers = [respond(json.dumps(WHOLE).encode())]
    gateway = await start(scripted.url)

    await post(gateway)
    seen = await counted(gateway)

    assert seen.series("tokens_total") == {(*MODEL, "cached_input"): 10, (*MODEL, "input"): 20, (*MODEL, "output"): 4}
    assert seen.changed("time_to_first_token_seconds_count") == {}
    assert seen.changed("stream_duration_seconds_count") == {}


@pytest.mark.parametrize(
    ("method", "path", "body", "labels"),
    [
        ("POST", "/v1/messages/count_tokens", ask(), ("ok", "/v1/messages/count_tokens", "200")),
        ("POST", "/v1/messages", ask(max_tokens=-1), ("refused", "/v1/messages", "400")),
        ("POST", "/v1/messages", ask(model="none"), ("refused", "/v1/messages", "404")),
        ("POST", "/v1/v1/messages", ask(max_tokens=-1), ("refused", "/v1/messages", "400")),
        ("GET", "/v1/models", None, ("ok", "/v1/models", "200")),
        ("GET", "/v1/models/Vendor/Model-1", None, ("ok", "/v1/models/{id}", "200")),
        ("GET", "/health", None, ("ok", "/health", "200")),
        ("POST", "/api/event_logging/batch", None, ("ok", "/api/event_logging/{rest}", "204")),
        ("GET", "/v1/whatever?a=canary", None, ("refused", "other", "404")),
        ("GET", "/canary", None, ("refused", "other", "404")),
        ("DELETE", "/v1/messages", None, ("refused", "other", "405")),
    ],
)
async def test_labels_are_the_routes_own(
    method: str, path: str, body: Any, labels: tuple[str, ...], scripted: ScriptedBackend, start: StartGateway
) -> None:
    gateway = await start(scripted.url)

    await gateway.request(method, path, json=body, headers=TOKEN)
    seen = await counted(gateway)

    assert seen.series("requests_total") == {labels: 1}
    assert seen.series("request_duration_seconds_count") == {(labels[1],): 1}
    assert "canary" not in seen.text


async def test_a_backends_error_is_counted_by_its_kind(scripted: ScriptedBackend, start: StartGateway) -> None:
    scripted.answers = [respond(b'{"error":"boom"}', status=500), respond(b'{"error":"no"}', status=400)]
    gateway = await start(scripted.url)

    assert [await post(gateway) for _ in range(2)] == [500, 400]
    seen = await counted(gateway, 2)

    assert seen.series("requests_total") == {
        ("backend_fault", "/v1/messages", "500"): 1,
        ("backend_fault", "/v1/messages", "400"): 1,
    }
    assert seen.changed("backend_errors_total") == {("server_error",): 1, ("invalid_request",): 1}
    assert set(seen.series("backend_errors_total")) == {(kind,) for kind in KINDS}


async def test_a_stream_that_broke_off_is_an_error_though_its_status_was_200(
    scripted: ScriptedBackend, start: StartGateway
) -> None:
    rest = asyncio.Event()
    scripted.answers = [stream(*HELLO, rest, cut=True)]
    gateway = await start(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    await read_until(response, b'"lo"')
    rest.set()
    await response.read()
    seen = await counted(gateway)

    assert seen.series("requests_total") == {("backend_fault", "/v1/messages", "200"): 1}
    assert seen.changed("backend_errors_total") == {("bad_answer",): 1}
    assert seen.changed("tokens_total") == {}
    assert seen.changed("stream_duration_seconds_count") == {}


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (respond(b'{"error":"full"}', status=503, retry_after="0"), "overloaded"),
        (respond(b'{"error":"slowly"}', status=429, retry_after="0"), "rate_limit"),
        (stream(b": nothing\n\n", cut=True), "bad_answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_call_that_is_made_again_is_counted_and_so_is_why(
    first: Any, reason: str, scripted: ScriptedBackend, start: StartGateway
) -> None:
    scripted.answers = [first, stream(*HELLO, *END)]
    gateway = await start(scripted.url)

    assert await post(gateway, stream=True) == 200
    seen = await counted(gateway)

    assert seen.changed("backend_retries_total") == {(reason,): 1}
    assert seen.changed("backend_errors_total") == {(reason,): 1}
    assert seen.series("requests_total") == {("ok", "/v1/messages", "200"): 1}


async def test_a_client_that_leaves_is_counted_by_what_it_left(scripted: ScriptedBackend, start: StartGateway) -> None:
    never = asyncio.Event()
    scripted.answers = [stream(*HELLO, never), stream(never)]
    gateway = await start(scripted.url)

    response = await gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN)
    await read_until(response, b'"lo"')
    response.close()
    await counted(gateway)
    scripted.asked.clear()
    waiting = asyncio.create_task(gateway.post("/v1/messages", json=ask(stream=True), headers=TOKEN))
    await scripted.asked.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    seen = await scrape_until(
        url_of(gateway), lambda seen: seen.changed("client_disconnects_total").keys() > {("streaming",)}
    )

    assert seen.series("client_disconnects_total") == {("streaming",): 1, ("waiting",): 1}
    assert seen.series("requests_total") == {("client_gone", "/v1/messages", "none"): 2}


async def test_the_breakers_state_and_its_changes(scripted: ScriptedBackend, start: StartGateway) -> None:
    scripted.answers = [respond(b"{}", status=500), respond(json.dumps(WHOLE).encode())]
    gateway = await start(
        scripted.url,
        enable_circuit_breaker="true",
        circuit_breaker_fail_max="1",
        circuit_breaker_reset_secs="0.2",
    )

    before = await scrape(url_of(gateway))
    await post(gateway)
    opened = await scrape(url_of(gateway))
    while await post(gateway) == 529:  # noqa: ASYNC110  # the breaker has a clock of its own
        await asyncio.sleep(0.05)
    closed = await scrape(url_of(gateway))

    assert before.changed("circuit_breakers") == {("closed",): 1}
    assert set(before.series("circuit_breaker_transitions_total").values()) == {0}
    assert opened.series("circuit_breakers") == {("disabled",): 0, ("closed",): 0, ("half-open",): 0, ("open",): 1}
    assert opened.changed("circuit_breaker_transitions_total") == {("closed", "open"): 1}
    assert closed.changed("circuit_breakers") == {("closed",): 1}
    assert closed.changed("circuit_breaker_transitions_total") == {
        ("closed", "open"): 1,
        ("open", "half-open"): 1,
        ("half-open", "closed"): 1,
    }
    # a request that the breaker refuses is not an error of the backend
    assert closed.changed("backend_errors_total") == {("server_error",): 1}


@pytest.mark.parametrize("name", ["canary", "canary" * 40, "other"])
async def test_models_that_the_backend_does_not_list_are_others(
    name: str, scripted: ScriptedBackend, start: StartGateway
) -> None:
    scripted.models_status = 404
    scripted.answers = [respond(json.dumps(WHOLE).encode()) for _ in range(2)]
    gateway = await start(scripted.url)

    for number in range(2):
        assert await post(gateway, model=f"{name}{number}" if name != "other" else name) == 200
    seen = await counted(gateway, 2)

    assert {model for model, _ in seen.series("tokens_total")} == {"other"}
    assert seen.series("tokens_total")["other", "output"] == 8
    assert "canary" not in seen.text


async def test_of_very_many_models_the_first_have_names(scripted: ScriptedBackend, start: StartGateway) -> None:
    names = [f"model-{number}" for number in range(MOST_MODELS + 3)]
    scripted.models = json.dumps({"data": [{"id": name} for name in names]}).encode()
    scripted.answers = [respond(json.dumps(WHOLE).encode()) for _ in range(2 * len(names))]
    gateway = await start(scripted.url)

    for name in names * 2:
        assert await post(gateway, model=name) == 200
    seen = await counted(gateway, 2 * len(names))

    tokens = {model: count for (model, kind), count in seen.series("tokens_total").items() if kind == "output"}
    assert tokens == {**dict.fromkeys(names[:MOST_MODELS], 8), "other": 3 * 8}
    assert seen.series("models") == {(): len(names)}


async def test_what_runs_can_be_seen(embedded: str, start: StartGateway) -> None:
    gateway = await start(embedded, max_streams="7")

    seen = await scrape_until(url_of(gateway), lambda seen: seen.series("models") != {(): 0})

    (((implementation, python, version), one),) = seen.series("build_info").items()
    assert (implementation, python[:2], version.count("."), one) == ("CPython", "3.", 2, 1)
    assert seen.series("requests_in_flight_limit") == {(): 7}
    assert seen.series("worker_restarts_total") == {("0",): 0}
    assert seen.series("process_open_fds")["0",] > 5
    await scrape_until(url_of(gateway), lambda seen: seen.series("event_loop_lag_seconds_count")[()] >= 3)


@pytest.mark.parametrize("settings", [{}, {"metrics_port": "0"}], ids=["off", "on"])
async def test_clients_never_see_them(settings: dict[str, str], embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded, **settings)

    response = await gateway.get("/metrics")

    assert response.status == 404
    assert "requests_total" not in await response.text()


async def test_without_a_port_nothing_is_counted(embedded: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(embedded)
    app = gateway.app
    assert app is not None

    assert await post(gateway, model="demo") == 200

    assert METRICS not in app
    assert METRICS_URL not in app


async def test_no_token_prompt_answer_or_clients_name_is_in_them(
    scripted: ScriptedBackend, start: StartGateway
) -> None:
    scripted.answers = [
        respond(b'{"error":{"message":"canary"}}', status=400),
        stream(*HELLO, b'data: {"choices":[{"delta":{"content":"canary"}}]}\n\n', *END),
    ]
    gateway = await start(scripted.url, gateway_api_keys="canary-key-0123456789 name=canary", backend_api_key="canary")

    for _ in range(2):
        response = await gateway.post(
            "/v1/messages?canary", json=ask("canary", stream=True), headers={"x-api-key": "canary-key-0123456789"}
        )
        await response.read()
    seen = await counted(gateway, 2)

    assert {labels[0] for labels in seen.series("requests_total")} == {"backend_fault", "ok"}
    assert "canary" not in seen.text


FAULTS: list[tuple[Callable[[], Exception], str]] = [
    (lambda: BackendFault(502, "no connection", taken=False), "unreachable"),
    (lambda: BackendFault(504, "no connection in time", taken=False), "unreachable"),
    (lambda: BackendFault(504, "no answer"), "timeout"),
    (lambda: fault_from_response(408, {}, b"{}"), "timeout"),
    (lambda: fault_from_response(503, {}, b"{}"), "overloaded"),
    (lambda: fault_from_response(429, {}, b"{}"), "rate_limit"),
    (lambda: fault_from_response(500, {}, b"{}"), "server_error"),
    (lambda: fault_from_response(501, {}, b"{}"), "server_error"),
    (lambda: fault_from_response(502, {}, b"{}"), "bad_answer"),
    (cut_short, "bad_answer"),
    (lambda: malformed("<html>"), "bad_answer"),
    (lambda: fault_from_response(404, {}, b""), "misconfigured"),
    (lambda: BackendFault(502, "no secure connection", should_retry=False), "misconfigured"),
    (lambda: fault_from_response(401, {}, b"{}"), "authentication"),
    (lambda: fault_from_response(403, {}, b"{}"), "permission"),
    (lambda: fault_from_response(402, {}, b"{}"), "billing"),
    (lambda: fault_from_response(404, {}, b'{"error":{"message":"The model does not exist"}}'), "not_found"),
    (lambda: fault_from_response(400, {}, b"{}"), "invalid_request"),
    (lambda: fault_from_response(418, {}, b"{}"), "invalid_request"),
    (lambda: fault_from_response(413, {}, b"{}"), "request_too_large"),
    (lambda: fault_from_response(409, {}, b"{}"), "conflict"),
    (lambda: BreakerOpen(3), "overloaded"),
    (lambda: RuntimeError("no fault of the backend"), "server_error"),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_fault_has_its_kind(fault: Callable[[], Exception], kind: str) -> None:
    table = CounterTable(1)
    metrics = Metrics(table.row(0), lambda _: True)

    metrics.backend_failed(fault())

    totals = table.totals()
    assert [name[1] for name, cells in totals.items() if name[0] == "backend_errors" and cells[0]] == [kind]
    assert kind in KINDS


def test_every_kind_is_some_faults() -> None:
    assert {kind for _, kind in FAULTS} == set(KINDS)
