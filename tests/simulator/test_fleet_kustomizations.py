"""What the recorded scenarios c (fast errors), f (suspend), g (delete) and j (requests) say of Kustomizations."""

from __future__ import annotations

import pytest

from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.world import Manifests
from tests.simulator.fleets import URL, Stage, config, deployment

BROKEN = Manifests(build_error="kustomize build failed: accumulating resources: no such file or directory")
REPO = "GitRepository"


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.fleet.start()
    return stage


def settle(stage: Stage, seconds: float = 60.0) -> float:
    """Let everything become what it will be; returns when that is."""
    stage.fleet.run(seconds)
    return stage.schedule.now


def mf_times(stage: Stage, key: Key) -> list[str]:
    obj = stage.fleet.get(key)
    assert obj is not None
    return [entry["time"] for entry in obj["metadata"]["managedFields"] if entry.get("subresource") == "status"]


def push(stage: Stage, message: str, changes: dict[str, Manifests | None]) -> None:
    steps.commit(URL, message, changes, notify=stage.key("repo", REPO))(stage.fleet)


class TestFastErrors:
    def test_a_broken_build_flips_at_every_retry_and_leaves_no_entry(self, stage: Stage) -> None:
        stage.repository({"./build": config("build")})
        build = stage.kustomization("build")
        since = settle(stage)
        before = stage.status(build)
        push(stage, "break it", {"./build": BROKEN})
        stage.fleet.run(120)
        broken = stage.status(build)
        phases = stage.phases(build, since)
        assert {state[:2] for state in phases[2::2]} == {("False", "BuildFailed")}
        assert {state[:2] for state in phases[1::2]} == {("Unknown", "Progressing")}
        assert all(0.1 < took < 0.31 for status, _, took in phases if status == "Unknown")
        assert all(took == pytest.approx(20.0, abs=0.1) for status, _, took in phases[2:-1] if status == "False")
        assert [write.status["history"] for write in stage.writes(build, since)] == [broken["history"]] * len(
            stage.writes(build, since)
        )
        assert broken["observedGeneration"] == 1
        assert broken["lastAppliedRevision"] == before["lastAppliedRevision"]
        assert broken["lastAttemptedRevision"] != before["lastAttemptedRevision"]
        push(stage, "mend it", {"./build": config("build", "2")})
        stage.fleet.run(2)
        assert stage.states(build, stage.schedule.now - 2)[-2:] == [
            ("Unknown", "Progressing"),
            ("True", "ReconciliationSucceeded"),
        ]

    def test_what_the_api_rejects_counts_in_history_and_flips(self, stage: Stage) -> None:
        rejection = "Service/apps/badapply dry-run failed (Invalid): spec.ports: Required value"
        stage.repository({"./badapply": Manifests({"Service/apps/badapply": "1"}, rejection=rejection)})
        badapply = stage.kustomization("badapply")
        stage.fleet.run(100)
        phases = stage.phases(badapply)[2:]
        assert {phase[:2] for phase in phases} == {("Unknown", "Progressing"), ("False", "ReconciliationFailed")}
        assert all(0.1 < took < 0.21 for status, _, took in phases if status == "Unknown")
        (entry,) = stage.status(badapply)["history"]
        assert (entry["lastReconciledStatus"], entry["totalReconciliations"]) == ("ReconciliationFailed", 5)
        assert stage.status(badapply)["observedGeneration"] == -1

    def test_a_webhook_that_cannot_be_called_fails_the_apply_until_it_can(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app")})
        stage.world.rollout = 3.0
        app = stage.kustomization("app")
        settle(stage)
        steps.block_admission("validate.kyverno.svc", ["Deployment"])(stage.fleet)
        settle(stage, 90)
        assert stage.condition(app) == ("False", "ReconciliationFailed")
        message = stage.status(app)["conditions"][1]["message"]
        assert 'failed calling webhook "validate.kyverno.svc"' in message
        steps.unblock_admission("validate.kyverno.svc")(stage.fleet)
        stage.fleet.run(25)
        assert stage.condition(app) == ("True", "ReconciliationSucceeded")

    def test_a_path_that_is_not_there_flips_with_another_folder_each_time(self, stage: Stage) -> None:
        stage.repository({})
        nopath = stage.kustomization("nopath")
        stage.fleet.run(100)
        phases = stage.phases(nopath)[2:]
        assert {phase[:2] for phase in phases} == {("Unknown", "Progressing"), ("False", "ArtifactFailed")}
        assert all(took < 0.1 for status, _, took in phases if status == "Unknown")
        assert stage.condition(nopath, "Reconciling") == ("True", "ProgressingWithRetry")
        messages = [one["message"] for write in stage.writes(nopath) for one in write.status.get("conditions", ())]
        assert len({message for message in messages if "no such file or directory" in message}) == 5
        assert "history" not in stage.status(nopath)

    def test_a_source_that_is_not_there_is_said_once(self, stage: Stage) -> None:
        nosource = stage.kustomization("nosource", sourceRef={"kind": REPO, "name": "nowhere"})
        stage.fleet.run(250)
        assert len(stage.writes(nosource)) == 3
        assert stage.fleet.runs(nosource) == 14
        assert stage.condition(nosource) == ("False", "ArtifactFailed")
        assert stage.condition(nosource, "Reconciling") is None

    def test_an_invalid_expression_stalls_for_ever(self, stage: Stage) -> None:
        stage.repository({"./badcel": config("badcel")})
        checks = [{"apiVersion": "v1", "kind": "ConfigMap", "current": "status.phase == ("}]
        badcel = stage.kustomization("badcel", healthCheckExprs=checks)
        stage.fleet.run(250)
        assert len(stage.writes(badcel)) == 4
        assert stage.condition(badcel) == ("False", "InvalidCELExpression")
        assert stage.condition(badcel, "Stalled") == ("True", "InvalidCELExpression")
        assert stage.status(badcel)["observedGeneration"] == 1
        assert stage.fleet.runs(badcel) <= 4


class TestHealth:
    def test_five_failing_commits_push_the_success_out_of_history(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app", "0")})
        app = stage.kustomization("app", wait=True)
        stage.fleet.run(2)
        stage.world.make_ready("Deployment/apps/app")
        stage.fleet.run(10)
        assert [entry["lastReconciledStatus"] for entry in stage.status(app)["history"]] == ["ReconciliationSucceeded"]
        for number in range(1, 6):
            push(stage, f"commit {number}", {"./app": deployment("app", str(number))})
            stage.fleet.run(40)
        history = stage.status(app)["history"]
        assert [entry["lastReconciledStatus"] for entry in history] == ["HealthCheckFailed"] * 5
        assert len({entry["digest"] for entry in history}) == 5

    def test_a_kustomization_waits_for_the_flux_objects_that_it_applied(self, stage: Stage) -> None:
        stage.repository({"./parent": Manifests({"Kustomization/apps/child": "1"}), "./child": BROKEN})
        child = stage.kustomization("child")
        parent = stage.kustomization("parent", wait=True)
        stage.fleet.run(40)
        assert stage.condition(child) == ("False", "BuildFailed")
        assert stage.condition(parent) == ("False", "HealthCheckFailed")
        messages = [one["message"] for one in stage.status(parent)["conditions"] if one["type"] == "Ready"]
        assert messages[0].endswith("timeout waiting for: [Kustomization/apps/child status: 'InProgress']")

    def test_named_health_checks_are_looked_at_instead_of_everything(self, stage: Stage) -> None:
        both = Manifests({"Deployment/apps/good": "1", "Deployment/apps/bad": "1"})
        stage.repository({"./app": both})
        app = stage.kustomization(
            "app", healthChecks=[{"apiVersion": "apps/v1", "kind": "Deployment", "name": "good", "namespace": "apps"}]
        )
        stage.fleet.run(2)
        stage.world.make_ready("Deployment/apps/good")
        stage.fleet.run(10)
        assert stage.condition(app) == ("True", "ReconciliationSucceeded")

    def test_without_a_timeout_it_is_half_a_minute_less_than_the_interval(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app")})
        app = stage.kustomization("app", interval="2m", timeout=None, wait=True)
        stage.fleet.run(100)
        unknown = [took for status, _, took in stage.phases(app) if status == "Unknown"]
        assert unknown[0] == pytest.approx(90.2, abs=0.3)


class TestSuspend:
    @pytest.fixture
    def failing(self, stage: Stage) -> Key:
        stage.repository({"./app": deployment("app")})
        return stage.kustomization("app", wait=True)

    def test_suspended_between_two_runs_it_is_frozen_and_its_status_time_moves_once(
        self, stage: Stage, failing: Key
    ) -> None:
        stage.fleet.run(40)
        assert stage.condition(failing) == ("False", "HealthCheckFailed")
        (since,) = mf_times(stage, failing)
        transition = stage.status(failing)["conditions"][1]["lastTransitionTime"]
        steps.suspend(failing)(stage.fleet)
        stage.fleet.run(2)
        (moved,) = mf_times(stage, failing)
        assert moved > since
        stage.fleet.run(96)
        assert mf_times(stage, failing) == [moved]
        assert stage.condition(failing) == ("False", "HealthCheckFailed")
        assert stage.status(failing)["conditions"][1]["lastTransitionTime"] == transition

    def test_suspended_in_a_run_the_run_goes_on_to_its_end(self, stage: Stage, failing: Key) -> None:
        stage.fleet.run(8)
        steps.suspend(failing)(stage.fleet)
        assert stage.condition(failing) == ("Unknown", "Progressing")
        stage.fleet.run(100)
        assert stage.states(failing)[-1] == ("False", "HealthCheckFailed")
        assert stage.phases(failing)[-1][2] == pytest.approx(77, abs=1)

    def test_resumed_it_runs_at_once_and_its_history_goes_on(self, stage: Stage, failing: Key) -> None:
        stage.fleet.run(40)
        first = stage.status(failing)["history"][0]
        steps.suspend(failing)(stage.fleet)
        stage.fleet.run(90)
        steps.resume(failing)(stage.fleet)
        resumed = stage.schedule.now
        stage.fleet.run(35)
        unknown, false = stage.phases(failing, resumed + 0.1)
        assert (unknown[0], unknown[2]) == ("Unknown", pytest.approx(30.1, abs=0.2))
        assert false[0] == "False"
        (entry,) = stage.status(failing)["history"]
        assert (entry["firstReconciled"], entry["totalReconciliations"]) == (first["firstReconciled"], 2)

    def test_a_suspended_ready_object_still_says_which_generation_it_saw(self, stage: Stage) -> None:
        stage.repository({"./app": config("app")})
        app = stage.kustomization("app")
        settle(stage)
        steps.suspend(app)(stage.fleet)
        stage.fleet.run(1)
        assert stage.status(app)["observedGeneration"] == 2


class TestDelete:
    def test_deleted_between_two_runs_it_is_gone_at_once_with_its_last_status(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app")})
        app = stage.kustomization("app", wait=True)
        stage.fleet.run(40)
        since = stage.schedule.now
        steps.delete(app)(stage.fleet)
        stage.fleet.run(5)
        writes = stage.writes(app, since)
        assert writes[-1].deleted
        assert 0.01 < writes[-1].time - since < 0.06
        ready = {
            (one["status"], one["reason"])
            for write in writes
            for one in write.status["conditions"]
            if one["type"] == "Ready"
        }
        assert ready == {("False", "HealthCheckFailed")}
        assert stage.world.status("Deployment/apps/app") == "NotFound"

    def test_deleted_in_a_run_it_stays_unknown_to_the_end_of_the_run(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app")})
        app = stage.kustomization("app", wait=True)
        stage.fleet.run(8)
        since = stage.schedule.now
        steps.delete(app)(stage.fleet)
        stage.fleet.run(60)
        unknown, false = stage.phases(app, since)
        assert (unknown[0], unknown[2]) == ("Unknown", pytest.approx(23.3, abs=1))
        assert false[0] == "False"
        last = stage.writes(app)[-1]
        assert last.deleted
        assert last.time - (since + unknown[2]) < 0.06

    def test_another_finalizer_holds_it_frozen(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app")})
        held = stage.fleet.create(
            stage.object(
                "Kustomization",
                "held",
                {
                    "interval": "60s",
                    "retryInterval": "20s",
                    "timeout": "20s",
                    "path": "./app",
                    "prune": True,
                    "wait": True,
                    "sourceRef": {"kind": REPO, "name": "repo"},
                },
                finalizers=["example.com/audit"],
            )
        )
        stage.fleet.run(40)
        steps.delete(held)(stage.fleet)
        stage.fleet.run(1)
        since = stage.schedule.now
        stage.fleet.run(83)
        obj = stage.fleet.get(held)
        assert obj is not None
        assert obj["metadata"]["finalizers"] == ["example.com/audit"]
        assert stage.condition(held) == ("False", "HealthCheckFailed")
        assert stage.writes(held, since) == []
        steps.remove_finalizer(held, "example.com/audit")(stage.fleet)
        assert stage.fleet.get(held) is None

    def test_waiting_for_termination_ends_at_the_timeout_and_only_an_event_tells(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app")})
        app = stage.kustomization("app", wait=True, deletionPolicy="WaitForTermination")
        stage.fleet.run(40)
        steps.hold("Deployment/apps/app")(stage.fleet)
        since = stage.schedule.now
        steps.delete(app)(stage.fleet)
        stage.fleet.run(60)
        last = stage.writes(app)[-1]
        assert last.deleted
        assert last.time - since == pytest.approx(30, abs=0.5)
        assert stage.states(app, since) == [("False", "HealthCheckFailed")]
        assert "failed to wait for resources termination" in [message for _, message in stage.events(app, since)]
        assert "Deployment/apps/app" in stage.world.objects


class TestRequests:
    def test_a_request_runs_it_at_once_and_is_answered_with_the_second_final_write(self, stage: Stage) -> None:
        stage.repository({"./ok": config("ok")})
        ok = stage.kustomization("ok", interval="10m")
        settle(stage)
        since = stage.schedule.now
        stage.fleet.request(ok, "token")
        stage.fleet.run(5)
        assert stage.states(ok, since)[1:] == [("Unknown", "Progressing"), ("True", "ReconciliationSucceeded")]
        handled = [write.status.get("lastHandledReconcileAt") for write in stage.writes(ok, since)]
        assert handled == [None] * (len(handled) - 1) + ["token"]

    def test_a_request_during_a_run_is_answered_by_the_next_which_starts_at_once(self, stage: Stage) -> None:
        stage.repository({"./stuck": deployment("stuck")})
        stuck = stage.kustomization("stuck", interval="10m", retryInterval="10m", wait=True)
        stage.fleet.run(40)
        stage.fleet.request(stuck, "first")
        stage.fleet.run(10)
        stage.fleet.request(stuck, "second")
        stage.fleet.run(22)
        assert stage.status(stuck)["lastHandledReconcileAt"] == "first"
        assert stage.condition(stuck) == ("Unknown", "Progressing")
        stage.fleet.run(30)
        assert stage.status(stuck)["lastHandledReconcileAt"] == "second"
        assert stage.condition(stuck) == ("False", "HealthCheckFailed")

    def test_a_suspended_object_answers_without_doing_anything(self, stage: Stage) -> None:
        stage.repository({"./susp": config("susp")})
        susp = stage.kustomization("susp")
        settle(stage)
        steps.suspend(susp)(stage.fleet)
        stage.fleet.run(5)
        since = stage.schedule.now
        (before,) = mf_times(stage, susp)
        steps.request(susp)(stage.fleet)
        stage.fleet.run(5)
        assert stage.status(susp)["lastHandledReconcileAt"]
        assert stage.states(susp, since) == [("True", "ReconciliationSucceeded")]
        assert mf_times(stage, susp) > [before]


class TestDependencies:
    def test_a_dependency_that_does_not_exist_is_named(self, stage: Stage) -> None:
        stage.repository({"./app": config("app")})
        app = stage.kustomization("app", dependsOn=[{"name": "crds", "namespace": "infra"}])
        stage.fleet.run(100)
        assert stage.condition(app) == ("False", "DependencyNotReady")
        assert "dependency 'infra/crds' not found" in stage.status(app)["conditions"][0]["message"]
        assert len(stage.writes(app)) == 4
        assert len(stage.events(app)) == 4

    def test_another_source_does_not_hold_a_dependent_back(self, stage: Stage) -> None:
        other = "http://git.test/other"
        stage.repository({"./root": config("root")})
        stage.repository({"./app": config("app")}, name="other", url=other)
        stage.kustomization("root")
        app = stage.kustomization("app", sourceRef={"kind": REPO, "name": "other"}, dependsOn=[{"name": "root"}])
        settle(stage, 40)
        since = stage.schedule.now
        push(stage, "root only", {"./root": config("root", "2")})
        stage.fleet.run(5)
        assert stage.states(app, since) == [("True", "ReconciliationSucceeded")]
