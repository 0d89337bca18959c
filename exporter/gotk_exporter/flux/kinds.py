"""THE table: what we know about each kind of object that Flux and its neighbours reconcile.

A new kind is one row here and three examples or more in tests/data. Which version of a kind is read is the API server's
choice (kube.discovery), so a row holds for every version that was ever served: fields that only some versions have are
simply absent in the others. The table judges nothing (readiness) and writes nothing (samples).

Sources: the kinds' Go types (fluxcd/*-controller api folders, controlplaneio-fluxcd/flux-operator api/v1,
flux-iac/tofu-controller api/v1alpha2, fluxcd/flagger pkg/apis), and for the labels of gotk_resource_info the
kube-state-metrics configuration in fluxcd/flux2-monitoring-example.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gotk_exporter.flux.rows import Case, Kind, Meaning, Past, Period, Reconciled, Refers, Via

_DEPENDENCY_NOT_READY = Case("DependencyNotReady", Meaning.WAITS, Via.DEPENDS_ON)
_SOURCE_REF = Refers(Via.SOURCE_REF, "spec.sourceRef")
_CANCELED = Case("HealthCheckCanceled", Meaning.RESTS)
"""Cut short because a newer revision has come, and started again at once."""
_PATCH_FAILED = Case("ProgressingWithRetry", Meaning.RESTS)
"""A source whose conditions could not be written: nothing is said about the fetch."""
_NOT_FOUND = r'\.toolkit\.fluxcd\.io "[^"]*" not found'
"""How the API server says that it has no such object."""


_INTERVAL = Period("spec.interval")
_FETCH_TIMEOUT = Period("spec.timeout", default_seconds=60)
"""The CRDs' default; for HelmRepository, whose CRD has none, its controller's."""


def _source(
    name: str,
    plural: str,
    info: Mapping[str, str],
    reconciled: Reconciled = Reconciled.ALWAYS,
    interval: Period = _INTERVAL,
    timeout: Period | None = _FETCH_TIMEOUT,
    cases: tuple[Case, ...] = (_PATCH_FAILED,),
    refers: tuple[Refers, ...] = (),
) -> Kind:
    return Kind(
        "source.toolkit.fluxcd.io",
        name,
        plural,
        reconciled,
        interval=interval,
        timeout=timeout,
        info={"revision": "status.artifact.revision", **info},
        cases=cases,
        refers=refers,
        past=Past.FETCHES,
    )


_OPERATOR = "fluxcd.controlplane.io"


def _operator(
    name: str,
    plural: str,
    every_seconds: float,
    timeout_seconds: float,
    past: Past = Past.RUNS,
    cases: tuple[Case, ...] = (_CANCELED,),
    refers: tuple[Refers, ...] = (),
) -> Kind:
    return Kind(
        _OPERATOR,
        name,
        plural,
        suspend_path=None,
        suspend_annotation=f"{_OPERATOR}/reconcile",
        interval=Period(annotation=f"{_OPERATOR}/reconcileEvery", default_seconds=every_seconds),
        timeout=Period(annotation=f"{_OPERATOR}/reconcileTimeout", default_seconds=timeout_seconds),
        past=past,
        reconciled_path="status.history.0.lastReconciled" if past is Past.RUNS else None,
        cases=cases,
        refers=refers,
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
        retry=Period("spec.retryInterval", interval_minus_seconds=0),
        written_by_runs=True,
        info={"revision": "status.lastAppliedRevision", "source_name": "spec.sourceRef.name"},
        cases=(
            _DEPENDENCY_NOT_READY,
            _CANCELED,
            # The same before kustomize-controller 1.8, which had no reason for it.
            Case("HealthCheckFailed", Meaning.RESTS, text=": context canceled$"),
            # Reconciling alone would mislead: it stays from a failure before when the source goes away after it.
            Case("ArtifactFailed", Meaning.WAITS, Via.SOURCE_REF, _NOT_FOUND),
            # The second, of a run that began: source-controller lost its storage, as it does when its pod is replaced.
            Case(
                "ArtifactFailed", Meaning.WAITS, Via.SOURCE_REF, "^Source (artifact|is not ready, artifact) not found"
            ),
            Case("ArtifactFailed", Meaning.RESTS, text="^unable to get source '"),
            Case("ArtifactFailed", Meaning.FAILS, text="path not found|failed to |not supported"),
            Case("ArtifactFailed", Meaning.WAITS, Via.SOURCE_REF, retrying=False),
        ),
        refers=(Refers(Via.DEPENDS_ON, "spec.dependsOn", "Kustomization"), _SOURCE_REF),
        past=Past.RUNS,
    ),
    Kind(
        "helm.toolkit.fluxcd.io",
        "HelmRelease",
        "helmreleases",
        timeout=Period("spec.timeout", default_seconds=300),
        # Of the strategy RetryOnFailure; any other backs off.
        retry=Period("spec.upgrade.strategy.retryInterval | spec.install.strategy.retryInterval"),
        written_by_runs=True,
        info={
            # v2beta1 has no history; its lastAppliedRevision is the chart's version.
            "revision": "status.history.0.chartVersion | status.lastAppliedRevision",
            "chart_name": "status.history.0.chartName",
            "chart_app_version": "status.history.0.appVersion",
            "chart_ref_name": "spec.chartRef.name",
            "chart_source_name": "spec.chart.spec.sourceRef.name",
        },
        cases=(
            _DEPENDENCY_NOT_READY,
            _CANCELED,
            Case("SourceNotReady", Meaning.WAITS, Via.CHART_REF),
            Case("HelmChartNotReady", Meaning.WAITS, Via.CHART_REF),
            # The other text of this reason, "Could not load chart", is a failure of its own.
            Case("ArtifactFailed", Meaning.WAITS, Via.CHART_REF, f"^could not get .*{_NOT_FOUND}"),
            Case(
                "ArtifactFailed", Meaning.WAITS, Via.CHART_REF, "^(Source|Chart) not ready|^HelmChart .* is not ready"
            ),
            Case("ArtifactFailed", Meaning.RESTS, text="^could not get "),
            Case("PendingRelease", Meaning.RESTS, text="^Unlocked "),
        ),
        # And the HelmChart that it makes for itself (flux.references).
        refers=(Refers(Via.DEPENDS_ON, "spec.dependsOn", "HelmRelease"), Refers(Via.CHART_REF, "spec.chartRef")),
        past=Past.RELEASES,
    ),
    _source(
        "GitRepository",
        "gitrepositories",
        {"url": "spec.url"},
        # Of a repository that it includes.
        cases=(
            Case("NotFound", Meaning.WAITS, Via.SOURCE_REF),
            Case("NoArtifact", Meaning.WAITS, Via.SOURCE_REF),
            _PATCH_FAILED,
        ),
        refers=(Refers(Via.SOURCE_REF, "spec.include", "GitRepository"),),
    ),
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
    _source(
        "HelmChart",
        "helmcharts",
        {"chart_name": "spec.chart", "chart_version": "spec.version"},
        timeout=None,
        cases=(
            Case("NoSourceArtifact", Meaning.WAITS, Via.SOURCE_REF),
            Case("SourceUnavailable", Meaning.WAITS, Via.SOURCE_REF, "not found$"),
            Case("SourceUnavailable", Meaning.FAILS, text="unsupported"),
            Case("SourceUnavailable", Meaning.RESTS),
            _PATCH_FAILED,
        ),
        refers=(_SOURCE_REF,),
    ),
    Kind(
        "source.toolkit.fluxcd.io",
        "ExternalArtifact",
        "externalartifacts",
        Reconciled.IF_CONDITIONS,
        suspend_path=None,
        interval=None,
        # Its producer.
        refers=(_SOURCE_REF,),
    ),
    Kind(
        "source.extensions.fluxcd.io",
        "ArtifactGenerator",
        "artifactgenerators",
        suspend_path=None,
        suspend_annotation="source.extensions.fluxcd.io/reconcile",
        # GetRequeueAfter in its API: one hour, not to be configured.
        interval=Period(default_seconds=3600),
        cases=(
            Case(
                "SourceFetchFailed",
                Meaning.WAITS,
                Via.SOURCE_REF,
                f"^get sources failed: (.*{_NOT_FOUND}|source .* is not ready)",
            ),
            Case("SourceFetchFailed", Meaning.RESTS, text="^get sources failed: unable to get source"),
        ),
        refers=(Refers(Via.SOURCE_REF, "spec.sources"),),
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
        success_path="status.lastScanResult.scanTime",
        reconciled_path="status.lastScanResult.scanTime",
    ),
    Kind(
        "image.toolkit.fluxcd.io",
        "ImagePolicy",
        "imagepolicies",
        info={"source_name": "spec.imageRepositoryRef.name"},
        cases=(
            Case("DependencyNotReady", Meaning.WAITS, Via.IMAGE),
            # What is wrong is the ImageRepository's image; the policy has none.
            Case("ImageURLInvalid", Meaning.WAITS, Via.IMAGE),
            Case("FeatureGateDisabled", Meaning.WAITS, Via.IMAGE),
        ),
        refers=(Refers(Via.IMAGE, "spec.imageRepositoryRef", "ImageRepository"),),
    ),
    Kind(
        "image.toolkit.fluxcd.io",
        "ImageUpdateAutomation",
        "imageupdateautomations",
        info={"source_name": "spec.sourceRef.name"},
        reconciled_path="status.lastAutomationRunTime",
        cases=(
            Case("SourceManagerFailed", Meaning.WAITS, Via.SOURCE_REF, _NOT_FOUND),
            Case("SourceManagerFailed", Meaning.RESTS, text="failed to get refer(red|enced) git repository"),
            Case("GitRepositoryNotAvailable", Meaning.WAITS, Via.SOURCE_REF),
        ),
        refers=(Refers(Via.SOURCE_REF, "spec.sourceRef", "GitRepository"),),
    ),
    _operator("FluxInstance", "fluxinstances", 3600, 300),
    _operator(
        "ResourceSet",
        "resourcesets",
        3600,
        300,
        cases=(_DEPENDENCY_NOT_READY, _CANCELED),
        refers=(Refers(Via.DEPENDS_ON, "spec.dependsOn", own_namespace=False),),
    ),
    _operator("ResourceSetInputProvider", "resourcesetinputproviders", 600, 120, Past.NONE, cases=()),
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
    Kind(
        "infra.contrib.fluxcd.io",
        "Terraform",
        "terraforms",
        success_path="status.lastSuccessfulReconcileAt",
        # GetRetryInterval in its API.
        retry=Period("spec.retryInterval", default_seconds=15),
        cases=(
            _DEPENDENCY_NOT_READY,
            # Ready=Unknown until somebody approves the plan, which may be never.
            Case("TerraformPlannedWithChanges", Meaning.RESTS),
            Case("ArtifactFailed", Meaning.WAITS, Via.SOURCE_REF, _NOT_FOUND),
            Case("ArtifactFailed", Meaning.WAITS, Via.SOURCE_REF, "^Source .*not found"),
            Case("ArtifactFailed", Meaning.RESTS, text="^could not get Source object"),
        ),
        refers=(Refers(Via.DEPENDS_ON, "spec.dependsOn", "Terraform"), _SOURCE_REF),
    ),
    Kind(
        "flagger.app",
        "Canary",
        "canaries",
        condition="Promoted",
        phases={
            "Initializing": Meaning.RUNS,
            "Initialized": Meaning.WELL,
            "Progressing": Meaning.RUNS,
            "Promoting": Meaning.RUNS,
            "Finalising": Meaning.RUNS,
            "Succeeded": Meaning.WELL,
            "Failed": Meaning.FAILS,
            # For a person's word.
            "Waiting": Meaning.RESTS,
            "WaitingPromotion": Meaning.RESTS,
            "Terminating": Meaning.RESTS,
            "Terminated": Meaning.RESTS,
        },
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
