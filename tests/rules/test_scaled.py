"""What scaled.py makes of rule files: which numbers it divides, which it keeps, and what it refuses to guess."""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser as promql
import pytest
import yaml

from gotk_exporter.rules.shipped import rule_files
from tests.rules.scaled import NotScalable, scaled, scaled_duration, scaled_flags, spans


def faster(expression: str) -> str:
    text = yaml.safe_dump({"groups": [{"name": "some", "rules": [{"alert": "Some", "expr": expression}]}]})
    return _expressions(scaled(text, 30))[0]


def test_all_time_of_a_rule_file_is_divided_and_nothing_else() -> None:
    text = """
    groups:
      - name: some
        interval: 1m
        limit: 60
        rules:
          - record: some:waiting_seconds:max
            expr: max(some_waiting_seconds > 300)  # YAML's comment
            labels: {tier: "60"}
          - alert: Some
            expr: |
              some:waiting_seconds:max >= 720  # window: 12 minutes
            for: 1h30m
            keep_firing_for: 10m
            annotations: {summary: For more than 10m}
    """
    assert yaml.safe_load(scaled(text, 30))["groups"] == [
        {
            "name": "some",
            "interval": "2000ms",
            "limit": 60,
            "rules": [
                {
                    "record": "some:waiting_seconds:max",
                    "expr": "max(some_waiting_seconds > 10)",
                    "labels": {"tier": "60"},
                },
                {
                    "alert": "Some",
                    "expr": "some:waiting_seconds:max >= 24  # window: 12 minutes\n",
                    "for": "180000ms",
                    "keep_firing_for": "20000ms",
                    "annotations": {"summary": "For more than 10m"},
                },
            ],
        }
    ]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # Ranges, offsets and subqueries.
        ("min_over_time(a[10m])", "min_over_time(a[20000ms])"),
        ("increase(a_total[6h] offset 1h)", "increase(a_total[720000ms] offset 120000ms)"),
        ("max_over_time(a[1h:30s])", "max_over_time(a[120000ms:1000ms])"),
        # A duration is what is added to seconds or compared with them, on either side.
        ("a_seconds + 60 > 900", "a_seconds + 2 > 30"),
        ("720 <= a_seconds", "24 <= a_seconds"),
        ("time() - a_timestamp_seconds > 600 < 604800", "time() - a_timestamp_seconds > 20 < 20160"),
        ("timestamp(a) + 60", "timestamp(a) + 2"),
        ("clamp_min(2 * max(a_seconds) + 60, 900)", "clamp_min(2 * max(a_seconds) + 2, 30)"),
        ("clamp_max(a:b_seconds:max, 3600) + 1800", "clamp_max(a:b_seconds:max, 120) + 60"),
        ('{__name__="a_seconds"} > 45', '{__name__="a_seconds"} > 1.5'),
        # A factor is none, nor is what counts, what is a share, and what was a point in time.
        ("3 * a_seconds", "3 * a_seconds"),
        ("a_seconds / b_seconds > 0.3", "a_seconds / b_seconds > 0.3"),
        ("count(a_seconds) >= 10", "count(a_seconds) >= 10"),
        ("topk by (x) (2, a_seconds)", "topk by (x) (2, a_seconds)"),
        ("1 - max_over_time(a[5m]) / 60", "1 - max_over_time(a[10000ms]) / 60"),
        ("clamp(a_timestamp_seconds, 1, 1)", "clamp(a_timestamp_seconds, 1, 1)"),
        ("vector(60)", "vector(60)"),
        ("round(a_seconds - b_seconds) == 30", "round(a_seconds - b_seconds) == 1"),
        (
            "info_about_it * on (x) group_left () (a_seconds > 60)",
            "info_about_it * on (x) group_left () (a_seconds > 2)",
        ),
        # What only looks like a number.
        ('a:increase6h{le="60"} # 60 or [60m]', 'a:increase6h{le="60"} # 60 or [60m]'),
    ],
)
def test_a_number_is_a_duration_by_what_it_stands_beside(expression: str, expected: str) -> None:
    assert faster(expression) == expected


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("a_timestamp_seconds > 600", "600 stands beside what is a point in time"),
        ("(a_seconds or b) > 60", "60 stands beside what is of no one unit"),
        ("a_seconds_total > 60", "60 stands beside what is of no one unit"),
        ('{x="y"} > 60', "60 stands beside what is of no one unit"),
        ("a_seconds > 60 * 12", "60 * 12"),
        ("a_seconds > b", "seconds > a mere number"),
        ("a_seconds * b_seconds", "seconds * seconds"),
        ("deriv(a_seconds[5m]) > 60", "what deriv() makes of a unit is not known"),
        ("a_seconds > 5m", "5m is neither a range nor an offset"),
        ("a_seconds @ 1700000000 > 60", "1700000000 is not among the numbers that were parsed"),
        ("a_seconds > Inf", "inf was not found in its text"),
        ("a_seconds >", "invalid promql query"),
        ("round(a_seconds, 60)", "what round() makes of a unit is not known"),
        ("42", "42 stands beside what is of no one unit"),
    ],
)
def test_what_it_cannot_tell_is_an_error_that_names_rule_and_number(expression: str, problem: str) -> None:
    with pytest.raises(NotScalable, match=f"rule Some: .*{re.escape(problem)}"):
        faster(expression)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"record": "a:seconds:max", "expr": "a_seconds"}, "its name says a mere number, its expression is seconds"),
        ({"alert": "A", "expr": "a > 0", "hold": "5m"}, "rule A: whether hold is a duration is not known"),
        ({"alert": "A", "expr": "a > 0", "for": "soon"}, '"soon" is no duration'),
        ({"alert": "A", "expr": "a > 0", "for": "1ms"}, '"1ms" divided by 30 is no whole number of milliseconds'),
    ],
)
def test_a_rule_that_it_does_not_understand_is_an_error(rule: dict[str, str], problem: str) -> None:
    with pytest.raises(NotScalable, match=re.escape(problem)):
        scaled(yaml.safe_dump({"groups": [{"name": "some", "rules": [rule]}]}), 30)


@pytest.mark.parametrize("path", rule_files(), ids=lambda path: str(path.stem))
def test_shipped_rules_divided_by_one_are_what_they_were_and_otherwise_differ_in_numbers_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    before, same, after = (_expressions(one) for one in (text, scaled(text, 1), scaled(text, 30)))
    assert [promql.parse(one).prettify() for one in same] == [promql.parse(one).prettify() for one in before]
    assert [_without_numbers(one) for one in after] == [_without_numbers(one) for one in before]


def test_prometheus_own_durations_are_divided_too() -> None:
    assert "--query.lookback-delta=10000ms" in scaled_flags(30)
    assert "--rules.alert.for-grace-period=20000ms" in scaled_flags(30)
    assert scaled_duration("1d", 60) == "1440000ms"


def test_spans_end_where_samples_are_missing() -> None:
    assert spans([], 1) == []
    assert spans([1, 2, 3, 7, 8, 12], 1) == [(1, 3), (7, 8), (12, 12)]


def _expressions(text: str) -> list[str]:
    return [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def _without_numbers(expression: str) -> str:
    return re.sub(r"(?<![\w:$])[\d.]+(ms|[smhdw])?", "N", expression)
