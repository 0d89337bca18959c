"""A fleet that stays as it is costs nothing new: a run that changes nothing gives no object a series that it never had.

Each label set that was never there before is a new series in Prometheus, paid for in its memory for hours.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.objects import timestamp
from gotk_exporter.simulator.state.objects import Event
from tests.flux.examples import EXAMPLE, lines_of, text_of
from tests.simulator.fleets import URL, Stage, config, deployment

CHARTS = "http://charts.test"
SETTLING_SECONDS = 180.0
QUIET_SECONDS = 600.0
"""Ten intervals of every object."""
HOUR = 3600.0
LIVED_IN_SECONDS = 1500.0
"""Two of the longest intervals, so that each object has had all that it has in a run."""
MAX_MINIMAL_SERIES = 10
COME_AND_GO = {
    "gotk_resource_waiting_since_timestamp_seconds",
    "gotk_resource_progressing_since_timestamp_seconds",
    "gotk_resource_blocked",
    "gotk_root_cause_info",
    "gotk_resource_blocked_dependents",
    "gotk_resource_revision_behind_since_timestamp_seconds",
}


class Watched:
    """A fleet whose every write reaches the exporter's collectors; a scrape follows each of them."""

    def __init__(self, profile: Profile) -> None:
        self.stage = Stage()
        self.store = Store(select(profile))
        self._relations = Relations(self.store)
        self._collectors = {kind.name: Collector(kind, None, self.store, self._relations) for kind in KINDS}
        for collector in self._collectors.values():
            collector.begin_replacement("v1").commit()
        self.stage.storage.subscribe(self._write)
        self.seen: set[str] = set()
        self.new: list[str] = []
        """Series that no scrape had shown before, in the order in which they came."""
        self.writes = 0
        self.most: Counter[str] = Counter()
        """The largest number of series of each object, Kind/name, in one scrape."""

    def _write(self, event: Event) -> None:
        document = event.object.document()
        if document["kind"] not in self._collectors:
            return
        if event.type == "DELETED":
            metadata = document["metadata"]
            self._collectors[document["kind"]].delete(f"{metadata['namespace']}/{metadata['name']}", metadata["uid"])
            self._scrape()
        else:
            self.take(document)

    def take(self, document: dict[str, Any]) -> None:
        """A write, by a simulated controller or by hand."""
        metadata, now = document["metadata"], self.stage.schedule.wall
        # What is due because time has passed.
        self._relations.advance(now)
        collector = self._collectors[document["kind"]]
        collector.upsert(f"{metadata['namespace']}/{metadata['name']}", json.dumps(document).encode(), Seen.live(now))
        self._scrape()

    def _scrape(self) -> None:
        self.writes += 1
        shown = {line.rpartition(" ")[0] for line in lines_of(text_of(self.store))}
        self.new += sorted(shown - self.seen)
        self.seen |= shown
        for name, count in Counter(map(object_of, shown)).items():
            self.most[name] = max(self.most[name], count)


_NAME = re.compile(r'(?:customresource_)?kind="([^"]*)",.*?\bname="([^"]*)"')


def object_of(series: str) -> str:
    """Kind/name of the object that has it."""
    match = _NAME.search(series)
    assert match is not None, series
    return f"{match[1]}/{match[2]}"


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


# Six hours


def a_lived_in_fleet(profile: Profile) -> Watched:
    """At the intervals of production."""
    watched = Watched(profile)
    stage = watched.stage
    stage.world.rollout = 20.0
    stage.world.helm_repository(CHARTS, {"podinfo": ["6.9.0"]})
    stage.fleet.start()
    paths = {f"./k{number}": deployment(f"k{number}") for number in range(5)}
    stage.repository(paths, interval="5m")
    stage.world.oci("http://oci.test/app", "v1", {"./oci": config("oci")})
    stage.create("OCIRepository", "app", {"interval": "10m", "url": "http://oci.test/app", "ref": {"tag": "v1"}})
    stage.world.repository("http://minio.test", {})
    bucket = {"interval": "10m", "endpoint": "http://minio.test", "bucketName": "backups"}
    stage.create("Bucket", "backups", bucket)
    for number in range(5):
        depends = [{"name": f"k{number - 1}"}] if number > 2 else None
        interval, wait = f"{(5, 10, 7, 10, 8)[number]}m", number % 2 == 0
        stage.kustomization(f"k{number}", interval=interval, timeout="5m", wait=wait, dependsOn=depends)
    stage.kustomization("oci", interval="10m", timeout="5m", sourceRef={"kind": "OCIRepository", "name": "app"})
    stage.create("HelmRepository", "charts", {"interval": "10m", "url": CHARTS})
    chart = {"chart": "podinfo", "version": "6.9.0", "interval": "10m"}
    template = {"spec": {**chart, "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}
    for number, interval in enumerate(("5m", "10m")):
        stage.create("HelmRelease", f"h{number}", {"interval": interval, "timeout": "5m", "chart": template})
    stage.fleet.run(LIVED_IN_SECONDS)
    return watched


PROFILES = pytest.mark.parametrize("profile", [Profile.MINIMAL, Profile.DEFAULT], ids=lambda profile: profile.name)


@PROFILES
def test_six_hours_in_which_nothing_changes_create_no_series(profile: Profile) -> None:
    watched = a_lived_in_fleet(profile)
    writes = watched.writes
    watched.new.clear()

    watched.stage.fleet.run(6 * HOUR)

    assert watched.writes - writes > 1500
    assert watched.new == []


def test_a_healthy_object_has_at_most_ten_series_in_the_minimal_profile_also_while_it_runs() -> None:
    watched = a_lived_in_fleet(Profile.MINIMAL)
    watched.most.clear()
    watched.stage.fleet.run(HOUR)
    assert len(watched.most) == 14
    # Those that tell when they were last reconciled have all ten while they run.
    assert watched.most["Kustomization/k0"] == watched.most["HelmRelease/h0"] == MAX_MINIMAL_SERIES
    assert max(watched.most.values()) == MAX_MINIMAL_SERIES


def test_what_a_new_revision_adds_in_the_minimal_profile_goes_when_it_is_applied() -> None:
    """While it is rolled out an object may have more than ten: it is behind, runs, waits, and is why others wait."""
    watched = a_lived_in_fleet(Profile.MINIMAL)
    before = Counter(map(object_of, lines_of(text_of(watched.store))))
    assert max(before.values()) < MAX_MINIMAL_SERIES
    watched.most.clear()
    notify = watched.stage.key("repo", "GitRepository")
    changes = {"./k0": deployment("k0", "2"), "./k2": deployment("k2", "2")}
    steps.commit(URL, "two of them", changes, notify=notify)(watched.stage.fleet)
    watched.stage.fleet.run(400)
    assert max(watched.most.values()) > MAX_MINIMAL_SERIES
    assert Counter(map(object_of, lines_of(text_of(watched.store)))) == before


BY_HAND = (
    "ImageRepository/well",
    "ImagePolicy/well",
    "ImageUpdateAutomation/well",
    "Receiver/well",
    "FluxInstance/well",
    "ResourceSet/well",
    "ResourceSetInputProvider/well",
    "Terraform/well",
)
"""Of the kinds that the simulated fleet does not know."""
_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def moved(status: Any, now: str) -> Any:
    """The same status, as a run writes it that ends now and changes nothing."""
    return json.loads(_TIME.sub(now, json.dumps(status)))


def runs(document: dict[str, Any]) -> dict[str, Any]:
    """The object while it runs."""
    status = document["status"]
    others = [one for one in status["conditions"] if one["type"] not in ("Ready", "Reconciling")]
    going_on = {"reason": "Progressing", "message": "", "lastTransitionTime": "2026-11-20T09:00:00Z"}
    unknown = [
        {"type": "Ready", "status": "Unknown", **going_on},
        {"type": "Reconciling", "status": "True", **going_on},
    ]
    return {**document, "status": {**status, "conditions": [*others, *unknown]}}


@PROFILES
def test_six_hours_of_runs_of_the_other_kinds_create_no_series(profile: Profile) -> None:
    watched = Watched(profile)
    documents = {name: json.loads(json.dumps(EXAMPLE[name].object)) for name in BY_HAND}
    for hours in range(13):
        if hours == 1:
            assert {object_of(series).partition("/")[0] for series in watched.seen} >= {
                name.partition("/")[0] for name in BY_HAND
            }
            watched.new.clear()
        for document in documents.values():
            stamp = timestamp(watched.stage.schedule.wall)
            watched.take(runs({**document, "status": moved(document["status"], stamp)}))
            watched.stage.fleet.run(7.0)
            stamp = timestamp(watched.stage.schedule.wall)
            watched.take({**document, "status": moved(document["status"], stamp)})
        watched.stage.fleet.run(HOUR / 2)
    assert watched.new == []
    assert profile is not Profile.MINIMAL or max(watched.most.values()) <= MAX_MINIMAL_SERIES
