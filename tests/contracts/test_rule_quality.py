"""Every expression of the rules pack can do what it is written for.

Owns the properties that expressions must have, and who is excused from which: metrics and labels exist, clusters stay
apart, functions fit what they are given, comparisons are open, nothing is recorded that nobody reads. The judgements
are promql.faults', and shown broken rules in test_rule_faults; what an alert says is test_rule_annotations'.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gotk_exporter.metrics.exposition import Format
from tests.contracts.promql.faults import (
    NAME_FORM,
    OF_KINDS,
    dead_recordings,
    decided_comparisons,
    group_surprises,
    halved_objects,
    joins_without_partner,
    known_names,
    lost_clusters,
    misused_functions,
    read_too_early,
    unknown_labels,
    unknown_metrics,
)
from tests.contracts.promql.labels import world_of
from tests.contracts.promql.pack import FAMILIES, FOREIGN, RULES, PackRule, names_asked, selectors, shipped_rules
from tests.contracts.promql.values import Bounds, never, of_family, recorded_bounds
from tests.contracts.test_catalogue import everything, served
from tests.metrics.pages import series_of
from tests.test_telemetry import busy_telemetry

AS_PUBLISHED: Mapping[str, str] = {
    "classic.yaml": "its rules are copied as they were published, for a Prometheus of one cluster",
}
"""Files whose rules need not keep clusters apart, and name an object as its time did."""
ON_NOTHING: Mapping[str, str] = {
    # Where there has never been an exporter, no series says which cluster that is.
    "FluxMonitoringAbsent": "and",
}
"""Rules that may match on no label at all, with the operator."""

OF_OBJECTS = ("reconciliation.yaml", "progress.yaml")

PACK = shipped_rules()
WORLD = world_of(PACK)
RECORDED = recorded_bounds(PACK)
EACH_RULE = pytest.mark.parametrize("rule", PACK, ids=[rule.name for rule in PACK])
RECORDINGS = [rule for rule in PACK if not rule.is_alert]
EACH_RECORDING = pytest.mark.parametrize("rule", RECORDINGS, ids=[rule.name for rule in RECORDINGS])


@EACH_RULE
def test_every_metric_that_is_read_is_served_or_recorded(rule: PackRule) -> None:
    faults = unknown_metrics(rule.expression, known_names(PACK))
    assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_RULE
def test_what_is_recorded_in_a_group_is_read_below_it(rule: PackRule) -> None:
    faults = read_too_early(rule, PACK)
    assert not faults, f"{rule.name}: " + "; ".join(faults)


def test_what_pages_about_an_object_reads_one_record_and_nothing_else() -> None:
    """Its group is evaluated at another time than the recordings: what else it read might be of another scrape."""
    read = {
        rule.name: [selector.name for selector in selectors(rule.expression)]
        for rule in PACK
        if rule.is_alert and rule.file in OF_OBJECTS and rule.labels["severity"] != "info"
    }
    decided = {rule.name for rule in RECORDINGS}
    several = {name: metrics for name, metrics in read.items() if len(metrics) != 1 or not decided.issuperset(metrics)}
    # What it compares are ranges of minutes, where a scrape more or less changes nothing.
    assert set(several) == {"FluxMassDeletion"}
    assert len(read) >= 8


@EACH_RULE
def test_every_label_that_is_asked_for_can_be_there(rule: PackRule) -> None:
    faults = unknown_labels(rule.expression, WORLD)
    assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_RULE
def test_clusters_are_kept_apart(rule: PackRule) -> None:
    if rule.file not in AS_PUBLISHED:
        faults = lost_clusters(rule.expression, ON_NOTHING.get(rule.name, ""))
        assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_RULE
def test_objects_are_told_apart_by_all_that_names_them(rule: PackRule) -> None:
    if rule.file not in AS_PUBLISHED and not rule.name.startswith(OF_KINDS):
        faults = halved_objects(rule.expression)
        assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_RULE
def test_functions_of_counters_get_counters_and_those_of_gauges_gauges(rule: PackRule) -> None:
    faults = misused_functions(rule.expression)
    assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_RULE
def test_a_comparison_can_be_true_and_can_be_false(rule: PackRule) -> None:
    faults = decided_comparisons(rule.expression, RECORDED)
    assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_RULE
def test_two_sides_of_a_match_have_labels_that_can_be_equal(rule: PackRule) -> None:
    faults = joins_without_partner(rule.expression, WORLD)
    assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_RECORDING
def test_a_recorded_name_says_level_metric_and_operations(rule: PackRule) -> None:
    assert NAME_FORM.fullmatch(rule.name), f"{rule.name}: name it level:metric:operations"


@EACH_RECORDING
def test_what_is_recorded_is_read(rule: PackRule) -> None:
    assert rule.name not in dead_recordings(PACK), f"{rule.name}: no rule and no annotation reads it; take it out"


def test_a_group_has_nothing_but_a_name_and_rules() -> None:
    """An interval of its own, an offset or a limit would change what ``for`` and windows mean; its labels need 3.0."""
    for path in sorted(RULES.glob("alerts/*.yaml")) + sorted(RULES.glob("recording/*.yaml")):
        faults = group_surprises(path.read_text(encoding="utf-8"))
        assert not faults, f"{path.name}: " + "; ".join(faults)


def test_no_excuse_is_left_over() -> None:
    assert {rule.file for rule in PACK} >= AS_PUBLISHED.keys()
    assert {rule.name for rule in PACK if lost_clusters(rule.expression) and rule.name in ON_NOTHING} == {*ON_NOTHING}
    asked = {name for rule in PACK for s in selectors(rule.expression) for name in names_asked(s, [])}
    assert asked >= FOREIGN.keys()


def test_the_values_that_are_taken_for_granted_are_those_that_are_served() -> None:
    page = busy_telemetry().render(Format.TEXT).decode() + served(everything())
    outside = {
        (name, value)
        for name, _, value in series_of(page, Format.TEXT)
        if name in FAMILIES and never(of_family(FAMILIES[name]), "==", Bounds(value, value))
    }
    assert not outside
