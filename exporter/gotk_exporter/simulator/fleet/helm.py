"""Helm's own memory: the releases in its storage, and what a HelmRelease's history says of them; runs nothing.

Reference: fluxcd/helm-controller v1.6, api/v2 snapshots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from gotk_exporter.simulator.fleet.objects import Json, Key, sha256

MAX_HISTORY = 5
_GOOD = frozenset({"deployed", "superseded"})


@dataclass(frozen=True, slots=True)
class Chart:
    """What a release is made from, and what it is made with."""

    name: str
    version: str
    config: str
    """The digest of the values."""

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Release:
    """One revision of a release in Helm's storage."""

    key: Key
    version: int
    chart: Chart
    status: str
    first_deployed: str
    last_deployed: str

    @property
    def full_name(self) -> str:
        return f"{self.key.path}.v{self.version}"

    def snapshot(self, action: str) -> Json:
        """As history has it."""
        return {
            "action": action,
            "apiVersion": "v2",
            "appVersion": self.chart.version.partition("+")[0],
            "chartName": self.chart.name,
            "chartVersion": self.chart.version,
            "configDigest": self.chart.config,
            "digest": sha256(str(self)),
            "firstDeployed": self.first_deployed,
            "lastDeployed": self.last_deployed,
            "name": self.key.name,
            "namespace": self.key.namespace,
            "status": self.status,
            "version": self.version,
        }


class Helm:
    """Helm's storage, and what its charts do."""

    def __init__(self) -> None:
        self._releases: dict[Key, list[Release]] = {}
        self.render_errors: dict[Key, str] = {}
        """HelmReleases whose templates cannot be rendered, and what Helm says."""
        self.workloads: dict[Key, tuple[str, ...]] = {}
        """Kind/namespace/name of what a release consists of, where that is not a Deployment of its name."""

    def workloads_of(self, key: Key) -> tuple[str, ...]:
        return self.workloads.get(key, (f"Deployment/{key.namespace}/{key.name}",))

    def last(self, key: Key) -> Release | None:
        releases = self._releases.get(key)
        return releases[-1] if releases else None

    def find(self, key: Key, version: int) -> Release | None:
        return next((one for one in self._releases.get(key, ()) if one.version == version), None)

    def add(self, release: Release) -> None:
        self._releases.setdefault(release.key, []).append(release)

    def set_status(self, release: Release, status: str) -> Release:
        releases = self._releases[release.key]
        changed = dataclasses.replace(release, status=status)
        releases[releases.index(release)] = changed
        return changed

    def forget(self, key: Key) -> None:
        self._releases.pop(key, None)


def newest_first(history: Sequence[Json]) -> list[Json]:
    return sorted(history, key=lambda snapshot: -snapshot["version"])


def previous(history: Sequence[Json]) -> Json | None:
    """What to roll back to: the newest good one behind the newest."""
    return next((one for one in newest_first(history)[1:] if one["status"] in _GOOD), None)


def truncated(history: Sequence[Json]) -> list[Json]:
    """Up to the newest good one behind the newest; without one, the newest few."""
    sorted_history = newest_first(history)
    for index, snapshot in enumerate(sorted_history[1:], 1):
        if snapshot["status"] in _GOOD:
            return sorted_history[: index + 1]
    return sorted_history[:MAX_HISTORY]


def replaced(history: Sequence[Json], snapshot: Json) -> list[Json]:
    """``history`` with ``snapshot`` in the place of that of its version, or in front."""
    if any(one["version"] == snapshot["version"] for one in history):
        return [snapshot if one["version"] == snapshot["version"] else one for one in history]
    return [snapshot, *history]
