"""The ready-made platform is well and looks like one; each incident does what it says, and passes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from gotk_exporter.simulator.fleet.incidents import STORY, begin, begin_story, incidents
from gotk_exporter.simulator.fleet.objects import Key, seconds
from gotk_exporter.simulator.fleet.platform import Living, new_platform
from tests.simulator.fleets import EPOCH

KINDS = ("GitRepository", "OCIRepository", "HelmRepository", "HelmChart", "Kustomization", "HelmRelease")
MINUTE = 60.0


@pytest.fixture
def living() -> Living:
    return new_platform(EPOCH, 35)


def ready(living: Living, key: Key) -> tuple[str, str]:
    obj = living.fleet.get(key)
    assert obj is not None, f"{key} is gone"
    (found,) = (one for one in obj["status"]["conditions"] if one["type"] == "Ready")
    return found["status"], found["reason"]


def not_ready(living: Living) -> dict[Key, str]:
    found = {}
    for kind in KINDS:
        for key in living.fleet.cluster.keys(kind):
            status, reason = ready(living, key)
            if status != "True":
                found[key] = reason
    return found


def start(living: Living, name: str) -> list[str]:
    told: list[str] = []
    begin(living.platform, incidents(living.platform)[name], told.append)
    return told


def minutes(living: Living, count: float) -> None:
    living.fleet.run(count * MINUTE)


def kustomization(namespace: str, name: str) -> Key:
    return Key("Kustomization", namespace, name)


def test_a_platform_is_well_and_has_a_past(living: Living) -> None:
    assert living.fleet.schedule.wall == EPOCH
    assert set(not_ready(living).values()) <= {"Progressing", "DependencyNotReady"}
    objects = list(living.fleet.cluster.of_kind("Kustomization"))
    assert len(objects) == 35
    runs = [obj["status"]["history"][0]["totalReconciliations"] for obj in objects]
    assert min(runs) >= 2
    kinds = Counter(key.kind for key in living.platform.keys)
    assert kinds["HelmRelease"] >= 6
    assert (kinds["Alert"], kinds["Provider"], kinds["Receiver"]) == (1, 1, 1)
    assert {obj["spec"].get("suspend") for obj in objects} == {None, True}


@pytest.mark.parametrize("count", [35, 61, 200])
def test_it_has_as_many_kustomizations_as_asked_for(count: int) -> None:
    platform = new_platform(EPOCH, count, past_minutes=0.5).platform
    assert Counter(key.kind for key in platform.keys)["Kustomization"] == count
    assert len(set(platform.keys)) == len(platform.keys)


def test_too_small_a_platform_has_no_room_for_incidents() -> None:
    with pytest.raises(ValueError, match="at least 35"):
        new_platform(EPOCH, 10)


def test_the_inventory_is_as_long_as_asked_for() -> None:
    living = new_platform(EPOCH, 35, inventory=60)
    obj = living.fleet.get(kustomization("payments", "api"))
    assert obj is not None
    assert len(obj["status"]["inventory"]["entries"]) == 60


def test_speed_divides_the_durations_in_objects_too() -> None:
    living = new_platform(EPOCH, 35, speed=10)
    obj = living.fleet.get(kustomization("payments", "api"))
    assert obj is not None
    assert seconds(obj["spec"]["interval"]) == 60
    assert seconds(obj["spec"]["timeout"]) == 30
    assert obj["status"]["history"][0]["totalReconciliations"] >= 2
    assert living.fleet.flags.requeue_dependency == 3


def test_the_same_seed_makes_the_same_platform() -> None:
    def versions(seed: int) -> list[object]:
        living = new_platform(EPOCH, 35, seed=seed)
        return [living.fleet.get(key)["status"] for key in living.fleet.cluster.keys("Kustomization")]  # type: ignore[index]

    assert versions(1) == versions(1)
    assert versions(1) != versions(2)


async def test_a_platform_with_a_past_goes_on_in_the_present() -> None:
    living = new_platform(time.time(), 35, speed=60)
    task = asyncio.create_task(living.fleet.live())
    try:
        before = living.storage.version
        start(living, "build-error")
        broken = asyncio.Event()
        web = kustomization("catalog", "web")
        living.storage.subscribe(lambda event: broken.set() if b"BuildFailed" in event.object.text else None)
        async with asyncio.timeout(20):
            await broken.wait()
        assert ready(living, web) == ("False", "BuildFailed")
        assert living.storage.version > before
        assert living.fleet.schedule.wall == pytest.approx(time.time(), abs=0.5)
    finally:
        task.cancel()


class TestIncidents:
    def test_every_incident_passes_one_after_the_other(self, living: Living) -> None:
        found = incidents(living.platform)
        assert len(found) == 9
        for name, incident in found.items():
            told = start(living, name)
            minutes(living, 50)
            assert told == [step.title for _, step in incident.steps if step.seen]
            assert set(not_ready(living).values()) <= {"Progressing", "DependencyNotReady"}, name

    def test_the_story_has_all_of_them_and_ends_well(self, living: Living) -> None:
        told: list[str] = []
        assert {name for _, name in STORY} == set(incidents(living.platform))
        begin_story(living.platform, told.append)
        minutes(living, 2)
        lesson = incidents(living.platform)["failing-root"].lesson
        assert told == [f"── failing-root: {lesson}", "commit pushed: payments/database: bump PostgreSQL to 18"]
        minutes(living, 73)
        steps = [step for incident in incidents(living.platform).values() for _, step in incident.steps]
        assert len(told) == len(STORY) + len([step for step in steps if step.seen])
        assert set(not_ready(living).values()) <= {"Progressing", "DependencyNotReady"}

    def test_all_at_once_pass_too(self, living: Living) -> None:
        for name in incidents(living.platform):
            start(living, name)
        minutes(living, 100)
        assert set(not_ready(living).values()) <= {"Progressing", "DependencyNotReady"}

    def test_a_failing_root_flips_while_its_dependents_wait_without_a_break(self, living: Living) -> None:
        start(living, "failing-root")
        minutes(living, 1)
        roots, dependents = set(), set()
        for _ in range(220):
            living.fleet.run(5)
            roots.add(ready(living, kustomization("payments", "database")))
            dependents |= {ready(living, kustomization("payments", name)) for name in ("api", "web", "worker")}
        assert roots == {("Unknown", "Progressing"), ("False", "HealthCheckFailed")}
        assert dependents == {("False", "DependencyNotReady")}

    def test_a_dead_webhook_fails_only_what_has_an_ingress(self, living: Living) -> None:
        start(living, "admission-webhook")
        minutes(living, 14)
        failing = {key for key, reason in not_ready(living).items() if reason == "ReconciliationFailed"}
        assert len(failing) > 3
        assert {key.name for key in failing} <= {"web", "gateway", "admin"}

    def test_a_long_rollout_is_never_false(self, living: Living) -> None:
        start(living, "long-rollout")
        cache = kustomization("checkout", "cache")
        seen = set()
        for _ in range(50):
            living.fleet.run(5)
            seen.add(ready(living, cache)[0])
        assert seen == {"Unknown", "True"}

    def test_a_source_outage_is_seen_in_the_sources_of_one_host_only(self, living: Living) -> None:
        start(living, "source-outage")
        minutes(living, 10)
        found = not_ready(living)
        assert {key for key in found if key.kind != "Kustomization"} == {
            Key("GitRepository", "catalog", "deploy"),
            Key("GitRepository", "notifications", "deploy"),
        }
        assert set(found.values()) <= {"GitOperationFailed", "Progressing", "DependencyNotReady"}

    def test_a_deleted_object_terminates_for_minutes_and_then_is_gone(self, living: Living) -> None:
        key = kustomization("monitoring", "old-dashboards")
        start(living, "deletion")
        minutes(living, 5)
        obj = living.fleet.get(key)
        assert obj is not None
        assert "deletionTimestamp" in obj["metadata"]
        assert ready(living, key) == ("True", "ReconciliationSucceeded")
        minutes(living, 5)
        assert living.fleet.get(key) is None

    def test_a_killed_controller_leaves_unknown_behind(self, living: Living) -> None:
        start(living, "killed-controller")
        minutes(living, 5.5)
        assert ready(living, kustomization("identity", "api")) == ("Unknown", "Progressing")
        assert not living.fleet.processes["kustomize-controller"].controllers[0].alive

    def test_a_failing_upgrade_ends_stalled(self, living: Living) -> None:
        start(living, "failing-upgrade")
        minutes(living, 25)
        release = living.fleet.get(Key("HelmRelease", "edge", "external-dns"))
        assert release is not None
        conditions = {one["type"]: one["reason"] for one in release["status"]["conditions"]}
        assert conditions["Stalled"] == "RetriesExceeded"
        assert conditions["Ready"] == "RollbackSucceeded"

    def test_an_incident_about_something_that_is_gone_does_nothing(self, living: Living) -> None:
        living.fleet.delete(kustomization("catalog", "api"))
        minutes(living, 1)
        start(living, "suspension")
        minutes(living, 20)
        assert living.fleet.get(kustomization("catalog", "api")) is None
