"""What ``gotk-exporter run`` takes in the profile default: time until ready, processor, memory, time of a scrape.

Memory is read at one point of one fixed life: sync, ten scrapes in each format with and without gzip, status changes
(1,000 unless told otherwise), and one forced relist.
"""

from __future__ import annotations

import asyncio
import re
import time

import aiohttp
import msgspec

from tests.bench.figures import Row
from tests.bench.freshness import median_and_p99, set_ready
from tests.bench.objects import KUSTOMIZE
from tests.bench.run import Run
from tests.bench.subject import GZIP, IDENTITY, OPENMETRICS, OURS, TEXT, Subject, our_exporter

SCRAPES = 10
PAGE_OBJECTS = 100
RELIST_SECONDS = 180.0
RELIST_POLL_SECONDS = 1.0
LISTING = "the Kustomizations listed, nothing done"


async def costs(run: Run) -> None:
    await _listing(run)
    async with our_exporter(run.server.kubeconfig, run.session) as exporter:
        ready = await exporter.ready()
        run.report.add(Row("ready after", ready, "s", run.target(6)))
        run.report.add(Row("ready after, beside that listing", ready, "s", ratio_of=LISTING))
        await _scrapes(run, exporter)
        await _changes(run, exporter)
        await _relist(run, exporter)
        memory = exporter.memory()
        life = (
            f"after sync, {SCRAPES} scrapes in each format with and without gzip, "
            f"{run.options.changes} status changes and one forced relist"
        )
        run.report.add(Row("resident memory", memory.resident, "MB", run.target(130), note=life))
        run.report.add(Row("its peak (VmHWM)", memory.peak, "MB", run.target(160), note=life))


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]


async def _listing(run: Run) -> None:
    """How soon the server hands out all of them at once from its memory, which is the soonest anybody can be ready."""
    path = await run.admin.path(KUSTOMIZE, "Kustomization", None, None)
    headers = {"Authorization": f"Bearer {run.server.token}"} if run.server.token else {}
    connector = aiohttp.TCPConnector(ssl=run.server.authority or True)
    async with aiohttp.ClientSession(run.server.url, headers=headers, connector=connector) as session:
        async with session.get(path, params={"limit": str(PAGE_OBJECTS)}) as response:
            page = msgspec.json.decode(await response.read(), type=_Page)
        size = sum(len(memoryview(item)) for item in page.items) / len(page.items)
        started = time.perf_counter()
        async with session.get(path, params={"resourceVersion": "0"}, headers=IDENTITY) as response:
            response.raise_for_status()
            async for _ in response.content.iter_any():
                pass
    run.report.add(Row("size of a Kustomization as it is listed", size, "B"))
    run.report.add(Row(LISTING, time.perf_counter() - started, "s", note="by a client that throws away what comes"))


async def _scrapes(run: Run, exporter: Subject) -> None:
    for accept, name in ((TEXT, "text"), (OPENMETRICS, "OpenMetrics")):
        for encoding, form in ((IDENTITY, "plain"), (GZIP, "gzip")):
            scrapes = [await exporter.scrape(**accept, **encoding) for _ in range(SCRAPES)]
            median, _ = median_and_p99([seconds for seconds, _ in scrapes])
            note = f"median of {SCRAPES}; {len(scrapes[0][1]) / 1e6:.2f} MB"
            run.report.add(Row(f"scrape, {name}, {form}", median * 1e3, "ms", note=note))
    _, body = await exporter.scrape()
    series = len(re.findall(rb"^gotk_(?!exporter_)", body, re.MULTILINE))
    run.report.add(Row("series per object, profile default", series / run.fleet.count))


async def _changes(run: Run, exporter: Subject) -> None:
    """Objects fail and are well again, one after the other; no two writes of an object say the same."""
    changes = run.options.changes
    before, started = exporter.cpu_seconds(), time.perf_counter()
    for change in range(changes):
        await set_ready(run.admin, change // 2 % run.fleet.kustomizations, "False" if change % 2 == 0 else "True")
    seconds = time.perf_counter() - started
    # What it is still doing is of these changes, too.
    await asyncio.sleep(0.1)
    cpu = exporter.cpu_seconds() - before
    seen = await exporter.sum("gotk_exporter_watch_events_total", resource="Kustomization", type="MODIFIED")
    if seen < changes:
        run.report.note(f"{OURS} had seen {seen:.0f} of {changes} changes when its processor time was read")
    note = f"of {changes} changes, one after the other, in {seconds:.0f} s"
    run.report.add(Row("processor per status change", cpu / max(changes, 1) * 1e6, "us", note=note))


async def _relist(run: Run, exporter: Subject) -> None:
    async def lists() -> list[float]:
        return [await exporter.sum("gotk_exporter_lists_total", resource=kind) for kind in run.fleet.kinds]

    before, started = await lists(), time.perf_counter()
    await run.server.restart()

    async with asyncio.timeout(RELIST_SECONDS):
        while True:
            # To ask is a scrape of everything: more often, it would be what is measured.
            await asyncio.sleep(RELIST_POLL_SECONDS)
            if all(now > then for now, then in zip(await lists(), before, strict=True)):
                break
    note = "with the back-off between them"
    run.report.add(Row("restart of the API server and relist", time.perf_counter() - started, "s", note=note))
