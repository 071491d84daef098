"""Real Prometheus: it scrapes a gateway with two workers under traffic, and evaluates the rules."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import TOKEN, ask
from tests.gateway_process import GATEWAY, Process, inherited, log_line, python, running
from tests.observability.metrics.scrape import scrape

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("promtool")), reason="needs Debian's package prometheus"
    ),
]

HERE = Path(__file__).parent
DEPLOY = HERE.parent.parent / "deploy"
RULES = DEPLOY / "prometheus/alerts.yaml"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/claude-gateway.json").read_text())
CONFIGURATION = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: claude-gateway
    static_configs: [targets: ["{target}"]]
"""


@dataclass
class Gateway:
    process: Process
    url: str
    metrics: str
    workers: list[int]

    async def line(self, event: str) -> dict[str, Any]:
        return await log_line(self.process, event)


@pytest.fixture
async def gateway(embedded: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = {"WORKERS": "2", "HOST_PORT": "0", "METRICS_PORT": "0", "BACKEND_URL": embedded}
    async with python(*GATEWAY, folder=tmp_path, environment=settings, stdout=DEVNULL) as process:
        line = await log_line(process, "listening")
        yield Gateway(process, line["url"], line["metrics"], line["workers"])


class Prometheus:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def get(self, path: str, **query: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=query) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = (await self.get("query", query=expression))["result"]
        return result

    async def until(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query, once it has one."""
        async with asyncio.timeout(40):
            while not (result := await self.query(expression)):  # noqa: ASYNC110  # another process tells nobody
                await asyncio.sleep(0.2)
        return result


@pytest.fixture
async def prometheus(gateway: Gateway, tmp_path: Path) -> AsyncIterator[Prometheus]:
    target = gateway.metrics.removeprefix("http://").removesuffix("/metrics")
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(rules=RULES, target=target))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = (
        "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address={address}", "--log.level=error",
    )  # fmt: skip
    async with (
        running(*command, folder=tmp_path, environment=inherited(), stdout=DEVNULL),
        aiohttp.ClientSession() as session,
    ):
        server = Prometheus(session, f"http://{address}")
        async with asyncio.timeout(30):
            while not await _is_ready(server):  # noqa: ASYNC110  # another process tells nobody
                await asyncio.sleep(0.1)
        yield server


async def _is_ready(server: Prometheus) -> bool:
    try:
        async with server.session.get(f"{server.url}/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def send(gateway: Gateway, *, model: str = "demo", **fields: Any) -> int:
    """One request on a connection of its own, so that all workers get some."""
    body = ask(model=model, **fields)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/v1/messages", json=body, headers=TOKEN) as response,
    ):
        await response.read()
        return response.status


async def traffic(gateway: Gateway, rounds: int) -> None:
    """Streams, answers in one piece, and requests that fail: five a round."""
    for _ in range(rounds):
        calls = [send(gateway, stream=True) for _ in range(3)] + [send(gateway), send(gateway, model="none")]
        assert sorted(await asyncio.gather(*calls)) == [200, 200, 200, 200, 404]
        await asyncio.sleep(0.25)


async def test_what_was_sent_is_what_prometheus_has(gateway: Gateway, prometheus: Prometheus) -> None:
    await prometheus.until("up == 1")
    await traffic(gateway, 12)

    total = 'sum by (status) (claude_gateway_requests_total{path="/v1/messages"})'
    result = await prometheus.until(f"{total} and on () sum(claude_gateway_requests_total) >= 60")
    streams = await prometheus.query("claude_gateway_stream_duration_seconds_count")
    workers = await prometheus.query("process_open_fds")

    assert {row["metric"]["status"]: row["value"][1] for row in result} == {"200": "48", "404": "12"}
    assert [(row["metric"]["model"], row["value"][1]) for row in streams] == [("demo", "36")]
    assert [row["metric"]["worker"] for row in workers] == ["0", "1"]


async def test_every_panel_of_the_dashboard_has_something_to_show(gateway: Gateway, prometheus: Prometheus) -> None:
    await prometheus.until("up == 1")
    await traffic(gateway, 16)
    await prometheus.until("sum(claude_gateway_requests_total) >= 80")

    empty = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m")
            expression = re.sub(r"\$(?:job|instance|model)\b", ".*", expression)
            if not await prometheus.query(expression):
                empty.append(panel["title"])

    # there were none
    assert empty == ["Errors of the backend by kind"]


async def test_the_rules_are_evaluated_and_fire_when_workers_die(gateway: Gateway, prometheus: Prometheus) -> None:
    await prometheus.until("sum(claude_gateway_worker_restarts_total) == 0")
    before = await prometheus.query('ALERTS{alertstate="firing"}')

    victim = gateway.workers[0]
    for _ in range(4):
        os.kill(victim, signal.SIGKILL)
        victim = (await gateway.line("worker replaced"))["pid"]
    (firing,) = await prometheus.until('ALERTS{alertstate="firing"}')
    (group,) = (await prometheus.get("rules"))["groups"]

    assert before == []
    assert (firing["metric"]["alertname"], firing["metric"]["severity"]) == ("ClaudeGatewayWorkersDie", "ticket")
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    (alert,) = next(rule for rule in group["rules"] if rule["name"] == "ClaudeGatewayWorkersDie")["alerts"]
    assert re.fullmatch(r"Workers of 127\.0\.0\.1:\d+ died [\d.]+ times in 15 minutes", alert["annotations"]["summary"])


async def test_promtool_finds_nothing_to_say_of_the_metrics(gateway: Gateway) -> None:
    await traffic(gateway, 1)
    text = (await scrape(gateway.metrics)).text

    assert promtool("check", "metrics", text=text) == ""


def test_the_rules_are_valid_and_do_what_their_cases_say() -> None:
    assert "SUCCESS: 15 rules found" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(HERE / "alerts.test.yaml"))


def promtool(*arguments: str, text: str = "") -> str:
    """What promtool says of it, if it is content."""
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
