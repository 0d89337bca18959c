"""Each judgement of promql.faults finds what it is for, and nothing in what is well."""

from __future__ import annotations

import math
from collections.abc import Iterable

import promql_parser as promql
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.promql.faults import (
    NAME_FORM,
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
from tests.contracts.promql.labels import shapes_of, world_of
from tests.contracts.promql.pack import PackRule, parsed, rules_of, words
from tests.contracts.promql.values import COMPARISONS, MIRRORED, Bounds, always, bounds_of, narrowed, never
from tests.contracts.promql.values import recorded_bounds as bounds_of_recorded


def pack_of(**rules: str) -> list[PackRule]:
    """One group: rules in capitals are alerts, others record flux_object:<name>:max."""
    written = [
        {"alert": name, "expr": expr} if name[0].isupper() else {"record": f"flux_object:{name}:max", "expr": expr}
        for name, expr in rules.items()
    ]
    return rules_of("x.yaml", yaml.safe_dump({"groups": [{"name": "g", "rules": written}]}))


OBJECTS = pack_of(
    suspended="max by (cluster, kind, name) (gotk_suspend_status == 1)",
    alone="max by (kind) (gotk_suspend_status)",
    since="last_over_time(flux_object:since:max[15m]) or timestamp(flux_object:suspended:max)",
    counts="count by (cluster) (gotk_suspend_status) + flux_object:counts:max",
    Suspended="flux_object:suspended:max and on (cluster, kind) ALERTS{alertname='Suspended'} or flux_object:alone:max",
)
WORLD, RECORDED, KNOWN = world_of(OBJECTS), bounds_of_recorded(OBJECTS), known_names(OBJECTS)


@pytest.mark.parametrize(
    ("expression", "faults"),
    [
        ("gotk_suspend_status + flux_object:suspended:max + ALERTS", 0),
        ("gotk_suspend_state", 1),
        ("gotk_exporter_decode_failures", 1),
        ("flux_object:suspended:min", 1),
        ("max by (a) (max_over_time((gotk_no + gotk_never)[5m:1m]))", 2),
        ('{__name__="gotk_suspend_status"}', 0),
        ('{__name__="gotk_suspend_state"}', 1),
        ('{__name__=~"gotk_(suspend_status|resource_(held_back|blocked))"}', 0),
        ('{__name__=~"gotk_(suspend_state|resource_(held_back|blocker))"}', 2),
        ('{__name__=~"gotk_resource_.*"}', 0),
        ('{__name__=~"gotk_resources_.*"}', 1),
        ('{kind="x"}', 1),
    ],
)
def test_metrics_that_are_not_there_are_found(expression: str, faults: int) -> None:
    assert len(unknown_metrics(parsed(expression), KNOWN)) == faults


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("a|b:c", ["a", "b:c"]),
        ("a(b|c)d|e", ["abd", "acd", "e"]),
        ("(a|)b", ["ab", "b"]),
        ("a.*", None),
        ("a)(b", None),
        ("(a", None),
    ],
)
def test_a_pattern_of_words_is_read_as_its_words(pattern: str, expected: list[str] | None) -> None:
    assert words(pattern) == expected


@pytest.mark.parametrize(
    ("first", "second", "faults"),
    [
        ("gotk_suspend_status", "flux_object:a:max", 0),
        ("flux_object:b:max", "gotk_suspend_status", 1),
        ('{__name__=~"flux_object:(a|b):max"}', "gotk_suspend_status", 1),
        ("flux_object:b:max offset 5m", "gotk_suspend_status", 0),
        ("max_over_time(flux_object:b:max[5m])", "gotk_suspend_status", 0),
        ("last_over_time(flux_object:a:max[15m])", "gotk_suspend_status", 0),
        ("flux_object:a:max", "gotk_suspend_status", 0),
        ("max_over_time(flux_object:b:max[5m]) - flux_object:b:max", "gotk_suspend_status", 1),
    ],
)
def test_what_is_recorded_only_later_is_found(first: str, second: str, faults: int) -> None:
    pack = pack_of(a=first, b=second)
    assert sum(len(read_too_early(rule, pack)) for rule in pack) == faults


@pytest.mark.parametrize(
    ("expression", "faults"),
    [
        ('max by (cluster, kind, job, pod) (gotk_suspend_status{exported_namespace="x",instance!=""})', 0),
        ('gotk_suspend_status{Kind="x"}', 1),
        ("max by (cluster, kinds) (gotk_suspend_status)", 1),
        ("max without (kinds) (gotk_suspend_status)", 1),
        ("max by (reason) (max by (kind) (gotk_resource_failure_info))", 1),
        ('max by (of) (label_replace(gotk_suspend_status, "of", "$1", "kind", "(.+)"))', 0),
        ('max by (of) (label_join(gotk_suspend_status, "of", "/", "kind", "name"))', 0),
        ('label_replace(gotk_suspend_status, "of", "$1", "kinds", "(.+)")', 1),
        ('label_replace(gotk_suspend_status, "of", "x", "", "")', 0),
        ("gotk_suspend_status * on (kind, reason) gotk_resource_failure_info", 1),
        ("gotk_suspend_status * on (kind) group_left (reason) gotk_resource_failure_info", 0),
        ("gotk_suspend_status * on (kind) group_left (season) gotk_resource_failure_info", 1),
        ("gotk_resource_failure_info * on (kind) group_right (reason) gotk_suspend_status", 0),
        ("gotk_suspend_status * on (kind) group_right (reason) gotk_resource_failure_info", 1),
        ("gotk_suspend_status and ignoring (kinds) gotk_suspend_status", 2),
        ("max by (name) (flux_object:alone:max)", 1),
        ("max by (name) (flux_object:since:max)", 0),
        ('max by (name, alertstate) (ALERTS{alertname="Suspended"})', 0),
        ('max by (reason) (ALERTS{alertname="Suspended"})', 1),
        ("max by (source_name, ready) (gotk_resource_info)", 0),
        ("max by (kind) (gotk_resource_info)", 1),
        ('gotk_resource_owner_info{team="x"}', 0),
        ("max by (cluster) (vector(1))", 1),
    ],
)
def test_labels_that_no_series_has_are_found(expression: str, faults: int) -> None:
    assert len(unknown_labels(parsed(expression), WORLD)) == faults


@pytest.mark.parametrize(
    ("expression", "faults"),
    [
        ("sum by (cluster) (a) / on (cluster) max without (pod) (b) and ignoring (pod) c", 0),
        ("a * b", 0),
        ("sum(a)", 1),
        ("sum by () (a)", 1),
        ("topk by (kind) (1, a)", 1),
        ("sum without (cluster) (a)", 1),
        ("max by (cluster) (sum by (kind) (a))", 1),
        ("a and on (kind) b", 1),
        ("a or ignoring (cluster) b", 1),
        ("a * on (kind) group_left (cluster) b", 1),
        ("a and on () b", 1),
    ],
)
def test_clusters_that_are_mixed_are_found(expression: str, faults: int) -> None:
    assert len(lost_clusters(parsed(expression))) == faults


def test_who_may_match_on_nothing_may_not_match_on_something_else() -> None:
    assert not lost_clusters(parsed("a and on () b"), on_nothing="and")
    for expression in ("a unless on () b", "a and on (kind) b", "sum(a)"):
        assert lost_clusters(parsed(expression), on_nothing="and")


@pytest.mark.parametrize(
    ("expression", "faults"),
    [
        ("max by (cluster, kind, name, namespace) (a) and on (kind, name, namespace) b", 0),
        ("sum by (cluster) (a)", 0),
        ("sum without (name) (a) and ignoring (kind) b", 0),
        ("max by (cluster, controller, namespace) (a)", 0),
        ("max by (cluster, kind, namespace) (a)", 1),
        ("max by (cluster, kind, name, exported_namespace) (a)", 1),
        ("a and on (cluster, name) b", 1),
        ("a * on (by_kind, by_name) group_left (kind) b", 1),
        ("a and on (cluster, kind) flux_kind:blind:max", 0),
        ("a and on (cluster, kind) (flux_kind:blind:max or b)", 1),
        ("flux_kind:blind:max and on (cluster, kind) a", 1),
    ],
)
def test_objects_that_are_named_by_halves_are_found(expression: str, faults: int) -> None:
    assert len(halved_objects(parsed(expression))) == faults


@pytest.mark.parametrize(
    ("expression", "faults"),
    [
        ("increase(gotk_exporter_decode_failures_total[1h])", 0),
        ("rate(gotk_exporter_decode_failures_total[1h:1m])", 0),
        ("rate(gotk_suspend_status[1h])", 1),
        ("irate(flux_object:suspended:max[1h])", 1),
        ("rate((gotk_suspend_status)[1h:1m])", 1),
        ("rate(sum by (kind) (gotk_exporter_decode_failures_total)[1h:1m])", 1),
        ("deriv(gotk_resource_inventory_entries[1h])", 0),
        ("deriv(rate(gotk_exporter_decode_failures_total[5m])[1h:1m])", 0),
        ("delta(gotk_exporter_decode_failures_total[1h])", 1),
        ("max(increase(gotk_suspend_status[1h])) > 1", 1),
        ("max_over_time(gotk_exporter_decode_failures_total[1h])", 0),
    ],
)
def test_functions_of_the_wrong_kind_of_metric_are_found(expression: str, faults: int) -> None:
    assert len(misused_functions(parsed(expression))) == faults


@pytest.mark.parametrize(
    ("expression", "faults"),
    [
        ("gotk_suspend_status == 1", 0),
        ("gotk_suspend_status > 0", 0),
        ("gotk_suspend_status != 0", 0),
        ("gotk_suspend_status > 1", 1),
        ("gotk_suspend_status >= 0", 1),
        ("gotk_suspend_status == 0.5", 1),
        ("gotk_suspend_status <= 1", 1),
        ("gotk_suspend_status < 1", 0),
        ("1 < gotk_suspend_status", 1),
        ("0 < gotk_suspend_status", 0),
        ("(gotk_suspend_status == 1) != 1", 1),
        ("(gotk_suspend_status > 0) == 1", 1),
        ("-gotk_suspend_status > 0", 1),
        ("gotk_root_cause_info == 1", 1),
        ("gotk_root_cause_info > 1", 1),
        ("count by (kind) (gotk_suspend_status) >= 1", 1),
        ("count by (kind) (gotk_suspend_status) == 0", 1),
        ("count by (kind) (gotk_suspend_status) > 1", 0),
        ("group by (kind) (gotk_suspend_status) == 1", 1),
        ("sum by (kind) (gotk_suspend_status) > 1", 0),
        ("sum by (kind) (gotk_suspend_status) < 0", 1),
        ("absent(gotk_suspend_status) == 1", 1),
        ("count_over_time(gotk_suspend_status[5m]) > 0", 1),
        ("avg_over_time(gotk_suspend_status[5m]) > 0.5", 0),
        ("increase(gotk_exporter_decode_failures_total[5m]) >= 0", 1),
        ("increase(gotk_exporter_decode_failures_total[5m]) > 0", 0),
        ("gotk_resource_held_back < 0", 1),
        ("gotk_resource_failing_since_timestamp_seconds == 0", 1),
        ("time() - gotk_resource_failing_since_timestamp_seconds > 720", 0),
        ("gotk_resource_interval_seconds * 2 + 60 > 60", 0),
        ("gotk_resource_interval_seconds * 2 + 60 >= 60", 1),
        ("clamp_max(gotk_resource_interval_seconds, 3600) > 7200", 1),
        ("clamp_min(gotk_resource_interval_seconds, 60) < 60", 1),
        ("clamp(gotk_resource_interval_seconds, 1, 2) > 1.5", 0),
        ("1 - gotk_resource_held_back / (gotk_resource_inventory_entries >= 10) > 1", 1),
        ("1 - gotk_resource_held_back / gotk_resource_inventory_entries > 1", 0),
        ("flux_object:suspended:max == 1", 1),
        ("timestamp(flux_object:suspended:max == 1)", 0),
        ("timestamp(flux_object:suspended:max == 2)", 1),
        ("flux_object:since:max > 5", 0),
        ("flux_object:counts:max > 5", 0),
        ("(gotk_suspend_status or gotk_resource_held_back) > 1", 0),
        ("(gotk_suspend_status unless gotk_resource_held_back) > 1", 1),
        ("(gotk_suspend_status > bool 0) == 2", 1),
        ("vector(1 > bool 2)", 1),
        ("vector(2 > bool 1)", 1),
        ("gotk_resource_held_back > 5 < 3", 1),
        ("ALERTS > 0", 1),
        ("gotk_unknown > 0", 0),
        ("gotk_suspend_status ^ 2 > 3", 0),
    ],
)
def test_comparisons_that_are_decided_beforehand_are_found(expression: str, faults: int) -> None:
    assert len(decided_comparisons(parsed(expression), RECORDED)) == faults


OPERATORS = {
    ">": float.__gt__,
    "<": float.__lt__,
    ">=": float.__ge__,
    "<=": float.__le__,
    "==": float.__eq__,
    "!=": float.__ne__,
}
NUMBERS = st.integers(-3, 3).map(float) | st.sampled_from([-0.5, 0.5, 1.5])


@st.composite
def bounded(draw: st.DrawFn) -> tuple[Bounds, list[float]]:
    """Bounds, and values within them."""
    values = draw(st.lists(NUMBERS, min_size=1, max_size=4))
    low, high = draw(st.sampled_from([(min(values), max(values)), (-math.inf, max(values)), (min(values), math.inf)]))
    return Bounds(low, high, all(value.is_integer() for value in values)), values


@given(bounded(), st.sampled_from(sorted(COMPARISONS)), bounded())
def test_what_is_said_of_a_comparison_is_true_of_every_value(
    left: tuple[Bounds, list[float]], operator: str, right: tuple[Bounds, list[float]]
) -> None:
    holds = {(a, b) for a in left[1] for b in right[1] if OPERATORS[operator](a, b)}
    assert never(right[0], MIRRORED[operator], left[0]) in (True, False)
    if never(left[0], operator, right[0]):
        assert not holds
    if always(left[0], operator, right[0]):
        assert len(holds) == len({*left[1]}) * len({*right[1]})
    through = narrowed(left[0], operator, right[0])
    assert all(through is not None and through.low <= a <= through.high for a, _ in holds)


@given(bounded(), st.sampled_from("+-*/"), bounded())
def test_bounds_of_a_calculation_hold_its_results(
    left: tuple[Bounds, list[float]], operator: str, right: tuple[Bounds, list[float]]
) -> None:
    recorded = {"a": left[0], "b": right[0]}
    found = bounds_of(parsed(f"a {operator} b"), recorded)
    assert found is not None
    for a in left[1]:
        for b in right[1]:
            if operator == "/" and b == 0:
                continue
            result = {"+": a + b, "-": a - b, "*": a * b, "/": a / (b or 1)}[operator]
            assert found.low <= result <= found.high
            assert result.is_integer() or not found.whole


@pytest.mark.parametrize(
    ("expression", "faults"),
    [
        ("gotk_suspend_status and gotk_resource_held_back", 0),
        ("gotk_suspend_status and gotk_resource_failure_info", 1),
        ("gotk_suspend_status and on (cluster, kind) gotk_resource_failure_info", 0),
        ("gotk_suspend_status unless max by (cluster) (gotk_suspend_status)", 1),
        ("gotk_suspend_status unless on (cluster) max by (cluster) (gotk_suspend_status)", 0),
        ("max by (kind) (gotk_suspend_status) * on (name) gotk_resource_held_back", 1),
        ("gotk_suspend_status > on (kind, cluster) max by (kind) (gotk_resource_held_back)", 0),
        ("gotk_suspend_status - vector(1)", 1),
        ("gotk_suspend_status - 1", 0),
        ("time() - gotk_suspend_status", 0),
        ("gotk_suspend_status or vector(1)", 0),
        ("gotk_unknown and gotk_suspend_status", 0),
    ],
)
def test_two_sides_that_never_match_are_found(expression: str, faults: int) -> None:
    assert len(joins_without_partner(parsed(expression), WORLD)) == faults


@pytest.mark.parametrize(
    ("expression", "certain", "possible"),
    [
        ("vector(1)", [""], [""]),
        ("sum(gotk_suspend_status)", [""], [""]),
        ("sum by (cluster, kind) (gotk_suspend_status)", ["kind"], ["cluster kind"]),
        ('absent(x{a="1",b=~"2"})', ["a"], ["a"]),
        (
            "sum by (kind, name) (gotk_suspend_status) * on (kind) sum by (kind) (gotk_suspend_status)",
            ["kind"],
            ["kind"],
        ),
        ('count_values by (kind) ("value", gotk_suspend_status)', ["kind value"], ["kind value"]),
        ('sum by (kind) (gotk_suspend_status{kind=""})', [], []),
        ('sum by (pod) (gotk_suspend_status{pod=""})', [""], [""]),
        ('sum by (pod) (gotk_suspend_status{pod!=""})', ["pod"], ["pod"]),
        ('label_replace(sum by (kind, pod) (gotk_suspend_status), "kind", "", "", "")', [""], ["pod"]),
        (
            'label_replace(sum by (kind, pod) (gotk_suspend_status), "of", "$1", "pod", "(.+)")',
            ["kind"],
            ["kind of pod"],
        ),
        (
            'label_replace(sum by (kind, pod) (gotk_suspend_status), "kind", "$1", "pod", "(.+)")',
            ["kind"],
            ["kind pod"],
        ),
        ('label_replace(sum by (kind, pod) (gotk_suspend_status), "kind", "$1", "pod", "(.*)")', [""], ["kind pod"]),
        ("sum by (kind) (gotk_suspend_status) or vector(1)", ["", "kind"], ["", "kind"]),
    ],
)
def test_labels_of_a_result_are_those_that_prometheus_leaves(
    expression: str, certain: Iterable[str], possible: Iterable[str]
) -> None:
    shapes = shapes_of(parsed(expression), WORLD)
    assert sorted(" ".join(sorted(shape.certain)) for shape in shapes) == certain
    assert sorted(" ".join(sorted(shape.possible)) for shape in shapes) == possible


def test_what_nobody_reads_is_found() -> None:
    assert dead_recordings(pack_of(a="gotk_suspend_status", b="flux_object:a:max", c="flux_object:c:max")) == [
        "flux_object:b:max",
        "flux_object:c:max",
    ]
    group = {"record": "flux_object:a:max", "expr": "gotk_suspend_status"}
    asks = {"alert": "A", "expr": "vector(1)", "annotations": {"x": '{{ "flux_object:a:max" | query }}'}}
    assert not dead_recordings(rules_of("x.yaml", yaml.safe_dump({"groups": [{"name": "g", "rules": [group, asks]}]})))


@pytest.mark.parametrize("name", ["flux_object_suspended", "flux_object:suspended", "a:b:c:d", "a::b", "A:b:c", "a:b:"])
def test_a_recorded_name_of_another_form_is_found(name: str) -> None:
    assert not NAME_FORM.fullmatch(name)


def test_a_group_with_more_than_rules_is_found() -> None:
    assert len(group_surprises("groups: [{name: g, interval: 5m, limit: 3, rules: []}, {name: h, rules: []}]")) == 2


def test_expressions_that_are_not_understood_are_refused() -> None:
    info: promql.Expr = parsed("info(gotk_suspend_status)")
    with pytest.raises(NotImplementedError):
        shapes_of(info, WORLD)
