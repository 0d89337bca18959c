"""Whatever happens to a fleet, in whatever order: no write is wrong in itself, and once all is mended all is well."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.steps import Step
from gotk_exporter.simulator.fleet.world import Manifests
from tests.simulator.fleet_traces import Write, conditions, transitions_that_break_the_rule
from tests.simulator.fleets import URL, Stage, config, deployment

REPO = Key("GitRepository", "apps", "repo")
CHARTS = "http://charts.test"
KUSTOMIZATIONS = ("root", "mid", "leaf")
RELEASE = Key("HelmRelease", "apps", "podinfo")
OBJECTS = [*(Key("Kustomization", "apps", name) for name in KUSTOMIZATIONS), REPO, RELEASE]
PROCESSES = ("kustomize-controller", "source-controller", "helm-controller")
WORKLOADS = ("Deployment/apps/root", "Deployment/apps/podinfo")


def _commits(version: int) -> list[Step]:
    broken = Manifests(build_error="kustomize build failed")
    return [
        steps.commit(URL, f"good {version}", {"./root": deployment("root", str(version))}, notify=REPO),
        steps.commit(URL, f"broken {version}", {"./mid": broken}),
        steps.commit(URL, f"gone {version}", {"./leaf": None}, notify=REPO),
    ]


STEPS: list[Step] = [
    *(make(key) for key in OBJECTS for make in (steps.suspend, steps.resume, steps.request)),
    *(make(process) for process in PROCESSES for make in (steps.kill, steps.restart)),
    *(make(workload) for workload in WORKLOADS for make in (steps.ready, steps.unready, steps.fail)),
    *(steps.roll_out_in(workload, seconds) for workload in WORKLOADS for seconds in (None, 4.0)),
    *(make(host) for host in ("git.test", "charts.test") for make in (steps.refuse, steps.hang, steps.restore)),
    *(commit for version in range(3) for commit in _commits(version)),
    steps.block_admission("policy.test", ["Deployment"]),
    steps.unblock_admission("policy.test"),
    steps.empty_storage(),
    steps.break_templates(RELEASE, "cannot render"),
    steps.mend_templates(RELEASE),
    *(steps.edit(RELEASE, {"values": {"tag": number}}) for number in range(3)),
]


def perform(happenings: list[tuple[Step, float]], seed: int) -> Stage:
    stage = Stage(seed=seed)
    stage.world.rollout = 4.0
    stage.world.helm_repository(CHARTS, {"podinfo": ["6.9.0"]})
    stage.repository({"./root": deployment("root"), "./mid": config("mid"), "./leaf": config("leaf")})
    stage.kustomization("root", wait=True)
    stage.kustomization("mid", dependsOn=[{"name": "root"}])
    stage.kustomization("leaf", dependsOn=[{"name": "mid"}])
    stage.create("HelmRepository", "charts", {"interval": "30s", "timeout": "20s", "url": CHARTS})
    source = {"kind": "HelmRepository", "name": "charts"}
    chart = {"spec": {"chart": "podinfo", "version": "6.9.0", "sourceRef": source}}
    remediation = {"remediation": {"retries": 1}}
    spec = {"interval": "30s", "timeout": "15s", "chart": chart, "upgrade": remediation, "install": remediation}
    stage.create("HelmRelease", "podinfo", spec)
    stage.fleet.start()
    stage.fleet.run(10)
    for step, seconds in happenings:
        step(stage.fleet)
        stage.fleet.run(seconds)
    return stage


def mend(stage: Stage) -> None:
    fleet, world = stage.fleet, stage.world
    world.hosts.clear()
    world.admissions.clear()
    world.rollouts.clear()
    fleet.helm.render_errors.clear()
    for process in PROCESSES:
        fleet.restart(process)
    tree = {"./root": deployment("root", "last"), "./mid": config("mid", "last"), "./leaf": config("leaf", "last")}
    world.push(URL, "mend everything", tree)
    for key in OBJECTS:
        steps.resume(key)(fleet)
        steps.request(key)(fleet)
    steps.edit(RELEASE, {"values": {"tag": "last"}})(fleet)
    # The longest back-off there is, and a chain of dependents behind it.
    fleet.run(1200)


def faults_in(writes: list[Write], name: str) -> list[str]:
    """What no write of any controller may show."""
    found = []
    fetching = False
    for write in writes:
        types = [condition["type"] for condition in write.status.get("conditions", ())]
        now = conditions(write.status)
        if len(set(types)) != len(types):
            found.append(f"{write.time}: a condition twice")
        if {"Stalled", "Reconciling"} <= set(types):
            found.append(f"{write.time}: stalled and reconciling")
        if len(write.status.get("history", ())) > 5:
            found.append(f"{write.time}: history too long")
        if write.status.get("observedGeneration", 0) > write.generation:
            found.append(f"{write.time}: generation from the future")
        ready = now.get("Ready", {})
        if name.startswith("Kustomization") and ready.get("status") == "Unknown":
            begins = now["Reconciling"]["message"].startswith("Fetching")
            if begins and fetching:
                found.append(f"{write.time}: went back to the beginning of a run")
            fetching = not begins
        else:
            fetching = False
    return found


happenings = st.lists(st.tuples(st.sampled_from(STEPS), st.floats(0.0, 90.0)), max_size=25)


def _without_deaths(happened: list[tuple[Step, float]]) -> bool:
    return not any("controller" in step.title for step, _ in happened)


@settings(max_examples=30, deadline=None)
@given(happenings, st.integers(0, 5))
def test_no_sequence_of_steps_makes_a_wrong_write_and_all_end_well(
    happened: list[tuple[Step, float]], seed: int
) -> None:
    stage = perform(happened, seed)
    for name, writes in stage.trace.writes.items():
        faults = faults_in(writes, name)
        if _without_deaths(happened):
            assert faults == []
        else:
            assert [fault for fault in faults if "beginning" not in fault] == []
        assert transitions_that_break_the_rule(writes, stage.trace.start, 0.0) == []
    mend(stage)
    head = stage.world.upstreams[URL].head
    for key in OBJECTS:
        status = stage.status(key)
        assert conditions(status)["Ready"]["status"] == "True", key
        assert "Reconciling" not in conditions(status), key
        assert "Stalled" not in conditions(status), key
        obj = stage.fleet.get(key)
        assert obj is not None
        assert status["observedGeneration"] == obj["metadata"]["generation"], key
        if key.kind == "Kustomization":
            assert (status["lastAppliedRevision"], status["lastAttemptedRevision"]) == (head, head)


@settings(max_examples=5, deadline=None)
@given(happenings)
def test_the_same_steps_and_seed_give_the_same_writes(happened: list[tuple[Step, float]]) -> None:
    def writes(act: Callable[[], Stage]) -> list[tuple[str, list[Write]]]:
        return sorted(act().trace.writes.items())

    assert writes(lambda: perform(happened, 3)) == writes(lambda: perform(happened, 3))
