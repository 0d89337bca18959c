"""What is kept of a listing: whatever comes in whatever order, the store says what a simple model says."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prometheus_client.parser import text_string_to_metric_families

from gotk_exporter.flux.collector import Collector, Replacement
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.flux.examples import text_of

SCOPE = "Kustomization"


def raw_object(name: str, uid: str, version: str, ready: str | None = None, **spec: Any) -> bytes:
    conditions = [] if ready is None else [{"type": "Ready", "status": ready}]
    metadata = {"name": name, "namespace": "b", "uid": uid, "resourceVersion": version}
    return json.dumps({"metadata": metadata, "spec": spec, "status": {"conditions": conditions}}).encode()


def shown(store: Store) -> dict[str, tuple[str, str, str]]:
    """Of each object by name: API version, verdict, suspended; as a scrape gives them."""
    infos = [
        sample.labels
        for family in text_string_to_metric_families(text_of(store))
        for sample in family.samples
        if sample.name == "gotk_resource_info"
    ]
    found = {it["name"]: (it["customresource_version"], it["ready"], it.get("suspended", "")) for it in infos}
    assert len(found) == len(infos)
    return found


@dataclasses.dataclass
class Model:
    """An object in the cluster, and what a follower of its writes knows."""

    uid: str
    version: str
    ready: str | None
    suspend: object
    interval: object

    def raw(self, name: str) -> bytes:
        return raw_object(name, self.uid, self.version, self.ready, suspend=self.suspend, interval=self.interval)

    @property
    def broken(self) -> set[str]:
        broken = set()
        if not isinstance(self.suspend, bool):
            broken.add("spec.suspend")
        if self.interval != "5m":
            broken.add("spec.interval")
        return broken

    @property
    def suspended(self) -> str:
        return str(self.suspend).lower() if isinstance(self.suspend, bool) else ""


names = st.sampled_from(["one", "two", "three"])
readiness = st.sampled_from(["True", "False", "Unknown", None])
suspensions = st.sampled_from([True, False, "true"])
intervals = st.sampled_from(["5m", "soon", "later", 5])


class Listing(RuleBasedStateMachine):
    """A cluster that changes, a collector that is told some of it, and a model of what it must show."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(select(Profile.FULL))
        self.collector = Collector(BY_NAME["Kustomization"], SCOPE, self.store)
        self.numbers = itertools.count(1)
        self.cluster: dict[str, Model] = {}
        # What the collector was told.
        self.known: dict[str, Model] = {}
        self.verdicts: dict[str, str] = {}
        self.told: dict[str, set[str]] = {}
        self.api_version = ""

    def number(self) -> str:
        return str(next(self.numbers))

    def hear(self, name: str, verdicts: dict[str, str]) -> set[str]:
        """The collector is about to read this object: remember its verdict, and give the defects that are news."""
        current = self.cluster[name]
        last = verdicts.get(current.uid, "Unknown")
        verdicts[current.uid] = current.ready if current.ready in ("True", "False") else last
        news = current.broken - self.told.get(current.uid, set())
        self.told[current.uid] = current.broken
        return news

    # What happens in the cluster. Whether the collector hears of it is another matter.

    @rule(name=names, ready=readiness, suspend=suspensions, interval=intervals)
    def write(self, name: str, ready: str | None, suspend: object, interval: object) -> None:
        uid = self.cluster[name].uid if name in self.cluster else f"uid-{self.number()}"
        self.cluster[name] = Model(uid, self.number(), ready, suspend, interval)

    @rule(name=names, ready=readiness)
    def delete_and_create_anew(self, name: str, ready: str | None) -> None:
        self.cluster[name] = Model(f"uid-{self.number()}", self.number(), ready, False, "5m")

    @rule(name=names)
    def vanish(self, name: str) -> None:
        self.cluster.pop(name, None)

    # What the collector hears.

    @initialize()
    def list_for_the_first_time(self) -> None:
        self.list_anew("v1")

    @precondition(lambda self: self.api_version)
    @rule(name=names)
    def hear_of_a_write(self, name: str) -> None:
        if name not in self.cluster:
            return
        news = self.hear(name, self.verdicts)
        defects = self.collector.upsert(f"b/{name}", self.cluster[name].raw(name), Seen.live(0.0))
        assert {defect.field for defect in defects} == news
        self.known[name] = dataclasses.replace(self.cluster[name])

    @rule(name=names)
    def hear_of_a_deletion(self, name: str) -> None:
        if name in self.known and name not in self.cluster:
            self.collector.delete(f"b/{name}", self.known.pop(name).uid)

    @rule(name=names, uid=st.sampled_from(["uid-of-old", ""]))
    def hear_late_of_the_deletion_of_a_predecessor(self, name: str, uid: str) -> None:
        self.collector.delete(f"b/{name}", uid)

    @rule(api_version=st.sampled_from(["v1", "v1", "v1beta2"]))
    def list_anew(self, api_version: str) -> None:
        before = {name: self.store.get(SCOPE, f"b/{name}") for name in self.known}
        unchanged = {
            name
            for name, current in self.cluster.items()
            if api_version == self.api_version and name in self.known and self.known[name] == current
        }
        listing = self.collector.begin_replacement(api_version)
        self.add_all(listing, unchanged, self.verdicts)
        listing.commit()
        self.api_version = api_version
        self.known = {name: dataclasses.replace(current) for name, current in self.cluster.items()}
        for name in unchanged:
            assert self.store.get(SCOPE, f"b/{name}") is before[name]

    @precondition(lambda self: self.api_version)
    @rule()
    def begin_to_list_and_give_up(self) -> None:
        unchanged = {name for name, current in self.cluster.items() if self.known.get(name) == current}
        self.add_all(self.collector.begin_replacement(self.api_version), unchanged, dict(self.verdicts))

    def add_all(self, listing: Replacement, unchanged: set[str], verdicts: dict[str, str]) -> None:
        for name, current in self.cluster.items():
            news = set() if name in unchanged else self.hear(name, verdicts)
            defects = listing.add(f"b/{name}", current.uid, current.version, current.raw(name), Seen.live(0.0))
            assert {defect.field for defect in defects} == news

    @rule()
    def drop(self) -> None:
        self.collector.drop()
        self.known, self.verdicts, self.told = {}, {}, {}

    @invariant()
    def the_store_shows_what_was_heard(self) -> None:
        assert len(self.collector) == len(self.known)
        assert shown(self.store) == {
            name: (self.api_version, self.verdicts[known.uid], known.suspended) for name, known in self.known.items()
        }


def test_whatever_happens_the_store_shows_what_was_heard() -> None:
    run_state_machine_as_test(Listing, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


# The same, one by one, where a reader wants to see it.


def collector() -> tuple[Collector, Store]:
    store = Store(select(Profile.FULL))
    return Collector(BY_NAME["Kustomization"], SCOPE, store), store


def list_objects(collector: Collector, api_version: str, *objects: tuple[str, str, str, bytes]) -> list[str]:
    listing = collector.begin_replacement(api_version)
    defects = [
        defect.field
        for name, uid, version, raw in objects
        for defect in listing.add(f"b/{name}", uid, version, raw, Seen.live(0.0))
    ]
    listing.commit()
    return defects


def test_listing_again_keeps_the_bytes_of_unchanged_objects_and_does_not_even_read_them() -> None:
    listed, store = collector()
    list_objects(listed, "v1", ("a", "uid", "7", raw_object("a", "uid", "7", "True")))
    before = store.get(SCOPE, "b/a")

    list_objects(listed, "v1", ("a", "uid", "7", b"this would be unreadable"))

    assert store.get(SCOPE, "b/a") is before


def test_listing_at_another_api_version_renders_unchanged_objects_anew() -> None:
    listed, store = collector()
    unchanged = ("a", "uid", "7", raw_object("a", "uid", "7", "True"))
    list_objects(listed, "v1beta2", unchanged)
    list_objects(listed, "v1", unchanged)
    assert shown(store) == {"a": ("v1", "True", "")}


def test_an_object_without_a_resource_version_is_read_at_every_listing() -> None:
    listed, store = collector()
    list_objects(listed, "v1", ("a", "uid", "", raw_object("a", "uid", "", "True")))
    list_objects(listed, "v1", ("a", "uid", "", raw_object("a", "uid", "", "False")))
    assert shown(store) == {"a": ("v1", "False", "")}


def test_another_object_is_read_even_if_it_has_the_same_resource_version() -> None:
    # As in a cluster that was restored from a backup.
    listed, store = collector()
    list_objects(listed, "v1", ("a", "uid-1", "7", raw_object("a", "uid-1", "7", "True")))
    list_objects(listed, "v1", ("a", "uid-2", "7", raw_object("a", "uid-2", "7", "False")))
    assert shown(store) == {"a": ("v1", "False", "")}


def test_a_listing_keeps_the_verdict_of_a_run_that_goes_on_and_forgets_that_of_a_predecessor() -> None:
    listed, store = collector()
    same, other = raw_object("same", "uid-1", "1", "False"), raw_object("other", "uid-2", "2", "False")
    list_objects(listed, "v1", ("same", "uid-1", "1", same), ("other", "uid-2", "2", other))
    same, other = raw_object("same", "uid-1", "3", "Unknown"), raw_object("other", "uid-3", "4", "Unknown")
    list_objects(listed, "v1", ("same", "uid-1", "3", same), ("other", "uid-3", "4", other))
    assert shown(store) == {"same": ("v1", "False", ""), "other": ("v1", "Unknown", "")}


def test_nothing_of_a_listing_is_seen_before_it_is_complete() -> None:
    listed, store = collector()
    list_objects(listed, "v1", ("a", "uid-1", "1", raw_object("a", "uid-1", "1", "True")))
    before = text_of(store)

    listing = listed.begin_replacement("v1")
    listing.add("b/c", "uid-2", "2", raw_object("c", "uid-2", "2", "True"), Seen.live(0.0))
    assert text_of(store) == before
    listing.commit()

    assert shown(store).keys() == {"c"}


def test_a_late_deletion_does_not_take_the_object_that_has_the_name_now() -> None:
    listed, store = collector()
    listed.upsert("b/a", raw_object("a", "new", "2", "True"), Seen.live(0.0))
    listed.delete("b/a", "old")
    assert shown(store).keys() == {"a"}
    listed.delete("b/a", "new")
    assert shown(store) == {}
    assert len(listed) == 0


def test_a_defect_is_told_once_and_again_after_it_was_mended() -> None:
    listed, _ = collector()
    broken, other, whole = (raw_object("a", "uid", "1", interval=text) for text in ("soon", "later", "5m"))
    told = [[it.field for it in listed.upsert("b/a", raw, Seen.live(0.0))] for raw in (broken, other, whole, broken)]
    assert told == [["spec.interval"], [], [], ["spec.interval"]]


def test_a_defect_is_told_of_each_object() -> None:
    listed, _ = collector()
    defects = list_objects(
        listed,
        "v1",
        ("a", "uid-1", "1", raw_object("a", "uid-1", "1", interval="soon")),
        ("c", "uid-2", "2", raw_object("c", "uid-2", "2", interval="soon")),
    )
    assert defects == ["spec.interval", "spec.interval"]
    # Another object under the same name is another object.
    assert [
        it.field for it in listed.upsert("b/a", raw_object("a", "uid-3", "3", interval="soon"), Seen.live(0.0))
    ] == ["spec.interval"]


def test_a_listing_that_was_given_up_tells_its_defects_and_the_next_one_does_not_repeat_them() -> None:
    listed, _ = collector()
    broken = raw_object("a", "uid", "1", interval="soon")
    assert listed.begin_replacement("v1").add("b/a", "uid", "1", broken, Seen.live(0.0)) != []
    assert list_objects(listed, "v1", ("a", "uid", "1", broken)) == []


def test_an_object_that_came_back_is_told_of_again() -> None:
    listed, _ = collector()
    broken = ("a", "uid", "1", raw_object("a", "uid", "1", interval="soon"))
    assert list_objects(listed, "v1", broken) == ["spec.interval"]
    assert list_objects(listed, "v1") == []
    assert list_objects(listed, "v1", broken) == ["spec.interval"]
    listed.delete("b/a", "uid")
    assert [it.field for it in listed.upsert("b/a", broken[3], Seen.live(0.0))] == ["spec.interval"]
