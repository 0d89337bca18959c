"""What the recorded scenario i says of controllers that are killed; queues, Leases and time."""

from __future__ import annotations

import asyncio
import time

import pytest

from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.cluster import Flags
from gotk_exporter.simulator.fleet.controller import INVALID_SPEC
from gotk_exporter.simulator.fleet.fleet import live_for
from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.schedule import Schedule
from gotk_exporter.simulator.state.objects import GroupResource
from tests.simulator.fleet_traces import conditions, unix
from tests.simulator.fleets import URL, Stage, config, deployment

KUSTOMIZE, SOURCE = "kustomize-controller", "source-controller"
LEASES = GroupResource("coordination.k8s.io", "leases")


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.fleet.start()
    return stage


class TestKilled:
    def test_unknown_is_kept_with_its_time_and_the_whole_timeout_begins_again(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app")})
        was_true = stage.kustomization("app", interval="10m", timeout="40s", wait=True)
        stage.fleet.run(2)
        stage.world.make_ready("Deployment/apps/app")
        stage.fleet.run(10)
        assert stage.condition(was_true) == ("True", "ReconciliationSucceeded")
        since = stage.schedule.now
        steps.commit(URL, "new", {"./app": deployment("app", "2")}, notify=stage.key("repo", "GitRepository"))(
            stage.fleet
        )
        stage.fleet.run(7)
        steps.kill(KUSTOMIZE)(stage.fleet)
        killed = stage.status(was_true)
        assert conditions(killed)["Ready"]["status"] == "Unknown"
        assert killed["lastAttemptedRevision"] != killed["lastAppliedRevision"]
        assert killed["history"][0]["lastReconciledStatus"] == "ReconciliationSucceeded"
        stage.fleet.run(60)
        assert stage.status(was_true) == killed
        steps.restart(KUSTOMIZE)(stage.fleet)
        stage.fleet.run(60)
        _, unknown, false = stage.phases(was_true, since)
        assert (unknown[0], unknown[2]) == ("Unknown", pytest.approx(107, abs=1))
        assert false[:2] == ("False", "HealthCheckFailed")
        transitions = {
            conditions(write.status)["Ready"]["lastTransitionTime"]
            for write in stage.writes(was_true, since)
            if conditions(write.status)["Ready"]["status"] == "Unknown"
        }
        assert len(transitions) == 1

    def test_nobody_works_while_it_is_down_and_everybody_after(self, stage: Stage) -> None:
        stage.repository({"./quiet": config("quiet")})
        quiet = stage.kustomization("quiet")
        stage.fleet.run(60)
        steps.kill(KUSTOMIZE)(stage.fleet)
        since = stage.schedule.now
        stage.fleet.run(300)
        assert stage.writes(quiet, since) == []
        steps.restart(KUSTOMIZE)(stage.fleet)
        since = stage.schedule.now
        stage.fleet.run(1)
        assert stage.states(quiet, since)[-1] == ("True", "ReconciliationSucceeded")

    def test_killed_in_a_fetch_a_source_keeps_reconciling_and_answers_after(self, stage: Stage) -> None:
        source = stage.repository({})
        stage.fleet.run(10)
        steps.hang("git.test")(stage.fleet)
        stage.fleet.request(source, "token")
        stage.fleet.run(5)
        steps.kill(SOURCE)(stage.fleet)
        stage.fleet.run(60)
        assert stage.condition(source) == ("True", "Succeeded")
        assert stage.condition(source, "Reconciling") == ("True", "Progressing")
        assert "lastHandledReconcileAt" not in stage.status(source)
        steps.restore("git.test")(stage.fleet)
        steps.restart(SOURCE)(stage.fleet)
        stage.fleet.run(1)
        assert stage.status(source)["lastHandledReconcileAt"] == "token"
        assert stage.condition(source, "Reconciling") is None


class TestSourceControllerGone:
    def test_a_kustomization_is_unknown_while_it_tries_and_then_false(self, stage: Stage) -> None:
        stage.repository({"./app": config("app")})
        app = stage.kustomization("app", interval="30s")
        stage.fleet.run(10)
        steps.kill(SOURCE)(stage.fleet)
        since = stage.schedule.now
        stage.fleet.run(240)
        _, unknown, false = stage.phases(app, since)
        assert (unknown[0], round(unknown[2])) == ("Unknown", 215)
        assert false[:2] == ("False", "ArtifactFailed")
        assert "giving up after 10 attempt(s)" in conditions(stage.status(app))["Ready"]["message"]

    def test_one_that_still_tries_when_it_is_back_goes_on(self, stage: Stage) -> None:
        stage.repository({"./app": config("app")})
        app = stage.kustomization("app", interval="30s")
        stage.fleet.run(10)
        steps.kill(SOURCE)(stage.fleet)
        since = stage.schedule.now
        stage.fleet.run(60)
        steps.restart(SOURCE)(stage.fleet)
        stage.fleet.run(40)
        assert ("False", "ArtifactFailed") not in stage.states(app, since)
        assert stage.condition(app) == ("True", "ReconciliationSucceeded")


class TestLeases:
    def lease(self, stage: Stage) -> dict[str, str]:
        found: dict[str, str] = stage.storage.get(LEASES, "flux-system", f"{KUSTOMIZE}-leader-election").document()[
            "spec"
        ]
        return found

    @pytest.fixture
    def stage(self) -> Stage:
        stage = Stage(flags=Flags(leader_election=True))
        stage.fleet.start()
        return stage

    def test_a_lease_is_renewed_every_five_seconds_until_its_controller_dies(self, stage: Stage) -> None:
        renewals = set()
        for _ in range(60):
            stage.fleet.run(1)
            renewals.add(self.lease(stage)["renewTime"])
        assert len(renewals) == 13
        steps.kill(KUSTOMIZE)(stage.fleet)
        last = self.lease(stage)
        stage.fleet.run(120)
        assert self.lease(stage) == last

    def test_its_successor_works_once_the_lease_has_run_out(self, stage: Stage) -> None:
        stage.repository({"./app": config("app")})
        app = stage.kustomization("app", interval="10m")
        stage.fleet.run(60)
        steps.kill(KUSTOMIZE)(stage.fleet)
        before = self.lease(stage)
        stage.fleet.run(10)
        steps.restart(KUSTOMIZE)(stage.fleet)
        since = stage.schedule.now
        stage.fleet.run(34)
        assert stage.writes(app, since) == []
        stage.fleet.run(2)
        assert stage.states(app, since)[-2:] == [("Unknown", "Progressing"), ("True", "ReconciliationSucceeded")]
        after = self.lease(stage)
        assert after["holderIdentity"] != before["holderIdentity"]
        assert after["leaseTransitions"] == 1

    def test_killed_again_before_it_works_it_does_not_come_back(self, stage: Stage) -> None:
        steps.kill(KUSTOMIZE)(stage.fleet)
        steps.restart(KUSTOMIZE)(stage.fleet)
        stage.fleet.run(10)
        steps.kill(KUSTOMIZE)(stage.fleet)
        stage.repository({"./app": config("app")})
        app = stage.kustomization("app")
        stage.fleet.run(120)
        assert len(stage.writes(app)) == 1


class TestQueue:
    def test_with_few_workers_a_long_check_makes_the_others_wait(self) -> None:
        stage = Stage(flags=Flags(concurrent=1))
        stage.fleet.start()
        stage.repository({"./slow": deployment("slow"), "./quick": config("quick")})
        stage.kustomization("slow", wait=True)
        stage.fleet.run(5)
        quick = stage.kustomization("quick")
        stage.fleet.run(20)
        assert "history" not in stage.status(quick)
        stage.fleet.run(10)
        assert stage.condition(quick) == ("True", "ReconciliationSucceeded")

    def test_an_object_of_another_writer_is_taken_up_and_its_edits_are(self, stage: Stage) -> None:
        resource = GroupResource("kustomize.toolkit.fluxcd.io", "kustomizations")
        stage.repository({"./app": config("app")})
        spec = {
            "interval": "10m",
            "path": "./app",
            "prune": True,
            "sourceRef": {"kind": "GitRepository", "name": "repo"},
        }
        stage.storage.create(resource, stage.object("Kustomization", "app", spec), manager="kubectl")
        stage.fleet.run(5)
        app = stage.key("app")
        assert stage.condition(app) == ("True", "ReconciliationSucceeded")
        stage.storage.patch(resource, "apps", "app", {"spec": {"path": "./nowhere"}}, manager="kubectl")
        stage.fleet.run(5)
        assert stage.condition(app) == ("False", "ArtifactFailed")

    @pytest.mark.parametrize(
        ("kind", "spec"),
        [("Kustomization", {}), ("Kustomization", {"interval": "soon"}), ("HelmRelease", {}), ("HelmChart", {})],
    )
    def test_an_object_that_cannot_be_understood_is_left_alone_and_harms_no_other(
        self, stage: Stage, kind: str, spec: dict[str, str]
    ) -> None:
        stage.may_be_invalid = True
        bad = stage.create(kind, "bad", {"suspend": False, **spec})
        stage.repository({"./app": config("app")})
        app = stage.kustomization("app")
        stage.fleet.run(120)
        assert stage.condition(app) == ("True", "ReconciliationSucceeded")
        assert {reason for reason, _ in stage.events(bad)} == {INVALID_SPEC}

    def test_what_is_deleted_under_a_run_ends_the_run(self, stage: Stage) -> None:
        stage.repository({"./app": deployment("app")})
        app = stage.kustomization("app", wait=True)
        stage.fleet.run(5)
        steps.delete(app)(stage.fleet)
        steps.remove_finalizer(app, "finalizers.fluxcd.io")(stage.fleet)
        assert stage.fleet.get(app) is None
        stage.fleet.run(100)
        assert stage.fleet.get(app) is None


class TestTime:
    def test_the_same_seed_gives_the_same_writes_at_the_same_times(self) -> None:
        def history(seed: int) -> list[tuple[str, float, object]]:
            stage = Stage(seed=seed)
            stage.fleet.start()
            stage.repository({"./app": deployment("app")})
            stage.kustomization("app", wait=True)
            stage.fleet.run(300)
            return [(name, write.time, write.status) for name, writes in stage.trace.writes.items() for write in writes]

        assert history(1) == history(1)
        assert history(1) != history(2)

    def test_more_objects_do_not_change_what_one_does(self) -> None:
        def times(more: int) -> list[float]:
            stage = Stage()
            stage.fleet.start()
            stage.repository({"./app": config("app"), **{f"./app{number}": config("x") for number in range(more)}})
            app = stage.kustomization("app")
            for number in range(more):
                stage.kustomization(f"app{number}")
            stage.fleet.run(300)
            return [write.time for write in stage.writes(app)]

        assert times(0) == times(5)

    async def test_on_real_time_divided_durations_pass_and_times_in_objects_stay_the_wall_s(self) -> None:
        stage = Stage(flags=Flags().divided_by(50))
        stage.world.rollout = 0.01
        stage.repository({"./app": deployment("app")})
        app = stage.kustomization("app", interval="100ms", timeout="600ms", wait=True)
        stage.fleet.start()
        await live_for(stage.fleet, 1.0)
        (entry,) = stage.status(app)["history"]
        assert entry["totalReconciliations"] > 1
        assert stage.writes(app)[-1].time == pytest.approx(1.0, abs=0.5)
        assert unix(entry["lastReconciled"]) == pytest.approx(time.time(), abs=2)

    async def test_a_call_that_comes_sooner_wakes_a_sleeping_schedule(self) -> None:
        schedule = Schedule(0.0)
        called: list[str] = []
        schedule.at(60, lambda: called.append("late"))
        living = asyncio.create_task(schedule.live())
        await asyncio.sleep(0)
        schedule.after(0, lambda: called.append("soon"))
        for _ in range(1000):
            await asyncio.sleep(0)
        living.cancel()
        with pytest.raises(asyncio.CancelledError):
            await living
        assert called == ["soon"]

    def test_calls_come_in_the_order_in_which_they_are_due_and_then_were_made(self) -> None:
        schedule = Schedule(100.0)
        order: list[str] = []
        schedule.at(2, lambda: order.append("second"))
        schedule.at(1, lambda: order.append("first"))
        schedule.at(2, lambda: order.append("third"))
        schedule.at(1.5, lambda: order.append("never")).cancel()
        schedule.advance(1)
        assert (order, schedule.wall) == (["first"], 101.0)
        schedule.advance(5)
        assert order == ["first", "second", "third"]


def test_a_key_reads_as_flux_writes_it() -> None:
    key = Key("Kustomization", "apps", "web")
    assert (str(key), key.path) == ("Kustomization/apps/web", "apps/web")
