"""What is known of Flux's metrics before anybody asks a Prometheus: which come and go, what a label can say, and what
to use in place of one that is gone. Data, and look-ups in it.

Of our own families everything comes from the catalogue and the table of kinds.
Source of the rest: fluxcd/pkg (runtime/metrics), the controllers' changelogs, fluxcd/flux2-monitoring-example,
controlplaneio-fluxcd/flux-operator (internal/reporter).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.owner_labels import name_refusal
from gotk_exporter.metrics import families as f
from gotk_exporter.metrics.own_families import BUILD_INFO, EXPORTER_FAMILIES
from gotk_exporter.rules.expressions import Matcher, Selector

Fault = Literal["metric", "unserved", "label", "value"]
"""unserved: gotk-exporter is there, and this metric of its is not."""


@dataclass(frozen=True, slots=True)
class KnownMetric:
    own: bool
    """gotk-exporter serves it."""
    steady: bool
    """It is there as soon as anything is watched; others only while something is so, or where there are such objects.
    """
    labels: frozenset[str]
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """What a label says only while something is so, or where there are such objects: that no series says it proves
    nothing. All that is not in the set is always there, or never."""
    takes_owner_labels: bool = False
    """It has labels of the exporter's settings, which are not known here."""

    def can_have(self, label: str) -> bool:
        return label in self.labels or (self.takes_owner_labels and name_refusal(label) is None)


_STATUSES = frozenset({"True", "False", "Unknown"})
_KINDS = frozenset(BY_NAME)
_STEADY = (f.RECONCILE_CONDITION, f.SUSPEND_STATUS, f.RESOURCE_INFO, f.RESOURCE_CONDITION, f.RESOURCE_INTERVAL)
_VALUES: dict[str, dict[str, frozenset[str]]] = {
    f.RECONCILE_CONDITION.name: {"type": frozenset(), "status": frozenset()},
    f.RESOURCE_INFO.name: {
        "ready": _STATUSES,
        "suspended": frozenset({"true", "false"}),
        "customresource_kind": _KINDS,
        "customresource_group": frozenset(kind.group for kind in BY_NAME.values()),
    },
    f.RESOURCE_CONDITION.name: {"status": _STATUSES},
}
_INFO_LABELS = {label for kind in BY_NAME.values() for label in kind.info}
_OPERATORS = ("flux_resource_info", "flux_instance_info", "flux_resourceset_info", "flux_resourcesetinputprovider_info")


def _own(family: f.Family) -> KnownMetric:
    labels = {*family.labels, *(_INFO_LABELS if family is f.RESOURCE_INFO else ())}
    values = {"kind": _KINDS} if "kind" in family.labels else {}
    steady = family in _STEADY or family in (BUILD_INFO,)
    values |= _VALUES.get(family.name, {})
    return KnownMetric(True, steady, frozenset(labels), values, takes_owner_labels=family is f.OWNER_INFO)


def _operators(name: str) -> KnownMetric:
    labels = {"uid", "kind", "name", "exported_namespace", "ready", "reason", "suspended", "revision", "url"}
    values = {"ready": _STATUSES, "suspended": frozenset({"True", "False"})}
    if name == "flux_resource_info":
        return KnownMetric(False, True, frozenset({*labels, "ref", "source_name", "path"}), {**values, "kind": _KINDS})
    return KnownMetric(False, True, frozenset({*labels, "registry", "resources"}), values)


METRICS: Mapping[str, KnownMetric] = {
    **{family.name: _own(family) for family in (*f.OBJECT_FAMILIES, *EXPORTER_FAMILIES)},
    **{name: _operators(name) for name in _OPERATORS},
}

MAY_BE_SILENT = frozenset({"flux_object:reconcile_counted_timestamp_seconds:max"})
"""Recordings of ours that are silent on purpose where Flux's own controllers are not scraped."""

STABLE_LABELS = frozenset(
    {"job", "cluster", "namespace", "exported_namespace", "name", "service", "endpoint", "container"}
)
"""Labels that name something that is there or not. What others say (a code, a reason, a status) may be said only on
the day when it matters."""


def admits(matcher: Matcher, value: str) -> bool:
    """Whether the matcher takes that value. RE2's and Python's expressions differ: what Python cannot read it takes."""
    if matcher.operator in ("=", "!="):
        return (matcher.value == value) is (matcher.operator == "=")
    try:
        return (re.fullmatch(matcher.value, value) is not None) is (matcher.operator == "=~")
    except (re.error, RecursionError):
        return True


def admits_any(matcher: Matcher, values: Iterable[str]) -> bool:
    return any(admits(matcher, value) for value in values)


# What to use instead

REMOVED: Mapping[str, str] = {
    "HelmRelease": "2.2 (December 2023)",
    "Alert": "2.2 (December 2023), with everything that reconciled it: it has no state any more",
    "Provider": "2.2 (December 2023), with everything that reconciled it: it has no state any more",
    "ImageUpdateAutomation": "2.3 (May 2024)",
    **dict.fromkeys(
        ("GitRepository", "OCIRepository", "Bucket", "HelmRepository", "HelmChart", "Kustomization", "Receiver"),
        "2.5 (February 2025)",
    ),
    **dict.fromkeys(("ImageRepository", "ImagePolicy"), "2.5 (February 2025)"),
}
"""In which Flux a kind lost gotk_reconcile_condition."""


@dataclass(frozen=True, slots=True)
class Advice:
    """For one fault of a selector; the expressions are Python's, and have to fit the whole."""

    metric: str
    missing: Fault
    text: str
    label: str = ".*"
    value: str = ".*"
    never: bool = False
    """gotk-exporter does not bring it back, so that this is worth saying even where the whole metric is missing."""


_LEGACY = "gotk_reconcile_condition|gotk_suspend_status"
_BACK = "gotk-exporter exports it again, with the labels that it had"
_READY = 'ready="False"'

ADVICE: tuple[Advice, ...] = (
    Advice(
        "gotk_suspend_status",
        "metric",
        f'no Flux controller exports it since 2.5 (February 2025). {_BACK}; gotk_resource_info{{suspended="true"}} of '
        "kube-state-metrics or of gotk-exporter says the same.",
    ),
    Advice("gotk_reconcile_duration", "metric", "since October 2020 it is gotk_reconcile_duration_seconds."),
    Advice(
        "gotk_resource_condition",
        "unserved",
        "gotk-exporter serves it in the profile full only, or when it is allowed by name; to alert, use "
        "gotk_reconcile_condition or gotk_resource_failing_since_timestamp_seconds, which do not flip during a run.",
    ),
    Advice(
        "gotk_resource_info",
        "metric",
        "it comes from kube-state-metrics with Flux's custom resource configuration, or from gotk-exporter with the "
        "same labels; this Prometheus scrapes neither.",
    ),
    Advice(
        "flux_helm_operator_.*",
        "metric",
        "it is Flux v1's Helm operator. For today's HelmReleases use "
        'gotk_reconcile_condition{kind="HelmRelease",status="False"} of gotk-exporter.',
    ),
    Advice(
        "flux_(resource|instance|resourceset|resourcesetinputprovider|operator)_info",
        "metric",
        "it comes from flux-operator, which this Prometheus does not scrape; gotk_resource_info of gotk-exporter or "
        "kube-state-metrics is about the same objects.",
    ),
    Advice(
        "gotk_reconcile_condition",
        "value",
        "no controller ever exported a type but Ready. gotk-exporter has the other conditions in "
        "gotk_resource_condition (profile full); a stalled object that fails is, like any other that fails, in "
        "gotk_resource_failing_since_timestamp_seconds.",
        "type",
        r"(?!.*\bReady\b).+",
        never=True,
    ),
    Advice(
        "gotk_reconcile_condition",
        "value",
        "Flux has no such series since 2.1 (August 2023), and what is added to nothing is nothing. gotk-exporter "
        "exports Deleted, mostly 0, so that rules with it work again.",
        "status",
        "Deleted",
    ),
    Advice(
        f"{_LEGACY}|gotk_resource_.*",
        "value",
        "no controller reconciles it, so that it has no readiness.",
        "(customresource_)?kind",
        "Alert|Provider",
        never=True,
    ),
    Advice(
        "gotk_resource_info",
        "label",
        "the kind is in customresource_kind.",
        "kind",
    ),
    Advice(
        "gotk_resource_info",
        "label",
        f"readiness is in the label ready, e.g. {_READY}.",
        "status|type|condition",
    ),
    Advice(
        "gotk_resource_info",
        "label",
        "the reason is in gotk_resource_failure_info of gotk-exporter.",
        "reason|ready_reason",
    ),
    Advice("gotk_resource_info", "label", "it gave away a secret, and gotk-exporter leaves it out.", "webhook_path"),
    Advice(
        "gotk_.*|flux_.*",
        "label",
        "where the scrape keeps the exporter's own labels (honorLabels: true), the object's namespace is in namespace.",
        "exported_namespace",
    ),
    Advice(
        "gotk_.*|flux_.*",
        "value",
        "namespace is the scraped pod's, unless the scrape has honorLabels: true; the object's is in "
        "exported_namespace.",
        "namespace",
    ),
    Advice("gotk_resource_info", "value", 'it says "true" or "false", in lower case.', "suspended", "(?i)true|false"),
    Advice("flux_.*_info", "value", 'it says "True" or "False", with a capital.', "suspended", "(?i)true|false"),
    Advice(
        "gotk_reconcile_duration_seconds(_bucket|_sum|_count)?",
        "value",
        "source-watcher does not export it.",
        "kind",
        "ArtifactGenerator",
    ),
)
"""The first row that fits."""


def advice(selector: Selector, missing: Fault, matcher: Matcher | None = None) -> str:
    """What to use instead, or what to change; empty where nothing is known."""
    metric = selector.metric or ""
    if matcher is not None:
        is_removed = metric == f.RECONCILE_CONDITION.name and missing == "value" and matcher.label == "kind"
        return _row(metric, missing, matcher) or (_removed(selector) if is_removed else "")
    if missing == "unserved":
        said = _row(metric, missing) or "its profile, or allow and deny in its settings, leave it out."
    elif metric == f.RECONCILE_CONDITION.name:
        said = _removed(selector)
    else:
        said = _row(metric, missing)
    if not said and metric in METRICS and METRICS[metric].own:
        said = "it comes from gotk-exporter, which this Prometheus does not scrape."
    besides = (_row(metric, "value", matcher, never=True) for matcher in selector.labels)
    return " ".join(filter(None, (said, *besides)))


def _row(metric: str, missing: Fault, matcher: Matcher | None = None, *, never: bool = False) -> str:
    label, value = (matcher.label, matcher.value) if matcher is not None else ("", "")
    for row in ADVICE:
        wanted = ((row.metric, metric), (row.label, label), (row.value, value))
        if row.missing == missing and all(re.fullmatch(pattern, text) for pattern, text in wanted):
            if never and not row.never:
                continue
            return row.text
    return ""


def _removed(selector: Selector) -> str:
    kinds = [kind for kind in REMOVED if any(m.label == "kind" and admits(m, kind) for m in selector.labels)]
    if 0 < len(kinds) <= 2:
        when = ", ".join(f"for {kind} in {REMOVED[kind]}" for kind in kinds)
    else:
        when = "for HelmRelease in 2.2 (December 2023), for the last kinds in 2.5 (February 2025)"
    if kinds and all(kind in ("Alert", "Provider") for kind in kinds):
        return f"Flux no longer exports it: removed {when}."
    return f"Flux no longer exports it: removed {when}. {_BACK}."
