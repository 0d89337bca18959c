"""THE table: what we know about each kind of object that Flux and its neighbours reconcile.

A new kind is one row here and one file in tests/data/kinds. Which version of a kind is read is the API server's choice
(kube.discovery), so a row holds for every version that was ever served: fields that only some versions have are simply
absent in the others. The table judges nothing (readiness) and writes nothing (samples).

Sources: the kinds' Go types (fluxcd/*-controller api folders, controlplaneio-fluxcd/flux-operator api/v1,
flux-iac/tofu-controller api/v1alpha2, fluxcd/flagger pkg/apis), and for the labels of gotk_resource_info the
kube-state-metrics configuration in fluxcd/flux2-monitoring-example.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


class Reconciled(enum.Enum):
    """Whether a controller judges objects of the kind, and so whether they have a verdict."""

    ALWAYS = "always"
    IF_CONDITIONS = "if it carries conditions"
    """Kinds that lost their reconciler (Alert and Provider, in Flux 2.2) or whose conditions are a courtesy (the
    producer of an ExternalArtifact): without conditions they would be Unknown for ever."""
    UNLESS_OCI = "unless it is of type oci and carries no conditions"
    """HelmRepository: those of type oci lost their reconciler in Flux 2.2, and their status was emptied."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Period:
    """Where a kind states a duration, and what its controller does where it is silent."""

    path: str | None = None
    annotation: str | None = None
    default_seconds: float | None = None
    interval_minus_seconds: float | None = None
    """Where silent: the interval less this much."""
    minimum_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One row."""

    group: str
    name: str
    plural: str
    reconciled: Reconciled = Reconciled.ALWAYS
    condition: str = "Ready"
    """The condition that the verdict follows."""
    suspend_path: str | None = "spec.suspend"
    suspend_annotation: str | None = None
    """Suspended while the annotation has the value "disabled", in any case of letters."""
    interval: Period | None = Period("spec.interval")
    timeout: Period | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    """Labels of gotk_resource_info beyond the common ones: name to path, or to paths in order of preference."""

    @property
    def resource(self) -> str:
        """As RBAC and kubectl spell it: plural.group."""
        return f"{self.plural}.{self.group}"


def _source(
    name: str,
    plural: str,
    info: Mapping[str, str],
    reconciled: Reconciled = Reconciled.ALWAYS,
    interval: Period = Period("spec.interval"),
    # The CRDs' default; for HelmRepository, whose CRD has none, its controller's.
    timeout: Period | None = Period("spec.timeout", default_seconds=60),
) -> Kind:
    return Kind(
        "source.toolkit.fluxcd.io",
        name,
        plural,
        reconciled,
        interval=interval,
        timeout=timeout,
        info={"revision": "status.artifact.revision", **info},
    )


_OPERATOR = "fluxcd.controlplane.io"


def _operator(name: str, plural: str, every_seconds: float, timeout_seconds: float) -> Kind:
    return Kind(
        _OPERATOR,
        name,
        plural,
        suspend_path=None,
        suspend_annotation=f"{_OPERATOR}/reconcile",
        interval=Period(annotation=f"{_OPERATOR}/reconcileEvery", default_seconds=every_seconds),
        timeout=Period(annotation=f"{_OPERATOR}/reconcileTimeout", default_seconds=timeout_seconds),
    )


def _flagger_static(name: str, plural: str) -> Kind:
    return Kind("flagger.app", name, plural, Reconciled.NEVER, suspend_path=None, interval=None)


KINDS: tuple[Kind, ...] = (
    Kind(
        "kustomize.toolkit.fluxcd.io",
        "Kustomization",
        "kustomizations",
        # GetTimeout in its API: the interval less 30 s where silent, and never under 30 s.
        timeout=Period("spec.timeout", interval_minus_seconds=30, minimum_seconds=30),
        info={"revision": "status.lastAppliedRevision", "source_name": "spec.sourceRef.name"},
    ),
    Kind(
        "helm.toolkit.fluxcd.io",
        "HelmRelease",
        "helmreleases",
        timeout=Period("spec.timeout", default_seconds=300),
        info={
            # v2beta1 has no history; its lastAppliedRevision is the chart's version.
            "revision": "status.history.0.chartVersion | status.lastAppliedRevision",
            "chart_name": "status.history.0.chartName",
            "chart_app_version": "status.history.0.appVersion",
            "chart_ref_name": "spec.chartRef.name",
            "chart_source_name": "spec.chart.spec.sourceRef.name",
        },
    ),
    _source("GitRepository", "gitrepositories", {"url": "spec.url"}),
    _source("OCIRepository", "ocirepositories", {"url": "spec.url"}),
    _source("Bucket", "buckets", {"endpoint": "spec.endpoint", "bucket_name": "spec.bucketName"}),
    _source(
        "HelmRepository",
        "helmrepositories",
        {"url": "spec.url"},
        Reconciled.UNLESS_OCI,
        # Optional since its type oci does without; GetRequeueAfter in its API takes a minute.
        interval=Period("spec.interval", default_seconds=60),
    ),
    _source("HelmChart", "helmcharts", {"chart_name": "spec.chart", "chart_version": "spec.version"}, timeout=None),
    Kind(
        "source.toolkit.fluxcd.io",
        "ExternalArtifact",
        "externalartifacts",
        Reconciled.IF_CONDITIONS,
        suspend_path=None,
        interval=None,
    ),
    Kind(
        "source.extensions.fluxcd.io",
        "ArtifactGenerator",
        "artifactgenerators",
        suspend_path=None,
        suspend_annotation="source.extensions.fluxcd.io/reconcile",
        # GetRequeueAfter in its API: one hour, not to be configured.
        interval=Period(default_seconds=3600),
    ),
    Kind(
        "notification.toolkit.fluxcd.io",
        "Receiver",
        "receivers",
        interval=Period("spec.interval", default_seconds=600),
        # The published label webhook_path is left out: the path is a secret.
    ),
    Kind(
        "notification.toolkit.fluxcd.io",
        "Alert",
        "alerts",
        Reconciled.IF_CONDITIONS,
        interval=None,
    ),
    Kind(
        "notification.toolkit.fluxcd.io",
        "Provider",
        "providers",
        Reconciled.IF_CONDITIONS,
        interval=None,
    ),
    Kind(
        "image.toolkit.fluxcd.io",
        "ImageRepository",
        "imagerepositories",
        timeout=Period("spec.timeout", interval_minus_seconds=0, minimum_seconds=1),
        info={"image": "spec.image"},
    ),
    Kind(
        "image.toolkit.fluxcd.io",
        "ImagePolicy",
        "imagepolicies",
        info={"source_name": "spec.imageRepositoryRef.name"},
    ),
    Kind(
        "image.toolkit.fluxcd.io",
        "ImageUpdateAutomation",
        "imageupdateautomations",
        info={"source_name": "spec.sourceRef.name"},
    ),
    _operator("FluxInstance", "fluxinstances", 3600, 300),
    _operator("ResourceSet", "resourcesets", 3600, 300),
    _operator("ResourceSetInputProvider", "resourcesetinputproviders", 600, 120),
    # Its Ready is always True and says nothing about Flux.
    Kind(
        _OPERATOR,
        "FluxReport",
        "fluxreports",
        Reconciled.NEVER,
        suspend_path=None,
        suspend_annotation=f"{_OPERATOR}/reconcile",
        interval=None,
    ),
    Kind("infra.contrib.fluxcd.io", "Terraform", "terraforms"),
    Kind(
        "flagger.app",
        "Canary",
        "canaries",
        condition="Promoted",
        # GetAnalysisInterval in its API.
        interval=Period(
            "spec.analysis.interval | spec.canaryAnalysis.interval",
            default_seconds=60,
            minimum_seconds=10,
        ),
    ),
    _flagger_static("MetricTemplate", "metrictemplates"),
    _flagger_static("AlertProvider", "alertproviders"),
)

BY_NAME: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in KINDS})
"""Names are unique across groups: the legacy metrics have no label for the group."""
