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
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.bench.figures import Report, Row, Target
from tests.bench.objects import Fleet

OBJECTS = 10_000
ROUNDS = 5


class _Same:
    """A collector of series that are there already: only the writing is measured."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def rendering(report: Report) -> None:
    """Of Kustomizations in the profile full: to write all their series, ours and generate_latest's; to take in one."""
    store = Store(select(Profile.FULL))
    raws = [json.dumps(obj).encode() for obj in Fleet(OBJECTS)]
    collector = Collector(BY_NAME["Kustomization"], "bench", store)
    started = time.perf_counter()
    for number, raw in enumerate(raws):
        collector.upsert(str(number), raw, Seen.live(0.0))
    taken_in = time.perf_counter() - started
    page = b"".join(store.snapshot().chunks(Format.TEXT)).decode()
    registry = CollectorRegistry()
    registry.register(_Same(text_string_to_metric_families(page)))
    series = sum(1 for line in page.splitlines() if not line.startswith("#"))
    theirs, ours = "a page by generate_latest", "the same by ours"
    note = f"{series} series"
    report.add(Row("series per object, profile full", series / OBJECTS, target=Target(12, at_least=True)))
    report.add(Row(theirs, _median(lambda: generate_latest(registry)) * 1e3, "ms", note=note))
    report.add(Row(ours, _median(lambda: b"".join(store.snapshot().chunks(Format.TEXT))) * 1e3, "ms", ratio_of=theirs))
    report.add(Row("one object decoded, judged and rendered", taken_in / OBJECTS * 1e6, "us"))


def _median(act: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
