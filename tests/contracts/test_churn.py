"""A fleet that stays as it is costs nothing new: a run that changes nothing gives no object a series that it never had.

Each label set that was never there before is a new series in Prometheus, paid for in its memory for hours.
"""

from __future__ import annotations

import json

import pytest

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.state.objects import Event
from tests.flux.examples import lines_of, text_of
from tests.simulator.fleets import URL, Stage, config, deployment

CHARTS = "http://charts.test"
SETTLING_SECONDS = 180.0
QUIET_SECONDS = 600.0
"""Ten intervals of every object."""
COME_AND_GO = {
    "gotk_resource_waiting_since_timestamp_seconds",
    "gotk_resource_progressing_since_timestamp_seconds",
    "gotk_resource_blocked",
    "gotk_root_cause_info",
    "gotk_resource_blocked_dependents",
}


class Watched:
    """A fleet whose every write reaches the exporter's collectors; a scrape follows each of them."""

    def __init__(self, profile: Profile) -> None:
        self.stage = Stage()
        self.store = Store(select(profile))
        relations = Relations(self.store)
        self._collectors = {kind.name: Collector(kind, None, self.store, relations) for kind in KINDS}
        for collector in self._collectors.values():
            collector.begin_replacement("v1").commit()
        self.stage.storage.subscribe(self._write)
        self.seen: set[str] = set()
        self.new: list[str] = []
        """Series that no scrape had shown before, in the order in which they came."""
        self.writes = 0

    def _write(self, event: Event) -> None:
        document = event.object.document()
        collector = self._collectors.get(document["kind"])
        if collector is None:
            return
        metadata = document["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        if event.type == "DELETED":
            collector.delete(key, metadata["uid"])
        else:
            collector.upsert(key, json.dumps(document).encode(), Seen.live(self.stage.schedule.wall))
        self.writes += 1
        self._scrape()

    def _scrape(self) -> None:
        shown = {line.rpartition(" ")[0] for line in lines_of(text_of(self.store))}
        self.new += sorted(shown - self.seen)
        self.seen |= shown


def a_healthy_fleet(profile: Profile) -> Watched:
    """Of every kind that the simulated controllers know; it has run for some intervals."""
    watched = Watched(profile)
    stage = watched.stage
    stage.world.rollout = 2.0
    stage.world.helm_repository(CHARTS, {"podinfo": ["6.9.0"]})
    stage.fleet.start()
    stage.repository({"./plain": config("plain"), "./waited": deployment("waited"), "./leaf": config("leaf")})
    stage.kustomization("plain")
    stage.kustomization("waited", wait=True)
    stage.kustomization("leaf", dependsOn=[{"name": "waited"}])
    stage.create("HelmRepository", "charts", {"interval": "30s", "url": CHARTS})
    chart = {"chart": "podinfo", "version": "6.9.0", "interval": "30s"}
    template = {"spec": {**chart, "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}
    stage.create("HelmRelease", "podinfo", {"interval": "60s", "timeout": "15s", "chart": template})
    stage.fleet.run(SETTLING_SECONDS)
    assert 'status="True"} 1' in text_of(watched.store)
    assert 'status="False"} 1' not in text_of(watched.store)
    return watched


@pytest.mark.parametrize("profile", [Profile.MINIMAL, Profile.DEFAULT], ids=lambda profile: profile.name)
def test_runs_that_change_nothing_create_no_series_that_the_objects_have_not_had(profile: Profile) -> None:
    watched = a_healthy_fleet(profile)
    writes = watched.writes
    watched.new.clear()

    watched.stage.fleet.run(QUIET_SECONDS)

    # Not because nothing happened.
    assert watched.writes - writes > 100
    assert watched.new == []


@pytest.mark.parametrize("profile", [Profile.MINIMAL, Profile.DEFAULT], ids=lambda profile: profile.name)
def test_a_new_revision_renews_the_info_series_of_those_that_apply_it_and_nothing_else(profile: Profile) -> None:
    """Beside what comes and goes: dependents wait until what they depend on has applied it."""
    watched = a_healthy_fleet(profile)
    watched.new.clear()
    notify = watched.stage.key("repo", "GitRepository")
    steps.commit(URL, "change one", {"./plain": config("plain", "2")}, notify=notify)(watched.stage.fleet)

    watched.stage.fleet.run(120)

    assert families_of(watched.new) - COME_AND_GO == {"gotk_resource_info"}
    # And for the next one there is nothing new but the revision's name.
    watched.new.clear()
    steps.commit(URL, "change it again", {"./plain": config("plain", "3")}, notify=notify)(watched.stage.fleet)
    watched.stage.fleet.run(120)
    assert families_of(watched.new) == {"gotk_resource_info"}


def families_of(series: list[str]) -> set[str]:
    return {line.partition("{")[0] for line in series}
