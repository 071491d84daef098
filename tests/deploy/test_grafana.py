"""The dashboard and the alert rules name what the gateway gives."""

import json
import re
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import METRICS_URL
from gateway.observability.metrics.series import GROUPS
from tests.conftest import TOKEN, StartGateway, ask
from tests.observability.metrics.scrape import Scrape, scrape_until

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/claude-gateway.json").read_text())
ALERTS = (DEPLOY / "prometheus/alerts.yaml").read_text()
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES: dict[str, Any] = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}

# what a scrape adds
_ADDED = {"job", "instance"}
_SERIES = re.compile(r"\b((?:claude_gateway|process)_\w+)(?:\{(.*?)\})?")


def queries() -> list[str]:
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    definitions = [variable["definition"] for variable in VARIABLES.values() if "definition" in variable]
    return expressions + definitions


def alert_expressions() -> list[str]:
    # a line, or an indented block
    return re.findall(r"^ +expr: (?:\|\n((?: {10,}.*\n)+)|(.+)\n)", ALERTS, re.MULTILINE)


async def real_output(embedded: str, start_gateway: StartGateway) -> Scrape:
    """What a gateway gives after one answer."""
    gateway = await start_gateway(embedded, metrics_port="0")
    assert gateway.app is not None
    response = await gateway.post("/v1/messages", json=ask(model="demo", stream=True), headers=TOKEN)
    await response.read()
    return await scrape_until(gateway.app[METRICS_URL], lambda seen: bool(seen.series("requests_total")))


def labels_of(seen: Scrape) -> dict[str, set[str]]:
    """Each series' labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(seen.text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="the metrics of processes come from /proc")
async def test_every_series_and_label_that_is_asked_for_is_there(embedded: str, start_gateway: StartGateway) -> None:
    labels = labels_of(await real_output(embedded, start_gateway))
    texts = queries() + ["".join(groups) for groups in alert_expressions()]

    asked = [match for text in texts for match in _SERIES.findall(text)]

    assert len(asked) > 60
    assert {name for name, _ in asked} - labels.keys() == set()
    wrong = [
        (name, label)
        for name, selector in asked
        for label in re.findall(r"(\w+) *(?:=|!=|=~|!~)[\"']", selector)
        if label not in labels[name] | _ADDED
    ]
    assert wrong == []


async def test_all_that_is_measured_is_on_the_dashboard(embedded: str, start_gateway: StartGateway) -> None:
    seen = await real_output(embedded, start_gateway)
    families = {family.name for family in text_string_to_metric_families(seen.text)}
    ours = {name for name in families if name.startswith("claude_gateway_")}

    asked = {name for text in queries() for name, _ in _SERIES.findall(text)}
    shown = {re.sub("_(total|bucket|sum|count)$", "", name) for name in asked}

    assert len(ours) == len({series.name for group in GROUPS.values() for series in group.series}) + 6
    assert ours - shown == set()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_in_which_unit_from_the_chosen_source(panel: dict[str, Any]) -> None:
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    unit = panel["fieldConfig"]["defaults"].get("unit") or panel["options"]["yAxis"]["unit"]

    assert panel["description"].endswith(".")
    assert unit in {"s", "reqps", "ops", "short", "percentunit", "bytes"}
    assert {source["uid"] for source in sources} == {"${datasource}"}
    for target in panel["targets"]:
        used = set(re.findall(r"\$(\w+)", target["expr"]))
        assert {"job", "instance"} <= used <= {*VARIABLES, "__rate_interval"}


def test_panels_have_places_and_ids_of_their_own() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])} for at in places
    ]

    assert all(at["x"] + at["w"] <= 24 for at in places)
    assert [pair for pair in combinations(cells, 2) if pair[0] & pair[1]] == []
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    names = re.findall(r"alert: (\w+)", ALERTS)

    assert len(names) == len(set(names)) == len(alert_expressions()) > 10
    for part in ("summary: ", "description: >-", "severity: "):
        assert ALERTS.count(part) == len(names) + (part == "severity: ")
    assert set(re.findall(r"^ +severity: (\w+)", ALERTS, re.MULTILINE)) == {"page", "ticket"}


def test_every_alert_is_in_the_cases_and_in_the_operators_list() -> None:
    cases = (Path(__file__).parent / "alerts.test.yaml").read_text()
    readme = (DEPLOY / "README.md").read_text()

    for name in re.findall(r"alert: (\w+)", ALERTS):
        assert f'alertname="{name}"' in cases
        assert f"`{name}`" in readme


async def test_every_series_is_in_the_operators_table(embedded: str, start_gateway: StartGateway) -> None:
    seen = await real_output(embedded, start_gateway)
    names = {name for name in labels_of(seen) if name.startswith("claude_gateway_")}
    readme = (DEPLOY / "README.md").read_text()

    listed = set(re.findall(r"^\| `(claude_gateway_\w+)` \|", readme, re.MULTILINE))

    assert listed == {re.sub("_seconds_(bucket|sum|count)$", "_seconds", name) for name in names}
