"""The configurations of Alertmanager that are shipped, as its own tools and a real kube-apiserver read them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.peers.admin import AdminClient
from tests.peers.manifests import read_objects
from tests.rules.routing import ALERTMANAGER, of_operator, shipped

AMTOOL_SECONDS = 30
CRD = "crds/prometheus-operator/monitoring.coreos.com_alertmanagerconfigs.yaml"
CONFIGURATION = ALERTMANAGER / "alertmanager.yaml"
OBJECT = ALERTMANAGER / "alertmanagerconfig.yaml"
BASE = {"route": {"receiver": "null"}, "receivers": [{"name": "null"}]}
SEVERITIES = {"critical": "flux-page", "error": "flux-page", "info": "flux-info", "none": "null"}


@pytest.fixture
def amtool(require_peer: Callable[[str], Path]) -> Callable[..., str]:
    """``amtool(arguments)``: what it says. A failed test where it does not end with 0."""
    binary = require_peer("amtool")

    def run(*arguments: str | Path) -> str:
        done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=AMTOOL_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_alertmanager_takes_its_configuration(amtool: Callable[..., str]) -> None:
    assert "9 inhibit rules" in amtool("check-config", CONFIGURATION)


def test_alertmanager_takes_what_prometheus_operator_makes_of_the_object(
    amtool: Callable[..., str], tmp_path: Path
) -> None:
    made = of_operator(_custom(), BASE, on_namespace=False)
    made["receivers"] = [{"name": receiver["name"]} for receiver in made["receivers"]]
    path = tmp_path / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(made))
    assert "9 inhibit rules" in amtool("check-config", path)


def _alerts() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Where each alert of the pack should go, and its labels."""
    for path in sorted((ALERTMANAGER.parent / "alerts").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                labels = {"alertname": rule["alert"], **rule["labels"], "cluster": "eu"}
                is_watchdog = rule["alert"] == "FluxMonitoringWatchdog"
                receiver = "flux-dead-mans-switch" if is_watchdog else SEVERITIES[labels["severity"]]
                yield receiver, labels


@pytest.mark.parametrize(
    ("receiver", "labels"), list(_alerts()), ids=lambda value: value["alertname"] if isinstance(value, dict) else ""
)
@pytest.mark.parametrize("namespace", [None, "apps"])
def test_each_alert_goes_to_the_receiver_of_its_severity_by_a_route_of_its_own(
    amtool: Callable[..., str], receiver: str, labels: Mapping[str, str], namespace: str | None
) -> None:
    of_object = {"kind": "Kustomization", "name": "app", "namespace": namespace} if namespace else {}
    given = [f"{name}={value}" for name, value in {**labels, **of_object}.items()]
    amtool("config", "routes", "test", f"--config.file={CONFIGURATION}", f"--verify.receivers={receiver}", *given)


def test_what_is_not_of_this_pack_goes_where_nothing_of_this_pack_goes(amtool: Callable[..., str]) -> None:
    for labels in (["alertname=KubePodCrashLooping", "severity=critical"], ["alertname=FluxOfMine", "severity=page"]):
        amtool("config", "routes", "test", f"--config.file={CONFIGURATION}", "--verify.receivers=unrouted", *labels)


def _custom() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(OBJECT.read_text(encoding="utf-8"))
    return loaded


def test_the_object_of_prometheus_operator_has_the_same_routes_and_inhibitions() -> None:
    made = of_operator(_custom(), BASE, on_namespace=False)
    (flux,) = made["route"]["routes"]
    plain = shipped()
    prefix = "monitoring/flux/"
    assert _without(flux["routes"], prefix) == plain["route"]["routes"]
    assert made["inhibit_rules"] == plain["inhibit_rules"]
    for name in ("group_by", "group_wait", "group_interval", "repeat_interval"):
        assert flux[name] == plain["route"][name]
    receivers = {receiver["name"].removeprefix(prefix) for receiver in made["receivers"]}
    assert receivers == {receiver["name"] for receiver in plain["receivers"]} - {"unrouted"}


def _without(routes: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    made = []
    for route in routes:
        inner = {"routes": _without(route["routes"], prefix)} if "routes" in route else {}
        made.append({**route, **inner, "receiver": route["receiver"].removeprefix(prefix)})
    return made


def test_whatever_a_route_below_the_objects_first_one_matches_the_first_one_matches_too() -> None:
    """What it does not match never comes to the others."""
    route = _custom()["spec"]["route"]
    first = {matcher["name"]: matcher["value"] for matcher in route["matchers"]}
    for _, labels in _alerts():
        assert all(re.fullmatch(pattern, labels[name]) for name, pattern in first.items()), labels


def test_nobody_who_installs_the_object_misses_what_the_operator_must_be_told() -> None:
    comment = OBJECT.read_text(encoding="utf-8").partition("apiVersion:")[0]
    assert "READ THIS FIRST" in comment
    for strategy in ("OnNamespace}", "type: None", "type: OnNamespaceExceptForAlertmanagerNamespace"):
        assert strategy in comment
    assert "alertmanagerConfigMatcherStrategy" in str(_custom()["metadata"]["annotations"])


async def test_a_real_api_server_with_the_real_crd_takes_the_object_and_drops_nothing_of_it(
    admin: AdminClient, shared_data: Callable[[str], Path]
) -> None:
    await admin.install_crds(read_objects(shared_data(CRD)))
    await admin.ensure_namespace("monitoring")
    created = await admin.create(_custom())
    await admin.delete("monitoring.coreos.com/v1alpha1", "AlertmanagerConfig", "flux", "monitoring")
    assert created["spec"] == _custom()["spec"]
