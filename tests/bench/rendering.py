"""How fast a page is made, beside prometheus_client's generate_latest for the same series. In one process, no I/O."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.bench.objects import Object

ROUNDS = 5


class _Same:
    """A collector of series that are there already: only the writing is measured."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def rendering(objects: Iterable[Object]) -> dict[str, float]:
    """Series of Kustomizations, and seconds: to write them (ours, generate_latest's), to take in one object."""
    store = Store(select(Profile.FULL))
    raws = [json.dumps(obj).encode() for obj in objects]
    collector = Collector(BY_NAME["Kustomization"], "bench", store)
    started = time.perf_counter()
    for number, raw in enumerate(raws):
        collector.upsert(str(number), raw, 0.0)
    rendered_seconds = time.perf_counter() - started
    page = b"".join(store.snapshot().chunks(Format.TEXT)).decode()
    registry = CollectorRegistry()
    registry.register(_Same(text_string_to_metric_families(page)))
    ours = _median(lambda: b"".join(store.snapshot().chunks(Format.TEXT)))
    theirs = _median(lambda: generate_latest(registry))
    return {
        "series": float(sum(1 for line in page.splitlines() if not line.startswith("#"))),
        "page_seconds": ours,
        "generate_latest_seconds": theirs,
        "object_seconds": rendered_seconds / len(raws),
    }


def _median(act: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
