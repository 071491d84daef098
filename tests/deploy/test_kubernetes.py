"""The manifests agree with the gateway and with each other. What kubectl makes of them: test_kubernetes_tools.py."""

import asyncio
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from dotenv import dotenv_values

from gateway import __version__
from gateway.app import make_app
from gateway.settings import Settings, load_settings
from tests.conftest import ScriptedBackend, StartGateway
from tests.gateway_process import GATEWAY, log_line, python

ROOT: Final = Path(__file__).parents[2]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
README: Final = (ROOT / "deploy" / "README.md").read_text()
OVERLAYS: Final = ["small", "large"]
IN_FLIGHT: Final = "claude_gateway_requests_in_flight"
# behind the grace: last words to clients, requests that are no answers, the exit
LAST_SECONDS: Final = 10
KEY: Final = "gw-0123456789abcdef"


def read(path: str) -> Any:
    return yaml.safe_load((KUBERNETES / path).read_text())


def env_of(overlay: str) -> dict[str, str]:
    """The ConfigMap, and what the container has beside it."""
    named = {
        entry["name"]: entry.get("value", KEY) for entry in container(read("components/keys/deployment.yaml"))["env"]
    }
    files = [KUBERNETES / "base/settings.env", KUBERNETES / "overlays" / overlay / "settings.env"]
    return {name: value or "" for file in files for name, value in dotenv_values(file).items()} | named


def settings_of(overlay: str, folder: Path) -> Settings:
    return load_settings({}, env_of(overlay), folder)


def pod(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


def container(deployment: Any) -> Any:
    [only] = pod(deployment)["containers"]
    return only


@pytest.fixture
def deployment() -> Any:
    return read("base/deployment.yaml")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting(overlay: str) -> None:
    unknown = env_of(overlay).keys() - {setting.name.upper() for setting in fields(Settings)}

    assert unknown == set()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateway_takes_the_settings(overlay: str, tmp_path: Path) -> None:
    settings = settings_of(overlay, tmp_path)

    assert settings.log_format == "json"
    assert settings.backend_url != Settings().backend_url


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_ports_are_those_that_the_gateway_listens_on(overlay: str, deployment: Any) -> None:
    ports = {port["name"]: str(port["containerPort"]) for port in container(deployment)["ports"]}

    env = env_of(overlay)
    assert ports == {"http": env["HOST_PORT"], "metrics": env["METRICS_PORT"]}
    # each from outside of the pod
    assert env["HOST"] == env["METRICS_HOST"] == "0.0.0.0"  # noqa: S104  # a pod's network is its own


def test_all_that_leads_to_a_port_names_it() -> None:
    service, metrics = read("base/service.yaml"), read("components/service-monitor/service.yaml")
    policy = read("base/network-policy.yaml")["spec"]["ingress"]
    ingress = read("components/ingress/ingress.yaml")["spec"]["rules"][0]["http"]["paths"]
    [route] = read("components/gateway-api/route.yaml")["spec"]["rules"]

    [http], [observed] = service["spec"]["ports"], metrics["spec"]["ports"]
    assert (http["targetPort"], observed["targetPort"]) == ("http", "metrics")
    assert [port["port"] for rule in policy for port in rule["ports"]] == ["http", "metrics"]
    assert {path["backend"]["service"]["port"]["name"] for path in ingress} == {http["name"]}
    assert route["backendRefs"] == [{"name": service["metadata"]["name"], "port": http["port"]}]
    [endpoint] = read("components/service-monitor/service-monitor.yaml")["spec"]["endpoints"]
    assert endpoint["port"] == observed["name"]


def test_all_that_selects_pods_finds_them(deployment: Any) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert read("base/service.yaml")["spec"]["selector"] == labels
    assert read("components/service-monitor/service.yaml")["spec"]["selector"] == labels
    assert read("base/disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert read("base/network-policy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    spread = pod(deployment)["topologySpreadConstraints"]
    assert [rule["labelSelector"]["matchLabels"] for rule in spread] == [labels, labels]
    monitor = read("components/service-monitor/service-monitor.yaml")["spec"]["selector"]["matchLabels"]
    assert monitor == read("components/service-monitor/service.yaml")["metadata"]["labels"]
    assert read("base/service.yaml")["metadata"]["labels"] != monitor


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_that_ends_has_time_for_its_streams(overlay: str, deployment: Any, tmp_path: Path) -> None:
    settings = settings_of(overlay, tmp_path)
    pause = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pause + settings.shutdown_delay_secs + settings.shutdown_grace_secs + LAST_SECONDS

    assert pod(deployment)["terminationGracePeriodSeconds"] >= needed
    # what the cluster autoscaler grants by default
    assert pod(deployment)["terminationGracePeriodSeconds"] <= 600


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_asks_whether_a_pod_is_ready_notices_its_end_in_time(overlay: str, deployment: Any, tmp_path: Path) -> None:
    ready = container(deployment)["readinessProbe"]

    notices = ready["periodSeconds"] * ready["failureThreshold"]
    assert settings_of(overlay, tmp_path).shutdown_delay_secs >= notices


def test_a_roll_out_takes_no_pod_away_before_another_is_ready(deployment: Any) -> None:
    large = read("overlays/large/deployment.yaml")["spec"]["strategy"]["rollingUpdate"]

    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}
    }  # fmt: skip
    assert large == {"maxSurge": "25%"}


def test_a_backend_that_fails_ends_no_pod(deployment: Any) -> None:
    probed = {name: container(deployment)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}

    assert probed == {
        "startup": {"path": "/health", "port": "http"},
        "liveness": {"path": "/health", "port": "http"},
        "readiness": {"path": "/ready", "port": "http"},
    }


# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
def test_pods_meet_the_restricted_standard(deployment: Any) -> None:
    own = container(deployment)["securityContext"]
    shared = pod(deployment)["securityContext"]
    volumes = [*pod(deployment)["volumes"], *pod(read("components/keys/deployment.yaml"))["volumes"]]

    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (shared["runAsNonRoot"], shared["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert shared["runAsUser"] >= 10000
    assert pod(deployment).keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"} == set()
    assert [sorted(volume) for volume in volumes] == [["emptyDir", "name"], ["name", "secret"]]
    assert read("base/namespace.yaml")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_pods_get_no_token_of_the_cluster(deployment: Any) -> None:
    account = read("base/service-account.yaml")

    assert account["automountServiceAccountToken"] is False
    assert pod(deployment)["automountServiceAccountToken"] is False
    assert pod(deployment)["serviceAccountName"] == account["metadata"]["name"]


def test_services_of_others_set_nothing(deployment: Any) -> None:
    assert pod(deployment)["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_way_to_the_backend_is_open(overlay: str, tmp_path: Path) -> None:
    [patch] = read(f"overlays/{overlay}/backend-egress.yaml")

    port = settings_of(overlay, tmp_path).backend_url.chat.port
    assert patch["value"]["ports"] == [{"port": port, "protocol": "TCP"}]


def test_a_controller_takes_all_that_the_gateway_takes(tmp_path: Path) -> None:
    settings = settings_of("small", tmp_path)
    annotations = read("components/ingress/ingress.yaml")["metadata"]["annotations"]

    sizes = {value for name, value in annotations.items() if name.endswith("body-size")}
    waits = [value for name, value in annotations.items() if re.search("timeout", name)]
    assert sizes == {f"{settings.max_body_mib}m"}
    assert len(waits) == 6
    limit = max(settings.backend_timeout_secs, settings.silence_timeout_secs)
    assert all(int(wait.removesuffix("s")) > limit for wait in waits)
    buffering = {value.lower() for name, value in annotations.items() if name.endswith("proxy-buffering")}
    assert buffering == {"off", "false"}


def test_a_route_times_out_no_answer() -> None:
    [rule] = read("components/gateway-api/route.yaml")["spec"]["rules"]

    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


def ingress_paths() -> Iterator[tuple[str, str]]:
    for path in read("components/ingress/ingress.yaml")["spec"]["rules"][0]["http"]["paths"]:
        yield path["pathType"], path["path"]


def route_paths() -> Iterator[tuple[str, str]]:
    for match in read("components/gateway-api/route.yaml")["spec"]["rules"][0]["matches"]:
        yield match["path"]["type"].removeprefix("Path"), match["path"]["value"]


def leads(kind: str, prefix: str, path: str) -> bool:
    return path == prefix or (kind == "Prefix" and path.startswith(prefix.rstrip("/") + "/"))


@pytest.mark.parametrize("paths", [ingress_paths, route_paths])
def test_what_clients_ask_for_gets_through_and_nothing_else(paths: Any) -> None:
    served = {route.resource.canonical for route in make_app(Settings()).router.routes() if route.resource}

    through = {path for path in served if any(leads(*way, path) for way in paths())}
    assert through == {path for path in served if path == "/" or path.startswith(("/v1/", "/api/"))}
    assert {"/health", "/ready"} <= served - through


def test_pods_are_added_long_before_they_refuse() -> None:
    [added] = read("components/autoscaling-in-flight/metric.yaml")

    target = int(added["value"]["pods"]["target"]["averageValue"])
    assert added["value"]["pods"]["metric"]["name"] == IN_FLIGHT
    assert target * 2 <= int(env_of("large")["MAX_STREAMS"])


def test_the_adapter_serves_the_metric_that_the_autoscaler_asks_for() -> None:
    [rule] = read("components/autoscaling-in-flight/prometheus-adapter-values.yaml")["rules"]["custom"]

    assert rule["seriesQuery"].startswith(f"{IN_FLIGHT}{{")
    assert rule["name"] == {"as": IN_FLIGHT}


def test_pods_are_taken_away_one_by_one() -> None:
    down = read("components/autoscaling/autoscaler.yaml")["spec"]["behavior"]["scaleDown"]

    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
    assert down["stabilizationWindowSeconds"] >= float(env_of("large")["SHUTDOWN_GRACE_SECS"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_image_is_of_this_version(overlay: str, deployment: Any) -> None:
    [image] = read(f"overlays/{overlay}/kustomization.yaml")["images"]

    assert (image["name"], image["newTag"]) == (container(deployment)["image"], __version__)


def test_the_secret_is_where_the_gateway_looks_for_it() -> None:
    patch = read("components/keys/deployment.yaml")
    [mount], [volume] = container(patch)["volumeMounts"], pod(patch)["volumes"]
    [item] = volume["secret"]["items"]

    assert env_of("small")["GATEWAY_API_KEYS_FILE"] == f"{mount['mountPath']}/{item['path']}"
    assert "subPath" not in mount
    assert mount["name"] == volume["name"]
    [reference] = [entry["valueFrom"]["secretKeyRef"] for entry in container(patch)["env"] if "valueFrom" in entry]
    assert reference == {"name": volume["secret"]["secretName"], "key": "BACKEND_API_KEY"}
    created = re.search(r"create secret generic (\S+) .*\n?.*--from-file=BACKEND_API_KEY=\S+ --from-file=keys=", README)
    assert created is not None
    assert created[1] == reference["name"]


def test_the_paths_of_the_readme_exist() -> None:
    named = set(re.findall(r"deploy/kubernetes/[\w/.-]+", README))

    # the one that the user makes
    named.discard("deploy/kubernetes/overlays/mine")
    assert len(named) > 2
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_tells_of_every_overlay_and_component() -> None:
    there = [path.name for kind in ("overlays", "components") for path in (KUBERNETES / kind).iterdir()]

    assert [name for name in there if f"\n| `{name}` |" not in README] == []


def test_the_numbers_of_the_readme_are_those_of_the_manifests(deployment: Any) -> None:
    env, text = env_of("large"), " ".join(README.split())
    pause = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
    delay, grace = env["SHUTDOWN_DELAY_SECS"], env["SHUTDOWN_GRACE_SECS"]
    target = int(read("components/autoscaling-in-flight/metric.yaml")[0]["value"]["pods"]["target"]["averageValue"])

    assert f"serves on for {pause} s while the nodes' proxies hear of it and for {delay} s while load" in text
    assert f"then its answers may take {grace} s. One without answers ends after {pause + int(delay)} s." in text
    assert f"| pods | streams / {target}, and at least {deployment['spec']['replicas']};" in text
    for streams in (1_000, 10_000, 100_000):
        assert f"| {streams:,} | {math.ceil(streams / target)} |" in text


async def test_a_secret_that_changes_lets_new_keys_in(
    scripted: ScriptedBackend, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """The kubelet writes a new folder and turns a link to it: the file itself is a link through that link."""

    def publish(version: str, keys: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(keys)
        (tmp_path / "next").symlink_to(version)
        (tmp_path / "next").rename(tmp_path / "..data")

    publish("..1", f"{KEY}\n")
    (tmp_path / "keys").symlink_to("..data/keys")
    client = await start_gateway(scripted.url, backend_api_key=KEY, gateway_api_keys_file=str(tmp_path / "keys"))

    async def status(key: str) -> int:
        async with client.get("/v1/models", headers={"x-api-key": key}) as response:
            return response.status

    before = (await status(KEY), await status("gw-another-0123456789"))
    publish("..2", "gw-another-0123456789\n")
    shutil.rmtree(tmp_path / "..1")
    async with asyncio.timeout(10):
        while await status("gw-another-0123456789") != 200:  # noqa: ASYNC110  # a file is looked at once a second
            await asyncio.sleep(0.1)

    assert before == (200, 401)
    assert await status(KEY) == 401


async def test_the_probes_see_a_gateway_with_these_settings_live_and_end(
    scripted: ScriptedBackend, deployment: Any, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    here = {"HOST": "127.0.0.1", "HOST_PORT": "0", "METRICS_HOST": "127.0.0.1", "METRICS_PORT": "0"}
    env = env_of("small") | here | {"BACKEND_URL": scripted.url, "GATEWAY_API_KEYS_FILE": str(keys)}
    probes = {name: container(deployment)[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness")}

    async with (
        python(*GATEWAY, folder=tmp_path, environment=env) as process,
        aiohttp.ClientSession() as session,
    ):

        async def probe(name: str) -> int:
            async with session.get(url + probes[name]) as response:
                return response.status

        url = (await log_line(process, "listening"))["url"]
        alive = await probe("startup")
        async with asyncio.timeout(10):
            while await probe("readiness") != 200:  # noqa: ASYNC110  # a probe asks again
                await asyncio.sleep(0.05)
        process.terminate()
        await log_line(process, "shutting down")
        ending = (await probe("startup"), await probe("readiness"))

    assert alive == 200
    assert ending == (200, 503)
