"""The catalogue keeps Prometheus' conventions, and what is rendered keeps to the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics import families as f
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import OBJECT_FAMILIES, Family, Profile, select
from gotk_exporter.metrics.own_families import EXPORTER_FAMILIES
from gotk_exporter.metrics.store import Store
from tests.flux.examples import EXAMPLES, NOW, Example, json_bytes, render
from tests.flux.several import OF_SEVERAL, several
from tests.metrics.pages import promtool_check, series_of
from tests.test_telemetry import busy_telemetry

FAMILIES = (*OBJECT_FAMILIES, *EXPORTER_FAMILIES)

EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)

MAX_MINIMAL_SERIES = 10

OTHER_UNITS = {"milliseconds", "ms", "minutes", "hours", "days", "kilobytes", "megabytes", "percent", "count"}
"""Last words that a name in base units does not have; a number of things has no unit in its name."""

TAKEN_LABELS = {
    # Target labels: Prometheus would rename ours (or take ours for the target's, with honor_labels).
    *("job", "instance", "cluster", "environment", "env", "region", "zone", "pod", "container", "service", "endpoint"),
    # What Prometheus and OpenMetrics use themselves.
    *("le", "quantile", "alertname", "alertstate", "severity"),
}


def test_every_name_and_every_help_text_is_there_once() -> None:
    for texts in ([family.name for family in FAMILIES], [family.help.casefold() for family in FAMILIES]):
        assert sorted(texts) == sorted(set(texts))


def test_no_name_is_another_one_with_a_suffix_that_the_formats_reserve() -> None:
    suffixes = ("_created", "_info", "_count", "_sum", "_bucket", "_gcount", "_gsum")
    # OpenMetrics calls a counter by its name without _total.
    names = {family.name.removesuffix("_total") for family in FAMILIES}
    assert len(names) == len(FAMILIES)
    assert not {name + suffix for name in names for suffix in suffixes} & names


@EACH_FAMILY
def test_name_says_whose_it_is(family: Family) -> None:
    assert re.fullmatch(r"gotk_[a-z]+(_[a-z]+)*", family.name)
    assert family.name.startswith("gotk_exporter_") is (family in EXPORTER_FAMILIES)


@EACH_FAMILY
def test_name_says_what_kind_of_number_it_is(family: Family) -> None:
    words = family.name.split("_")
    assert (words[-1] == "total") is (family.type == "counter")
    assert ("timestamp" in words) is (words[-2:] == ["timestamp", "seconds"])
    assert not OTHER_UNITS & set(words[-1:])
    assert "counter" not in words
    assert "gauge" not in words


@EACH_FAMILY
def test_help_is_one_sentence_or_more_on_one_line(family: Family) -> None:
    assert re.fullmatch(r"[A-Z0-9][^\n]+[^\s.]\.", family.help)


@EACH_FAMILY
def test_label_names_are_valid_and_leave_other_peoples_alone(family: Family) -> None:
    assert len(set(family.labels)) == len(family.labels)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in family.labels)
    assert not TAKEN_LABELS & set(family.labels)


@pytest.mark.parametrize("family", OBJECT_FAMILIES, ids=lambda family: family.name)
def test_object_is_named_by_the_same_labels_in_the_same_order(family: Family) -> None:
    if family is f.CONTROLLER_LEASE_RENEW:
        # Of no object of ours.
        assert family.labels == ("controller", "namespace")
    elif family is f.RESOURCE_INFO:
        # It has the labels of Flux's monitoring example instead.
        assert {"customresource_kind", "name", "exported_namespace"} <= set(family.labels)
    else:
        assert family.labels[:3] == ("kind", "name", "namespace")


@EACH_KIND
def test_rendered_samples_have_exactly_the_catalogues_labels(kind: Kind) -> None:
    labels_of = {family.name: family.labels for family in OBJECT_FAMILIES}
    labels_of[f.RESOURCE_INFO.name] = (*f.RESOURCE_INFO.labels, *kind.info)
    rendered = series_of(rendered_page(kind), Format.TEXT)
    assert rendered
    for name, labels, _ in rendered:
        optional = optional_labels(kind) if name == f.RESOURCE_INFO.name else set()
        assert tuple(labels) == tuple(label for label in labels_of[name] if label in labels)
        assert set(labels_of[name]) - set(labels) <= optional


def optional_labels(kind: Kind) -> set[str]:
    """What gotk_resource_info leaves out for kinds that cannot have it."""
    suspendable = kind.suspend_path is not None or kind.suspend_annotation is not None
    judged = any(name == f.RECONCILE_CONDITION.name for name, _, _ in series_of(rendered_page(kind), Format.TEXT))
    return {label for label, there in (("suspended", suspendable), ("ready", judged)) if not there}


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_samples_of_an_example_have_exactly_the_catalogues_labels(example: Example) -> None:
    labels_of = {family.name: family.labels for family in OBJECT_FAMILIES if family is not f.RESOURCE_INFO}
    text, _ = render(example.object, example.kind)
    for name, labels, _ in series_of(text, Format.TEXT):
        if name in labels_of:
            assert tuple(labels) == labels_of[name]


@pytest.mark.parametrize("family", OBJECT_FAMILIES, ids=lambda family: family.name)
def test_family_is_rendered_for_some_example_or_in_a_story_of_several_objects(family: Family) -> None:
    alone = any(f"{family.name}{{" in example.expected for example in EXAMPLES)
    assert alone is (family not in OF_SEVERAL)
    assert alone or f"\n{family.name}{{" in served(several().store)


def test_samples_of_several_objects_have_exactly_the_catalogues_labels() -> None:
    labels_of = {family.name: family.labels for family in OF_SEVERAL}
    found = [(name, tuple(labels)) for name, labels, _ in series_of(served(several().store), Format.TEXT)]
    assert {name for name, _ in found} >= labels_of.keys()
    assert all(labels == labels_of[name] for name, labels in found if name in labels_of)


@EACH_KIND
def test_object_has_no_series_twice(kind: Kind) -> None:
    series = [(name, *labels.items()) for name, labels, _ in series_of(rendered_page(kind), Format.TEXT)]
    assert len(set(series)) == len(series)


@EACH_KIND
def test_healthy_object_costs_at_most_ten_series_in_the_minimal_profile(kind: Kind) -> None:
    assert 1 <= len(series_of(rendered_page(kind, Profile.MINIMAL), Format.TEXT)) <= MAX_MINIMAL_SERIES


HEALTHY = [example for example in EXAMPLES if 'status="False"} 1' not in example.expected.partition("gotk_suspend")[0]]


@pytest.mark.parametrize("example", HEALTHY, ids=repr)
def test_example_that_does_not_fail_costs_at_most_ten_series_in_the_minimal_profile(example: Example) -> None:
    """Also while it runs, is suspended or terminates."""
    text, _ = render(example.object, example.kind, profile=Profile.MINIMAL)
    assert 1 <= len(series_of(text, Format.TEXT)) <= MAX_MINIMAL_SERIES


def test_every_info_sample_is_1() -> None:
    page = busy_telemetry().render(Format.TEXT).decode() + served(everything())
    values = [value for name, _, value in series_of(page, Format.TEXT) if name.endswith("_info")]
    assert set(values) == {1}
    assert len(values) > len(KINDS)


@pytest.mark.parametrize("promtool", ["promtool-2", "promtool-3"])
def test_promtool_finds_nothing_against_the_conventions(promtool: str, require_peer: Callable[[str], Path]) -> None:
    page = served(everything()) + busy_telemetry().render(Format.TEXT).decode()
    assert {name for name, _, _ in series_of(page, Format.TEXT)} >= {family.name for family in FAMILIES}
    assert promtool_check(require_peer(promtool), page) == (0, "")


def rendered_page(kind: Kind, profile: Profile = Profile.FULL) -> str:
    """What is served of one healthy object of this kind in which everything that the kind may have is there."""
    store = Store(select(profile))
    collect(store, kind)
    return served(store)


def everything() -> Store:
    """All examples in one cluster, under names of their own, and a story of several objects."""
    cluster = several()
    for example in EXAMPLES:
        name = example.name.partition("/")[2]
        raw = json_bytes(example.changed("metadata", "name", to=name))
        assert not cluster.collector(example.kind).upsert(f"examples/{name}", raw, Seen(NOW))
    return cluster.store


def served(store: Store) -> str:
    return b"".join(store.snapshot().chunks(Format.TEXT)).decode()


def collect(store: Store, kind: Kind) -> None:
    obj: dict[str, Any] = {
        "metadata": {"name": "example", "namespace": "apps", "uid": "1", "resourceVersion": "2", "generation": 3},
        "status": {
            "observedGeneration": 3,
            "conditions": [{"type": kind.condition, "status": "True", "reason": "Succeeded"}],
            "inventory": {"entries": [{"id": "a"}, {"id": "b"}]},
        },
    }
    written = {"manager": "controller", "subresource": "status", "time": "2026-11-20T08:59:00Z"}
    obj["metadata"]["managedFields"] = [written]
    if kind.reconciled_path is not None:
        put(obj, kind.reconciled_path.split("."), "2026-11-20T08:59:00Z")
    for label, paths in kind.info.items():
        for path in paths.split("|"):
            put(obj, path.strip().split("."), f"the-{label}")
    for period in (kind.interval, kind.timeout):
        if period is not None and period.path is not None:
            for path in period.path.split("|"):
                put(obj, path.strip().split("."), "5m")
    if kind.suspend_path is not None:
        put(obj, kind.suspend_path.split("."), False)
    if kind.suspend_annotation is not None:
        obj["metadata"]["annotations"] = {kind.suspend_annotation: "enabled"}
    replacement = Collector(kind, kind.name, store).begin_replacement("v1")
    assert not replacement.add("apps/example", "1", "2", json.dumps(obj).encode(), Seen(NOW))
    replacement.commit()


def put(container: Any, steps: list[str], value: object) -> None:
    """Set the value at a path like ["status", "history", "0", "chartName"]."""
    step, *rest = steps
    if isinstance(container, list):
        container.extend({} for _ in range(int(step) + 1 - len(container)))
        put(container[int(step)], rest, value)
    elif rest:
        put(container.setdefault(step, [] if rest[0].isdigit() else {}), rest, value)
    else:
        container[step] = value
