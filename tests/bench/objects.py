"""Objects as large as those of a platform that has run for a while. Written by us after real ones; no two are alike."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAMESPACES = 40
INVENTORY_ENTRIES = 60
WRITTEN = "2026-11-21T12:00:00Z"

KUSTOMIZE = "kustomize.toolkit.fluxcd.io/v1"
HELM = "helm.toolkit.fluxcd.io/v2"
SOURCE = "source.toolkit.fluxcd.io/v1"

Object = dict[str, Any]


@dataclass(frozen=True)
class Fleet:
    """So many objects: Kustomizations of 9.4 KB as the API server lists them and, where it is mixed, what a platform
    has beside them: half as many HelmReleases, a tenth in sources."""

    count: int
    mixed: bool = False

    @property
    def kustomizations(self) -> int:
        return self.count - self._releases - self._sources

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("Kustomization", "HelmRelease", "GitRepository") if self.mixed else ("Kustomization",)

    def __str__(self) -> str:
        kustomizations = f"{self.kustomizations} Kustomizations"
        rest = f", {self._releases} HelmReleases, {self._sources} GitRepositories"
        return kustomizations + rest if self.mixed else kustomizations

    def __iter__(self) -> Iterator[Object]:
        return itertools.chain(
            map(kustomization, range(self.kustomizations)),
            map(helm_release, range(self._releases)),
            map(git_repository, range(self._sources)),
        )

    @property
    def _releases(self) -> int:
        return self.count * 5 // 16 if self.mixed else 0

    @property
    def _sources(self) -> int:
        return self.count // 16 if self.mixed else 0


def name_of(number: int) -> str:
    return f"app-{number:05d}"


def namespace_of(number: int) -> str:
    return f"team-{number % NAMESPACES:02d}"


def namespaces() -> list[str]:
    return [namespace_of(number) for number in range(NAMESPACES)]


def kustomization(number: int) -> Object:
    """With history, an inventory of 60 entries and substitutions."""
    name, namespace, revision = name_of(number), namespace_of(number), _revision("fleet")
    entries = [
        {"id": f"{namespace}_{name}-component-{index:02d}_{group}_{kind}", "v": "v1"}
        for index in range(INVENTORY_ENTRIES // 4)
        for group, kind in (
            ("apps", "Deployment"),
            ("", "Service"),
            ("", "ConfigMap"),
            ("networking.k8s.io", "Ingress"),
        )
    ]
    history = [
        {
            "digest": f"sha256:{_digest(name, str(index))}",
            "firstReconciled": WRITTEN,
            "lastReconciled": WRITTEN,
            "lastReconciledDuration": "1.204817333s",
            "lastReconciledStatus": "ReconciliationSucceeded",
            "metadata": {"revision": _revision(str(index))},
            "totalReconciliations": 100 + index,
        }
        for index in range(5)
    ]
    return {
        "apiVersion": KUSTOMIZE,
        "kind": "Kustomization",
        "metadata": _metadata(name, namespace),
        "spec": {
            "interval": "10m",
            "retryInterval": "2m",
            "timeout": "5m",
            "prune": True,
            "wait": True,
            "force": False,
            "serviceAccountName": "team-reconciler",
            "targetNamespace": namespace,
            "path": f"./teams/{namespace}/{name}/overlays/production",
            "sourceRef": {"kind": "GitRepository", "name": "fleet", "namespace": "flux-system"},
            "dependsOn": [{"name": "infrastructure", "namespace": "flux-system"}],
            "postBuild": {"substitute": {f"variable_{index:02d}": f"{name}-value-{index:02d}" for index in range(20)}},
        },
        "status": {
            "observedGeneration": 1,
            "lastAppliedRevision": revision,
            "lastAttemptedRevision": revision,
            "lastHandledReconcileAt": WRITTEN,
            "conditions": [
                condition("Ready", "True", "ReconciliationSucceeded", f"Applied revision: {revision}"),
                condition("Healthy", "True", "Succeeded", "Health check passed in 1.204817333s"),
            ],
            "history": history,
            "inventory": {"entries": entries},
        },
    }


def helm_release(number: int) -> Object:
    name, namespace = name_of(number), namespace_of(number)
    history = [
        {
            "appVersion": f"1.{index}.0",
            "chartName": name,
            "chartVersion": f"2.{index}.0",
            "configDigest": f"sha256:{_digest(name, str(index))}",
            "digest": f"sha256:{_digest(str(index), name)}",
            "firstDeployed": WRITTEN,
            "lastDeployed": WRITTEN,
            "deleted": WRITTEN,
            "name": name,
            "namespace": namespace,
            "status": "deployed",
            "version": index + 1,
        }
        for index in range(3)
    ]
    return {
        "apiVersion": HELM,
        "kind": "HelmRelease",
        "metadata": _metadata(name, namespace),
        "spec": {
            "interval": "15m",
            "chart": {
                "spec": {"chart": name, "version": "2.x", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}
            },
            "values": {f"setting_{index:02d}": {"enabled": True, "value": name * 2} for index in range(30)},
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [
                condition(
                    "Ready", "True", "UpgradeSucceeded", f"Helm upgrade succeeded for release {namespace}/{name}"
                ),
                condition("Released", "True", "UpgradeSucceeded", f"Helm upgrade succeeded for release {name}"),
            ],
            "history": history,
        },
    }


def git_repository(number: int) -> Object:
    name, namespace, revision = name_of(number), namespace_of(number), _revision(str(number))
    return {
        "apiVersion": SOURCE,
        "kind": "GitRepository",
        "metadata": _metadata(name, namespace),
        "spec": {"interval": "1m", "url": f"https://git.example.com/{namespace}/{name}.git", "ref": {"branch": "main"}},
        "status": {
            "observedGeneration": 1,
            "artifact": {
                "digest": f"sha256:{_digest(name)}",
                "lastUpdateTime": WRITTEN,
                "path": f"gitrepository/{namespace}/{name}/{_digest(name)}.tar.gz",
                "revision": revision,
                "url": f"http://source-controller.flux-system.svc.cluster.local./{name}.tar.gz",
            },
            "conditions": [condition("Ready", "True", "Succeeded", f"stored artifact for revision '{revision}'")],
        },
    }


def condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": WRITTEN,
        "observedGeneration": 1,
    }


def _metadata(name: str, namespace: str) -> Object:
    return {
        "name": name,
        "namespace": namespace,
        "generation": 1,
        "labels": {
            "kustomize.toolkit.fluxcd.io/name": "flux-system",
            "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            "team": namespace,
        },
        "annotations": {"reconcile.fluxcd.io/requestedAt": WRITTEN},
        "finalizers": ["finalizers.fluxcd.io"],
    }


def _revision(of: str) -> str:
    return f"main@sha1:{_digest(of)[:40]}"


def _digest(*of: str) -> str:
    return hashlib.sha256("/".join(of).encode()).hexdigest()
