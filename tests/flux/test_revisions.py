"""Who is behind its source and since when, and what is said to have announced a new revision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.offers import Available, Polled, Taken
from gotk_exporter.flux.references import Edge, Key
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.revisions import Revisions
from gotk_exporter.flux.rows import Via
from gotk_exporter.metrics import families as f
from gotk_exporter.metrics.store import Store
from tests.flux.clusters import BEGINNING, MINUTE, Cluster, on, timestamp
from tests.flux.examples import text_of

BEHIND = "gotk_resource_revision_behind_since_timestamp_seconds"
CHANGES = "gotk_source_revision_changes_total"
DIGEST = "sha256:" + "0a1b2c3d4e5f" * 5 + "0a1b"
OTHER_DIGEST = "sha256:" + "ffff2c3d4e5f" * 5 + "0a1b"
SHA = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"


def behind(cluster: Cluster) -> dict[str, float]:
    """Kind/name, and since which minute."""
    return {name: (value - BEGINNING) / MINUTE for name, value in cluster.numbers(BEHIND).items()}


def two(first: str = "main@sha1:1") -> Cluster:
    """A source and a Kustomization that has applied what it offers."""
    cluster = Cluster()
    cluster.source_is_ready(at=0, revision=first)
    cluster.kustomization_is_ready("app", at=1, revision=first, spec=on())
    return cluster


# Since when


def test_what_has_applied_what_its_source_offers_is_not_behind() -> None:
    assert behind(two()) == {}


def test_it_is_behind_since_the_source_stored_what_it_has_not_applied() -> None:
    cluster = two()
    cluster.write("GitRepository", "repo", at=12, status=artifact("main@sha1:2", 10))
    assert behind(cluster) == {"Kustomization/app": 10}


def test_a_source_that_moves_again_does_not_hide_since_when_it_is_stuck() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.source_is_ready(at=20, revision="main@sha1:3")
    assert behind(cluster) == {"Kustomization/app": 10}


def test_applying_another_revision_begins_it_anew_though_the_source_is_further_already() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.source_is_ready(at=20, revision="main@sha1:3")
    cluster.kustomization_is_ready("app", at=22, revision="main@sha1:2")
    assert behind(cluster) == {"Kustomization/app": 22}


def test_applying_what_is_offered_ends_it() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.kustomization_is_ready("app", at=12, revision="main@sha1:2")
    assert behind(cluster) == {}


def test_a_source_that_goes_back_ends_it() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.source_is_ready(at=20, revision="main@sha1:1")
    assert behind(cluster) == {}


def test_a_failed_run_in_between_changes_nothing() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.kustomization_runs("app", at=11)
    cluster.kustomization_fails("app", at=12)
    assert behind(cluster) == {"Kustomization/app": 10}


def test_what_has_never_applied_anything_is_not_behind() -> None:
    cluster = Cluster()
    cluster.source_is_ready(at=0)
    cluster.kustomization_fails("app", at=1, spec=on())
    assert behind(cluster) == {}


def test_what_applies_an_old_revision_first_is_behind_since_then() -> None:
    cluster = Cluster()
    cluster.kustomization_runs("app", at=0, spec=on())
    cluster.source_is_ready(at=1, revision="main@sha1:2")
    cluster.kustomization_is_ready("app", at=3, revision="main@sha1:1")
    assert behind(cluster) == {"Kustomization/app": 3}


def test_nothing_is_behind_a_source_without_an_artifact_and_its_return_is_no_new_beginning() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.write("GitRepository", "repo", "False", "GitOperationFailed", at=20, status={"artifact": None})
    assert behind(cluster) == {}
    cluster.source_is_ready(at=30, revision="main@sha1:3")
    assert behind(cluster) == {"Kustomization/app": 10}


def test_nothing_is_behind_a_source_that_is_gone() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.delete("GitRepository", "repo")
    assert behind(cluster) == {}
    cluster.source_is_ready(at=30, revision="main@sha1:2")
    assert behind(cluster) == {"Kustomization/app": 30}


def test_what_is_suspended_is_behind_and_what_terminates_is_not() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.write("Kustomization", "app", at=11, spec={"suspend": True})
    assert behind(cluster) == {"Kustomization/app": 10}
    cluster.write("Kustomization", "app", at=12, deletionTimestamp=timestamp(12))
    assert behind(cluster) == {}


def test_another_source_is_a_new_beginning() -> None:
    cluster = two()
    cluster.source_is_ready("other", at=5, revision="main@sha1:8")
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.write("Kustomization", "app", at=20, spec={"sourceRef": {"kind": "GitRepository", "name": "other"}})
    assert behind(cluster) == {"Kustomization/app": 20}


def test_the_source_may_be_in_another_namespace_and_one_of_the_same_name_is_not_meant() -> None:
    cluster = two()
    cluster.source_is_ready(at=1, namespace="flux-system")
    there = {"sourceRef": {"kind": "GitRepository", "name": "repo", "namespace": "flux-system"}}
    cluster.kustomization_is_ready("far", at=2, spec=there)
    cluster.source_is_ready(at=10, revision="main@sha1:2", namespace="flux-system")
    assert behind(cluster) == {"Kustomization/far": 10}


@pytest.mark.parametrize("first", ["source", "applier"])
def test_after_a_restart_only_the_sources_last_move_tells(first: str) -> None:
    cluster = Cluster()
    if first == "applier":
        cluster.kustomization_is_ready("app", at=60, revision="main@sha1:1", spec=on())
    cluster.write("GitRepository", "repo", "True", "Succeeded", at=60, status=artifact("main@sha1:3", 20))
    if first == "source":
        cluster.kustomization_is_ready("app", at=60, revision="main@sha1:1", spec=on())
    assert behind(cluster) == {"Kustomization/app": 20}


def test_after_a_restart_a_run_that_ended_after_the_move_is_not_forgotten() -> None:
    """Times of an object are rounded up to the minute: late is allowed, early is not."""
    cluster = Cluster()
    cluster.write("GitRepository", "repo", "True", "Succeeded", at=60, status=artifact("main@sha1:2", 20))
    runs = [
        {"lastReconciledStatus": "HealthCheckFailed", "lastReconciled": timestamp(40)},
        {"lastReconciledStatus": "ReconciliationSucceeded", "lastReconciled": timestamp(24.3)},
    ]
    cluster.kustomization_is_ready("app", at=60, spec=on(), status={"history": runs})
    assert behind(cluster) == {"Kustomization/app": 25}


def test_a_time_that_stood_there_before_and_one_that_is_ahead_prove_nothing() -> None:
    cluster = two()
    cluster.write("GitRepository", "repo", at=10, status=artifact("main@sha1:2", 0))
    assert behind(cluster) == {"Kustomization/app": 10}
    ahead = two()
    ahead.write("GitRepository", "repo", at=10, status=artifact("main@sha1:2", 99))
    assert behind(ahead) == {"Kustomization/app": 10}


def test_a_fleet_is_behind_at_once_and_gets_well_one_by_one_whatever_else_is_said_of_it() -> None:
    cluster = two()
    cluster.kustomization_is_ready("sane", at=1, spec=on())
    cluster.kustomization_waits("app", at=2, on="gone", spec=on("gone"))
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    assert behind(cluster) == {"Kustomization/app": 10, "Kustomization/sane": 10}
    assert cluster.blocked() == {"Kustomization/app": {"Kustomization/gone"}}
    cluster.kustomization_is_ready("sane", at=12, revision="main@sha1:2")
    cluster.source_is_ready(at=20, revision="main@sha1:1")
    assert behind(cluster) == {"Kustomization/sane": 20}
    assert cluster.blocked() == {"Kustomization/app": {"Kustomization/gone"}}


def test_nothing_is_rendered_where_the_family_is_not_wanted() -> None:
    store = Store([f.BLOCKED])
    relations = Relations(store)
    source, app = Key("GitRepository", "apps", "repo"), Key("Kustomization", "apps", "app")
    relations.update({app: applier(app, source, "1")}, 1.0)
    relations.update({source: offering(source, "1", 1.0)}, 1.0)
    relations.update({source: offering(source, "2", 2.0)}, 2.0)
    assert relations.revisions.behind_since(app) == 2.0
    assert text_of(store) == ""


def test_what_is_remembered_holds_while_nothing_has_been_applied_since() -> None:
    source, app = Key("GitRepository", "apps", "repo"), Key("Kustomization", "apps", "app")
    for well_at, since in ((900.0, 1000.0), (0.0, 5000.0), (1800.0, 5000.0), (6000.0, 6000.0)):
        revisions = Revisions()
        revisions.remember(app, 1000.0)
        revisions.update({app: applier(app, source, "1", well_at=well_at)}, 7000.0)
        revisions.update({source: offering(source, "3", 5000.0)}, 7000.0)
        assert revisions.behind_since(app) == since


def test_what_is_remembered_of_one_that_is_up_to_date_is_forgotten() -> None:
    source, app = Key("GitRepository", "apps", "repo"), Key("Kustomization", "apps", "app")
    revisions = Revisions()
    revisions.remember(app, 1000.0)
    revisions.update({app: applier(app, source, "3", well_at=900.0)}, 7000.0)
    revisions.update({source: offering(source, "3", 5000.0)}, 7000.0)
    revisions.update({source: offering(source, "4", 8000.0)}, 8000.0)
    assert revisions.behind_since(app) == 8000.0


SOURCES = [Key("GitRepository", "apps", name) for name in ("one", "two")]
APPLIERS = [Key("Kustomization", "apps", name) for name in "abc"]
REVISIONS = st.sampled_from(["", "1", "2", "3"])
UIDS = st.sampled_from(["x", "y"])


def offering(key: Key, revision: str, stored_at: float | None, uid: str = "x", requested: str = "") -> Node:
    polled = Polled(uid, requested, "", 1, 1, ())
    return Node(key, revision=revision, offer=Available(stored_at if revision else None, polled))


def applier(key: Key, source: Key, revision: str, well_at: float = 0.0, terminating: bool = False) -> Node:
    edge = Edge(Via.SOURCE_REF, source)
    return Node(key, (edge,), terminating=terminating, revision=revision, offer=Taken("", well_at))


@dataclass
class Model:
    """Object by object, as the docstring of revisions says it. Of a source: what it offers and since when, also while
    it offers nothing; of an applier: its source, what it has, and since when it is behind."""

    offers: dict[Key, tuple[str, float]] = field(default_factory=dict)
    latest: dict[Key, float] = field(default_factory=dict)
    there: dict[Key, str] = field(default_factory=dict)
    has: dict[Key, tuple[Key, str, float] | None] = field(default_factory=dict)
    since: dict[Key, float] = field(default_factory=dict)

    def write(self, key: Key, node: Node | None, now: float) -> None:
        if key in SOURCES:
            self._offer(key, node, now)
        else:
            self._take(key, node, now)

    def behind(self) -> dict[Key, float]:
        return {key: since for key, since in self.since.items() if (has := self.has[key]) and self.there.get(has[0])}

    def _offer(self, key: Key, node: Node | None, now: float) -> None:
        mine = {name: has for name, has in self.has.items() if has and has[0] == key}
        if node is None:
            for known in (self.offers, self.latest, self.there):
                known.pop(key, None)
            for name in mine:
                self.since.pop(name, None)
            return
        assert isinstance(node.offer, Available)
        stored_at = node.offer.updated_at
        at = now if stored_at is None or stored_at <= self.latest.get(key, -1.0) else min(now, stored_at)
        if stored_at is not None:
            self.latest[key] = stored_at
        moved = self.there.get(key, "") != node.revision
        self.there[key] = node.revision
        if node.revision and self.offers.get(key, ("", 0.0))[0] != node.revision:
            self.offers[key] = node.revision, at
        if moved and node.revision:
            for name, (_, revision, well_at) in mine.items():
                if revision == node.revision:
                    self.since.pop(name, None)
                else:
                    self.since.setdefault(name, min(now, max(self.offers[key][1], well_at)))

    def _take(self, key: Key, node: Node | None, now: float) -> None:
        first, before = key not in self.has, self.has.pop(key, None)
        if node is None:
            self.since.pop(key, None)
            return
        assert isinstance(node.offer, Taken)
        has = (node.edges[0].target, node.revision, node.offer.well_at) if node.revision else None
        has = None if node.terminating else has
        self.has[key] = has
        if has is not None and before is not None and has[:2] == before[:2]:
            return
        self.since.pop(key, None)
        if has is not None and self.there.get(has[0]) not in (None, "", has[1]):
            offered_since = self.offers[has[0]][1]
            self.since[key] = min(now, max(offered_since, has[2])) if first else now


@st.composite
def writes(draw: st.DrawFn) -> tuple[Key, Node | None]:
    key = draw(st.sampled_from([*SOURCES, *APPLIERS]))
    if draw(st.integers(0, 9)) == 0:
        return key, None
    revision, at = draw(REVISIONS), float(draw(st.integers(0, 60)))
    if key in SOURCES:
        return key, offering(key, revision, at if draw(st.booleans()) else None)
    return key, applier(key, draw(st.sampled_from(SOURCES)), revision, at, draw(st.integers(0, 9)) == 0)


@settings(max_examples=400)
@given(st.lists(st.lists(writes(), min_size=1, max_size=3, unique_by=lambda write: write[0].kind), max_size=25))
def test_in_any_order_of_writes_each_is_behind_since_when_the_rules_say(
    rounds: list[list[tuple[Key, Node | None]]],
) -> None:
    revisions, model = Revisions(), Model()
    current: dict[Key, Node | None] = {}
    known: dict[Key, float | None] = {}
    for now, changes in enumerate(rounds):
        touched = revisions.update(dict(changes), float(now))
        for key, node in changes:
            model.write(key, node, float(now))
            current[key] = node
        answers = {key: revisions.behind_since(key) for key in APPLIERS}
        assert {key: since for key, since in answers.items() if since is not None} == model.behind()
        assert {key for key in APPLIERS if answers[key] != known.get(key)} <= touched
        known = dict(answers)
    anew = Revisions()
    anew.update(current, float(len(rounds)))
    assert {key for key in APPLIERS if anew.behind_since(key) is not None} == set(model.behind())
    for key in [*SOURCES, *APPLIERS]:
        revisions.update({key: None}, 99.0)
    assert not any(value for name, value in vars(revisions).items())


@settings(max_examples=200)
@given(st.lists(st.tuples(REVISIONS, UIDS, st.sampled_from(["", "x", "2026-11-20 09:00:00 +0000 UTC"])), max_size=20))
def test_counters_never_go_down_for_one_uid_and_count_each_new_revision_once(steps: list[tuple[str, str, str]]) -> None:
    revisions, key = Revisions(), SOURCES[0]
    uid, last, expected, before = "", "", 0, {"webhook": 0, "manual": 0, "poll": 0}
    for now, (revision, new_uid, requested) in enumerate(steps):
        revisions.update({key: offering(key, revision, float(now), new_uid, requested)}, float(now))
        counts = dict(revisions.changes(key) or {})
        if new_uid != uid:
            uid, last, expected, before = new_uid, "", 0, dict.fromkeys(counts, 0)
        expected += bool(last and revision and revision != last)
        last = revision or last
        assert all(counts[trigger] >= before[trigger] for trigger in before)
        assert sum(counts.values()) == expected
        before = counts


def artifact(revision: str, minutes: float) -> dict[str, Any]:
    """A status."""
    return {"artifact": {"revision": revision, "lastUpdateTime": timestamp(minutes)}}


def releases(*entries: str, digest: str = "", at: float = 0) -> dict[str, Any]:
    """A status, from "status version"."""
    history = []
    for entry in entries:
        status, version = entry.split()
        history.append({"status": status, "chartVersion": version, "lastDeployed": timestamp(at), "ociDigest": digest})
    return {"history": history}
