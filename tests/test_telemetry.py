"""What the exporter says about itself is what the catalogue promises, and counters begin at 0."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import Metric

from gotk_exporter import __version__
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.metrics import own_families as f
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import OBJECT_FAMILIES, Family
from gotk_exporter.metrics.own_families import EXPORTER_FAMILIES
from gotk_exporter.telemetry import ResourceState, Telemetry
from tests.kube.scripted_clock import ScriptedClock
from tests.metrics.pages import families_of, series_of

FORMATS = pytest.mark.parametrize("fmt", Format, ids=lambda fmt: fmt.name.lower())

WITHOUT_A_BEGINNING = {f.API_REQUESTS, f.DECODE_FAILURES}
"""Counters with label values that nobody knows before the first event."""


def busy_telemetry() -> Telemetry:
    """Everything has happened once."""
    telemetry = Telemetry()
    own = telemetry.resource("Kustomization", None)
    own.enter(ResourceState.SYNCED)
    own.contact(1_700_000_000.5)
    own.listed()
    own.watching()
    own.event("ADDED")
    own.holds(3)
    own.unreadable("spec.interval")
    telemetry.count_request("list", "kustomizations", "200")
    telemetry.count_credentials_load("changed")
    telemetry.discovery_last_success.set(1_700_000_000)
    telemetry.discovery_failures.inc()
    telemetry.scrape_render.set(0.01)
    telemetry.scrape_body.set(1000)
    return telemetry


def exposed(telemetry: Telemetry, fmt: Format) -> dict[str, Metric]:
    return {family.name: family for family in families_of(telemetry.render(fmt).decode(), fmt)}


def parser_name(family: Family) -> str:
    """prometheus_client names a counter without its suffix, in either format."""
    return family.name.removesuffix("_total") if family.type == "counter" else family.name


@FORMATS
@pytest.mark.parametrize("family", EXPORTER_FAMILIES, ids=lambda family: family.name)
def test_family_is_exposed_as_the_catalogue_has_it(family: Family, fmt: Format) -> None:
    read = exposed(busy_telemetry(), fmt)[parser_name(family)]
    assert (read.type, read.documentation) == (family.type, family.help)
    assert read.samples
    assert {(sample.name, frozenset(sample.labels)) for sample in read.samples} == {
        (family.name, frozenset(family.labels))
    }


@FORMATS
def test_nothing_of_ours_is_exposed_beside_the_catalogue(fmt: Format) -> None:
    names = {name for name in exposed(busy_telemetry(), fmt) if name.startswith("gotk_")}
    assert names == {parser_name(family) for family in EXPORTER_FAMILIES}
    assert names.isdisjoint(family.name for family in OBJECT_FAMILIES)


@FORMATS
def test_everything_else_is_about_the_process(fmt: Format) -> None:
    others = {name for name in exposed(Telemetry(), fmt) if not name.startswith("gotk_")}
    assert {"process_start_time_seconds", "process_resident_memory_bytes"} <= others
    assert all(name.startswith("process_") for name in others)


@FORMATS
def test_counters_stand_at_zero_before_the_first_event(fmt: Format) -> None:
    telemetry = Telemetry()
    telemetry.resource("Kustomization", None)
    read = exposed(telemetry, fmt)
    counters = {family for family in EXPORTER_FAMILIES if family.type == "counter"}
    for family in counters - WITHOUT_A_BEGINNING:
        samples = read[parser_name(family)].samples
        assert samples, family.name
        assert {sample.value for sample in samples} == {0}, family.name


def test_every_event_counts_once_beside_those_that_did_not_happen() -> None:
    telemetry = Telemetry()
    own = telemetry.resource("Kustomization", "team-a")
    own.event("MODIFIED")
    own.event("MODIFIED")
    telemetry.count_credentials_load("failed")
    assert counted(telemetry, f.WATCH_EVENTS, "type") == {"ADDED": 0, "MODIFIED": 2, "DELETED": 0, "BOOKMARK": 0}
    assert counted(telemetry, f.CREDENTIALS_LOADS, "result") == {"changed": 0, "unchanged": 0, "failed": 1}


def counted(telemetry: Telemetry, family: Family, label: str) -> dict[str, float]:
    return {labels[label]: value for labels, value in samples_of(telemetry, family)}


def samples_of(telemetry: Telemetry, family: Family) -> Iterator[tuple[dict[str, str], float]]:
    for name, labels, value in series_of(telemetry.render(Format.TEXT).decode(), Format.TEXT):
        if name == family.name:
            yield labels, value


def test_exactly_one_state_holds_and_entering_another_is_news_once() -> None:
    telemetry = Telemetry()
    own = telemetry.resource("Kustomization", None)
    assert held_states(telemetry) == ["syncing"]
    for state in ResourceState:
        assert own.enter(state) is (state is not ResourceState.SYNCING)
        assert own.enter(state) is False
        assert held_states(telemetry) == [state.value]


def held_states(telemetry: Telemetry) -> list[str]:
    return [labels["state"] for labels, value in samples_of(telemetry, f.RESOURCE_STATE) if value == 1]


BOUND = Bounds().stale_after


def marked(telemetry: Telemetry) -> dict[str, float]:
    return {labels["resource"]: value for labels, value in samples_of(telemetry, f.RESOURCE_STALE)}


def test_a_kind_is_stale_when_it_is_unconfirmed_for_longer_than_its_bound_and_not_at_it() -> None:
    clock = ScriptedClock()
    telemetry = Telemetry(clock.monotonic)
    own = telemetry.resource("Kustomization", None, BOUND)
    other = telemetry.resource("Bucket", None, BOUND)
    own.confirmed(clock.monotonic())
    other.confirmed(clock.monotonic())
    clock.advance(BOUND)
    assert (own.stale_for(), marked(telemetry)) == (None, {"Kustomization": 0, "Bucket": 0})
    other.confirmed(clock.monotonic())
    clock.advance(1)
    assert (own.stale_for(), marked(telemetry)) == (BOUND + 1, {"Kustomization": 1, "Bucket": 0})
    own.confirmed(clock.monotonic())
    assert (own.stale_for(), marked(telemetry)) == (None, {"Kustomization": 0, "Bucket": 0})


def test_to_hear_of_a_kind_does_not_confirm_it() -> None:
    clock = ScriptedClock()
    own = Telemetry(clock.monotonic).resource("Kustomization", None, BOUND)
    own.confirmed(clock.monotonic())
    clock.advance(BOUND + 1)
    own.contact(clock.wall())
    assert own.stale_for() == BOUND + 1


def test_what_confirms_an_older_moment_takes_nothing_back() -> None:
    clock = ScriptedClock()
    own = Telemetry(clock.monotonic).resource("Kustomization", None, BOUND)
    own.confirmed(BOUND)
    own.confirmed(BOUND - 5)
    clock.advance(2 * BOUND)
    assert own.stale_for() is None


def test_a_kind_that_was_never_listed_is_not_stale_however_long_it_takes() -> None:
    clock = ScriptedClock()
    telemetry = Telemetry(clock.monotonic)
    telemetry.resource("Kustomization", None, BOUND).contact(clock.wall())
    clock.advance(100 * BOUND)
    assert marked(telemetry) == {"Kustomization": 0}


@pytest.mark.parametrize("state", [state for state in ResourceState if state is not ResourceState.ABSENT])
def test_what_is_served_is_stale_in_whatever_state_but_absent(state: ResourceState) -> None:
    clock = ScriptedClock()
    own = Telemetry(clock.monotonic).resource("Kustomization", None, BOUND)
    own.confirmed(clock.monotonic())
    own.enter(state)
    clock.advance(BOUND + 1)
    assert own.stale_for() == BOUND + 1


def test_a_kind_that_is_absent_is_not_stale_nor_is_it_when_it_comes_back() -> None:
    clock = ScriptedClock()
    own = Telemetry(clock.monotonic).resource("Kustomization", None, BOUND)
    own.confirmed(clock.monotonic())
    own.enter(ResourceState.ABSENT)
    clock.advance(BOUND + 1)
    assert own.stale_for() is None
    own.enter(ResourceState.SYNCING)
    assert own.stale_for() is None


def test_the_bound_that_the_help_names_is_ours() -> None:
    assert f"for more than {BOUND:.0f} s " in f.RESOURCE_STALE.help


def test_what_is_not_known_yet_has_no_series() -> None:
    telemetry = Telemetry()
    telemetry.resource("Kustomization", None)
    assert list(samples_of(telemetry, f.RESOURCE_OBJECTS)) == []
    assert list(samples_of(telemetry, f.RESOURCE_LAST_CONTACT)) == []


def test_one_kind_in_two_namespaces_is_told_apart() -> None:
    telemetry = Telemetry()
    telemetry.resource("Kustomization", "team-a").holds(1)
    telemetry.resource("Kustomization", "team-b").holds(2)
    telemetry.resource("Bucket", None).holds(3)
    assert list(samples_of(telemetry, f.RESOURCE_OBJECTS)) == [
        ({"resource": "Kustomization", "watched_namespace": "team-a"}, 1),
        ({"resource": "Kustomization", "watched_namespace": "team-b"}, 2),
        ({"resource": "Bucket", "watched_namespace": ""}, 3),
    ]


def test_build_info_names_the_version() -> None:
    ((labels, value),) = samples_of(Telemetry(), f.BUILD_INFO)
    assert (labels["version"], value) == (__version__, 1)


def test_two_exporters_in_one_process_do_not_share_numbers() -> None:
    one, other = Telemetry(), Telemetry()
    one.discovery_failures.inc()
    assert list(samples_of(other, f.DISCOVERY_FAILURES)) == [({}, 0)]


def test_openmetrics_ends_with_the_end_mark_and_text_has_none() -> None:
    telemetry = busy_telemetry()
    openmetrics = telemetry.render(Format.OPENMETRICS)
    assert openmetrics.endswith(b"\n# EOF\n")
    assert openmetrics.count(b"# EOF") == 1
    assert b"# EOF" not in telemetry.render(Format.TEXT)
