"""The exporter at work beside the test, and the comparison of what it serves with what the server holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gotk_exporter.app import Exporter
from gotk_exporter.clock import SystemClock
from gotk_exporter.config import Settings
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Kubeconfig
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.web.server import Address
from tests.peers.admin import AdminClient, ApiError

State = tuple[str, float, str]
"""Ready status, interval in seconds, API version."""
Key = tuple[str, str, str]
"""Kind, namespace, name."""

EQUAL_SECONDS = 20.0
"""How long a change may take to be seen, faults healed: far above what it takes, far below what would hide a defect."""

API_VERSIONS = {
    "Kustomization": "kustomize.toolkit.fluxcd.io/v1",
    "GitRepository": "source.toolkit.fluxcd.io/v1",
}


class Follower:
    """One exporter, run in this loop."""

    def __init__(self, kubeconfig: Path, settings: Settings, bounds: Bounds) -> None:
        self.bounds = bounds
        clock = SystemClock()
        self.exporter = Exporter(settings, Kubeconfig(bounds, clock, str(kubeconfig)), bounds, clock)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Follower:
        self._task = asyncio.create_task(self.exporter.run(Address("127.0.0.1", 0), self._stop))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._stop.set()
        assert self._task is not None
        async with asyncio.timeout(2):
            await self._task

    async def synced(self, seconds: float = EQUAL_SECONDS) -> None:
        """Wait until nothing is pending."""
        await self.eventually(lambda: not self.exporter.cluster.pending() and bool(self.requests("get")), seconds)

    async def eventually(self, holds: object, seconds: float = EQUAL_SECONDS) -> None:
        """Wait until ``holds()`` is true."""
        assert callable(holds)
        deadline = time.monotonic() + seconds
        while not holds():
            assert self._task is not None
            if self._task.done():
                self._task.result()
            assert time.monotonic() < deadline, f"not so within {seconds:g} s\n{self.text()}"
            await asyncio.sleep(0.02)

    async def equals(self, admin: AdminClient, seconds: float = EQUAL_SECONDS, **kinds: Sequence[str] | None) -> None:
        """Wait until what is served equals what the server holds.

        ``kinds``: which kinds to compare, each with the namespaces that are followed; all of both kinds by default.
        """
        held = await server_state(admin, kinds or {"Kustomization": None, "GitRepository": None})
        try:
            await self.eventually(lambda: self.state() == held, seconds)
        except AssertionError:
            served = self.state()
            different = {key for key in served.keys() | held.keys() if served.get(key) != held.get(key)}
            raise AssertionError({key: (served.get(key), held.get(key)) for key in sorted(different)[:10]}) from None

    def text(self) -> str:
        """The page as it would be scraped."""
        return b"".join(self.exporter.body.plain(Format.TEXT)).decode()

    def samples(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Of one family, by label set."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == name
        }

    def state(self) -> dict[Key, State]:
        """What is served, from the page alone."""
        ready: dict[Key, str] = {}
        interval: dict[Key, float] = {}
        version: dict[Key, str] = {}
        for labels, value in self.samples("gotk_reconcile_condition").items():
            found = dict(labels)
            if value == 1:
                ready[found["kind"], found["namespace"], found["name"]] = found["status"]
        for labels, value in self.samples("gotk_resource_interval_seconds").items():
            found = dict(labels)
            interval[found["kind"], found["namespace"], found["name"]] = value
        for labels in self.samples("gotk_resource_info"):
            found = dict(labels)
            key = found["customresource_kind"], found["exported_namespace"], found["name"]
            version[key] = found["customresource_version"]
        assert ready.keys() == interval.keys() == version.keys()
        return {key: (ready[key], interval[key], version[key]) for key in ready}

    def resource_state(self, kind: str, namespace: str = "") -> str:
        """The state that the exporter says it is in about a kind."""
        states = {
            dict(labels)["state"]
            for labels, value in self.samples("gotk_exporter_resource_state").items()
            if value == 1 and dict(labels)["resource"] == kind and dict(labels)["watched_namespace"] == namespace
        }
        assert len(states) == 1
        return states.pop()

    def requests(self, verb: str, kind: str | None = None, outcome: str | None = None) -> int:
        """Requests so far, by the exporter's own count."""
        return int(
            sum(
                value
                for labels, value in self.samples("gotk_exporter_api_requests_total").items()
                if dict(labels)["verb"] == verb
                and kind in (None, dict(labels)["resource"])
                and outcome in (None, dict(labels)["outcome"])
            )
        )


async def server_state(admin: AdminClient, kinds: Mapping[str, Sequence[str] | None]) -> dict[Key, State]:
    """The same from the server's own objects, whose intervals are whole seconds and whose verdicts are terminal."""
    held: dict[Key, State] = {}
    for kind, namespaces in kinds.items():
        for namespace in namespaces or (None,):
            try:
                listing = await admin.list(API_VERSIONS[kind], kind, namespace)
            except ApiError as error:
                if error.status == 404:
                    continue
                raise
            for item in listing.items:
                metadata = item["metadata"]
                conditions = item.get("status", {}).get("conditions", [])
                ready = next((entry["status"] for entry in conditions if entry["type"] == "Ready"), "Unknown")
                status = "Deleted" if "deletionTimestamp" in metadata else ready
                interval = float(item["spec"]["interval"].removesuffix("s"))
                held[kind, metadata["namespace"], metadata["name"]] = (status, interval, "v1")
    return held


def most_attempts(seconds: float, bounds: Bounds) -> int:
    """How often a reflector may try during a fault of this length: at once, and after each wait of the back-off."""
    attempts, elapsed, wait = 1, 0.0, bounds.backoff_first
    while elapsed + wait <= seconds:
        elapsed += wait
        attempts += 1
        wait = min(wait * 2, bounds.backoff_longest)
    return attempts
