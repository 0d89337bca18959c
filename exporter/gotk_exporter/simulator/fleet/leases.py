"""The Leases by which Flux's controllers say that they are alive: renewed every five seconds, and then no more.

Without leader election, as where a controller runs outside of a cluster, there is none.
"""

from __future__ import annotations

from collections.abc import Callable

from gotk_exporter.simulator.fleet.cluster import Cluster
from gotk_exporter.simulator.fleet.objects import Json, Key, micro_timestamp
from gotk_exporter.simulator.fleet.schedule import Timer


class Lease:
    """One controller's hold on its Lease."""

    def __init__(self, cluster: Cluster, key: Key, write: Callable[[Key, Json], None]) -> None:
        self.key = key
        self._cluster = cluster
        self._write = write
        self._renewal: Timer | None = None
        self._transitions = -1
        self._holder = ""

    def acquire(self) -> None:
        """Take it for another process than the one that had it."""
        self._transitions += 1
        name = self.key.name.removesuffix("-leader-election")
        self._holder = f"{name}-{self._cluster.chance(self.key).randrange(16**8):08x}"
        self._put({"acquireTime": self._now(), "leaseTransitions": self._transitions})

    def stop(self) -> None:
        """Let it run out."""
        if self._renewal is not None:
            self._renewal.cancel()

    def _put(self, more: Json) -> None:
        flags = self._cluster.flags
        spec = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": max(1, round(flags.lease_duration)),
            "renewTime": self._now(),
            **more,
        }
        self._write(self.key, {"spec": spec})
        self._renewal = self._cluster.schedule.after(flags.lease_retry_period, lambda: self._put({}))

    def _now(self) -> str:
        return micro_timestamp(self._cluster.schedule.wall)
