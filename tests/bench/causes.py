"""What an event costs with verdict, graph and rendering, and what an object costs in memory. In one process, no I/O.

The fleet is the worst that is usual: everything hangs from one source, in chains of five.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.bench.figures import Report, Row, Target

OBJECTS = 50_000
DEPTH = 5
SAMPLE = 1_000
SOURCE = "flux-system/fleet"
NO_ARTIFACT = "Source artifact not found, retrying in 30s"


class Chains:
    """Kustomizations app-0, app-1 …: each fifth depends on nothing, every other one on the one before it."""

    def __init__(self) -> None:
        store = Store(select(Profile.DEFAULT))
        causes = Relations(store)
        self._sources = Collector(BY_NAME["GitRepository"], None, store, causes)
        self._apps = Collector(BY_NAME["Kustomization"], None, store, causes)
        self._version = 0
        self._now = 1_763_700_000.0
        self._sources.begin_replacement("v1").commit()
        self.source("True", "Succeeded")
        listing = self._apps.begin_replacement("v1")
        for number in range(OBJECTS):
            raw = self._app(number, "True", "ReconciliationSucceeded")
            listing.add(f"apps/app-{number}", f"app-{number}", "1", raw, Seen(self._now))
        listing.commit()

    def source(self, status: str, reason: str) -> float:
        """Seconds that this write of the source took."""
        return self._timed(self._sources, SOURCE, self._object("flux-system", "fleet", {}, status, reason))

    def app(self, number: int, status: str, reason: str, message: str = "") -> float:
        """Seconds that this write took."""
        return self._timed(self._apps, f"apps/app-{number}", self._app(number, status, reason, message))

    def _timed(self, collector: Collector, key: str, raw: bytes) -> float:
        self._now += 0.01
        started = time.perf_counter()
        collector.upsert(key, raw, Seen.live(self._now))
        return time.perf_counter() - started

    def _app(self, number: int, status: str, reason: str, message: str = "") -> bytes:
        spec = {
            "interval": "10m",
            "sourceRef": {"kind": "GitRepository", "name": "fleet", "namespace": "flux-system"},
            "dependsOn": [{"name": f"app-{number - 1}"}] if number % DEPTH else [],
        }
        return self._object("apps", f"app-{number}", spec, status, reason, message)

    def _object(self, namespace: str, name: str, spec: object, status: str, reason: str, message: str = "") -> bytes:
        self._version += 1
        ready = {"type": "Ready", "status": status, "reason": reason, "message": message}
        metadata = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": str(self._version)}
        return json.dumps({"metadata": metadata, "spec": spec, "status": {"conditions": [ready]}}).encode()


def events(report: Report) -> None:
    """Of leaves, medians; of the source that all hang from, the one write."""
    gc.collect()
    before = _resident_bytes()
    chains = Chains()
    gc.collect()
    memory = (_resident_bytes() - before) / OBJECTS * 1_000 / 1e6
    fleet = f"{OBJECTS} objects under one source, in chains of {DEPTH}"
    report.add(Row("memory per 1,000 objects", memory, "MB", note=f"profile default; small objects; {fleet}"))
    leaves = random.Random(1).sample(range(DEPTH - 1, OBJECTS, DEPTH), SAMPLE)

    def each(write: Callable[[int], float]) -> float:
        return statistics.median([write(leaf) for leaf in leaves]) * 1e3

    limit = Target(2.0)
    report.add(Row("a leaf begins a run", each(lambda n: chains.app(n, "Unknown", "Progressing")), "ms", limit))
    report.add(Row("a leaf fails", each(lambda n: chains.app(n, "False", "BuildFailed")), "ms", limit))
    chains.source("False", "GitOperationFailed")
    well = each(lambda n: chains.app(n, "True", "ReconciliationSucceeded"))
    report.add(Row("a leaf is well again under a failing source", well, "ms", limit))
    chains.source("True", "Succeeded")
    for number in range(OBJECTS):
        chains.app(number, "False", "ArtifactFailed", NO_ARTIFACT)
    everything = chains.source("False", "GitOperationFailed")
    report.add(
        Row("the source fails and blocks everything", everything * 1e3, "ms", note="one write, on the event loop")
    )
    waits = each(lambda n: chains.app(n, "False", "ArtifactFailed", NO_ARTIFACT))
    report.add(Row("a leaf writes while everything is blocked", waits, "ms", limit))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
