"""What source-controller does with a HelmChart, write by write.

Not here: signatures, values files, dependencies of charts.
Reference: fluxcd/source-controller v1.9. Recorded only beside HelmReleases, in what these say of it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Iterable
from typing import Any

from gotk_exporter.simulator.fleet.objects import (
    Json,
    Key,
    artifact_revision,
    key_of,
    new_artifact,
    reference,
    refers_to,
)
from gotk_exporter.simulator.fleet.patches import Effect, Emit, Working
from gotk_exporter.simulator.fleet.sources import FETCH_FAILED, IN_STORAGE, OUTDATED, Failure, SourceBase

_SOURCES = frozenset({"HelmRepository", "GitRepository", "Bucket"})


class HelmCharts(SourceBase):
    """HelmCharts."""

    kind = "HelmChart"

    def woken_by(self, old: Json | None, new: Json) -> Iterable[Key]:
        """The source has another artifact, or has one at last."""
        if new["kind"] not in _SOURCES or new_artifact(old, new) is None:
            return
        source = key_of(new)
        for obj in self.cluster.of_kind(self.kind):
            if refers_to(obj, "sourceRef", source):
                yield key_of(obj)

    def obtain(self, key: Key, obj: Json, work: Working) -> Generator[Effect, Any, bool]:
        conditions = work.conditions
        ref = reference(obj, obj["spec"]["sourceRef"])
        source = self.cluster.get(ref)
        if source is None:
            message = f'failed to get source: {ref.kind}.source.toolkit.fluxcd.io "{ref.name}" not found'
            conditions.true(FETCH_FAILED, "SourceUnavailable", message)
            raise Failure("SourceUnavailable", message)
        revision = artifact_revision(source)
        if revision is None or (str(ref), revision) not in self.cluster.world.artifacts:
            message = f"no artifact available for {ref.kind} source '{ref.name}'"
            conditions.true(FETCH_FAILED, "NoSourceArtifact", message)
            return False
        work.status["observedSourceArtifactRevision"] = revision
        yield self.pause(key, "chart: build")
        version, summary, reason = self._built(key, obj, work, source)
        stored = artifact_revision({"status": work.status})
        if stored != version or work.status.get("observedChartName") != _chart_name(obj):
            if stored is not None:
                conditions.true(OUTDATED, "NewChart", summary)
            conditions.progressing(f"building artifact: {summary}", drift=True)
            yield from self.patch(key, work)
            yield self.pause(key, "source: store")
            name = _chart_name(obj)
            path = f"helmchart/{key.namespace}/{key.name}/{name}-{version}.tgz"
            self.keep(key, work, version, path)
            work.status["observedChartName"] = name
            work.status["url"] = work.status["artifact"]["url"].replace(f"{name}-{version}.tgz", "latest.tar.gz")
            yield Emit("info", reason, summary, version)
        conditions.delete(FETCH_FAILED, OUTDATED, "BuildFailed")
        conditions.true(IN_STORAGE, reason, summary)
        return True

    def _built(self, key: Key, obj: Json, work: Working, source: Json) -> tuple[str, str, str]:
        """Version, summary and reason of the build."""
        wanted, version = obj["spec"]["chart"], obj["spec"].get("version", "*")
        upstream = self.cluster.world.upstreams[source["spec"]["url"]]
        if source["kind"] == "HelmRepository":
            versions = upstream.charts.get(wanted, ())
            matching = versions if version == "*" else tuple(one for one in versions if one == version)
            if matching:
                summary = f"pulled '{wanted}' chart with version '{matching[-1]}'"
                return matching[-1], summary, "ChartPullSucceeded"
            message = (
                "invalid chart reference: failed to get chart version for remote reference: "
                f"no '{wanted}' chart with version matching '{version}' found"
            )
        else:
            tree = upstream.trees[source["status"]["artifact"]["revision"]]
            if any(posixpath.normpath(path) == posixpath.normpath(wanted) for path in tree):
                name = _chart_name(obj)
                version = "0.1.0" if version == "*" else version
                return version, f"packaged '{name}' chart with version '{version}'", "ChartPackageSucceeded"
            folder = f"/tmp/helmchart-{key.namespace}-{key.name}-{self.cluster.chance(key).randrange(10**9)}"
            message = f"invalid chart reference: stat {folder}/source/{wanted}: no such file or directory"
        work.conditions.delete("BuildFailed")
        work.conditions.true(FETCH_FAILED, "InvalidChartReference", message)
        raise Failure("InvalidChartReference", message, stalls=True)


def _chart_name(obj: Json) -> str:
    return str(obj["spec"]["chart"]).rstrip("/").rpartition("/")[2]
