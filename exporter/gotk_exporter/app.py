"""The composition root: builds every part, owns their tasks, and ends them in order.

It holds no logic of its own but the bridge between a reflector and a collector, which must not know each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import resource
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from gotk_exporter import __version__
from gotk_exporter.clock import Clock, SystemClock
from gotk_exporter.config import Settings
from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.collector import Replacement as CollectorReplacement
from gotk_exporter.flux.explanation import Explanation, NotKnown, Why
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.memory import Memory, Written
from gotk_exporter.flux.memory import read as read_memory
from gotk_exporter.flux.memory import write as write_memory
from gotk_exporter.flux.objects import Defect
from gotk_exporter.flux.question import Known, answer, question
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.samples import without_credentials
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.checkpoint import Checkpoint, Place
from gotk_exporter.kube.client import ApiClient
from gotk_exporter.kube.cluster import Cluster
from gotk_exporter.kube.credentials import Credentials, Loader, choose_loader
from gotk_exporter.kube.leases import LeaseFollower
from gotk_exporter.kube.wire import Item
from gotk_exporter.metrics.families import CONTROLLER_LEASE_RENEW, UNSERVED
from gotk_exporter.metrics.store import Store
from gotk_exporter.telemetry import ResourceState, ResourceTelemetry, Telemetry
from gotk_exporter.web.body import Body
from gotk_exporter.web.server import Address, Server

log = logging.getLogger(__name__)

_T = TypeVar("_T")

CAUSES_SECONDS = 5.0
"""How often root causes are asked whether time alone has changed one. The shortest such time is a minute."""
SPARE_DESCRIPTORS = 64
"""For scrapers, requests that are no watches, and what Python itself opens."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says beside the settings file."""

    listen_address: Address
    metrics_path: str = "/metrics"
    kubeconfig: str | None = None
    context: str | None = None


class Exporter:
    """Every part, wired; ``run`` starts them and ends them."""

    def __init__(
        self, settings: Settings, loader: Loader, bounds: Bounds, clock: Clock, metrics_path: str = "/metrics"
    ) -> None:
        self._clock = clock
        self.telemetry = Telemetry(clock.monotonic)
        self.store = Store(settings.metrics.families)
        self.relations = Relations(self.store)
        self.credentials = Credentials(loader, bounds, clock, self.telemetry.count_credentials_load)
        self.client = ApiClient(self.credentials, bounds, clock, self.telemetry.count_request)
        self._memory = Memory()
        self._owner_labels = settings.metrics.owner_labels
        self._checkpoint = _checkpoint(settings, self.client, bounds, clock, self.telemetry)
        self._leases = LeaseFollower(
            self.client,
            # Where nobody will see what they say, they are not asked for.
            settings.lease_namespaces if {CONTROLLER_LEASE_RENEW, UNSERVED} & {*self.store.families} else (),
            self.relations.take_leases,
            self.telemetry,
            bounds,
            clock,
            random.Random(),
        )
        self._bounds = bounds
        self._followed: list[tuple[Collector, ResourceTelemetry]] = []
        self.cluster = Cluster(
            self.client,
            [BY_NAME[name] for name in settings.watch.kinds],
            settings.watch.namespaces,
            self._make_sink,
            self.telemetry,
            bounds,
            clock,
            random.Random(),
        )
        self.body = Body(self.store, self.telemetry.render)
        self.metrics_path = metrics_path
        self.server = Server(
            self.body,
            self.telemetry,
            self.cluster.pending,
            metrics_path,
            clock,
            explain=self.explain,
            stale=self.cluster.stale,
        )

    async def run(
        self, address: Address, stop: asyncio.Event, on_listening: Callable[[Address], None] = lambda address: None
    ) -> None:
        """Serve until ``stop`` is set. ``on_listening`` gets the address with the port that was taken, for port 0.

        Raises:
            CredentialsError: no way to the API server is configured, or the configured one cannot be used. An API
                server that does not answer is no reason to end: it may come back.
            ListenError: the address cannot be listened on.
        """
        listening = await self.server.start(address)
        try:
            on_listening(listening)
            endpoint = await _unless(stop, self.credentials.endpoint())
            if endpoint is not None:
                log.info("gotk-exporter %s serves %s on %s", __version__, self.metrics_path, listening)
                log.info("the API server is %s", without_credentials(endpoint.base_url))
                async with self.client:
                    if await _unless(stop, self._remember()) is not None:
                        await self._follow(stop)
                    await self._save()
            log.info("stopping")
        finally:
            await self.server.stop()

    async def _follow(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self.cluster.run(), name="cluster"),
                tasks.create_task(self._advance_causes(), name="causes"),
                tasks.create_task(self._leases.run(), name="leases"),
            ]
            if self._checkpoint is not None:
                running.append(tasks.create_task(self._checkpoint.keep(self._worth_remembering), name="checkpoint"))
            await stop.wait()
            for task in running:
                task.cancel()

    async def _remember(self) -> bool:
        """Take up what was known before a restart. Always True: there need not be anything."""
        content = await self._checkpoint.load() if self._checkpoint is not None else None
        if content is not None:
            memory = read_memory(content)
            if isinstance(memory, Memory):
                self._memory.take(memory)
                log.info("%d objects are remembered from before the restart", len(memory))
            else:
                log.warning("the checkpoint is ignored: %s", memory)
        return True

    def _worth_remembering(self) -> Written | None:
        """None before everything is listed: half of it must not take the place of all."""
        if self.cluster.pending():
            return None
        listings = {
            collector.scope: collector.worth_remembering()
            for collector, telemetry in self._followed
            if telemetry.state in (ResourceState.SYNCED, ResourceState.ABSENT)
        }
        return write_memory(self._clock.wall(), listings)

    async def _save(self) -> None:
        if self._checkpoint is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._bounds.checkpoint_farewell):
                    await self._checkpoint.save(self._worth_remembering)

    async def _advance_causes(self) -> NoReturn:
        frozen = False
        while True:
            await self._clock.sleep(CAUSES_SECONDS)
            self.relations.advance(self._clock.wall())
            if not frozen and not self.cluster.pending():
                # What is known of the cluster stays, and none of it is cyclic: to look through all of it for garbage
                # took 90 ms with 10,000 objects, in the middle of a scrape.
                gc.freeze()
                frozen = True

    def explain(self, kind: str, name: str, namespace: str | None) -> Explanation:
        """Why this object is not ready, as far as it is known now. Raises NoAnswer."""
        gaps = [
            NotKnown(kind=collector.kind.name, namespace=collector.namespace or "", why=why)
            for collector, telemetry in self._followed
            if (why := _gap(telemetry)) is not None
        ]
        absent = {
            collector.kind.name for collector, telemetry in self._followed if telemetry.state is ResourceState.ABSENT
        }
        collectors = [collector for collector, _ in self._followed]
        known = Known(self.relations, collectors, gaps, frozenset(absent))
        return answer(question(kind, name, namespace), known, self._clock.wall())

    def _make_sink(self, kind: Kind, namespace: str | None, telemetry: ResourceTelemetry) -> FluxSink:
        collector = Collector(kind, namespace, self.store, self.relations, self._memory, self._owner_labels)
        self._followed.append((collector, telemetry))
        return FluxSink(collector, telemetry)


def _checkpoint(
    settings: Settings, client: ApiClient, bounds: Bounds, clock: Clock, telemetry: Telemetry
) -> Checkpoint | None:
    if not settings.checkpoint.kept:
        return None
    place = Place(settings.checkpoint.namespace, settings.checkpoint.config_map)
    return Checkpoint(client, place, bounds, clock, random.Random(), telemetry)


_GAPS: dict[ResourceState, Why] = {
    ResourceState.SYNCING: "not_listed_yet",
    ResourceState.FORBIDDEN: "forbidden",
    ResourceState.UNREACHABLE: "out_of_date",
    ResourceState.RELISTING: "out_of_date",
}


def _gap(telemetry: ResourceTelemetry) -> Why | None:
    return _GAPS.get(telemetry.state) or (None if telemetry.stale_for() is None else "out_of_date")


async def _unless(stop: asyncio.Event, awaited: Coroutine[None, None, _T]) -> _T | None:
    """What ``awaited`` gives, or None where ``stop`` comes first: a credential plugin may take a minute."""
    task, stopping = asyncio.ensure_future(awaited), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopping.cancel()


def _allow_descriptors(listings: int) -> None:
    """Raise the soft limit of open files to the hard one: each watch is a connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < listings + SPARE_DESCRIPTORS:
        log.warning(
            "%d kinds and namespaces are watched, each over a connection, and the process may open %d files; "
            "raise the limit (ulimit -n), or name fewer in watch.kinds and watch.namespaces",
            listings,
            hard,
        )


async def run(options: RunOptions, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises what ``Exporter.run`` does."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _allow_descriptors(len(settings.watch.kinds) * max(1, len(settings.watch.namespaces)))
    bounds, clock = Bounds(), SystemClock()
    loader = choose_loader(bounds, clock, options.kubeconfig, options.context)
    await Exporter(settings, loader, bounds, clock, options.metrics_path).run(options.listen_address, stop)


class FluxSink:
    """Hands a reflector's objects to a collector, and tells what could not be read of them."""

    def __init__(self, collector: Collector, telemetry: ResourceTelemetry) -> None:
        self._collector = collector
        self._telemetry = telemetry

    def __len__(self) -> int:
        return len(self._collector)

    def begin_replacement(self, api_version: str) -> FluxReplacement:
        return FluxReplacement(self, self._collector.begin_replacement(api_version))

    def upsert(self, item: Item, seen_at: float, written_after: float | None) -> None:
        self.tell(item, self._collector.upsert(item.key, item.raw, Seen(seen_at, seen_at, written_after)))

    def delete(self, item: Item) -> None:
        self._collector.delete(item.key, item.uid)

    def drop(self) -> None:
        self._collector.drop()

    def tell(self, item: Item, defects: Sequence[Defect]) -> None:
        """Count and log what the collector found new."""
        for defect in defects:
            self._telemetry.unreadable(defect.field)
            log.warning("%s %s: %s is left out: %s", self._collector.kind.name, item.key, defect.field, defect.problem)


class FluxReplacement:
    """The same for a listing on its way in."""

    def __init__(self, sink: FluxSink, replacement: CollectorReplacement) -> None:
        self._sink = sink
        self._replacement = replacement

    def add(self, item: Item, seen_at: float, followed_until: float | None) -> None:
        seen = Seen(seen_at, followed_until)
        self._sink.tell(item, self._replacement.add(item.key, item.uid, item.resource_version, item.raw, seen))

    def commit(self) -> None:
        self._replacement.commit()
