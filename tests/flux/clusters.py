"""A cluster to tell stories in: objects are written as their controllers write them, and the page is read back.

Times are minutes after the story's beginning. Everything goes through collectors as the exporter has them, in JSON, so
that what is asserted is what a scrape would show.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME, KINDS
from gotk_exporter.flux.memory import Memory, read, write
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.flux.examples import OWNER_LABELS, text_of

BEGINNING = 1_763_700_000.0
"""2025-11-21T04:40:00Z."""
MINUTE = 60.0

PARENT_OF = {
    "Kustomization": "kustomize.toolkit.fluxcd.io",
    "HelmRelease": "helm.toolkit.fluxcd.io",
}


def timestamp(minutes: float) -> str:
    return datetime.fromtimestamp(BEGINNING + minutes * MINUTE, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cluster:
    """All kinds are followed; ``without`` names those that are not."""

    def __init__(
        self,
        without: Sequence[str] = (),
        memory: Memory | None = None,
        documents: Mapping[tuple[str, str, str], dict[str, Any]] | None = None,
        at: float = 0.0,
    ) -> None:
        """``documents``: what is there at that minute."""
        self.store = Store(select(Profile.FULL))
        self.relations = Relations(self.store)
        self._collectors = {
            kind.name: Collector(kind, None, self.store, self.relations, memory, OWNER_LABELS)
            for kind in KINDS
            if kind.name not in without
        }
        self._is_away = False
        self._versions = itertools.count(1 if documents is None else 1_000_000)
        self._documents: dict[tuple[str, str, str], dict[str, Any]] = dict(documents or {})
        for kind, collector in self._collectors.items():
            listing = collector.begin_replacement("v1")
            for (own, namespace, name), document in self._documents.items():
                if own == kind:
                    metadata, raw = document["metadata"], json.dumps(document).encode()
                    version = metadata["resourceVersion"]
                    listing.add(f"{namespace}/{name}", metadata["uid"], version, raw, Seen(BEGINNING + at * MINUTE))
            listing.commit()

    def write(
        self,
        kind: str,
        name: str,
        ready: str | None = None,
        reason: str = "",
        message: str = "",
        *,
        at: float = 0,
        namespace: str = "apps",
        spec: dict[str, Any] | None = None,
        status: dict[str, Any] | None = None,
        reconciling: str | None = None,
        inventory: Sequence[str] = (),
        **metadata: Any,
    ) -> None:
        """One write; what is not given stays as it was written before."""
        before = self._documents.get((kind, namespace, name), {"metadata": {}, "spec": {}, "status": {}})
        new_status = {**before["status"], **(status or {})}
        if ready is not None:
            conditions = [
                {
                    "type": BY_NAME[kind].condition,
                    "status": ready,
                    "reason": reason,
                    "message": message,
                    "lastTransitionTime": timestamp(at),
                }
            ]
            if reconciling:
                conditions.append(
                    {
                        "type": "Reconciling",
                        "status": "True",
                        "reason": reconciling,
                        "lastTransitionTime": timestamp(at),
                    }
                )
            new_status["conditions"] = conditions
        if inventory:
            new_status["inventory"] = {"entries": [{"id": entry, "v": "v1"} for entry in inventory]}
        document = {
            "metadata": {
                "creationTimestamp": timestamp(at),
                **before["metadata"],
                "name": name,
                "namespace": namespace,
                "uid": f"{kind}-{namespace}-{name}",
                "resourceVersion": str(next(self._versions)),
                **metadata,
            },
            "spec": {**before["spec"], **(spec or {})},
            "status": new_status,
        }
        self._documents[kind, namespace, name] = document
        if self._is_away:
            return
        self._collectors[kind].upsert(
            f"{namespace}/{name}", json.dumps(document).encode(), Seen.live(BEGINNING + at * MINUTE)
        )

    def collector(self, kind: str) -> Collector:
        return self._collectors[kind]

    def restarted(self, at: float, remembers: bool = True, remembers_until: float | None = None) -> Cluster:
        """Another exporter that finds everything as it is now, and knows what this one wrote down."""
        until = BEGINNING + (at if remembers_until is None else remembers_until) * MINUTE
        kept = {collector.scope: collector.worth_remembering() for collector in self._collectors.values()}
        memory = read(write(until, kept).content) if remembers else Memory()
        assert isinstance(memory, Memory)
        return Cluster(memory=memory, documents=self._documents, at=at)

    @contextlib.contextmanager
    def gap(self, until: float) -> Iterator[None]:
        """What is written in here is found in a listing at that minute; before it, everything was seen."""
        before = dict(self._documents)
        self._is_away = True
        try:
            yield
        finally:
            self._is_away = False
        for kind, collector in self._collectors.items():
            listing = collector.begin_replacement("v1")
            for (own, namespace, name), document in self._documents.items():
                if own == kind:
                    known = before.get((own, namespace, name)) is document
                    moment = BEGINNING + until * MINUTE
                    seen = Seen(moment, moment if known else BEGINNING)
                    metadata = document["metadata"]
                    raw = json.dumps(document).encode()
                    listing.add(f"{namespace}/{name}", metadata["uid"], metadata["resourceVersion"], raw, seen)
            listing.commit()

    def delete(self, kind: str, name: str, namespace: str = "apps") -> None:
        """The object is gone."""
        del self._documents[kind, namespace, name]
        self._collectors[kind].delete(f"{namespace}/{name}", f"{kind}-{namespace}-{name}")

    def wait(self, until: float) -> None:
        """Time passes."""
        self.relations.advance(BEGINNING + until * MINUTE)

    # What a scrape shows

    def samples(self, family: str) -> list[dict[str, str]]:
        """The labels of each series, and its value as "value"."""
        found = []
        for line in text_of(self.store).splitlines():
            match = re.fullmatch(rf"{family}\{{(.*)\}} (\S+)", line)
            if match:
                found.append({**dict(re.findall(r'(\w+)="([^"]*)"', match[1])), "value": match[2]})
        return found

    def roots(self) -> dict[str, str]:
        """Kind/name of each root cause, and its reason."""
        return {f"{s['kind']}/{s['name']}": s["reason"] for s in self.samples("gotk_root_cause_info")}

    def blocked(self) -> dict[str, set[str]]:
        """Kind/name of what is blocked, and by what."""
        found: dict[str, set[str]] = {}
        for s in self.samples("gotk_resource_blocked"):
            found.setdefault(f"{s['kind']}/{s['name']}", set()).add(f"{s['by_kind']}/{s['by_name']}")
        return found

    def numbers(self, family: str) -> dict[str, float]:
        """Kind/name and value."""
        return {f"{s['kind']}/{s['name']}": float(s["value"]) for s in self.samples(family)}

    def failing(self) -> set[str]:
        return set(self.numbers("gotk_resource_failing_since_timestamp_seconds"))

    # What the controllers write

    def source_is_ready(self, name: str = "repo", at: float = 0, revision: str = "main@sha1:1", **more: Any) -> None:
        artifact = {"revision": revision, "lastUpdateTime": timestamp(at)}
        self.write("GitRepository", name, "True", "Succeeded", at=at, status={"artifact": artifact}, **more)

    def kustomization_is_ready(self, name: str, at: float = 0, revision: str = "main@sha1:1", **more: Any) -> None:
        status = {"lastAppliedRevision": revision, **more.pop("status", {})}
        self.write("Kustomization", name, "True", "ReconciliationSucceeded", at=at, status=status, **more)

    def kustomization_runs(self, name: str, at: float, **more: Any) -> None:
        self.write("Kustomization", name, "Unknown", "Progressing", at=at, reconciling="Progressing", **more)

    def kustomization_fails(
        self, name: str, at: float, reason: str = "BuildFailed", message: str = "kustomize build failed", **more: Any
    ) -> None:
        self.write("Kustomization", name, "False", reason, message, at=at, reconciling="ProgressingWithRetry", **more)

    def health_check_fails(self, name: str, at: float, *awaited: str, **more: Any) -> None:
        """``awaited`` as the message has them: Kind/namespace/name."""
        items = ", ".join(f"{item} status: 'InProgress'" for item in awaited)
        message = f"health check failed after 5m0.1s: timeout waiting for: [{items}]"
        self.kustomization_fails(name, at, "HealthCheckFailed", message, **more)

    def kustomization_waits(self, name: str, at: float, on: str, why: str = "is not ready", **more: Any) -> None:
        """For the dependency ``on``, in the namespace apps."""
        self.write("Kustomization", name, "False", "DependencyNotReady", f"dependency 'apps/{on}' {why}", at=at, **more)

    def source_is_missed(self, name: str, at: float, source: str = "repo", **more: Any) -> None:
        message = f'gitrepositories.source.toolkit.fluxcd.io "{source}" not found'
        self.write("Kustomization", name, "False", "ArtifactFailed", message, at=at, **more)


def on(*names: str) -> dict[str, Any]:
    """The spec of a Kustomization of the source "repo" that depends on these."""
    return {
        "interval": "10m",
        "retryInterval": "2m",
        "timeout": "5m",
        "sourceRef": {"kind": "GitRepository", "name": "repo"},
        "dependsOn": [{"name": name} for name in names],
    }


def entry(kind: str, name: str, namespace: str = "apps") -> str:
    """Of an inventory."""
    return f"{namespace}_{name}_{BY_NAME[kind].group}_{kind}"


def applied_by(kind: str, name: str, namespace: str = "apps") -> dict[str, str]:
    """The labels that an applier puts on what it applies."""
    return {f"{PARENT_OF[kind]}/name": name, f"{PARENT_OF[kind]}/namespace": namespace}
