"""How soon a changed status can be scraped: after the API server took the change, until a body shows it.

Two exporters are polled in turn, each as fast as it answers, and take turns at being first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from tests.bench.objects import KUSTOMIZE, condition, name_of, namespace_of
from tests.bench.subject import Subject
from tests.peers.admin import AdminClient

SEEN_SECONDS = 30.0


async def freshness(
    admin: AdminClient, subjects: Sequence[Subject], changes: int, objects: int
) -> dict[str, list[float]]:
    """Seconds from the API server's answer to the end of the first body with the change, by subject."""
    seen: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for turn in range(changes):
        for offset in range(len(subjects)):
            subject = subjects[(turn + offset) % len(subjects)]
            number = (turn * len(subjects) + offset) * 7919 % objects
            status = "False" if turn % 2 == 0 else "True"
            await set_ready(admin, number, status)
            seen[subject.name].append(await _until_seen(subject, name_of(number), status))
            await set_ready(admin, number, "True")
    return seen


async def _until_seen(subject: Subject, name: str, status: str) -> float:
    taken = time.perf_counter()
    needles = f'name="{name}"'.encode(), f'ready="{status}"'.encode()
    while time.perf_counter() - taken < SEEN_SECONDS:
        _, body = await subject.scrape()
        if _shows(body, *needles):
            return time.perf_counter() - taken
    raise TimeoutError(f"{subject.name} did not show {name} as {status} within {SEEN_SECONDS:g} s")


def _shows(body: bytes, name: bytes, status: bytes) -> bool:
    """Whether the line of gotk_resource_info for this name has the status, whatever the order of labels."""
    at = body.find(b"\ngotk_resource_info{")
    while (at := body.find(name, at)) >= 0:
        start, end = body.rfind(b"\n", 0, at) + 1, body.find(b"\n", at)
        line = body[start:end]
        if line.startswith(b"gotk_resource_info{"):
            return status in line
        at = end
    return False


async def set_ready(admin: AdminClient, number: int, status: str) -> None:
    """One write of the object's status, as a controller's."""
    reason = "ReconciliationSucceeded" if status == "True" else "HealthCheckFailed"
    conditions: list[dict[str, Any]] = [condition("Ready", status, reason, f"as the bench wants it: {status}")]
    await admin.patch_status(
        KUSTOMIZE, "Kustomization", name_of(number), {"conditions": conditions}, namespace_of(number)
    )


def median_and_p99(seconds: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
