"""Risk, as facts about one object's specification, as sample lines: one function per family.

What decides stands in a row for each kind; whether a text names one version, in versions. The facts hold whatever the
object's state is: suspended, failing or terminating, it says the same.

Sources: the kinds' API types and the code that reads them, named at each row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gotk_exporter.flux.objects import FluxObject, ImageRef, Reference, Spec
from gotk_exporter.flux.periods import stated_retry_seconds
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.subject import Subject, info, number
from gotk_exporter.flux.timestamps import parse_timestamp
from gotk_exporter.flux.versions import is_git_tag_moving, is_image_tag_moving, is_one_version
from gotk_exporter.metrics import families as f

# Versions


@dataclass(frozen=True, slots=True)
class Choice:
    """What decides which version is deployed."""

    field: str
    """A path of ours, never a text of the object: bounded as a label. Where nothing is said: where it could be."""
    pinned: bool


def _of_git(obj: FluxObject) -> Choice:
    """In the order of fluxcd/pkg, git/gogit/client.go, clone(). The API's comments have semver before tag; the code
    has not."""
    ref = obj.spec.ref
    if ref is None:
        return Choice("spec.ref", False)
    if ref.commit:
        return Choice("spec.ref.commit", True)
    if ref.name:
        # Any reference but a tag moves as branches do.
        is_tag = ref.name.startswith("refs/tags/")
        return Choice("spec.ref.name", is_tag and not is_git_tag_moving(ref.name.removeprefix("refs/tags/")))
    if ref.tag:
        return Choice("spec.ref.tag", not is_git_tag_moving(ref.tag))
    if ref.semver:
        return Choice("spec.ref.semver", is_one_version(ref.semver))
    # Neither: the branch master.
    return Choice("spec.ref.branch" if ref.branch else "spec.ref", False)


def _of_oci(obj: FluxObject) -> Choice:
    """In the order of source-controller, ocirepository_controller.go, getArtifactRef()."""
    ref = obj.spec.ref
    if ref is None:
        return Choice("spec.ref", False)
    if ref.digest:
        return Choice("spec.ref.digest", True)
    if ref.semver:
        return Choice("spec.ref.semver", is_one_version(ref.semver))
    if ref.tag:
        return Choice("spec.ref.tag", not is_image_tag_moving(ref.tag))
    # The tag latest.
    return Choice("spec.ref", False)


def _of_release(obj: FluxObject) -> Choice | None:
    chart = obj.spec.chart
    # What chartRef names says it for itself. helm-controller prefers it to a template.
    if chart is None or isinstance(chart, str) or obj.spec.chart_ref is not None:
        return None
    return _of_chart("spec.chart.spec.version", chart.spec.source_ref, chart.spec.version)


def _of_helm_chart(obj: FluxObject) -> Choice | None:
    if _is_made_by_release(obj) or obj.spec.source_ref is None:
        return None
    return _of_chart("spec.version", obj.spec.source_ref, obj.spec.version)


def _of_chart(field: str, source: Reference, version: str | None) -> Choice | None:
    """Only a HelmRepository has a choice of versions: for a chart from any other source the field is ignored."""
    if source.kind != "HelmRepository":
        return None
    # Absent is "*", by the CRD's default and by the code (getChartVersion in internal/helm/repository).
    return Choice(field, is_one_version(version or "*"))


_RELEASE_LABELS = "helm.toolkit.fluxcd.io"


def _is_made_by_release(obj: FluxObject) -> bool:
    """Whether helm-controller made the HelmChart of a HelmRelease, which says itself how its chart is chosen.

    Since helm-controller 0.37 such a chart has the labels of its owner (internal/reconcile/helmchart_template.go). So
    has everything that a release installs, also a HelmChart, but not the name (GetHelmChartName in its API).
    """
    labels = obj.metadata.labels or {}
    namespace, name = labels.get(f"{_RELEASE_LABELS}/namespace"), labels.get(f"{_RELEASE_LABELS}/name")
    return bool(namespace and name) and obj.metadata.name == f"{namespace}-{name}"


def _of_instance(obj: FluxObject) -> Choice:
    """A constraint, as 2.x (flux-operator, internal/builder/semver.go)."""
    distribution = obj.spec.distribution
    return Choice("spec.distribution.version", is_one_version((distribution and distribution.version) or "*"))


def _of_policy(obj: FluxObject) -> Choice | None:
    """What a policy has chosen is written to Git as it is: with the digest, where it is to be reflected. Without a
    tag that it has chosen nothing is known: the expression alone does not tell which tags there are."""
    if obj.spec.digest_reflection_policy in ("Always", "IfNotPresent"):
        return Choice("spec.digestReflectionPolicy", True)
    latest = _latest_image(obj)
    if latest is None:
        return None
    field = "status.latestRef.tag" if obj.status.latest_ref is not None else "status.latestImage"
    return Choice(field, not is_image_tag_moving(latest.tag or ""))


CHOICES: Mapping[str, Callable[[FluxObject], Choice | None]] = {
    "GitRepository": _of_git,
    "OCIRepository": _of_oci,
    "HelmRelease": _of_release,
    "HelmChart": _of_helm_chart,
    "FluxInstance": _of_instance,
    "ImagePolicy": _of_policy,
}
"""Kinds of which a version is wanted. A Bucket is not among them: it has but one."""


# Health


def _is_release_checked(spec: Spec) -> bool:
    """disableWaitForJobs is another thing, and both wait strategies wait (helm-controller, internal/action/wait.go)."""
    return not any(action is not None and action.disable_wait for action in (spec.install, spec.upgrade))


HEALTH_CHECKS: Mapping[str, Callable[[Spec], bool]] = {
    # checkHealth in its controller; healthCheckExprs alone check nothing.
    "Kustomization": lambda spec: bool(spec.wait or spec.health_checks),
    "HelmRelease": _is_release_checked,
    # Steps are waited for in any case, but the last only if this says so.
    "ResourceSet": lambda spec: bool(spec.wait),
    # GetWait in its API.
    "FluxInstance": lambda spec: spec.wait is not False,
}
"""Whether the health of what an object applies is waited for, of the kinds that apply to a cluster. A Terraform is not
among them: its providers wait themselves."""


# Image automation


def _latest_image(obj: FluxObject) -> ImageRef | None:
    """What a policy has chosen: name and tag."""
    latest = obj.status.latest_ref
    if latest is not None:
        return latest if latest.tag else None
    name, colon, tag = (obj.status.latest_image or "").partition("@")[0].rpartition(":")
    # A colon may also stand before a registry's port.
    return ImageRef(name, tag) if colon and tag and "/" not in tag else None


# For those who ask


@dataclass(frozen=True, slots=True)
class Risks:
    """What is worth knowing of an object's specification at three in the morning."""

    unpinned: str = ""
    """The field that decides which version is deployed, where it names none; empty where one is named, or none is
    wanted."""
    unchecked: bool = False
    """It is ready as soon as it is applied."""
    kubeconfig: str | None = None
    """The Secret or ConfigMap with the access to the other cluster that it is applied to."""


NO_RISKS = Risks()


@functools.lru_cache(maxsize=1024)
def _shared(unpinned: str, unchecked: bool, kubeconfig: str | None) -> Risks:
    """Most objects are alike in this."""
    return Risks(unpinned, unchecked, kubeconfig)


def risks_of(kind: Kind, obj: FluxObject) -> Risks:
    """The same facts in one value."""
    choice, checked = _choice(kind, obj), HEALTH_CHECKS.get(kind.name)
    unchecked = checked is not None and not checked(obj.spec)
    return _shared(choice.field if choice is not None and not choice.pinned else "", unchecked, _kubeconfig(obj))


def _choice(kind: Kind, obj: FluxObject) -> Choice | None:
    choose = CHOICES.get(kind.name)
    return choose(obj) if choose is not None else None


def _kubeconfig(obj: FluxObject) -> str | None:
    access = obj.spec.kube_config
    if access is None:
        return None
    named = access.secret_ref or access.config_map_ref
    return named.name if named is not None else ""


# Samples


def _retry_interval(subject: Subject) -> str:
    return number(f.RESOURCE_RETRY_INTERVAL, subject.labels, stated_retry_seconds(subject.kind, subject.obj))


def _health_checked(subject: Subject) -> str:
    is_checked = HEALTH_CHECKS.get(subject.kind.name)
    return number(f.HEALTH_CHECKED, subject.labels, None if is_checked is None else is_checked(subject.obj.spec))


def _version_pinned(subject: Subject) -> str:
    choice = _choice(subject.kind, subject.obj)
    return "" if choice is None else number(f.VERSION_PINNED, f'{subject.labels},field="{choice.field}"', choice.pinned)


def _target(subject: Subject) -> str:
    name = _kubeconfig(subject.obj)
    return "" if name is None else info(f.TARGET_INFO, subject.labels, ("kubeconfig_secret", name))


def _last_run(subject: Subject) -> str:
    ran_at = parse_timestamp(subject.obj.status.last_automation_run_time)
    return number(f.IMAGE_AUTOMATION_LAST_RUN, subject.labels, ran_at)


def _last_push(subject: Subject) -> str:
    return number(f.IMAGE_AUTOMATION_LAST_PUSH, subject.labels, parse_timestamp(subject.obj.status.last_push_time))


def _latest_tag(subject: Subject) -> str:
    latest = _latest_image(subject.obj)
    if latest is None:
        return ""
    return info(f.IMAGE_POLICY_LATEST, subject.labels, ("image", latest.name or ""), ("tag", latest.tag or ""))


SAMPLES: Mapping[str, Callable[[Subject], str]] = {
    f.RESOURCE_RETRY_INTERVAL.name: _retry_interval,
    f.HEALTH_CHECKED.name: _health_checked,
    f.VERSION_PINNED.name: _version_pinned,
    f.TARGET_INFO.name: _target,
    f.IMAGE_AUTOMATION_LAST_RUN.name: _last_run,
    f.IMAGE_AUTOMATION_LAST_PUSH.name: _last_push,
    f.IMAGE_POLICY_LATEST.name: _latest_tag,
}
