"""The storage as code in the same process uses it. What HTTP clients see of it, test_as_the_real_one compares."""

from __future__ import annotations

from typing import Any

import pytest

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.crds import DEFINITIONS
from gotk_exporter.simulator.state.errors import NoSuchPath, Refusal
from gotk_exporter.simulator.state.history import Forgotten
from gotk_exporter.simulator.state.objects import Event, GroupResource
from gotk_exporter.simulator.storage import Storage

APPS = GroupResource("kustomize.toolkit.fluxcd.io", "kustomizations")
SOURCES = GroupResource("source.toolkit.fluxcd.io", "gitrepositories")


def app(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


class Clock:
    """Time that a test sets."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_times_are_the_clocks_which_may_be_virtual() -> None:
    clock = Clock()
    storage = new_cluster(clock)
    storage.create(APPS, app("a"), manager="kubectl")
    clock.now += 90
    status = {"status": {"observedGeneration": 1}}
    stored = storage.patch(APPS, "default", "a", status, subresource="status", manager="kustomize-controller")

    metadata = stored.document()["metadata"]
    assert metadata["creationTimestamp"] == "2027-01-15T08:00:00Z"
    entry = next(entry for entry in metadata["managedFields"] if entry["manager"] == "kustomize-controller")
    assert (entry["subresource"], entry["time"]) == ("status", "2027-01-15T08:01:30Z")


def test_a_new_flux_object_was_never_observed_until_its_controller_says_so(storage: Storage) -> None:
    storage.create(APPS, app("a") | {"status": {"observedGeneration": 5}})

    assert storage.get(APPS, "default", "a").document()["status"] == {"observedGeneration": -1}


def test_a_subscriber_hears_of_each_write_before_it_returns(storage: Storage) -> None:
    heard: list[tuple[str, str, int]] = []
    end = storage.subscribe(lambda event: heard.append((event.type, event.object.name, event.version)), APPS)

    first = storage.create(APPS, app("a")).version
    assert heard == [("ADDED", "a", first)]
    storage.create(SOURCES, app("a"))
    storage.patch(APPS, "default", "a", {"spec": {"prune": True}})
    storage.patch(APPS, "default", "a", {"spec": {"prune": True}})
    storage.delete(APPS, "default", "a")
    assert heard[1:] == [("MODIFIED", "a", first + 2), ("DELETED", "a", first + 3)]

    end()
    storage.create(APPS, app("b"))
    assert len(heard) == 3


def test_a_subscriber_that_writes_is_told_last_and_everyone_in_order(storage: Storage) -> None:
    heard: list[int] = []

    def controller(event: Event) -> None:
        if event.type == "ADDED":
            storage.patch(APPS, "default", event.object.name, {"status": {"seen": True}}, subresource="status")
        heard.append(event.version)

    storage.subscribe(controller, APPS)
    storage.subscribe(lambda event: heard.append(event.version), APPS)
    first = storage.create(APPS, app("a")).version

    assert heard == [first, first, first + 1, first + 1]


def test_an_event_tells_what_was_and_what_is(storage: Storage) -> None:
    events: list[Event] = []
    storage.subscribe(events.append, APPS)
    storage.create(APPS, app("a", interval="1m"))
    storage.patch(APPS, "default", "a", {"spec": {"interval": "2m"}})
    storage.delete(APPS, "default", "a")

    changed, deleted = events[1:]
    assert changed.previous is not None
    assert changed.previous.document()["spec"] == {"interval": "1m"}
    assert changed.object.document()["spec"] == {"interval": "2m"}
    # At the version of its end, or a watch that starts there would see it end again.
    assert deleted.object.version == storage.version
    assert deleted.object.document()["spec"] == {"interval": "2m"}


def test_neither_what_was_given_nor_what_was_got_is_shared(storage: Storage) -> None:
    given = app("a", patches=[{"patch": "x"}])
    storage.create(APPS, given)
    given["spec"]["patches"].append("later")
    got = storage.get(APPS, "default", "a").document()
    got["spec"]["patches"].append("later")

    assert storage.get(APPS, "default", "a").document()["spec"] == {"patches": [{"patch": "x"}]}
    assert given.keys() == {"metadata", "spec"}


def test_an_object_is_at_rest_once_and_served_at_every_version(storage: Storage) -> None:
    stored = storage.create(APPS, app("a"))

    old, new = (stored.document(f"{APPS.group}/{version}") for version in ("v1beta2", "v1"))
    assert old.pop("apiVersion") == "kustomize.toolkit.fluxcd.io/v1beta2"
    assert new.pop("apiVersion") == "kustomize.toolkit.fluxcd.io/v1"
    assert old == new


def test_generation_counts_changes_of_the_spec_and_of_nothing_else(storage: Storage) -> None:
    def generation() -> int:
        return storage.get(APPS, "default", "a").generation

    storage.create(APPS, app("a", interval="1m"))
    storage.patch(APPS, "default", "a", {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}})
    storage.patch(APPS, "default", "a", {"status": {"observedGeneration": 1}}, subresource="status")
    assert generation() == 1
    storage.patch(APPS, "default", "a", {"spec": {"suspend": True}})
    assert generation() == 2


def test_a_finalizer_holds_a_deleted_object_until_it_is_taken_away(storage: Storage) -> None:
    document = app("a")
    document["metadata"]["finalizers"] = ["finalizers.fluxcd.io"]
    storage.create(APPS, document)

    held = storage.delete(APPS, "default", "a")
    assert held is not None
    assert held.deleting
    assert storage.get(APPS, "default", "a").deleting
    storage.patch(APPS, "default", "a", {"metadata": {"finalizers": None}})

    with pytest.raises(Refusal, match="not found"):
        storage.get(APPS, "default", "a")


def test_history_ends_and_says_so() -> None:
    storage = new_cluster(Clock(), history_events=8)
    version = storage.create(APPS, app("a")).version
    for minutes in range(20):
        storage.patch(APPS, "default", "a", {"spec": {"interval": f"{minutes}m"}})
    history = storage.collection(APPS).history

    with pytest.raises(Forgotten) as forgotten:
        history.after(version)
    assert 8 <= len(history.after(forgotten.value.floor)) <= 9
    with pytest.raises(Refusal) as refused:
        storage.list(APPS, version=version)
    assert (refused.value.code, refused.value.reason) == (410, "Expired")


def test_who_has_followed_until_now_misses_nothing_by_a_compaction(storage: Storage) -> None:
    followed = storage.create(APPS, app("a")).version
    storage.create(SOURCES, app("a"))
    storage.compact()
    history = storage.collection(APPS).history

    assert history.next(followed) == []
    with pytest.raises(Forgotten):
        history.after(followed)
    later = storage.create(APPS, app("b")).version
    assert [event.version for event in history.next(followed)] == [later]


def test_objects_need_a_namespace_that_is_there(storage: Storage) -> None:
    lost = {"metadata": {"name": "a", "namespace": "lost"}}
    with pytest.raises(Refusal, match='namespaces "lost" not found'):
        storage.create(APPS, lost)
    for _ in range(2):
        storage.ensure_namespace("lost")
    storage.create(APPS, lost)


def test_only_the_kinds_that_are_wanted_are_installed() -> None:
    storage = new_cluster(Clock(), kinds=[BY_NAME["Kustomization"]])

    assert [stored.name for stored in storage.list(DEFINITIONS).objects] == [
        "kustomizations.kustomize.toolkit.fluxcd.io"
    ]
    storage.create(APPS, app("a"))
    with pytest.raises(NoSuchPath):
        storage.create(SOURCES, app("a"))


def test_a_definition_serves_its_kind_when_it_is_written(storage: Storage) -> None:
    name = "kustomizations.kustomize.toolkit.fluxcd.io"
    definition = storage.get(DEFINITIONS, "", name).document()
    storage.create(APPS, app("a"))
    storage.delete(DEFINITIONS, "", name)
    with pytest.raises(NoSuchPath):
        storage.get(APPS, "default", "a")

    del definition["metadata"]["resourceVersion"]
    storage.create(DEFINITIONS, definition)
    assert storage.list(APPS).objects == []
    conditions = storage.get(DEFINITIONS, "", name).document()["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
