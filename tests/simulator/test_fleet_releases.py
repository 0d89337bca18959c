"""What the recorded scenarios h, i (killed) and j (requested) say of HelmReleases: interval 30 s, timeout 15 s."""

from __future__ import annotations

from typing import Any

import pytest

from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.objects import Key
from tests.simulator.fleet_traces import conditions
from tests.simulator.fleets import URL, Stage, config

CHARTS = "http://charts.test"
QUICK = 0.05
RENDER = 'template: podinfo/templates/deployment.yaml:4:3: executing "deployment" at <fail>: error calling fail'


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.world.rollout = QUICK
    stage.world.helm_repository(CHARTS, {"podinfo": ["6.9.0"]})
    stage.fleet.start()
    stage.create("HelmRepository", "charts", {"interval": "30s", "url": CHARTS})
    return stage


def release(stage: Stage, name: str, chart: str = "podinfo", **spec: Any) -> Key:
    source = {"kind": "HelmRepository", "name": "charts"}
    template = {"spec": {"chart": chart, "version": "6.9.0", "interval": "30s", "sourceRef": source}}
    return stage.create("HelmRelease", name, {"interval": "30s", "timeout": "15s", "chart": template, **spec})


def break_next(stage: Stage, key: Key) -> None:
    """Values with which the Deployment never becomes ready."""
    stage.world.rollouts[f"Deployment/{key.namespace}/{key.name}"] = None
    steps.edit(key, {"values": {"tag": "broken"}})(stage.fleet)


def mend(stage: Stage, key: Key) -> None:
    stage.world.rollouts[f"Deployment/{key.namespace}/{key.name}"] = QUICK
    steps.edit(key, {"values": {"tag": "mended"}})(stage.fleet)


def mf_time(stage: Stage, key: Key) -> str:
    obj = stage.fleet.get(key)
    assert obj is not None
    return max(entry["time"] for entry in obj["metadata"]["managedFields"] if entry.get("subresource") == "status")


def test_in_sync_only_reconciling_comes_and_goes(stage: Stage) -> None:
    idle = release(stage, "idle")
    stage.fleet.run(60)
    assert [state[:2] for state in stage.states(idle)[1:]] == [
        ("False", "SourceNotReady"),
        ("Unknown", "Progressing"),
        ("True", "InstallSucceeded"),
    ]
    assert stage.phases(idle)[2][2] == pytest.approx(0.3, abs=0.15)
    since, before, status = stage.schedule.now, mf_time(stage, idle), stage.status(idle)
    stage.fleet.run(100)
    writes = stage.writes(idle, since)
    assert len(writes) in (6, 8)
    assert ["Reconciling" in conditions(write.status) for write in writes] == [True, False] * (len(writes) // 2)
    assert all(0.01 < after.time - before.time < 0.13 for before, after in zip(writes[::2], writes[1::2], strict=True))
    assert stage.status(idle) == status
    assert mf_time(stage, idle) > before
    assert stage.events(idle, since) == []


def test_rolled_back_and_retried_until_it_stalls(stage: Stage) -> None:
    rollback = release(stage, "rollback", upgrade={"remediation": {"retries": 2}})
    stage.fleet.run(60)
    since = stage.schedule.now
    break_next(stage, rollback)
    stage.fleet.run(200)
    phases = stage.phases(rollback, since)[1:]
    assert [phase[:2] for phase in phases] == [
        ("Unknown", "Progressing"),
        ("False", "UpgradeFailed"),
        ("False", "RollbackSucceeded"),
    ] * 3
    assert [took for _, _, took in phases[:8]] == pytest.approx([15.3, 0.3, 10.8, 15.3, 0.3, 11.5, 15.3, 0.3], abs=0.5)
    assert stage.condition(rollback, "Stalled") == ("True", "RetriesExceeded")
    assert stage.condition(rollback, "Reconciling") is None
    status = stage.status(rollback)
    assert (status["failures"], status["upgradeFailures"]) == (3, 3)
    assert status["observedGeneration"] == 2
    generations = {write.status["observedGeneration"] for write in stage.writes(rollback, since)[:-1]}
    assert generations == {1}
    silent = stage.schedule.now
    stage.fleet.run(300)
    assert stage.writes(rollback, silent) == []
    mend(stage, rollback)
    stage.fleet.run(2)
    assert stage.states(rollback, silent)[1:] == [("Unknown", "Progressing"), ("True", "UpgradeSucceeded")]
    assert "failures" not in stage.status(rollback)
    assert stage.condition(rollback, "Stalled") is None


def test_released_keeps_its_last_outcome_while_ready_is_unknown(stage: Stage) -> None:
    rollback = release(stage, "rollback", upgrade={"remediation": {"retries": 2}})
    stage.fleet.run(60)
    since = stage.schedule.now
    break_next(stage, rollback)
    stage.fleet.run(100)
    seen = [
        conditions(write.status)["Released"]["status"]
        for write in stage.writes(rollback, since)
        if conditions(write.status)["Ready"]["status"] == "Unknown"
    ]
    assert seen[0] == "True"
    assert set(seen[2:]) == {"False"}


def test_without_remediation_it_stalls_at_once(stage: Stage) -> None:
    noremedy = release(stage, "noremedy")
    stage.fleet.run(60)
    since = stage.schedule.now
    break_next(stage, noremedy)
    stage.fleet.run(220)
    _, unknown, false = stage.phases(noremedy, since)
    assert (unknown[0], unknown[2]) == ("Unknown", pytest.approx(15.4, abs=0.4))
    assert false[:2] == ("False", "UpgradeFailed")
    assert stage.condition(noremedy, "Stalled") == ("True", "RetriesExceeded")
    assert stage.writes(noremedy)[-1].time < since + 20


def test_retried_on_failure_for_ever_and_healed_by_the_workload(stage: Stage) -> None:
    strategy = {"name": "RetryOnFailure", "retryInterval": "20s"}
    retry = release(stage, "retryonfail", upgrade={"strategy": strategy})
    stage.fleet.run(60)
    since = stage.schedule.now
    break_next(stage, retry)
    stage.fleet.run(175)
    phases = stage.phases(retry, since)[1:]
    assert {phase[:2] for phase in phases} == {("Unknown", "Progressing"), ("False", "UpgradeFailed")}
    assert all(took == pytest.approx(15.3, abs=0.4) for status, _, took in phases[:-1] if status == "Unknown")
    assert all(took == pytest.approx(20, abs=1.3) for status, _, took in phases[:-1] if status == "False")
    assert stage.status(retry)["observedGeneration"] == 2
    assert stage.condition(retry, "Stalled") is None
    assert stage.status(retry)["failures"] >= 5
    stage.world.make_ready("Deployment/apps/retryonfail")
    stage.fleet.run(25)
    assert stage.condition(retry) == ("True", "UpgradeSucceeded")
    assert "failures" not in stage.status(retry)


def test_templates_that_do_not_render_back_off_and_never_stall(stage: Stage) -> None:
    template = release(stage, "template", upgrade={"remediation": {"retries": 1}})
    stage.fleet.run(60)
    since = stage.schedule.now
    steps.break_templates(template, RENDER)(stage.fleet)
    steps.edit(template, {"values": {"fail": True}})(stage.fleet)
    stage.fleet.run(220)
    phases = stage.phases(template, since)[1:]
    assert {phase[:2] for phase in phases} == {("Unknown", "Progressing"), ("False", "UpgradeFailed")}
    assert all(0.05 < took < 0.31 for status, _, took in phases if status == "Unknown")
    gaps = [took for status, _, took in phases if status == "False"][:-1]
    assert gaps == pytest.approx([0.75, 1.5, 3, 6, 12, 24, 48, 96], abs=0.15)
    status = stage.status(template)
    assert status["failures"] == 9
    assert "upgradeFailures" not in status
    assert stage.condition(template, "Stalled") is None
    failing_since = {
        conditions(write.status)["Released"]["lastTransitionTime"]
        for write in stage.writes(template, since)
        if conditions(write.status)["Released"]["status"] == "False"
    }
    assert len(failing_since) == 1


def test_a_failed_install_is_uninstalled_and_tried_once_more(stage: Stage) -> None:
    stage.world.rollouts["Deployment/apps/badinstall"] = None
    bad = release(stage, "badinstall", install={"remediation": {"retries": 1}})
    stage.fleet.run(120)
    phases = stage.phases(bad)[2:]
    assert [phase[:2] for phase in phases] == [("Unknown", "Progressing"), ("False", "InstallFailed")] * 2
    assert [took for _, _, took in phases[:3]] == pytest.approx([15.3, 11.1, 15.3], abs=0.5)
    remediated = {conditions(write.status).get("Remediated", {}).get("reason") for write in stage.writes(bad)}
    assert remediated == {None, "UninstallSucceeded"}
    assert stage.condition(bad, "Stalled") == ("True", "RetriesExceeded")


def test_a_chart_that_is_not_there_stalls_the_chart_and_not_the_release(stage: Stage) -> None:
    nochart = release(stage, "nochart", chart="nowhere")
    stage.fleet.run(240)
    assert stage.condition(nochart) == ("False", "SourceNotReady")
    assert stage.condition(nochart, "Stalled") is None
    chart = Key("HelmChart", "apps", "apps-nochart")
    assert stage.condition(chart) == ("False", "InvalidChartReference")
    assert stage.condition(chart, "Stalled") == ("True", "InvalidChartReference")
    since = stage.schedule.now
    steps.request(chart)(stage.fleet)
    stage.fleet.run(1)
    (unknown,) = [took for status, _, took in stage.phases(chart, since) if status == "Unknown"]
    assert 0.01 < unknown < 0.1


def test_a_dependent_release_says_once_that_it_waits(stage: Stage) -> None:
    stage.world.rollouts["Deployment/apps/base"] = None
    release(stage, "base")
    dependent = release(stage, "dependent", dependsOn=[{"name": "base"}])
    stage.fleet.run(300)
    assert len(stage.writes(dependent)) == 5
    assert stage.states(dependent)[1:] == [("False", "DependencyNotReady")]
    # Every run but the one that only added the finalizer.
    assert len(stage.events(dependent)) == stage.fleet.runs(dependent) - 1 >= 10


def test_a_chart_from_a_registry_carries_its_digest_in_its_version(stage: Stage) -> None:
    stage.world.oci("oci://ghcr.test/charts/podinfo", "6.9.0")
    stage.create("OCIRepository", "podinfo", {"interval": "30s", "url": "oci://ghcr.test/charts/podinfo"})
    spec = {"interval": "30s", "timeout": "15s", "chartRef": {"kind": "OCIRepository", "name": "podinfo"}}
    key = stage.create("HelmRelease", "podinfo", spec)
    stage.fleet.run(40)
    assert stage.condition(key) == ("True", "InstallSucceeded")
    assert stage.status(key)["history"][0]["chartVersion"].startswith("6.9.0+")


def test_a_newer_chart_is_found_with_the_repository_and_upgraded_to(stage: Stage) -> None:
    source = {"kind": "HelmRepository", "name": "charts"}
    floating = release(stage, "floating", chart="podinfo")
    steps.edit(floating, {"chart": {"spec": {"chart": "podinfo", "version": "*", "sourceRef": source}}})(stage.fleet)
    stage.fleet.run(60)
    steps.publish_chart(CHARTS, "podinfo", "6.10.0")(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(40)
    chart = Key("HelmChart", "apps", "apps-floating")
    assert stage.states(chart, since)[1:] == [("Unknown", "Progressing"), ("True", "ChartPullSucceeded")]
    assert stage.states(floating, since)[1:] == [("Unknown", "Progressing"), ("True", "UpgradeSucceeded")]
    assert [(one["chartVersion"], one["status"]) for one in stage.status(floating)["history"]] == [
        ("6.10.0", "deployed"),
        ("6.9.0", "superseded"),
    ]


def test_a_chart_from_git_is_packaged_and_a_missing_one_is_of_another_folder_each_time(stage: Stage) -> None:
    stage.repository({"charts/podinfo": config("podinfo")})
    for name, path in ("good", "./charts/podinfo"), ("bad", "./charts/nowhere"):
        source = {"kind": "GitRepository", "name": "repo"}
        spec = {"interval": "30s", "timeout": "15s", "chart": {"spec": {"chart": path, "sourceRef": source}}}
        stage.create("HelmRelease", name, spec)
    stage.fleet.run(40)
    assert stage.condition(Key("HelmChart", "apps", "apps-good")) == ("True", "ChartPackageSucceeded")
    assert stage.condition(Key("HelmRelease", "apps", "good")) == ("True", "InstallSucceeded")
    bad, chart = Key("HelmRelease", "apps", "bad"), Key("HelmChart", "apps", "apps-bad")
    messages = set()
    for number in range(3):
        steps.commit(URL, f"commit {number}", notify=Key("GitRepository", "apps", "repo"))(stage.fleet)
        stage.fleet.run(40)
        assert stage.condition(chart, "Stalled") == ("True", "InvalidChartReference")
        messages.add(conditions(stage.status(bad))["Ready"]["message"])
    assert len(messages) == 3


def test_deleted_it_takes_its_chart_with_it(stage: Stage) -> None:
    idle = release(stage, "idle")
    stage.fleet.run(60)
    steps.delete(idle)(stage.fleet)
    stage.fleet.run(2)
    assert stage.fleet.get(idle) is None
    assert stage.fleet.get(Key("HelmChart", "apps", "apps-idle")) is None


def test_killed_in_an_upgrade_it_loses_its_history_and_stalls_after_one_failure(stage: Stage) -> None:
    rel = release(stage, "rel", timeout="40s", upgrade={"remediation": {"retries": 3}})
    stage.fleet.run(60)
    break_next(stage, rel)
    stage.fleet.run(7)
    steps.kill("helm-controller")(stage.fleet)
    killed = stage.status(rel)
    stage.fleet.run(60)
    assert stage.status(rel) == killed
    assert conditions(killed)["Ready"]["status"] == "Unknown"
    assert conditions(killed)["Released"]["status"] == "True"
    steps.restart("helm-controller")(stage.fleet)
    since = stage.schedule.now
    stage.fleet.run(100)
    unknown, pending, again, false = stage.phases(rel, since)
    assert unknown[2] < 0.3
    assert (pending[:2], pending[2] < 0.2) == (("False", "PendingRelease"), True)
    assert (again[0], again[2]) == ("Unknown", pytest.approx(40.3, abs=0.5))
    assert false[:2] == ("False", "UpgradeFailed")
    assert stage.condition(rel, "Stalled") == ("True", "MissingRollbackTarget")
    assert any("history" not in write.status for write in stage.writes(rel, since))


def test_a_request_leaves_ready_alone(stage: Stage) -> None:
    idle = release(stage, "idle", interval="10m")
    stage.fleet.run(60)
    since = stage.schedule.now
    stage.fleet.request(idle, "token")
    stage.fleet.run(2)
    seen = [
        ("Reconciling" in conditions(write.status), write.status.get("lastHandledReconcileAt"))
        for write in stage.writes(idle, since)
    ]
    assert seen == [(False, None), (True, None), (False, None), (False, "token")]
    assert stage.states(idle, since) == [("True", "InstallSucceeded")]
