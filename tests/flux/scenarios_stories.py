"""The recorded scenarios c and e to j, lived through by a simulated fleet: same objects, same times.

Intervals have no jitter here, so that times can be written down. Each story starts with the controllers up.
"""

from __future__ import annotations

import functools
from typing import Any

from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.fleet import Fleet
from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.steps import Step
from gotk_exporter.simulator.fleet.world import Manifests
from tests.flux.scenarios_follower import Story, Write, record
from tests.simulator.fleets import URL, Stage, config, deployment

CHARTS = "http://charts.test"
NEVER = "http://other.test/never"
QUICK = 0.05
REPO = Key("GitRepository", "apps", "repo")
BROKEN = Manifests(build_error="kustomize build failed: accumulating resources: no such file or directory")
REJECTED = Manifests(
    {"Deployment/apps/badapply": "1"}, rejection="Deployment/apps/badapply dry-run failed (Invalid): no"
)
RENDER = 'template: podinfo/templates/deployment.yaml:4:3: executing "deployment" at <fail>: error calling fail'
FINALIZER = "example.com/audit"


def opened() -> tuple[Stage, list[Write]]:
    stage = Stage(jitter=lambda key, interval: interval)
    writes = record(stage.storage, stage.schedule)
    stage.fleet.start()
    return stage, writes


def play(stage: Stage, writes: list[Write], until: float, *acts: tuple[float, Step]) -> Story:
    for at, step in acts:
        stage.fleet.at(at, step)
    stage.fleet.run(until - stage.schedule.now)
    return Story(writes, until)


def push(message: str, **manifests: Manifests) -> Step:
    return steps.commit(URL, message, {f"./{name}": one for name, one in manifests.items()}, notify=REPO)


def kustomization(name: str) -> Key:
    return Key("Kustomization", "apps", name)


@functools.cache
def fast_errors() -> Story:
    stage, writes = opened()
    stage.repository({"./build": config("build"), "./badapply": REJECTED, "./badcel": config("badcel")})
    stage.kustomization("build")
    stage.kustomization("badapply")
    stage.kustomization("nopath")
    stage.kustomization("nosource", sourceRef={"kind": "GitRepository", "name": "nowhere"})
    checks = [{"apiVersion": "v1", "kind": "ConfigMap", "current": "status.phase == ("}]
    stage.kustomization("badcel", healthCheckExprs=checks)
    broken, fixed = push("break it", build=BROKEN), push("fix it", build=config("build", "2"))
    return play(stage, writes, 250, (61, broken), (183, fixed))


@functools.cache
def source_down() -> Story:
    stage, writes = opened()
    stage.world.repository(NEVER, {"./user": config("user")})
    stage.repository({"./user": config("user")})
    stage.kustomization("user", interval="30s")
    stage.create("GitRepository", "never", {"interval": "30s", "timeout": "20s", "url": NEVER})
    steps.refuse("other.test")(stage.fleet)
    stage.kustomization("user-never", interval="30s", sourceRef={"kind": "GitRepository", "name": "never"})
    return play(
        stage,
        writes,
        427,
        (46.3, steps.refuse("git.test")),
        (196.3, steps.restore("git.test")),
        (196.3, steps.commit(URL, "meanwhile", {"./user": config("user", "2")})),
        (297, steps.hang("git.test")),
        (297, steps.hang("other.test")),
    )


@functools.cache
def suspended() -> Story:
    stage, writes = opened()
    stage.world.repository(NEVER)
    steps.refuse("other.test")(stage.fleet)
    stage.repository({"./between": deployment("between"), "./midrun": deployment("midrun")})
    stage.kustomization("between", wait=True)
    stage.kustomization("midrun", wait=True)
    stage.create("GitRepository", "badsrc", {"interval": "30s", "timeout": "20s", "url": NEVER})
    stage.kustomization("user", sourceRef={"kind": "GitRepository", "name": "badsrc"})
    source = Key("GitRepository", "apps", "badsrc")
    return play(
        stage,
        writes,
        240,
        (8, steps.suspend(kustomization("midrun"))),
        (40, steps.suspend(kustomization("between"))),
        (50, steps.suspend(source)),
        (140, steps.resume(kustomization("between"))),
        (150, steps.resume(kustomization("midrun"))),
        (160, steps.restore("other.test")),
        (200, steps.resume(source)),
    )


@functools.cache
def deleted() -> Story:
    stage, writes = opened()
    stage.repository({f"./{name}": deployment(name) for name in ("between", "midrun", "held", "waitterm")})
    stage.kustomization("between", wait=True)
    stage.kustomization("midrun", wait=True)
    stage.kustomization("waitterm", wait=True, deletionPolicy="WaitForTermination")
    spec = {
        "interval": "60s",
        "retryInterval": "20s",
        "timeout": "20s",
        "path": "./held",
        "prune": True,
        "wait": True,
        "sourceRef": {"kind": "GitRepository", "name": "repo"},
    }
    stage.fleet.create(stage.object("Kustomization", "held", spec, finalizers=[FINALIZER]))
    stage.kustomization("dependent", path="./between", dependsOn=[{"name": "held"}])
    return play(
        stage,
        writes,
        200,
        (8, steps.delete(kustomization("midrun"))),
        (40, steps.delete(kustomization("between"))),
        (40, steps.delete(kustomization("held"))),
        (40, steps.hold("Deployment/apps/waitterm")),
        (41, steps.delete(kustomization("waitterm"))),
        (123, steps.remove_finalizer(kustomization("held"), FINALIZER)),
    )


def release(stage: Stage, name: str, chart: str = "podinfo", **spec: Any) -> Key:
    source = {"kind": "HelmRepository", "name": "charts"}
    template = {"spec": {"chart": chart, "version": "6.9.0", "interval": "30s", "sourceRef": source}}
    return stage.create("HelmRelease", name, {"interval": "30s", "timeout": "15s", "chart": template, **spec})


def breaks(key: Key) -> Step:
    """Values with which the Deployment never becomes ready."""

    def act(fleet: Fleet) -> None:
        fleet.world.rollouts[f"Deployment/{key.namespace}/{key.name}"] = None
        steps.edit(key, {"values": {"tag": "broken"}})(fleet)

    return Step("", act)


def mends(key: Key) -> Step:
    def act(fleet: Fleet) -> None:
        fleet.world.rollouts[f"Deployment/{key.namespace}/{key.name}"] = QUICK
        steps.edit(key, {"values": {"tag": "mended"}})(fleet)

    return Step("", act)


def with_charts() -> tuple[Stage, list[Write]]:
    stage, writes = opened()
    stage.world.rollout = QUICK
    stage.world.helm_repository(CHARTS, {"podinfo": ["6.9.0"]})
    stage.create("HelmRepository", "charts", {"interval": "30s", "url": CHARTS})
    return stage, writes


@functools.cache
def releases() -> Story:
    stage, writes = with_charts()
    release(stage, "idle")
    rollback = release(stage, "rollback", upgrade={"remediation": {"retries": 2}})
    noremedy = release(stage, "noremedy")
    retry = release(stage, "retryonfail", upgrade={"strategy": {"name": "RetryOnFailure", "retryInterval": "20s"}})
    template = release(stage, "template", upgrade={"remediation": {"retries": 1}})
    stage.world.rollouts["Deployment/apps/badinstall"] = None
    release(stage, "badinstall", install={"remediation": {"retries": 1}})
    release(stage, "nochart", chart="nowhere")
    release(stage, "dependent", dependsOn=[{"name": "badinstall"}])
    return play(
        stage,
        writes,
        320,
        (69, breaks(rollback)),
        (69, breaks(noremedy)),
        (69, breaks(retry)),
        (69, steps.break_templates(template, RENDER)),
        (69, steps.edit(template, {"values": {"fail": True}})),
        (284, mends(rollback)),
        (284, steps.ready("Deployment/apps/retryonfail")),
    )


@functools.cache
def killed() -> Story:
    stage, writes = with_charts()
    stage.world.rollout = None
    names = ("was-true", "was-false", "quiet")
    stage.repository({f"./{name}": deployment(name) for name in names}, interval="10m")
    for name in names:
        stage.kustomization(name, timeout="40s", wait=True)
    stage.world.rollouts["Deployment/apps/rel"] = QUICK
    rel = release(stage, "rel", timeout="40s", upgrade={"remediation": {"retries": 3}})
    stage.repository({}, name="src", url="http://git.test/src", interval="10m")
    processes = ("source-controller", "kustomize-controller", "helm-controller")
    return play(
        stage,
        writes,
        320,
        (1, steps.ready("Deployment/apps/was-true")),
        (1, steps.ready("Deployment/apps/quiet")),
        (110, push("break it", **{"was-true": deployment("was-true", "2")})),
        (120, breaks(rel)),
        (125, steps.request(kustomization("was-false"))),
        (129.97, steps.request(Key("GitRepository", "apps", "src"))),
        *((130, steps.kill(process)) for process in processes),
        *((190, steps.restart(process)) for process in processes),
    )


@functools.cache
def storage_lost() -> Story:
    """The end of scenario i: source-controller comes back with empty storage, and one host is not there."""
    stage, writes = opened()
    other = "http://other.test/other"
    stage.repository({"./near": config("near")})
    stage.repository({"./far": config("far")}, name="other", url=other)
    stage.kustomization("near", interval="40s")
    stage.kustomization("far", interval="40s", sourceRef={"kind": "GitRepository", "name": "other"})
    return play(
        stage,
        writes,
        240,
        (60, steps.refuse("other.test")),
        (60, steps.kill("source-controller")),
        (60, steps.empty_storage()),
        (61, steps.restart("source-controller")),
        (130, steps.restore("other.test")),
    )


@functools.cache
def requested() -> Story:
    stage, writes = with_charts()
    stage.repository({"./ok": config("ok"), "./stuck": deployment("stuck"), "./susp": config("susp")}, interval="10m")
    stage.world.rollouts["Deployment/apps/stuck"] = None
    stage.kustomization("ok", interval="10m")
    stage.kustomization("stuck", interval="10m", retryInterval="10m", wait=True)
    stage.kustomization("susp", interval="10m")
    rel = release(stage, "rel", interval="10m")
    return play(
        stage,
        writes,
        200,
        (50, steps.suspend(kustomization("susp"))),
        (60, steps.request(kustomization("ok"))),
        (60, steps.request(kustomization("stuck"))),
        (70, steps.request(kustomization("stuck"))),
        (60, steps.request(kustomization("susp"))),
        (60, steps.request(REPO)),
        (60, steps.request(rel)),
    )


STORIES = {
    "c": fast_errors,
    "e": source_down,
    "f": suspended,
    "g": deleted,
    "h": releases,
    "i": killed,
    "i-storage": storage_lost,
    "j": requested,
}
