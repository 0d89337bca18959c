"""The fleet: Flux objects that move as its controllers move them, on virtual or on real time.

It joins the parts and runs what they ask for. What a controller does with a kind is in that kind's module, what comes
from outside (commits, outages, edits) in steps.py, ready-made fleets in platform.py. Objects live wherever the writer
puts them; whoever else changes one there is heard as kubectl would be, through observe().
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from gotk_exporter.simulator.fleet.charts import HelmCharts
from gotk_exporter.simulator.fleet.cluster import Cluster, Flags, Jitter
from gotk_exporter.simulator.fleet.controller import Controller, Reconciler
from gotk_exporter.simulator.fleet.helm import Helm
from gotk_exporter.simulator.fleet.kustomizations import Kustomizations
from gotk_exporter.simulator.fleet.leases import Lease
from gotk_exporter.simulator.fleet.objects import REQUESTED_AT, Json, Key, key_of
from gotk_exporter.simulator.fleet.patches import Apply, Effect, Emit, Patch, Remove
from gotk_exporter.simulator.fleet.releases import HelmReleases
from gotk_exporter.simulator.fleet.schedule import Schedule, Timer
from gotk_exporter.simulator.fleet.sources import FETCHING_KINDS, Sources
from gotk_exporter.simulator.fleet.world import World


class ObjectWriter(Protocol):
    """Where objects live, as far as the fleet needs it.

    It tells Fleet.observe of every change, also of those that the fleet asked for, in their order.
    """

    def create(self, obj: Json, manager: str) -> None: ...

    def patch(self, key: Key, body: Json, manager: str, status: bool = False) -> None:
        """A JSON merge patch, of the status subresource with ``status``; of an object that is there."""

    def delete(self, key: Key) -> None: ...

    def get(self, key: Key) -> Json | None: ...


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """What a controller tells notification-controller, and the Kubernetes event that it records."""

    time: float
    """Unix time."""
    object: Key
    severity: str
    reason: str
    message: str
    revision: str | None


_SERVER = "source-controller"


def _ignore(alive: bool) -> None:
    """Nobody asks this one for anything."""


class Process:
    """One of Flux's controllers: its kinds live and die together."""

    def __init__(
        self,
        name: str,
        controllers: Iterable[Controller],
        lease: Lease | None,
        alive: Callable[[bool], None],
    ) -> None:
        """``alive`` is told when it begins to work, and when it no longer does."""
        self.name = name
        self._alive = alive
        self.controllers = list(controllers)
        self.lease = lease
        self.waiting: Timer | None = None
        """For its Lease, before it may work."""

    def begin(self) -> None:
        if self.lease is not None:
            self.lease.acquire()
        self._alive(True)
        for controller in self.controllers:
            controller.start()

    def kill(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
        if self.lease is not None:
            self.lease.stop()
        self._alive(False)
        for controller in self.controllers:
            controller.kill()


class Fleet:
    """All of it."""

    def __init__(
        self,
        writer: ObjectWriter,
        schedule: Schedule,
        *,
        world: World | None = None,
        flags: Flags | None = None,
        seed: int = 0,
        jitter: Jitter | None = None,
        namespace: str = "flux-system",
    ) -> None:
        """``seed``: the same one gives the same writes at the same times. ``jitter``: instead of chance.

        ``namespace``: where Flux runs, and has its Leases.
        """
        self.schedule = schedule
        self.world = world or World(lambda: schedule.now)
        self.helm = Helm()
        self.flags = flags or Flags()
        self.on_event: Callable[[FleetEvent], None] = lambda event: None
        self._writer = writer
        self.cluster = Cluster(schedule, self.world, self.flags, seed, jitter)
        reconcilers: list[Reconciler] = [
            *(Sources(self.cluster, kind) for kind in FETCHING_KINDS),
            HelmCharts(self.cluster),
            Kustomizations(self.cluster),
            HelmReleases(self.cluster, self.helm),
        ]
        self._controllers = {each.kind: Controller(each, self.cluster, self._act) for each in reconcilers}
        self.processes: dict[str, Process] = {}
        for name in dict.fromkeys(each.process for each in reconcilers):
            controllers = [one for one in self._controllers.values() if one.reconciler.process == name]
            lease = None
            if self.flags.leader_election:
                lease = Lease(self.cluster, Key("Lease", namespace, f"{name}-leader-election"), self._put_lease)
            self.processes[name] = Process(name, controllers, lease, self._serve if name == _SERVER else _ignore)

    def _serve(self, alive: bool) -> None:
        self.world.serving = alive

    # What happens.

    def start(self) -> None:
        """Start all controllers."""
        for process in self.processes.values():
            process.begin()

    def run(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass."""
        self.schedule.advance(self.schedule.now + seconds)

    async def live(self) -> None:
        """Let real time pass, for ever."""
        await self.schedule.live()

    def at(self, seconds: float, act: Callable[[Fleet], None]) -> Timer:
        """Have ``act`` called that many seconds after the schedule's beginning."""
        return self.schedule.at(seconds, lambda: act(self))

    def observe(self, key: Key, obj: Json | None) -> None:
        """An object is now ``obj``; None: it is gone. To be called for every change, in order.

        The object is kept: nobody may change it afterwards.
        """
        old = self.cluster.store(key, obj)
        own = self._controllers.get(key.kind)
        if own is not None:
            own.changed(key, old, obj)
        if obj is None:
            return
        for controller in self._controllers.values():
            if controller.alive and controller is not own:
                for woken in controller.reconciler.woken_by(old, obj):
                    controller.enqueue(woken)

    # What people do.

    def create(self, obj: Json, manager: str = "kubectl") -> Key:
        status = obj.get("status")
        self._writer.create(obj, manager)
        if status is not None:
            self._writer.patch(key_of(obj), {"status": status}, manager, status=True)
        return key_of(obj)

    def edit(self, key: Key, body: Json, manager: str = "kubectl") -> None:
        """A merge patch. What is gone is not edited: a story goes on when somebody deleted what it is about."""
        if self.cluster.get(key) is not None:
            self._writer.patch(key, body, manager)

    def delete(self, key: Key) -> None:
        if self.cluster.get(key) is not None:
            self._writer.delete(key)

    def request(self, key: Key, token: str) -> None:
        """What ``flux reconcile`` does."""
        self.edit(key, {"metadata": {"annotations": {REQUESTED_AT: token}}})

    def get(self, key: Key) -> Json | None:
        return self.cluster.get(key)

    def runs(self, key: Key) -> int:
        """How often the object was reconciled since its controller started."""
        return self._controllers[key.kind].runs.get(key, 0)

    def kill(self, process: str) -> None:
        """SIGKILL: nothing is finished, nothing is written."""
        self.processes[process].kill()

    def restart(self, process: str) -> None:
        """The process comes back, or is replaced; it works once the Lease of its predecessor has run out."""
        found = self.processes[process]
        found.kill()
        if found.lease is None:
            found.begin()
        else:
            found.waiting = self.schedule.after(self.flags.lease_duration, found.begin)

    # What runs ask for.

    def _act(self, reconciler: Reconciler, key: Key, effect: Effect) -> None:
        match effect:
            case Patch():
                self._writer.patch(key, effect.body, reconciler.field_manager, effect.status)
            case Emit():
                self.on_event(
                    FleetEvent(self.schedule.wall, key, effect.severity, effect.reason, effect.message, effect.revision)
                )
            case Apply():
                owned = key_of(effect.obj)
                if self.cluster.get(owned) is None:
                    self._writer.create(effect.obj, reconciler.field_manager)
                else:
                    self._writer.patch(owned, {"spec": effect.obj["spec"]}, reconciler.field_manager)
            case Remove():
                removed = Key(effect.kind, effect.namespace, effect.name)
                if self.cluster.get(removed) is not None:
                    self._writer.delete(removed)

    def _put_lease(self, key: Key, body: Json) -> None:
        if self._writer.get(key) is None:
            metadata = {"name": key.name, "namespace": key.namespace}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, **body}
            self._writer.create(lease, "")
        else:
            self._writer.patch(key, body, "")


async def live_for(fleet: Fleet, seconds: float) -> None:
    """Let ``seconds`` of real time pass."""
    try:
        async with asyncio.timeout(seconds):
            await fleet.live()
    except TimeoutError:
        return
