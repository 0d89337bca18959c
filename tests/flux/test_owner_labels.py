"""Whose an object is: from the labels of Kubernetes objects to those of gotk_resource_owner_info."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME, KINDS
from gotk_exporter.flux.owner_labels import OwnerLabel
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.flux.examples import EXAMPLE, NOW, OWNER_LABELS, by_family, render
from tests.metrics.hostile import HOSTILE_JSON, HOSTILE_VALUES
from tests.metrics.pages import families_of, series_of

OWNER = "gotk_resource_owner_info"
TEAM, TIER = "example.com/team", "app.kubernetes.io/tier"


def owned(labels: Any, kind: str = "Kustomization", owner_labels: Sequence[OwnerLabel] = OWNER_LABELS) -> str:
    """What the page says of the owners of an object with these labels and nothing else."""
    document = {"metadata": {"name": "a", "namespace": "apps", "labels": labels}}
    text, _ = render(document, kind, owner_labels=owner_labels)
    return by_family(text).get(OWNER, "")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({TEAM: "shop", TIER: "backend"}, ',team="shop",tier="backend"'),
        # In the order of the settings, whatever the object's is.
        ({TIER: "backend", TEAM: "shop"}, ',team="shop",tier="backend"'),
        ({TEAM: "shop"}, ',team="shop"'),
        ({TIER: "backend"}, ',tier="backend"'),
        ({TEAM: "shop", TIER: ""}, ',team="shop"'),
        ({TEAM: "shop", "team": "other", "example.com/token": "s3cr3t"}, ',team="shop"'),
    ],
)
def test_an_object_says_whose_it_is_with_those_of_the_labels_that_it_carries(labels: dict[str, str], said: str) -> None:
    assert owned(labels) == f'{OWNER}{{kind="Kustomization",name="a",namespace="apps"{said}}} 1\n'


@pytest.mark.parametrize(
    "labels", [None, {}, {TEAM: ""}, {TEAM: "", TIER: ""}, {"team": "shop"}, {"example.com/Team": "shop"}, {TEAM: 5}]
)
def test_an_object_that_carries_none_of_them_has_no_series(labels: Any) -> None:
    assert owned(labels) == ""


def test_without_the_setting_no_label_is_shown() -> None:
    assert owned({TEAM: "shop", TIER: "backend"}, owner_labels=()) == ""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_objects_of_every_kind_say_it_also_those_that_have_no_status(kind: Kind) -> None:
    """And those that nobody judges."""
    (series,) = series_of(owned({TEAM: "shop"}, kind.name), Format.TEXT)
    assert series == (OWNER, {"kind": kind.name, "name": "a", "namespace": "apps", "team": "shop"}, 1)


def test_a_terminating_and_a_failing_object_say_it_still() -> None:
    for name in ("Kustomization/terminating", "Kustomization/build-failing"):
        document = EXAMPLE[name].changed("metadata", "labels", to={TEAM: "shop"})
        text, _ = render(document, "Kustomization", owner_labels=OWNER_LABELS)
        assert by_family(text)[OWNER].endswith(',team="shop"} 1\n')


@pytest.mark.parametrize("profile", Profile, ids=lambda profile: profile.name)
def test_every_profile_has_it(profile: Profile) -> None:
    document = {"metadata": {"name": "a", "labels": {TEAM: "shop"}}}
    text, _ = render(document, "Kustomization", profile=profile, owner_labels=OWNER_LABELS)
    assert OWNER in by_family(text)


# What Kubernetes would refuse; a simulated or aggregated API server may not.


@pytest.mark.parametrize("fmt", Format, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=ascii)
def test_any_value_comes_back_as_it_is(value: str, fmt: Format) -> None:
    live = Live()
    live.upsert("a", {TEAM: value, TIER: "backend"})
    (sample,) = live.samples(fmt)
    assert sample == {"kind": "Kustomization", "name": "a", "namespace": "apps", "team": value, "tier": "backend"}


@pytest.mark.parametrize(("text", "value"), HOSTILE_JSON)
def test_text_without_a_utf_8_form_is_shown_with_a_replacement(text: str, value: str) -> None:
    raw = json.dumps({"metadata": {"name": "a", "labels": {TEAM: "VALUE"}}}).replace('"VALUE"', text)
    page, _ = render(raw.encode(), "Kustomization", owner_labels=OWNER_LABELS)
    ((_, labels, _),) = series_of(by_family(page)[OWNER], Format.TEXT)
    assert labels["team"] == value


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([TEAM, TIER, "team"]), st.text(max_size=70) | st.integers() | st.none()))
def test_whatever_the_labels_an_object_has_one_series_or_none(labels: dict[str, Any]) -> None:
    said = owned(labels)
    assert said.count("\n") == len(series_of(said, Format.TEXT)) <= 1


# From write to write


class Live:
    """A collector that hears of writes to Kustomizations, and what a scrape shows."""

    def __init__(self) -> None:
        self.store = Store(select(Profile.FULL))
        self._collector = Collector(BY_NAME["Kustomization"], None, self.store, owner_labels=OWNER_LABELS)
        self._writes = 0

    def raw(self, name: str, labels: dict[str, str]) -> bytes:
        self._writes += 1
        metadata = {"name": name, "namespace": "apps", "uid": name, "resourceVersion": str(self._writes)}
        return json.dumps({"metadata": {**metadata, "labels": labels}}).encode()

    def upsert(self, name: str, labels: dict[str, str]) -> None:
        self._collector.upsert(f"apps/{name}", self.raw(name, labels), Seen.live(NOW))

    def list_anew(self, objects: dict[str, dict[str, str]]) -> None:
        listing = self._collector.begin_replacement("v1")
        for name, labels in objects.items():
            raw = self.raw(name, labels)
            listing.add(f"apps/{name}", name, str(self._writes), raw, Seen(NOW))
        listing.commit()

    def delete(self, name: str) -> None:
        self._collector.delete(f"apps/{name}", name)

    def samples(self, fmt: Format = Format.TEXT) -> list[dict[str, str]]:
        """The labels of each series of the family, as prometheus_client reads the whole page."""
        end = "# EOF\n" if fmt is Format.OPENMETRICS else ""
        page = b"".join(self.store.snapshot().chunks(fmt)).decode() + end
        return [sample.labels for family in families_of(page, fmt) for sample in family.samples if sample.name == OWNER]

    def teams(self) -> dict[str, str | None]:
        return {labels["name"]: labels.get("team") for labels in self.samples()}


def test_another_value_takes_the_place_of_the_one_before() -> None:
    live = Live()
    live.upsert("a", {TEAM: "shop"})
    assert live.teams() == {"a": "shop"}
    live.upsert("a", {TEAM: "payments"})
    assert live.teams() == {"a": "payments"}


def test_an_object_that_loses_its_label_loses_its_series_and_no_other_does() -> None:
    live = Live()
    live.upsert("a", {TEAM: "shop"})
    live.upsert("b", {TEAM: "shop"})
    live.upsert("a", {})
    assert live.teams() == {"b": "shop"}
    live.upsert("a", {TEAM: "shop"})
    live.delete("b")
    assert live.teams() == {"a": "shop"}


def test_a_label_that_is_lost_is_left_out_of_the_series() -> None:
    live = Live()
    live.upsert("a", {TEAM: "shop", TIER: "backend"})
    live.upsert("a", {TIER: "backend"})
    assert live.samples() == [{"kind": "Kustomization", "name": "a", "namespace": "apps", "tier": "backend"}]


def test_a_listing_finds_what_was_changed_while_nobody_looked() -> None:
    live = Live()
    live.list_anew({"a": {TEAM: "shop"}, "b": {TEAM: "shop"}, "c": {}})
    live.list_anew({"a": {TEAM: "payments"}, "b": {}, "c": {TEAM: "shop"}})
    assert live.teams() == {"a": "payments", "c": "shop"}


def test_the_page_changes_only_when_a_label_of_the_setting_does() -> None:
    live = Live()
    live.upsert("a", {TEAM: "shop", "other": "1"})
    before = live.store.generation
    live.upsert("a", {TEAM: "shop", "other": "2"})
    assert live.store.generation == before
    live.upsert("a", {TEAM: "payments", "other": "2"})
    assert live.store.generation != before


def test_all_objects_of_an_owner_hold_one_line_between_them() -> None:
    """The line less the name: a fleet of few owners costs a reference for each object."""
    live = Live()
    live.list_anew({str(number): {TEAM: "shop"} for number in range(3)})
    lines = {
        id(text)
        for number in range(3)
        for text in live.store.get("Kustomization", f"apps/{number}") or ()
        if text.startswith(OWNER.encode())
    }
    assert len(lines) == 1
