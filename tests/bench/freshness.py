"""How soon a changed status can be scraped: after the API server took the change, until a body shows it.

Ours serves gotk_resource_info alone, which is all that the peer of the targets serves. Exporters are polled in turn,
each as fast as it answers, and take turns at being first; the change comes at a moment that the polling knows nothing
of. Every change is one that can be seen: from True to False, or back. What is seen before that answer counts as zero,
so that pages of a few hundred objects, which take less time than the answer, say nothing.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from tests.bench.figures import Row
from tests.bench.objects import KUSTOMIZE, WRITTEN, condition, name_of, namespace_of
from tests.bench.run import Run
from tests.bench.subject import Subject, our_exporter, peer
from tests.peers.admin import AdminClient

SEEN_SECONDS = 30.0
PHASE_SECONDS = 0.1
"""The change comes within so long after the polling began."""
UNCHANGED_SCRAPES = 20
SETTINGS = "metrics: {allow: [gotk_resource_info]}\n"


async def freshness(run: Run) -> None:
    report = run.report
    async with AsyncExitStack() as stack:
        subjects: list[Subject] = []
        starting = [
            *(peer(name, command, run.server.kubeconfig, run.session) for name, command in run.options.peers),
            our_exporter(run.server.kubeconfig, run.session, SETTINGS),
        ]
        for subject in starting:
            await stack.enter_async_context(subject)
            seconds = await subject.shows(run.fleet.count)
            report.add(Row(f"{subject.name}, info alone: a body has all after", seconds, "s"))
            subjects.append(subject)
        seen = await _seen(run.admin, subjects, run.options.freshness, run.fleet.kustomizations)
        *others, ours = subjects
        # Ours last, or there would be nothing to compare with.
        for subject in subjects:
            unchanged, body = await _unchanged(subject)
            median, p99 = median_and_p99(seen[subject.name])
            memory = subject.memory()
            for what, value, unit, target in (
                ("a change is seen after, median", median * 1e3, "ms", run.target(1.2)),
                ("a change is seen after, p99", p99 * 1e3, "ms", None),
                ("unchanged scrape", unchanged * 1e3, "ms", None),
                ("resident memory", memory.resident, "MB", None),
                ("its peak (VmHWM)", memory.peak, "MB", None),
            ):
                other = f"{others[0].name}, info alone: {what}" if others and subject is ours else None
                name, note = (
                    f"{subject.name}, info alone: {what}",
                    f"{len(body) / 1e6:.2f} MB" if "scrape" in what else "",
                )
                report.add(Row(name, value, unit, target if other else None, other, note))
    if not run.options.peers:
        report.note("no other exporter was measured beside ours; name one with --peer")


async def _seen(
    admin: AdminClient, subjects: Sequence[Subject], changes: int, kustomizations: int
) -> dict[str, list[float]]:
    """Seconds from the API server's answer to the end of the first body with the change, by subject."""
    seen: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for turn in range((changes + 1) // 2):
        for offset in range(len(subjects)):
            subject = subjects[(turn + offset) % len(subjects)]
            number = (turn * len(subjects) + offset) * 7919 % kustomizations
            for status in "False", "True":
                seen[subject.name].append(await _one(admin, subject, number, status))
    return seen


async def _one(admin: AdminClient, subject: Subject, number: int, status: str) -> float:
    async def change() -> float:
        await asyncio.sleep(random.uniform(0, PHASE_SECONDS))
        await set_ready(admin, number, status)
        return time.perf_counter()

    taken = asyncio.create_task(change())
    name, ready = f'name="{name_of(number)}"'.encode(), f'ready="{status}"'.encode()
    async with asyncio.timeout(SEEN_SECONDS):
        while True:
            _, body = await subject.scrape()
            ended = time.perf_counter()
            if shows(body, name, ready):
                # It may be seen before the API server's answer to whoever made the change.
                return max(0.0, ended - await taken)


def shows(body: bytes, name: bytes, status: bytes) -> bool:
    """Whether the Kustomization's line of gotk_resource_info has the status, whatever the order of labels."""
    at = 0
    while (at := body.find(name, at)) >= 0:
        start, end = body.rfind(b"\n", 0, at) + 1, body.find(b"\n", at)
        line = body[start:end]
        if line.startswith(b"gotk_resource_info{") and b'customresource_kind="Kustomization"' in line:
            return status in line
        at = end
    return False


async def _unchanged(subject: Subject) -> tuple[float, bytes]:
    scrapes = [await subject.scrape() for _ in range(UNCHANGED_SCRAPES)]
    return statistics.median(seconds for seconds, _ in scrapes), scrapes[0][1]


async def set_ready(admin: AdminClient, number: int, status: str) -> None:
    """One write of the object's status, as a controller's."""
    reason = "ReconciliationSucceeded" if status == "True" else "HealthCheckFailed"
    conditions: list[dict[str, Any]] = [
        condition("Ready", status, reason, f"as the bench wants it: {status}"),
        condition("Healthy", status, "Succeeded" if status == "True" else reason, f"checked at {WRITTEN}"),
    ]
    await admin.patch_status(
        KUSTOMIZE, "Kustomization", name_of(number), {"conditions": conditions}, namespace_of(number)
    )


def median_and_p99(seconds: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
