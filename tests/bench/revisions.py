"""What a new revision costs of the source that a whole fleet hangs from: all of it is behind at once, until each object
has applied it. In one process, no I/O."""

from __future__ import annotations

import gc
import json
import random
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.bench.figures import Report, Row, Target

OBJECTS = 50_000
SAMPLE = 1_000
SOURCE = {"kind": "GitRepository", "name": "fleet", "namespace": "flux-system"}


class Fleet:
    """Kustomizations app-0, app-1 … of one source. Revisions are numbers."""

    def __init__(self) -> None:
        store = Store(select(Profile.DEFAULT))
        self.relations = Relations(store)
        self._sources = Collector(BY_NAME["GitRepository"], None, store, self.relations)
        self._apps = Collector(BY_NAME["Kustomization"], None, store, self.relations)
        self._version = 0
        self._now = 1_763_700_000.0
        self._sources.begin_replacement("v1").commit()
        self.offer(1)
        listing = self._apps.begin_replacement("v1")
        for number in range(OBJECTS):
            listing.add(f"apps/app-{number}", f"app-{number}", "1", self._app(number, 1), Seen(self._now))
        listing.commit()

    def offer(self, revision: int) -> float:
        """Seconds that the write took with which the source offers this."""
        stored_at = datetime.fromtimestamp(self._now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"artifact": {"revision": f"main@sha1:{revision}", "lastUpdateTime": stored_at}}
        return self._timed(
            self._sources, "flux-system/fleet", self._object("flux-system", "fleet", {}, "Succeeded", status)
        )

    def apply(self, number: int, revision: int) -> float:
        """Seconds that the write took with which the object has applied this."""
        return self._timed(self._apps, f"apps/app-{number}", self._app(number, revision))

    def _timed(self, collector: Collector, key: str, raw: bytes) -> float:
        self._now += 60.0
        started = time.perf_counter()
        collector.upsert(key, raw, Seen.live(self._now))
        return time.perf_counter() - started

    def _app(self, number: int, revision: int) -> bytes:
        status = {"lastAppliedRevision": f"main@sha1:{revision}"}
        spec = {"interval": "10m", "sourceRef": SOURCE}
        return self._object("apps", f"app-{number}", spec, "ReconciliationSucceeded", status)

    def _object(self, namespace: str, name: str, spec: object, reason: str, status: Mapping[str, object]) -> bytes:
        self._version += 1
        metadata = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": str(self._version)}
        ready = {"type": "Ready", "status": "True", "reason": reason, "message": ""}
        return json.dumps({"metadata": metadata, "spec": spec, "status": {"conditions": [ready], **status}}).encode()


def revisions(report: Report) -> None:
    """Of leaves, medians; of the source that all hang from, the one write."""
    fleet = Fleet()
    # As app does it, once all is listed.
    gc.collect()
    gc.freeze()
    leaves = random.Random(1).sample(range(OBJECTS), SAMPLE)
    limit = Target(2.0)

    def each(revision: int) -> float:
        return statistics.median([fleet.apply(leaf, revision) for leaf in leaves]) * 1e3

    note = f"one write, on the event loop; {OBJECTS} objects under one source"
    report.add(Row("a leaf writes while nothing is behind", each(1), "ms", limit))
    report.add(Row("the source has a new revision and everything is behind", fleet.offer(2) * 1e3, "ms", note=note))
    report.add(Row("a leaf applies it while everything else is behind", each(2), "ms", limit))
    report.add(Row("the source moves again while everything is behind", fleet.offer(3) * 1e3, "ms", note=note))
