"""The part of an object that we decode.

One struct serves all kinds: each field means the same wherever it occurs, and what a kind does with it stands in the
table (kinds). Fields that we do not name are skipped by the decoder without being built, which is what makes this ten
times faster than decoding whole objects. A field of the wrong type costs itself, never the object: ``decode`` gives
what could be read and a ``Defect`` for what could not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from gotk_exporter.flux.lenient import read_leniently

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer as Kubernetes has them. A larger one that became a sample would cost the whole page: Prometheus refuses
numbers beyond float64."""


class Part(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A JSON object of which we know some fields."""


class ManagedFields(Part, frozen=True):
    """Who wrote a part of the object last, and when; which fields they are is not read."""

    manager: str = ""
    subresource: str = ""
    time: str | None = None


class Metadata(Part, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: Int64 | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    managed_fields: list[ManagedFields] | None = None


class Condition(Part, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class Reference(Part, frozen=True):
    """Another object that a spec names; what it leaves out follows from the kind that says it (flux.references)."""

    name: str = ""
    namespace: str = ""
    kind: str = ""
    api_version: str = ""


class Include(Part, frozen=True):
    repository: Reference = Reference()


class ChartSpec(Part, frozen=True):
    source_ref: Reference = Reference()
    version: str | None = None


class ChartTemplate(Part, frozen=True):
    spec: ChartSpec = ChartSpec()


class Analysis(Part, frozen=True):
    interval: str | None = None


class Presence(Part, frozen=True):
    """Something of which we only ask whether it is there."""


class Ref(Part, frozen=True):
    """Which revision of a repository is wanted: of a GitRepository or an OCIRepository."""

    branch: str | None = None
    tag: str | None = None
    semver: str | None = None
    name: str | None = None
    commit: str | None = None
    digest: str | None = None


class Strategy(Part, frozen=True):
    """What helm-controller does about a failed action."""

    name: str = ""
    retry_interval: str | None = None


class Action(Part, frozen=True):
    """How helm-controller installs or upgrades."""

    disable_wait: bool | None = None
    strategy: Strategy | None = None


class Named(Part, frozen=True):
    name: str = ""


class KubeConfig(Part, frozen=True):
    """Access to another cluster."""

    secret_ref: Named | None = None
    config_map_ref: Named | None = None


class Checkout(Part, frozen=True):
    ref: Ref | None = None


class Push(Part, frozen=True):
    branch: str | None = None
    refspec: str | None = None


class Git(Part, frozen=True):
    """What an ImageUpdateAutomation reads, and where it pushes to."""

    checkout: Checkout | None = None
    push: Push | None = None


class Selected(Part, frozen=True):
    """What a Receiver asks to be reconciled; in a ResourceSet, an object that it applies."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    match_labels: dict[str, str] | None = None


class Distribution(Part, frozen=True):
    version: str | None = None


class Spec(Part, frozen=True):
    suspend: bool | None = None
    interval: str | None = None
    retry_interval: str | None = None
    timeout: str | None = None
    type: str | None = None
    url: str | None = None
    endpoint: str | None = None
    bucket_name: str | None = None
    image: str | None = None
    version: str | None = None
    chart: str | ChartTemplate | None = None
    chart_ref: Reference | None = None
    source_ref: Reference | None = None
    image_repository_ref: Reference | None = None
    depends_on: list[Reference] | None = None
    include: list[Include] | None = None
    sources: list[Reference] | None = None
    """What an ArtifactGenerator composes."""
    artifacts: list[Reference] | None = None
    """The ExternalArtifacts that an ArtifactGenerator produces, in its own namespace."""
    wait: bool | None = None
    health_checks: list[Presence] | None = None
    kube_config: KubeConfig | None = None
    ref: Ref | None = None
    install: Action | None = None
    upgrade: Action | None = None
    git: Git | None = None
    resources: list[Selected] | None = None
    distribution: Distribution | None = None
    digest_reflection_policy: str | None = None
    """An ImagePolicy's: Never (so the default), IfNotPresent or Always."""
    analysis: Analysis | None = None
    canary_analysis: Analysis | None = None


class Artifact(Part, frozen=True):
    revision: str | None = None
    last_update_time: str | None = None


class TestHook(Part, frozen=True):
    phase: str = ""


class HistoryEntry(Part, frozen=True):
    """A release of a HelmRelease, or runs of an applier that had the same result: each has fields of its own."""

    chart_name: str | None = None
    chart_version: str | None = None
    app_version: str | None = None
    status: str | None = None
    action: str | None = None
    last_deployed: str | None = None
    test_hooks: dict[str, TestHook] | None = None
    first_reconciled: str | None = None
    last_reconciled: str | None = None
    last_reconciled_status: str | None = None
    last_reconciled_duration: str | None = None
    oci_digest: str | None = None


class Entry(Part, frozen=True):
    """An object that another one manages. ``id`` is namespace_name_group_kind with the appliers."""

    id: str = ""


class Inventory(Part, frozen=True):
    entries: list[Entry] | None = None


class ScanResult(Part, frozen=True):
    scan_time: str | None = None


class ImageRef(Part, frozen=True):
    name: str | None = None
    tag: str | None = None
    digest: str | None = None


class Status(Part, frozen=True):
    conditions: list[Condition] | None = None
    observed_generation: Int64 | None = None
    artifact: Artifact | None = None
    last_applied_revision: str | None = None
    history: list[HistoryEntry] | None = None
    inventory: Inventory | list[Entry] | None = None
    """ArtifactGenerator has a bare list where the appliers have an object with ``entries``."""
    helm_chart: str | None = None
    """namespace/name of the HelmChart that a HelmRelease made."""
    phase: str | None = None
    """A Canary's."""
    last_scan_result: ScanResult | None = None
    last_successful_reconcile_at: str | None = None
    last_handled_reconcile_at: str | None = None
    last_automation_run_time: str | None = None
    last_push_time: str | None = None
    latest_ref: ImageRef | None = None
    latest_image: str | None = None
    """latestRef of image-reflector-controller before 0.34, in one text."""


class FluxObject(Part, frozen=True):
    metadata: Metadata = Metadata()
    spec: Spec = Spec()
    status: Status = Status()


@dataclass(frozen=True, slots=True)
class Defect:
    """A field that could not be read. ``field`` is a path of ours, never of the object's making: bounded as a label."""

    field: str
    problem: str


_decoder = msgspec.json.Decoder(FluxObject)


def decode(raw: bytes | msgspec.Raw) -> tuple[FluxObject, tuple[Defect, ...]]:
    """The object as far as it could be read, and what could not. Never raises, whatever the bytes."""
    try:
        return _decoder.decode(raw), ()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # The last two: what is no UTF-8 or has thousands of digits, and what is nested by the thousand.
        obj, problems = read_leniently(bytes(raw), FluxObject)
        return obj, tuple([Defect(path or "object", problem) for path, problem in problems.items()])
