"""The effective interval and timeout: what an object says, or what its controller does where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flux.examples import render

EVERY = "fluxcd.controlplane.io/reconcileEvery"
WITHIN = "fluxcd.controlplane.io/reconcileTimeout"


def periods(
    kind: str, spec: dict[str, Any], annotations: dict[str, str]
) -> tuple[float | None, float | None, list[str]]:
    document = {"metadata": {"name": "a", "annotations": annotations}, "spec": spec, "status": {"conditions": []}}
    text, defects = render(document, kind)
    found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines()}
    interval, timeout = found.get("gotk_resource_interval_seconds"), found.get("gotk_resource_timeout_seconds")
    return interval, timeout, [defect.field for defect in defects]


TABLE: list[tuple[str, dict[str, Any], float | None, float | None]] = [
    # Kustomization: the interval less half a minute, and never less than half a minute.
    ("Kustomization", {"interval": "10m"}, 600, 570),
    ("Kustomization", {"interval": "45s"}, 45, 30),
    ("Kustomization", {"interval": "10m", "timeout": "3m"}, 600, 180),
    ("Kustomization", {"interval": "10m", "timeout": "20s"}, 600, 30),
    ("Kustomization", {}, None, None),
    ("HelmRelease", {"interval": "1h"}, 3600, 300),
    ("HelmRelease", {"interval": "1h", "timeout": "15m"}, 3600, 900),
    ("GitRepository", {"interval": "1m"}, 60, 60),
    ("GitRepository", {"interval": "1m", "timeout": "20s"}, 60, 20),
    ("OCIRepository", {"interval": "5m"}, 300, 60),
    ("Bucket", {"interval": "5m"}, 300, 60),
    ("HelmRepository", {"interval": "5m"}, 300, 60),
    ("HelmRepository", {}, 60, 60),
    ("HelmRepository", {"type": "default", "interval": "5m"}, 300, 60),
    ("HelmRepository", {"type": "oci", "interval": "5m"}, None, None),
    ("HelmChart", {"interval": "5m"}, 300, None),
    ("Receiver", {}, 600, None),
    ("Receiver", {"interval": "3000m"}, 180_000, None),
    ("ImageRepository", {"interval": "5m"}, 300, 300),
    ("ImageRepository", {"interval": "5m", "timeout": "1m"}, 300, 60),
    ("ImageRepository", {"interval": "500ms"}, 0.5, 1),
    ("ImagePolicy", {}, None, None),
    ("ImagePolicy", {"interval": "5m"}, 300, None),
    ("ImageUpdateAutomation", {"interval": "5m"}, 300, None),
    ("ArtifactGenerator", {}, 3600, None),
    ("Terraform", {"interval": "15m"}, 900, None),
    ("Canary", {"analysis": {"interval": "2m"}}, 120, None),
    ("Canary", {"canaryAnalysis": {"interval": "2m"}}, 120, None),
    ("Canary", {"analysis": {"interval": "1s"}}, 10, None),
    ("Canary", {"analysis": {"interval": ""}}, 60, None),
    ("Canary", {"skipAnalysis": True}, 60, None),
    ("FluxInstance", {}, 3600, 300),
    ("ResourceSet", {}, 3600, 300),
    ("ResourceSetInputProvider", {}, 600, 120),
    # Nothing reconciles these.
    ("FluxReport", {}, None, None),
    ("Alert", {}, None, None),
    ("Provider", {"interval": "10m", "timeout": "30s"}, None, None),
    ("ExternalArtifact", {}, None, None),
    ("MetricTemplate", {}, None, None),
    ("AlertProvider", {}, None, None),
]


@pytest.mark.parametrize(("kind", "spec", "interval", "timeout"), TABLE)
def test_a_spec_has_these_periods(
    kind: str, spec: dict[str, Any], interval: float | None, timeout: float | None
) -> None:
    assert periods(kind, spec, {}) == (interval, timeout, [])


@pytest.mark.parametrize(
    ("annotations", "interval", "timeout"),
    [({EVERY: "2h"}, 7200, 300), ({WITHIN: "10m"}, 3600, 600), ({EVERY: "90s", WITHIN: "30s"}, 90, 30)],
)
@pytest.mark.parametrize("kind", ["FluxInstance", "ResourceSet"])
def test_annotations_override_the_operators_defaults(
    kind: str, annotations: dict[str, str], interval: float, timeout: float
) -> None:
    assert periods(kind, {"interval": "1s", "timeout": "1s"}, annotations) == (interval, timeout, [])


def test_an_annotation_that_is_no_duration_is_told_and_leaves_the_default() -> None:
    assert periods("FluxInstance", {}, {EVERY: "daily", WITHIN: "10"}) == (
        3600,
        300,
        [f"metadata.annotations[{EVERY}]", f"metadata.annotations[{WITHIN}]"],
    )


@pytest.mark.parametrize(
    ("kind", "spec", "interval", "timeout", "fields"),
    [
        ("Kustomization", {"interval": "soon"}, None, None, ["spec.interval"]),
        ("Kustomization", {"interval": "10m", "timeout": "1d"}, 600, 570, ["spec.timeout"]),
        ("HelmRelease", {"interval": "soon", "timeout": "later"}, None, 300, ["spec.interval", "spec.timeout"]),
        ("Canary", {"analysis": {"interval": "1mm"}}, 60, None, ["spec.analysis.interval"]),
    ],
)
def test_a_field_that_is_no_duration_is_told_and_counts_as_silence(
    kind: str, spec: dict[str, Any], interval: float | None, timeout: float | None, fields: list[str]
) -> None:
    assert periods(kind, spec, {}) == (interval, timeout, fields)


def test_a_defect_of_a_period_says_what_to_write() -> None:
    _, (defect,) = render({"metadata": {"name": "a"}, "spec": {"interval": "5"}}, "Kustomization")
    assert defect.problem == '"5" is not a duration such as "10m" or "1h30m"'
