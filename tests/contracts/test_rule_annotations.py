"""What an alert says can be said: its labels are there, its queries are of the pack, and somebody has seen it fire.

Owns the properties of annotations and of the places where an alert must be known. Expressions are test_rule_quality's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import yaml

from tests.contracts.promql.faults import decided_comparisons, known_names, unknown_labels, unknown_metrics
from tests.contracts.promql.labels import Shapes, World, possible_in, shapes_of, world_of
from tests.contracts.promql.pack import ROOT, RULES, PackRule, parsed, rules_of, selectors, shipped_rules
from tests.contracts.promql.templates import NotFollowed, Query, Template, Use, read
from tests.contracts.promql.values import recorded_bounds

PACK = shipped_rules()
WORLD = world_of(PACK)
RECORDED = recorded_bounds(PACK)
ALERTS = [rule for rule in PACK if rule.is_alert]
EACH_ALERT = pytest.mark.parametrize("rule", ALERTS, ids=[rule.name for rule in ALERTS])
TESTS = [
    case
    for path in sorted((ROOT / "tests" / "rules").glob("*_test.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
]


def templates(rule: PackRule) -> list[tuple[str, Template]]:
    return [(name, read(text)) for name, text in rule.annotations.items()]


# Judgements


def unreadable_labels(uses: Iterable[Use], shapes: Shapes) -> list[str]:
    found = []
    for use in uses:
        # Series for which the template comes to this place at all.
        here = [s for s in shapes if use.present <= s.possible and not use.absent & s.certain]
        if not any(use.label in shape.possible for shape in here):
            found.append(f"$labels.{use.label} is in no result here: keep it in by (), or take it out of the text")
        elif use.printed and use.label not in use.present and any(use.label not in s.certain for s in here):
            found.append(
                f"$labels.{use.label} is not in every result: put {{{{ with $labels.{use.label} }}}} around it"
            )
    return found


def query_faults(query: Query, pack: Sequence[PackRule], world: World) -> list[str]:
    try:
        expression = parsed(query.text)
    except ValueError as error:
        return [f"{query.text} is no PromQL ({error})"]
    found = [*unknown_metrics(expression, known_names(pack)), *unknown_labels(expression, world)]
    there = possible_in(shapes_of(expression, world))
    found += [f"results of {query.text} have no label {label}" for label in sorted(query.labels - there)]
    for selector in selectors(expression):
        if not any(matcher.name == "cluster" for matcher in selector.matchers.matchers):
            found.append(f"{selector} reads all clusters: add cluster='%s' with $labels.cluster")
    return found


def fires_in(tests: Iterable[dict[str, Any]], alert: str) -> bool:
    """Whether a test of promtool expects it to be there; that it is not there is what a typo gives as well."""
    for case in tests:
        for asked in case.get("alert_rule_test", ()):
            if asked["alertname"] == alert and asked.get("exp_alerts"):
                return True
        for asked in case.get("promql_expr_test", ()):
            for sample in asked.get("exp_samples") or ():
                if f'alertname="{alert}"' in sample["labels"] or f'{{alertname="{alert}"' in asked["expr"]:
                    return True
    return False


# The pack


@EACH_ALERT
def test_a_label_in_an_annotation_is_in_the_result_of_the_expression(rule: PackRule) -> None:
    # Not the labels that the rule adds: templates do not see them.
    shapes = shapes_of(rule.expression, WORLD)
    faults = [f"{name}: {fault}" for name, t in templates(rule) for fault in unreadable_labels(t.uses, shapes)]
    assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_ALERT
def test_a_query_in_an_annotation_reads_what_is_there_and_of_its_own_cluster(rule: PackRule) -> None:
    queries = [query for _, template in templates(rule) for query in template.queries]
    faults = [fault for query in queries for fault in query_faults(query, PACK, WORLD)]
    assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_ALERT
def test_a_comparison_in_a_query_of_an_annotation_can_be_true_and_false(rule: PackRule) -> None:
    queries = [query for _, template in templates(rule) for query in template.queries]
    faults = [fault for query in queries for fault in decided_comparisons(parsed(query.text), RECORDED)]
    assert not faults, f"{rule.name}: " + "; ".join(faults)


@EACH_ALERT
def test_an_alert_has_a_runbook_and_fires_in_a_test(rule: PackRule) -> None:
    assert (RULES / "runbooks" / f"{rule.name}.md").is_file(), f"{rule.name}: write rules/runbooks/{rule.name}.md"
    assert fires_in(TESTS, rule.name), f"{rule.name}: add a case to tests/rules/*_test.yaml in which it fires"


@EACH_ALERT
def test_a_label_of_an_alert_is_written_out(rule: PackRule) -> None:
    """A template in a label makes another alert of each value, and $value one of each evaluation."""
    assert not [v for v in rule.labels.values() if "{{" in v], f"{rule.name}: move the template to an annotation"


# The judgements themselves


def result(text: str) -> Shapes:
    pack = rules_of("x.yaml", yaml.safe_dump({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": text}]}]}))
    return shapes_of(pack[0].expression, WORLD)


OBJECT = "max by (cluster, kind, name) (gotk_suspend_status)"
BOTH = f'{OBJECT} or label_replace(max by (cluster) (gotk_suspend_status), "of", "all", "", "")'


@pytest.mark.parametrize(
    ("expression", "text", "faults"),
    [
        (OBJECT, "{{ $labels.kind }}/{{ $labels.name }}", 0),
        (OBJECT, "{{ $labels.namespace }}", 1),
        (OBJECT, "{{ with $labels.namespace }}{{ . }}{{ end }}", 1),
        (OBJECT, "{{ $labels.cluster }}", 1),
        (OBJECT, "{{ with $labels.cluster }} in {{ . }}{{ end }}", 0),
        (OBJECT, "{{ if $labels.cluster }}{{ $labels.cluster }}{{ end }}", 0),
        (OBJECT, "{{ if $labels.cluster }}{{ else }}{{ $labels.cluster }}{{ end }}", 1),
        (OBJECT, "{{ $labels.cluster | toUpper }}", 1),
        (OBJECT, """{{ printf "x{cluster='%s'}" $labels.cluster | query | first | value }}""", 0),
        (OBJECT, """{{ printf "x{cluster='%s'}" $labels.klaster | query | first | value }}""", 1),
        (OBJECT, '{{ printf "in %s" $labels.cluster }}', 1),
        (BOTH, "{{ $labels.name }}", 1),
        (BOTH, "{{ with $labels.name }}{{ $labels.kind }}/{{ . }}{{ else }}{{ $labels.of }}{{ end }}", 0),
        (BOTH, "{{ with $labels.of }}{{ . }}{{ else }}{{ $labels.of }}{{ end }}", 1),
        (BOTH, "{{ with $labels.of }}{{ $labels.kind }}{{ end }}", 1),
        ("absent(gotk_suspend_status)", "{{ $labels.kind }}", 1),
        ('absent(gotk_suspend_status{kind="x"})', "{{ $labels.kind }}", 0),
        ("vector(1)", "{{ $labels.cluster }}", 1),
        ("gotk_resource_failure_info", "{{ $labels.shared_cause }}", 1),
        ('gotk_resource_failure_info{shared_cause!=""}', "{{ $labels.shared_cause }}", 0),
    ],
)
def test_labels_that_are_not_always_there_are_found(expression: str, text: str, faults: int) -> None:
    assert len(unreadable_labels(read(text).uses, result(expression))) == faults


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("""{{ with printf "gotk_suspend_status{cluster='%s'}" $labels.cluster | query }}{{ end }}""", 0),
        ("""{{ with printf "gotk_suspend_statis{cluster='%s'}" $labels.cluster | query }}{{ end }}""", 1),
        ("""{{ with printf "gotk_suspend_status{cluster='%s',king='%s'}" $labels.a $labels.b | query }}{{ end }}""", 1),
        ("""{{ with query "gotk_suspend_status" }}{{ end }}""", 1),
        ("""{{ with "gotk_suspend_status" | query }}{{ end }}""", 1),
        ("""{{ with printf "gotk_suspend_status{cluster='%s'" $labels.cluster | query }}{{ end }}""", 1),
        (
            """{{ $o := printf "{cluster='%s'}" $labels.c }}"""
            """{{ range printf "gotk_root_cause_info%s" $o | query }}"""
            """{{ .Labels.reason }}{{ .Labels.season }}{{ end }}""",
            1,
        ),
        (
            """{{ with printf "gotk_root_cause_info{cluster='%s'}" $labels.c | query }}{{ with (first .).Labels }}"""
            """{{ .reason }}{{ with .season }}{{ . }}{{ end }}{{ end }}{{ end }}""",
            1,
        ),
        (
            """{{ if printf "sum by (kind) (gotk_suspend_status{cluster='%s'})" $labels.c | query }}{{ end }}""",
            0,
        ),
    ],
)
def test_queries_that_find_nothing_or_too_much_are_found(text: str, faults: int) -> None:
    queries = read(text).queries
    assert len(queries) == 1
    assert len(query_faults(queries[0], PACK, WORLD)) == faults


@pytest.mark.parametrize(
    "text",
    ["{{ if .x }}", "{{ if .x }}{{ else if .y }}{{ end }}", '{{ template "x" }}', "{{ $q | query }}", "{{ $x := 1 }}"],
)
def test_a_template_that_cannot_be_followed_is_refused(text: str) -> None:
    with pytest.raises(NotFollowed):
        read(text)


@pytest.mark.parametrize(
    ("case", "fires"),
    [
        ({"alert_rule_test": [{"alertname": "A", "exp_alerts": [{}]}]}, True),
        ({"alert_rule_test": [{"alertname": "A", "exp_alerts": []}]}, False),
        ({"alert_rule_test": [{"alertname": "B", "exp_alerts": [{}]}]}, False),
        ({"promql_expr_test": [{"expr": "ALERTS", "exp_samples": [{"labels": 'ALERTS{alertname="A"}'}]}]}, True),
        ({"promql_expr_test": [{"expr": "ALERTS", "exp_samples": [{"labels": 'ALERTS{alertname="AB"}'}]}]}, False),
        ({"promql_expr_test": [{"expr": 'count(ALERTS{alertname="A"})', "exp_samples": [{"labels": "{}"}]}]}, True),
        ({"promql_expr_test": [{"expr": 'ALERTS{alertname="A"}', "exp_samples": []}]}, False),
        ({"promql_expr_test": [{"expr": 'ALERTS{alertname="A"}'}]}, False),
    ],
)
def test_an_alert_that_no_test_expects_is_found(case: dict[str, Any], fires: bool) -> None:
    assert fires_in([case], "A") is fires


def test_the_tests_of_the_rules_are_there() -> None:
    assert len(TESTS) > len(ALERTS)
