"""What lies outside the Flux objects: upstreams and their hosts, what a build gives, workloads, admission.

Steps change it, controllers read it and apply to it. It knows no condition and writes no object. What Helm keeps of its
releases is in helm.py.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gotk_exporter.simulator.fleet.objects import sha1, sha256

WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job"})
"""Kinds that take time to become what was applied. Everything else is as applied at once."""


class Reach(enum.Enum):
    """What a host does with a connection."""

    UP = "answers"
    REFUSING = "refuses"
    HANGING = "never answers"


@dataclass(frozen=True, slots=True)
class Manifests:
    """What a build of one path gives."""

    objects: Mapping[str, str] = field(default_factory=dict)
    """Kind/namespace/name to what is in it: another text is another version of the object."""
    build_error: str = ""
    """What kustomize says, where it cannot build."""
    rejection: str = ""
    """What the API server says of the objects, where it does not take them."""

    @property
    def digest(self) -> str:
        return sha256(*(f"{name}={content}" for name, content in sorted(self.objects.items())), self.rejection)


Tree = Mapping[str, Manifests]
"""What a repository has at one revision, by path."""


@dataclass(slots=True)
class Upstream:
    """A Git repository, a Helm repository, or a repository of an OCI registry."""

    url: str
    head: str
    message: str
    trees: dict[str, Tree]
    charts: dict[str, tuple[str, ...]]
    """Of a Helm repository: chart to versions, the newest last."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A webhook that stands between an apply and the cluster."""

    name: str
    kinds: frozenset[str]
    error: str
    """Why it cannot be called."""

    def message(self, id: str) -> str:
        kind, namespace, name = id.split("/")
        return (
            f"{kind}/{namespace}/{name} dry-run failed (InternalError): Internal error occurred: "
            f'failed calling webhook "{self.name}": failed to call webhook: {self.error}'
        )


@dataclass(slots=True)
class Applied:
    """One object of the cluster, as it was applied last."""

    content: str
    ready_at: float | None
    """When it is, or was, as it should be; None for never by itself."""
    failed: bool = False
    held: bool = False
    """It has a finalizer that nobody removes."""


class World:
    """Everything in one place, at a time that ``now`` tells, in seconds."""

    def __init__(self, now: Callable[[], float], rollout: float | None = None) -> None:
        self._now = now
        self.rollout = rollout
        """How long a workload takes to become ready, in seconds; None for as long as nobody makes it ready."""
        self.rollouts: dict[str, float | None] = {}
        """The same, where a workload differs."""
        self.upstreams: dict[str, Upstream] = {}
        self.hosts: dict[str, Reach] = {}
        self.objects: dict[str, Applied] = {}
        """By Kind/namespace/name."""
        self.admissions: dict[str, Admission] = {}
        self.serving = False
        """Whether source-controller is there to hand out what it has."""
        self.artifacts: set[tuple[str, str]] = set()
        """What source-controller has on its disk: Kind/namespace/name and revision."""

    # Upstreams.

    def repository(self, url: str, tree: Tree | None = None, message: str = "initial commit") -> str:
        """A Git repository with one commit on main; returns its revision."""
        return self._upstream(url, f"main@sha1:{sha1(url, message)}", message, tree or {})

    def oci(self, url: str, tag: str, tree: Tree | None = None) -> str:
        """A repository of an OCI registry with one tag; returns its revision."""
        return self._upstream(url, f"{tag}@{sha256(url, tag)}", tag, tree or {})

    def helm_repository(self, url: str, charts: Mapping[str, Iterable[str]]) -> str:
        """A Helm repository with an index; returns its revision."""
        revision = sha256(url, repr(sorted(charts)))
        self._upstream(url, revision, "index", {})
        self.upstreams[url].charts = {name: tuple(versions) for name, versions in charts.items()}
        return revision

    def _upstream(self, url: str, revision: str, message: str, tree: Tree) -> str:
        self.upstreams[url] = Upstream(url, revision, message, {revision: dict(tree)}, {})
        return revision

    def push(self, url: str, message: str, changes: Mapping[str, Manifests | None] | None = None) -> str:
        """A commit on top of the others: paths that are not in ``changes`` stay, those that are None go.

        Returns its revision.
        """
        upstream = self.upstreams[url]
        tree = dict(upstream.trees[upstream.head])
        for path, manifests in (changes or {}).items():
            if manifests is None:
                tree.pop(path, None)
            else:
                tree[path] = manifests
        upstream.head = f"main@sha1:{sha1(url, upstream.head, message)}"
        upstream.message = message
        upstream.trees[upstream.head] = tree
        return upstream.head

    def tag(self, url: str, tag: str) -> str:
        """A newer artifact in an OCI repository; returns its revision."""
        upstream = self.upstreams[url]
        tree = upstream.trees[upstream.head]
        upstream.head, upstream.message = f"{tag}@{sha256(url, tag)}", tag
        upstream.trees[upstream.head] = tree
        return upstream.head

    def release_chart(self, url: str, chart: str, version: str) -> str:
        """A newer version of a chart in a Helm repository; returns the revision of its index."""
        upstream = self.upstreams[url]
        upstream.charts[chart] = (*upstream.charts.get(chart, ()), version)
        upstream.head = sha256(upstream.head, chart, version)
        return upstream.head

    def reach(self, url: str) -> Reach:
        return self.hosts.get(urlsplit(url).netloc, Reach.UP)

    def manifests(self, url: str, revision: str, path: str) -> Manifests | None:
        """What a build of ``path`` gives; None if there is no such path."""
        upstream = self.upstreams.get(url)
        return upstream.trees.get(revision, {}).get(path) if upstream is not None else None

    # The cluster's own objects.

    def refusal(self, manifests: Manifests) -> str:
        """Why the cluster would not take ``manifests``; empty if it would."""
        if manifests.rejection:
            return manifests.rejection
        for admission in self.admissions.values():
            for id in manifests.objects:
                if id.partition("/")[0] in admission.kinds:
                    return admission.message(id)
        return ""

    def apply(self, id: str, content: str) -> str:
        """Apply one object; returns what that did to it, as Flux says it: created, configured or unchanged."""
        present = self.objects.get(id)
        if present is not None and present.content == content:
            return "unchanged"
        self.objects[id] = Applied(content, self._ready_at(id))
        return "created" if present is None else "configured"

    def _ready_at(self, id: str) -> float | None:
        if id.partition("/")[0] not in WORKLOADS:
            return self._now()
        rollout = self.rollouts.get(id, self.rollout)
        return None if rollout is None else self._now() + rollout

    def status(self, id: str) -> str:
        """As kstatus computes it: Current, InProgress, Failed or NotFound."""
        present = self.objects.get(id)
        if present is None:
            return "NotFound"
        if present.failed:
            return "Failed"
        return "Current" if present.ready_at is not None and present.ready_at <= self._now() else "InProgress"

    def make_ready(self, id: str) -> None:
        workload = self.objects.setdefault(id, Applied("", None))
        workload.ready_at, workload.failed = self._now(), False

    def make_unready(self, id: str) -> None:
        workload = self.objects.setdefault(id, Applied("", None))
        workload.ready_at, workload.failed = None, False

    def make_failed(self, id: str) -> None:
        """ProgressDeadlineExceeded, and what comes to the same."""
        self.objects.setdefault(id, Applied("", None)).failed = True

    def remove(self, ids: Iterable[str]) -> list[str]:
        """Delete objects; returns those that something holds back."""
        held = []
        for id in ids:
            present = self.objects.get(id)
            if present is not None and present.held:
                held.append(id)
            else:
                self.objects.pop(id, None)
        return held
