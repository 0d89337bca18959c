"""Rules and what a Prometheus holds in, findings out. The Prometheus is a list of series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gotk_exporter.metrics.families import OBJECT_FAMILIES
from gotk_exporter.rules.expressions import Selector
from gotk_exporter.rules.findings import Evidence, Finding, LoadedRule, judge
from gotk_exporter.rules.known_metrics import ADVICE, METRICS, REMOVED, admits

Series = dict[str, str]

EXPORTER: list[Series] = [
    {"__name__": "gotk_exporter_build_info", "version": "1", "job": "gotk-exporter", "cluster": "one"},
    {"__name__": "gotk_suspend_status", "kind": "Kustomization", "name": "app", "namespace": "flux-system"}
    | {"exported_namespace": "shop", "job": "gotk-exporter", "cluster": "one"},
    {"__name__": "gotk_resource_interval_seconds", "kind": "Kustomization", "name": "app", "job": "gotk-exporter"}
    | {"namespace": "flux-system", "exported_namespace": "shop", "cluster": "one"},
    *(
        {"__name__": "gotk_reconcile_condition", "kind": "Kustomization", "name": "app", "namespace": "flux-system"}
        | {"exported_namespace": "shop", "type": "Ready", "status": status, "job": "gotk-exporter", "cluster": "one"}
        for status in ("True", "False", "Unknown", "Deleted")
    ),
    {"__name__": "gotk_resource_info", "customresource_kind": "Kustomization", "name": "app", "ready": "True"}
    | {"exported_namespace": "shop", "suspended": "false", "job": "gotk-exporter", "cluster": "one"},
]
ELSE: list[Series] = [
    {"__name__": "up", "job": "node", "instance": "a"},
    {"__name__": "http_requests_total", "job": "web", "code": "200", "method": "GET"},
    {"__name__": "http_requests_total", "job": "web", "code": "404", "method": "POST"},
]
OLD_FLUX = [
    {key: value for key, value in series.items() if key != "cluster"} | {"job": "flux-system/kustomize-controller"}
    for series in EXPORTER
    if series["__name__"] == "gotk_reconcile_condition" and series["status"] != "Deleted"
]


def rule(expression: str, name: str = "Alert", **more: object) -> LoadedRule:
    return replace(LoadedRule("group", "file.yaml", name, "alert", expression), **more)  # type: ignore[arg-type]


def record(name: str, expression: str) -> LoadedRule:
    return LoadedRule("recordings", "file.yaml", name, "record", expression)


def judged(rules: Sequence[LoadedRule], series: Sequence[Series], unanswered: Sequence[str] = ()) -> dict[str, Finding]:
    """As the audit asks, until nothing is wanted."""
    evidence = Evidence(since=3_600.0)
    for _ in range(10):
        findings = judge(rules, evidence)
        if not evidence.wanted and not evidence.wanted_values:
            return {finding.rule.name: finding for finding in findings}
        for asked in list(evidence.wanted):
            known = str(asked) not in unanswered
            evidence.present[asked] = bool(matching(asked, series)) if known else None
        for everything, label in list(evidence.wanted_values):
            values = {found.get(label, "") for found in matching(everything, series)} - {""}
            evidence.values[everything, label] = tuple(sorted(values))
        evidence.wanted.clear()
        evidence.wanted_values.clear()
    raise AssertionError("it never stops asking")


def matching(asked: Selector, series: Sequence[Series]) -> list[Series]:
    return [one for one in series if all(admits(matcher, one.get(matcher.label, "")) for matcher in asked.matchers)]


def told(expression: str, series: Sequence[Series]) -> tuple[str, str, str]:
    """Status, the reasons' texts, and what to use instead."""
    finding = judged([rule(expression)], series)["Alert"]
    return (
        finding.status,
        "; ".join(reason.text for reason in finding.reasons),
        " ".join(reason.remedy for reason in finding.reasons),
    )


@pytest.mark.parametrize(
    ("expression", "status", "text"),
    [
        ("up == 0", "alive", ""),
        ("gone > 0", "dead", "no series of gone"),
        ('{__name__=~"gone_.*"} > 0', "dead", 'no metric whose name fits {__name__=~"gone_.*"}'),
        ('up{job="nod"} == 0', "dead", 'no series of up has job="nod"; there is node'),
        ('up{team="web"} == 0', "dead", "no series of up has a label team"),
        ('up{team=""} == 0', "alive", ""),
        # It may be the first of its kind.
        (
            'rate(http_requests_total{code=~"5.."}[5m]) > 0',
            "doubtful",
            'no series of http_requests_total has code=~"5.."',
        ),
        (
            'http_requests_total{code="404",method="GET"} > 0',
            "doubtful",
            'no series of http_requests_total fits all of code="404", method="GET" at once',
        ),
        ("gone > 0 and up", "dead", "no series of gone"),
        ("gone > 0 or up == 0", "alive", ""),
        ("gone > 0 or gone_too", "dead", "no series of gone; no series of gone_too"),
        ("absent(gone)", "alive", ""),
        ("up unless gone", "alive", ""),
        ('ALERTS{alertname="Alert"}', "alive", ""),
        ('ALERTS{alertname="Other"}', "doubtful", 'no alert is loaded that alertname="Other" could be about'),
        ("rate(up[5m] smoothed)", "not_judged", "invalid promql query"),
    ],
)
def test_rules_of_anybody(expression: str, status: str, text: str) -> None:
    found = told(expression, ELSE)
    assert found[0] == status
    assert found[1].startswith(text)
    assert bool(found[1]) is bool(text)


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        # Nothing fails and nothing is suspended, there are no HelmReleases, and still all of these are right.
        ('gotk_reconcile_condition{kind="HelmRelease",status="False"} > 0', "alive"),
        ('gotk_resource_info{customresource_kind="HelmRelease",ready="False"} > 0', "alive"),
        ('gotk_resource_info{suspended="true"} > 0', "alive"),
        ('gotk_resource_info{source_name="repo"} > 0', "alive"),
        ("time() - gotk_resource_failing_since_timestamp_seconds > 900", "alive"),
        ('gotk_resource_failing_since_timestamp_seconds{kind="Kustomization",exported_namespace="a"}', "alive"),
        ('gotk_resource_failing_since_timestamp_seconds{job="gotk-exporter",cluster="one"}', "alive"),
        ("gotk_image_automation_last_run_timestamp_seconds > 0", "alive"),
        ("increase(gotk_exporter_decode_failures_total[10m]) > 0", "alive"),
        # These are not.
        ('gotk_reconcile_condition{type="Stalled",status="True"} == 1', "dead"),
        ('gotk_reconcile_condition{status="Failed"} == 1', "dead"),
        ('gotk_reconcile_condition{kind="HelmRelase"} == 1', "dead"),
        ('gotk_reconcile_condition{name="checkout"} == 1', "dead"),
        ('gotk_resource_info{kind="HelmRelease",ready="False"} > 0', "dead"),
        ('gotk_resource_info{ready="false"} > 0', "dead"),
        ("gotk_resource_condition", "dead"),
        ('gotk_resource_failing_since_timestamp_seconds{kind="HelmRelase"}', "dead"),
        ('gotk_resource_failing_since_timestamp_seconds{customresource_kind="Kustomization"}', "dead"),
        ('gotk_resource_failing_since_timestamp_seconds{job="exporter"}', "dead"),
    ],
)
def test_rules_about_flux_where_the_exporter_is_scraped(expression: str, status: str) -> None:
    assert told(expression, EXPORTER)[0] == status


def test_where_the_exporter_watches_nothing_yet_its_rules_are_not_accused() -> None:
    assert told('gotk_reconcile_condition{status="False"} > 0', EXPORTER[:1])[0] == "alive"


def test_without_the_exporter_every_family_of_it_is_missed_with_a_word_on_where_it_comes_from() -> None:
    for family in OBJECT_FAMILIES:
        status, text, remedy = told(f"{family.name} > 0", ELSE)
        assert (status, text) == ("dead", f"no series of {family.name}")
        assert "gotk-exporter" in remedy


@pytest.mark.parametrize(
    ("expression", "series", "words"),
    [
        (
            'gotk_reconcile_condition{status="False"}',
            ELSE,
            ["2.2 (December 2023)", "2.5 (February 2025)", "exports it again"],
        ),
        ('gotk_reconcile_condition{kind="HelmRelease"}', ELSE, ["removed for HelmRelease in 2.2 (December 2023)"]),
        ('gotk_reconcile_condition{kind="Kustomization"}', ELSE, ["removed for Kustomization in 2.5 (February 2025)"]),
        ('gotk_reconcile_condition{kind="ImageUpdateAutomation"}', ELSE, ["in 2.3 (May 2024)"]),
        ('gotk_reconcile_condition{kind="Alert"}', ELSE, ["no state any more"]),
        ('gotk_reconcile_condition{type="Stalled"}', ELSE, ["exports it again", "no controller ever exported a type"]),
        ('gotk_reconcile_condition{type=~"Reconciling|Stalled"}', OLD_FLUX, ["no controller ever exported a type"]),
        ('gotk_reconcile_condition{status="Deleted"}', OLD_FLUX, ["since 2.1 (August 2023)"]),
        ("gotk_suspend_status", ELSE, ['gotk_resource_info{suspended="true"}']),
        ("gotk_reconcile_duration_count", ELSE, []),
        ("gotk_reconcile_duration", ELSE, ["gotk_reconcile_duration_seconds"]),
        ("flux_helm_operator_release_condition_info", ELSE, ["Flux v1"]),
        ("flux_resource_info", ELSE, ["flux-operator"]),
        ('gotk_resource_info{kind="HelmRelease"}', EXPORTER, ["customresource_kind"]),
        ('gotk_resource_info{status="False"}', EXPORTER, ['ready="False"']),
        ('gotk_resource_info{suspended="True"}', EXPORTER, ["lower case"]),
        ('gotk_suspend_status{namespace="shop"}', EXPORTER, ["exported_namespace"]),
        ("gotk_resource_condition", EXPORTER, ["profile full"]),
    ],
)
def test_what_to_use_instead(expression: str, series: Sequence[Series], words: Sequence[str]) -> None:
    status, _, remedy = told(expression, series)
    assert status == "dead"
    assert bool(remedy) is bool(words)
    for word in words:
        assert word in remedy


def test_a_kind_that_old_controllers_do_not_export_may_be_removed_or_not_used() -> None:
    status, text, remedy = told('gotk_reconcile_condition{kind="HelmRelease",status="False"} == 1', OLD_FLUX)
    assert status == "doubtful"
    assert text == 'no series of gotk_reconcile_condition has kind="HelmRelease"; there is Kustomization'
    assert "removed for HelmRelease in 2.2 (December 2023)" in remedy


def test_where_the_scrape_keeps_the_exporters_labels_the_namespace_is_in_namespace() -> None:
    kept = [{**{k: v for k, v in s.items() if k != "exported_namespace"}, "namespace": "shop"} for s in EXPORTER]
    status, text, remedy = told('gotk_suspend_status{exported_namespace="shop"} == 1', kept)
    assert (status, text) == ("dead", "no series of gotk_suspend_status has a label exported_namespace")
    assert "honorLabels: true" in remedy


def test_a_recording_that_can_never_give_a_result_takes_along_what_is_built_on_it() -> None:
    rules = [
        record("level:a", "gone"),
        record("level:b", "level:a offset 5m or level:b offset 5m"),
        rule("level:b > 0", "OnDead"),
        record("level:c", "time() - gotk_resource_failing_since_timestamp_seconds"),
        rule("level:c > 0", "OnQuiet"),
        rule('{__name__=~"level:(b|c)"} > 0', "OnEither"),
        record("level:d", 'rate(http_requests_total{code="500"}[5m])'),
        rule("level:d > 0", "OnDoubtful"),
        record("level:e", "rate(up[5m] smoothed)"),
        rule("level:e > 0", "OnNotJudged"),
    ]
    found = judged(rules, EXPORTER + ELSE)
    assert {name: found[name].status for name in found} == {
        "level:a": "dead",
        "level:b": "dead",
        "OnDead": "dead",
        "level:c": "alive",
        "OnQuiet": "alive",
        "OnEither": "alive",
        "level:d": "doubtful",
        "OnDoubtful": "doubtful",
        "level:e": "not_judged",
        "OnNotJudged": "alive",
    }
    (reason,) = found["OnDead"].reasons
    assert reason.text == "level:b is recorded by a rule (group recordings) that can never give a result itself"


@pytest.mark.parametrize(
    ("matchers", "status"),
    [('team="x"', "alive"), ('team="x",job="wrong"', "dead"), ('kind="Kustomisation"', "dead")],
)
def test_owner_labels_are_whatever_the_settings_name(matchers: str, status: str) -> None:
    assert told(f"gotk_resource_owner_info{{{matchers}}}", EXPORTER)[0] == status


def test_a_recording_of_ours_that_is_silent_on_purpose_is_not_accused_nor_what_reads_it() -> None:
    counted = "flux_object:reconcile_counted_timestamp_seconds:max"
    counter = "gotk_reconcile_duration_seconds_count"
    findings = judged([record(counted, counter), rule(f"time() - {counted} > 0"), rule(counter, "Users")], EXPORTER)
    assert {name: finding.status for name, finding in findings.items()} == {
        counted: "alive",
        "Alert": "alive",
        "Users": "dead",
    }


def test_a_recording_that_never_said_a_label_so_far_may_say_it_one_day() -> None:
    rules = [record("level:a", "up"), rule('level:a{name="x"} > 0')]
    found = judged(rules, [*ELSE, {"__name__": "level:a", "name": "y"}])
    assert found["Alert"].status == "doubtful"


def test_an_alert_that_is_pending_needs_no_proof_and_one_whose_evaluation_fails_is_doubtful() -> None:
    unreadable = rule("rate(up[5m] smoothed)", "Unreadable", active=True)
    found = judged([rule("gone > 0", active=True), unreadable, rule("up == 0", "Broken", error="many-to-many")], ELSE)
    assert found["Alert"].status == found["Unreadable"].status == "alive"
    assert found["Broken"].status == "doubtful"
    assert found["Broken"].reasons[0].text == "its evaluation fails: many-to-many"


def test_what_the_server_could_not_say_accuses_nobody() -> None:
    found = judged([rule("gone > 0"), rule("gone > 0 and gone_too", "Sure")], ELSE, unanswered=["gone"])
    assert {name: finding.status for name, finding in found.items()} == {"Alert": "not_judged", "Sure": "dead"}
    assert [reason.selector for reason in found["Sure"].reasons] == ["gone_too"]


def test_the_tables_know_every_family_and_every_kind_that_had_a_condition() -> None:
    assert {family.name for family in OBJECT_FAMILIES} <= METRICS.keys()
    assert set(REMOVED) == {
        *("Alert", "Provider", "HelmRelease", "ImageUpdateAutomation", "GitRepository", "OCIRepository", "Bucket"),
        *("HelmRepository", "HelmChart", "Kustomization", "Receiver", "ImageRepository", "ImagePolicy"),
    }
    assert all(row.text.endswith(".") for row in ADVICE)
