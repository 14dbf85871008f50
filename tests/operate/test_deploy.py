"""Everything under deploy/ is parsed and checked by the tool that will read it: what nobody runs is wrong soon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway import config
from gateway.config.catalog import PROFILES
from gateway.observe.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
TOOLS = Path(sys.executable).parent
SECRET = "9fb1c4d07e62a85330c7f1be84ad6055"
CUSTOM = {"ServiceMonitor", "Kustomization"}
"""Kinds that Kubernetes itself does not know."""


def run(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environ}
    )


def objects() -> list[dict[str, Any]]:
    files = sorted(KUBERNETES.glob("*.yaml"))
    documents = [doc for file in files if file.name != "hedgerow.yaml" for doc in yaml.safe_load_all(file.read_text())]
    assert all("kind" in doc for doc in documents)
    return documents


def of_kind(kind: str) -> dict[str, Any]:
    [found] = [doc for doc in objects() if doc["kind"] == kind]
    return found


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    """And it would: it finds a fault that is put in."""
    clean = run(TOOLS / "hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")
    assert (clean.returncode, clean.stdout) == (0, "")


def test_hadolint_would_speak_up(tmp_path: Path) -> None:
    """The check can fail."""
    bad = tmp_path / "Dockerfile"
    bad.write_text((DEPLOY / "Dockerfile").read_text() + "RUN cd /tmp && sudo pip install litellm\n")
    assert run(TOOLS / "hadolint", bad).returncode != 0


def test_the_image_runs_as_nobody_pins_by_hash_and_takes_in_nothing_it_should_not() -> None:
    """Checklist of a hardened image: a number for a user, hashes for packages, an allow-list for the build context."""
    text = (DEPLOY / "Dockerfile").read_text()
    final = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", final, re.MULTILINE)
    assert "HEALTHCHECK" in final
    assert "ARG PYTHON_IMAGE=python:3." in text
    assert text.count("--require-hashes") == 2
    assert not re.search(r"(?i)(?:api_?key|token|password)\s*=", text)
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert ignored[1] == "*"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {part for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for part in line.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / each).exists() for each in copied)


@pytest.mark.parametrize(("name", "some"), [("requirements.txt", "uvicorn"), ("requirements-build.txt", "hatchling")])
def test_what_the_image_installs_is_in_the_lock(name: str, some: str) -> None:
    """Same releases, same hashes as the lock that the tests ran with, and nothing that only developers need."""
    whole = _pins((ROOT / "requirements.txt").read_text())
    image = _pins((DEPLOY / name).read_text())
    assert some in image
    assert image.items() <= whole.items()
    assert not image.keys() & {"pytest", "mypy", "ruff", "langgraph", "matplotlib", "hypothesis"}


def _pins(text: str) -> dict[str, str]:
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    return {block.partition("==")[0]: re.sub(r"\s*#.*", "", block).strip() for block in blocks if "==" in block}


def test_compose_reads_the_compose_file() -> None:
    """The real `docker-compose config`; without the keys it says which one is missing."""
    given = {"HEDGEROW_KEY": SECRET, "OPENAI_API_KEY": "sk-x", "GRAFANA_PASSWORD": "g"}
    whole = run(TOOLS / "docker-compose", "-f", DEPLOY / "compose.yaml", "config", "--format", "json", **given)
    assert whole.returncode == 0, whole.stderr
    services = json.loads(whole.stdout)["services"]
    assert services.keys() == {"gateway", "prometheus", "grafana", "redis"}
    gateway = services["gateway"]
    assert gateway["read_only"] is True
    assert [mount["target"] for mount in gateway["volumes"]] == ["/etc/hedgerow"], "a file would stay what it was"
    assert (DEPLOY / gateway["command"][gateway["command"].index("--config") + 1]).exists()
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}, name
        for mount in service.get("volumes", ()) if (DEPLOY / "grafana").exists() or name == "gateway" else ():
            assert mount["type"] == "volume" or Path(mount["source"]).exists(), mount["source"]
        assert name == "gateway" or re.search(r":v?\d+\.\d+\.\d+(-alpine)?$", service["image"]), "pinned"

    for name in given:
        missing = run(TOOLS / "docker-compose", "-f", DEPLOY / "compose.yaml", "config", **{**given, name: ""})
        assert missing.returncode != 0
        assert name in missing.stderr


@pytest.mark.parametrize("doc", objects(), ids=lambda doc: f"{doc['kind']}-{doc.get('metadata', {}).get('name', '')}")
def test_kubernetes_knows_every_manifest(doc: dict[str, Any]) -> None:
    """Validated strictly against the API's own schema."""
    if doc["kind"] in CUSTOM:
        assert doc["apiVersion"].partition("/")[0] in {"monitoring.coreos.com", "kustomize.config.k8s.io"}
        return
    kubernetes_validate.validate(doc, "1.34", strict=True)


def test_kubernetes_validate_would_speak_up() -> None:
    """The check can fail."""
    deployment = of_kind("Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "http"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.34", strict=True)


def test_the_manifests_fit_together() -> None:
    """Selectors, ports, names and times that no schema can compare."""
    pod = of_kind("Deployment")["spec"]["template"]
    [container] = pod["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    labels = pod["metadata"]["labels"].items()
    services = [doc for doc in objects() if doc["kind"] == "Service"]
    for service in services:
        assert service["spec"]["selector"].items() <= labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for kind, path in (
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
        ("Deployment", "selector"),
    ):
        assert of_kind(kind)["spec"][path]["matchLabels"].items() <= labels, kind
    scaled = of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", of_kind("Deployment")["metadata"]["name"])
    [watched] = [
        s
        for s in services
        if of_kind("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
        <= s["metadata"].get("labels", {}).items()
    ]
    assert {port["name"] for port in watched["spec"]["ports"]} == {
        each["port"] for each in of_kind("ServiceMonitor")["spec"]["endpoints"]
    }
    kustomization = of_kind("Kustomization")
    assert {*kustomization["resources"], "kustomization.yaml", "hedgerow.yaml"} == {
        f.name for f in KUBERNETES.glob("*.yaml")
    }
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["spec"]["volumes"]}
    assert not any("subPath" in mount for mount in container["volumeMounts"])


def test_the_job_has_the_name_by_which_the_alerts_know_it() -> None:
    """Scraped by compose's Prometheus or by the operator's, which takes a Service's name where it is told nothing."""
    [known] = set(re.findall(r'job="([^"]+)"', (DEPLOY / "prometheus" / "rules.yml").read_text()))
    [scraped] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert scraped["job_name"] == known
    [metrics] = [d for d in objects() if d["kind"] == "Service" and "component" in str(d["metadata"].get("labels"))]
    assert metrics["metadata"]["labels"][of_kind("ServiceMonitor")["spec"]["jobLabel"]] == known


def test_a_pod_may_do_nothing_but_serve() -> None:
    """The restricted Pod Security Standard, and time enough to drain."""
    spec = of_kind("Deployment")["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "readinessProbe", "livenessProbe", "resources"} <= container.keys()
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    seconds = {arg.partition("=")[0]: arg.partition("=")[2] for arg in container["args"]}
    drained = sum(config.durations.seconds(seconds[name]) for name in ("--drain-delay", "--drain"))
    assert spec["terminationGracePeriodSeconds"] >= drained + 5


def test_the_autoscaler_watches_metrics_that_there_are() -> None:
    """Under the very name that the gateway exports, which the adapter's rule in the documentation passes on."""
    watched = {
        m["pods"]["metric"]["name"] for m in of_kind("HorizontalPodAutoscaler")["spec"]["metrics"] if "pods" in m
    }
    exported = {family.name for family in Metrics(()).registry.collect()}
    assert watched
    assert watched <= exported
    assert all(name in (ROOT / "docs" / "operations.md").read_text() for name in watched)


def test_the_command_takes_every_argument_that_a_deployment_gives_it() -> None:
    """An option that was renamed would only be noticed when nothing starts."""
    given = [of_kind("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]]
    given.append(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["gateway"]["command"])
    unit = (DEPLOY / "systemd" / "hedgerow.service").read_text()
    given.append(re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)[0].split())
    given.append(json.loads(re.findall(r"^CMD (\[\"serve.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[0]))
    known = set(re.findall(r"--[a-z-]+", run(sys.executable, "-m", "gateway", "serve", "--help", COLUMNS="200").stdout))
    for arguments in given:
        assert arguments[0] == "serve"
        assert {arg.partition("=")[0] for arg in arguments if arg.startswith("--")} <= known


@pytest.mark.parametrize(
    "file", [DEPLOY / "hedgerow.yaml", KUBERNETES / "hedgerow.yaml"], ids=["compose", "kubernetes"]
)
def test_the_configurations_of_the_deployments_are_good(tmp_path: Path, file: Path) -> None:
    """Read like at the start, with the secrets in their places. Others reach both, so both ask for a key."""
    text = file.read_text().replace("/etc/hedgerow/keys", str(tmp_path))
    for name in ("openai", "client"):
        (tmp_path / name).write_text(SECRET)
    keys = {key: "sk-x" for profile in PROFILES.values() for key in profile.keys}
    settings = config.load(
        _written(tmp_path, text), {**keys, "HEDGEROW_KEY": SECRET, "REDIS_URL": "redis://redis:6379/0"}
    )
    assert settings.routes
    assert settings.keys


def _written(folder: Path, text: str) -> Path:
    path = folder / "hedgerow.yaml"
    path.write_text(text)
    return path


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify`, where there is a systemd; the sections and the words that matter everywhere."""
    unit = DEPLOY / "systemd" / "hedgerow.service"
    text = unit.read_text()
    for line in ("KillMode=mixed", "NoNewPrivileges=yes", "ProtectSystem=strict", "ExecReload=/bin/kill -HUP $MAINPID"):
        assert line in text
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed here: only the text was checked")
    copy = tmp_path / "hedgerow.service"
    copy.write_text(text.replace("/opt/hedgerow/bin/hedgerow", "/bin/true"))
    verified = run(tool, "verify", "--man=no", copy)
    ours = [line for line in verified.stderr.split("\n") if "hedgerow.service" in line]
    assert (verified.returncode, ours) == (0, [])
