"""What has to be there before helm-controller does anything: dependencies, and a chart; asks for the HelmChart.

Reference: fluxcd/helm-controller v1.6, and the recorded runs of it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from gotk_exporter.simulator.fleet.cluster import Cluster
from gotk_exporter.simulator.fleet.conditions import READY, STALLED
from gotk_exporter.simulator.fleet.controller import After, BackOff, Base, Result
from gotk_exporter.simulator.fleet.downloads import download
from gotk_exporter.simulator.fleet.objects import (
    Json,
    Key,
    api_version,
    artifact_revision,
    duration,
    is_ready,
    key_of,
    reference,
)
from gotk_exporter.simulator.fleet.patches import Effect, Emit, Working


class Waiting(Exception):
    """Something it needs is not there; it is looked at again after ``result``."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


def chart_key(obj: Json) -> Key:
    """The HelmChart or OCIRepository that the release takes its chart from."""
    if "chartRef" in obj["spec"]:
        return reference(obj, obj["spec"]["chartRef"])
    meta, source = obj["metadata"], obj["spec"]["chart"]["spec"]["sourceRef"]
    return Key("HelmChart", source.get("namespace") or meta["namespace"], f"{meta['namespace']}-{meta['name']}")


def prerequisites(
    base: Base, key: Key, obj: Json, work: Working, source: Key
) -> Generator[Effect, Any, tuple[str, str]]:
    """The chart's name and version."""
    requeue = base.cluster.flags.requeue_dependency
    waits_for = _dependency(base.cluster, obj)
    if waits_for:
        work.conditions.false(READY, "DependencyNotReady", waits_for)
        yield Emit("info", "DependencyNotReady", waits_for)
        raise Waiting(After(requeue))
    found = base.cluster.get(source)
    if found is None:
        missing = f'could not get Source object: {source.kind}.source.toolkit.fluxcd.io "{source.name}" not found'
        work.conditions.false(READY, "ArtifactFailed", missing)
        raise Waiting(BackOff())
    not_ready = _why_not_ready(found)
    if not_ready:
        work.conditions.false(READY, "SourceNotReady", not_ready)
        raise Waiting(After(base.cluster.jittered(key, requeue)))
    revision = artifact_revision(found)
    assert revision is not None
    if (str(source), revision) not in base.cluster.world.artifacts:
        message = f"Source not ready: artifact not found. Retrying in {duration(requeue)}"
        work.conditions.false(READY, "ArtifactFailed", message)
        raise Waiting(After(requeue))
    error = yield from download(base.cluster, found["status"]["artifact"]["url"])
    if error:
        work.conditions.false(READY, "ArtifactFailed", f"Could not load chart: {error}")
        yield Emit("error", "ArtifactFailed", error)
        raise Waiting(BackOff())
    if work.conditions.reason(READY) in ("DependencyNotReady", "ArtifactFailed", "SourceNotReady"):
        work.conditions.unknown(READY, "Progressing", "reconciliation in progress")
    if source.kind == "HelmChart":
        return str(found["status"]["observedChartName"]), revision
    name = str(found["spec"]["url"]).rpartition("/")[2]
    tag, _, digest = revision.partition("@sha256:")
    return name, f"{tag}+{digest[:12]}"


def _dependency(cluster: Cluster, obj: Json) -> str:
    """What the release waits for; empty if for nothing."""
    for ref in obj["spec"].get("dependsOn", ()):
        other = reference(obj, ref, "HelmRelease")
        dependency = cluster.get(other)
        if dependency is None:
            missing = f'helmreleases.helm.toolkit.fluxcd.io "{other.name}" not found'
            return f"unable to get '{other.path}' dependency: {missing}"
        if not is_ready(dependency):
            return f"dependency '{other.path}' is not ready"
    return ""


def chart_of(obj: Json, key: Key) -> Json:
    """The HelmChart that a release asks for."""
    template = obj["spec"]["chart"]["spec"]
    source = template["sourceRef"]
    meta = obj["metadata"]
    return {
        "apiVersion": api_version("HelmChart"),
        "kind": "HelmChart",
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {
                "helm.toolkit.fluxcd.io/name": meta["name"],
                "helm.toolkit.fluxcd.io/namespace": meta["namespace"],
            },
        },
        "spec": {
            "chart": template["chart"],
            "interval": template.get("interval", obj["spec"]["interval"]),
            "reconcileStrategy": template.get("reconcileStrategy", "ChartVersion"),
            "sourceRef": {"kind": source["kind"], "name": source["name"]},
            "version": template.get("version", "*"),
        },
    }


def _why_not_ready(source: Json) -> str:
    """Why a chart cannot be taken from there; empty if it can."""
    status = source.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    if status.get("observedGeneration") != source["metadata"].get("generation"):
        why = "latest generation of object has not been reconciled"
        if READY in conditions and conditions[READY]["status"] == "False":
            why = conditions[READY]["message"]
    elif conditions.get(STALLED, {}).get("status") == "True":
        why = conditions[STALLED]["message"]
    elif artifact_revision(source) is None:
        why = "does not have an artifact"
    else:
        return ""
    return f"{source['kind']} '{key_of(source).path}' is not ready: {why}"
