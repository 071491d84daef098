"""Which environments turn tracing on, and a gateway process with tracing."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.observability.tracing.configuration import Tracing, TracingError, load_tracing
from tests.conftest import END, HELLO, TOKEN, ScriptedBackend, ask, stream
from tests.gateway_process import GATEWAY, Process, python
from tests.observability.tracing.collector import collecting

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OTLP = Tracing(("otlp",))
URL = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("environment", "tracing"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "gateway", "OTEL_TRACES_SAMPLER": "always_on"}, None),
        ({ENDPOINT: ""}, None),
        ({ENDPOINT: URL}, OTLP),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"}, OTLP),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, OTLP),
        ({"OTEL_TRACES_EXPORTER": " otlp , console"}, Tracing(("otlp", "console"))),
        ({"OTEL_TRACES_EXPORTER": "console"}, Tracing(("console",))),
        ({"OTEL_TRACES_EXPORTER": "none", ENDPOINT: URL}, None),
        ({"OTEL_TRACES_EXPORTER": "", ENDPOINT: URL}, OTLP),
        ({"OTEL_SDK_DISABLED": "true", ENDPOINT: URL}, None),
        ({"OTEL_SDK_DISABLED": "True", "OTEL_TRACES_EXPORTER": "nonsense"}, None),
        ({"OTEL_SDK_DISABLED": "false", ENDPOINT: URL}, OTLP),
        ({ENDPOINT: "https://collector", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, OTLP),
        (
            {
                ENDPOINT: "https://collector",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            OTLP,
        ),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, Tracing(("console",))),
    ],
)
def test_the_standard_variables_turn_traces_on_and_off(environment: dict[str, str], tracing: Tracing | None) -> None:
    assert load_tracing(environment) == tracing


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin: must be otlp, console or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp,none"}, "OTEL_TRACES_EXPORTER=otlp,none: must be otlp, console or none"),
        (
            {ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: must be http/protobuf, which collectors accept on port 4318",
        ),
        (
            {ENDPOINT: "collector:4317"},
            f"{ENDPOINT}: must be an http:// or https:// URL such as http://127.0.0.1:4318",
        ),
        (
            {ENDPOINT: URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[collector"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: must be an http:// or https:// URL such as http://127.0.0.1:4318",
        ),
        ({ENDPOINT: URL, "OTEL_BSP_MAX_QUEUE_SIZE": "-4"}, "OTEL_BSP_MAX_QUEUE_SIZE=-4: must be a whole number"),
        (
            {ENDPOINT: URL, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x"},
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=x: must be a whole number",
        ),
        ({ENDPOINT: "http://h:99999"}, f"{ENDPOINT}: must be an http:// or https:// URL such as http://127.0.0.1:4318"),
    ],
)
def test_what_cannot_be_done_is_said(environment: dict[str, str], message: str) -> None:
    with pytest.raises(TracingError) as caught:
        load_tracing(environment)

    assert str(caught.value) == message


@dataclass
class Gateway:
    """A gateway as a process."""

    process: Process
    log: Path
    url: str = ""

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log about `event`."""
        return [line for line in self.lines() if line["event"] == event]

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110  # a log tells nobody when it grows
                await asyncio.sleep(0.02)

    async def post(self, **head: str) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/v1/messages", json=ask(stream=True), headers={**TOKEN, **head}) as response,
        ):
            await response.read()
            return response.status

    async def ends(self) -> int:
        """Stop the gateway; gives its exit code."""
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 10)


Start = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a gateway, warnings as errors, with no variables but those given."""

    @asynccontextmanager
    async def run(*program: str, listens: bool = True, **environment: str) -> AsyncIterator[Gateway]:
        variables = {"HOST_PORT": "0", "SHUTDOWN_GRACE_SECS": "1"} | environment
        log = tmp_path / "log"
        with log.open("wb") as file:
            async with python(*(program or GATEWAY), folder=tmp_path, environment=variables, stderr=file) as process:
                gateway = Gateway(process, log)
                if listens:
                    await gateway.until(lambda: gateway.told("listening") or process.returncode is not None)
                    gateway.url = gateway.told("listening")[0]["url"]
                yield gateway

    return run


# runs the gateway, and prints at exit which OpenTelemetry modules it has imported
LOADED = """
import sys
from gateway.cli import main
code = main([])
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "google", "requests")))
sys.exit(code)
"""


async def test_while_traces_are_off_nothing_of_them_is_loaded(scripted: ScriptedBackend, start: Start) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    async with start("-c", LOADED, BACKEND_URL=scripted.url, OTEL_SERVICE_NAME="gateway") as gateway:
        assert await gateway.post() == 200
        assert await gateway.ends() == 0
        assert gateway.process.stdout is not None
        out = await gateway.process.stdout.read()

    assert out == b"[]\n"
    assert "trace_id" not in gateway.told("request")[0]


async def test_lines_of_a_traced_request_carry_its_id(scripted: ScriptedBackend, start: Start) -> None:
    scripted.answers = [stream(b": nothing\n\n", cut=True), stream(*HELLO, *END)]
    async with (
        collecting() as collector,
        start(BACKEND_URL=scripted.url, **{ENDPOINT: collector.url}) as gateway,
    ):
        assert await gateway.post() == 200
        assert await gateway.ends() == 0

    (server,) = collector.of("server")
    ids = {line["event"]: line.get("trace_id") for line in gateway.lines()}
    assert (ids["request"], ids["asked again"]) == (server.trace_id, server.trace_id)
    assert (ids["listening"], ids["shutting down"]) == (None, None)


async def test_lines_of_a_dotenv_turn_them_on(scripted: ScriptedBackend, start: Start, tmp_path: Path) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    async with collecting() as collector:
        (tmp_path / ".env").write_text(f"{ENDPOINT}={collector.url}\nOTEL_SERVICE_NAME=of-the-file\n")
        async with start(BACKEND_URL=scripted.url, OTEL_SERVICE_NAME="of-the-environment") as gateway:
            assert await gateway.post() == 200
            assert await gateway.ends() == 0

    (server,) = collector.of("server")
    assert server.resource["service.name"] == "of-the-environment"


async def test_spans_can_go_to_standard_output(scripted: ScriptedBackend, start: Start) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    async with start(BACKEND_URL=scripted.url, OTEL_TRACES_EXPORTER="console") as gateway:
        assert await gateway.post() == 200
        assert await gateway.ends() == 0
        assert gateway.process.stdout is not None
        out = (await gateway.process.stdout.read()).decode()

    assert '"name": "POST /v1/messages"' in out
    assert '"name": "chat Vendor/Model-1"' in out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
async def test_each_worker_sends_its_spans(scripted: ScriptedBackend, start: Start) -> None:
    requests = 40
    scripted.answers = [stream(*HELLO, *END) for _ in range(requests)]
    async with (
        collecting() as collector,
        start(
            BACKEND_URL=scripted.url, WORKERS="2", OTEL_BSP_SCHEDULE_DELAY="60000", **{ENDPOINT: collector.url}
        ) as gateway,
    ):
        # each on its own connection: the kernel spreads them over the workers
        assert {await gateway.post() for _ in range(requests)} == {200}
        assert collector.spans == []
        assert await gateway.ends() == 0

    workers = gateway.told("listening")[0]["workers"]
    assert len(collector.of("server")) == len(collector.of("client")) == requests
    assert {span.resource["process.pid"] for span in collector.spans} == set(workers)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_without_the_extra_the_start_says_what_to_install(workers: str, start: Start) -> None:
    # as if the packages were not installed
    program = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from gateway.cli import main
sys.exit(main([]))
"""
    async with start("-c", program, listens=False, WORKERS=workers, **{ENDPOINT: URL}) as gateway:
        code = await asyncio.wait_for(gateway.process.wait(), 10)

    assert code == 2
    assert gateway.log.read_text() == (
        f"claude-gateway: {ENDPOINT} is set, but the packages for tracing are not installed: "
        "pip install 'claude-gateway[otel]', or set OTEL_TRACES_EXPORTER=none\n"
    )


async def test_what_the_sdk_does_not_take_is_told_in_one_line(start: Start) -> None:
    async with start(listens=False, OTEL_BSP_MAX_QUEUE_SIZE="0", **{ENDPOINT: URL}) as gateway:
        code = await asyncio.wait_for(gateway.process.wait(), 10)

    assert code == 2
    assert gateway.log.read_text() == (
        "claude-gateway: OpenTelemetry's variables (OTEL_…) cannot be used: max_queue_size must be a positive integer.\n"
    )


async def test_a_collector_that_is_away_is_told_of_once_and_disturbs_nothing(
    scripted: ScriptedBackend, start: Start
) -> None:
    scripted.answers = [stream(*HELLO, *END) for _ in range(6)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        ENDPOINT: f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
        "OTEL_BSP_MAX_QUEUE_SIZE": "2",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2",
    }
    async with start(BACKEND_URL=scripted.url, **environment) as gateway:
        for _ in range(3):
            assert await gateway.post() == 200
        await gateway.until(lambda: gateway.told("traces not delivered"))
        for _ in range(3):
            assert await gateway.post() == 200
        assert await gateway.ends() == 0

    assert len(gateway.told("request")) == 6
    (line,) = gateway.told("traces not delivered")
    assert (line["level"], line["reason"]) == ("warning", "[Errno 111] Connection refused")
    assert len(gateway.told("traces")) <= 1
    assert {line["event"] for line in gateway.lines() if line["level"] != "info"} <= {"traces not delivered", "traces"}


async def test_a_collector_that_does_not_answer_does_not_hold_up_the_end(
    scripted: ScriptedBackend, start: Start
) -> None:
    scripted.answers = [stream(*HELLO, *END)]
    async with collecting() as collector:
        collector.hold = asyncio.Event()
        async with start(BACKEND_URL=scripted.url, **{ENDPOINT: collector.url}) as gateway:
            assert await gateway.post() == 200
            began = asyncio.get_running_loop().time()
            assert await gateway.ends() == 0
            took = asyncio.get_running_loop().time() - began
        collector.hold.set()

    assert gateway.told("last traces not delivered")[0]["waited_secs"] == 2
    # the exporter's own limit is 10 s
    assert took < 8


async def test_a_collector_that_is_back_gets_spans_again(scripted: ScriptedBackend, start: Start) -> None:
    scripted.answers = [stream(*HELLO, *END) for _ in range(2)]
    async with collecting() as collector:
        collector.status = 401
        async with start(
            BACKEND_URL=scripted.url, OTEL_BSP_SCHEDULE_DELAY="50", **{ENDPOINT: collector.url}
        ) as gateway:
            assert await gateway.post() == 200
            await gateway.until(lambda: gateway.told("traces not delivered"))
            collector.status = 200
            assert await gateway.post() == 200
            await gateway.until(lambda: gateway.told("traces delivered again"))
            assert await gateway.ends() == 0

    assert gateway.told("traces not delivered")[0]["reason"] == "401 Unauthorized"
    assert gateway.told("traces delivered again")[0]["lost"] in (1, 2)
    assert collector.spans


async def test_a_variable_that_the_sdk_cannot_use_is_told_of(scripted: ScriptedBackend, start: Start) -> None:
    async with collecting() as collector:
        environment = {ENDPOINT: collector.url, "OTEL_TRACES_SAMPLER": "nonsense"}
        async with start(BACKEND_URL=scripted.url, **environment) as gateway:
            assert await gateway.ends() == 0

    assert [line["said"] for line in gateway.told("traces")] == ["Couldn't recognize sampler nonsense."]


PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_while_traces_are_off_a_clients_context_goes_through(scripted: ScriptedBackend, start: Start) -> None:
    scripted.answers = [stream(*HELLO, *END) for _ in range(3)]
    async with start(BACKEND_URL=scripted.url) as gateway:
        await gateway.post(traceparent=PARENT, tracestate="a=1 , b=2", baggage="user=canary")
        await gateway.post(traceparent=PARENT.upper(), tracestate="a=1")
        await gateway.post()

    with_context, *without = [request.headers for request in scripted.requests]
    assert (with_context["traceparent"], with_context["tracestate"]) == (PARENT, "a=1,b=2")
    assert not [name for head in without for name in head if name.startswith("trace")]
    assert not [head for head in (with_context, *without) if "baggage" in head]
