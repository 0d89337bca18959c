"""What a controller sees and knows: the objects, the world, the time, its flags, and chance; does nothing by itself.

Chance is seeded per object, so that what one object does never depends on how many others there are.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gotk_exporter.simulator.fleet.objects import Json, Key, timestamp
from gotk_exporter.simulator.fleet.schedule import Schedule
from gotk_exporter.simulator.fleet.world import World


@dataclass(frozen=True, slots=True)
class Flags:
    """The controllers' flags and built-in durations, in seconds, with their defaults."""

    requeue_dependency: float = 30.0
    min_retry_delay: float = 0.75
    max_retry_delay: float = 900.0
    health_poll: float = 5.0
    """How often a health check looks."""
    release_poll: float = 1.0
    """The same of Helm, for what it released."""
    termination_poll: float = 2.0
    minimum_timeout: float = 30.0
    """Of a Kustomization, whatever its spec says."""
    history_sync: float = 10.0
    """How long helm-controller waits, before an immediate retry, for its cache to show the history that it wrote. It
    compares times of nanoseconds with times of seconds, so it always waits."""
    fetch_retries: int = 9
    fetch_retry_min: float = 5.0
    fetch_retry_max: float = 30.0
    """Of downloads from source-controller; the wait doubles from the one to the other."""
    jitter: float = 0.05
    """Of intervals, to either side."""
    concurrent: int | None = None
    """Runs at once, per kind. Flux has 4; without a limit nothing waits for anything but itself."""
    fail_fast: bool = True
    leader_election: bool = False
    lease_duration: float = 35.0
    lease_retry_period: float = 5.0

    def divided_by(self, speed: float) -> Flags:
        """The same story, ``speed`` times as fast."""
        scaled = (
            "requeue_dependency",
            "min_retry_delay",
            "max_retry_delay",
            "health_poll",
            "release_poll",
            "termination_poll",
            "minimum_timeout",
            "history_sync",
            "fetch_retry_min",
            "fetch_retry_max",
            "lease_duration",
            "lease_retry_period",
        )
        return dataclasses.replace(self, **{name: getattr(self, name) / speed for name in scaled})


GAPS = {
    # From the recorded runs, median of each, in seconds.
    "react": 0.008,
    "begin": 0.012,
    "second write": 0.0055,
    "announce": 0.007,
    "source: store": 0.013,
    "source: fetch": 0.045,
    "source: refused": 0.009,
    "kustomization: fetch": 0.013,
    "kustomization: build": 0.075,
    "kustomization: broken build": 0.145,
    "kustomization: apply": 0.018,
    "kustomization: rejected": 0.03,
    "kustomization: look": 0.014,
    "kustomization: conclude": 0.009,
    "finalize": 0.018,
    "chart: build": 0.02,
    "helm: prepare": 0.03,
    "helm: action": 0.25,
    "helm: render": 0.09,
    "helm: unlock": 0.06,
}

Jitter = Callable[[Key, float], float]
"""What an object makes of its interval, in seconds."""


class Cluster:
    """Objects are as the API server sent them last; who changes one changes it there."""

    def __init__(self, schedule: Schedule, world: World, flags: Flags, seed: int, jitter: Jitter | None = None) -> None:
        self.schedule = schedule
        self.world = world
        self.flags = flags
        self._seed = seed
        self._jitter = jitter
        self._random: dict[Key, random.Random] = {}
        self._objects: dict[str, dict[Key, Json]] = {}

    # Objects.

    def get(self, key: Key) -> Json | None:
        return self._objects.get(key.kind, {}).get(key)

    def of_kind(self, kind: str) -> Iterable[Json]:
        return self._objects.get(kind, {}).values()

    def keys(self, kind: str) -> list[Key]:
        return list(self._objects.get(kind, {}))

    def store(self, key: Key, obj: Json | None) -> Json | None:
        """Take note of an object as it is now, None if it is gone; returns what it was."""
        of_kind = self._objects.setdefault(key.kind, {})
        if obj is None:
            return of_kind.pop(key, None)
        old = of_kind.get(key)
        of_kind[key] = obj
        return old

    # Time and chance.

    @property
    def now(self) -> float:
        return self.schedule.now

    @property
    def stamp(self) -> str:
        return timestamp(self.schedule.wall)

    def chance(self, key: Key) -> random.Random:
        found = self._random.get(key)
        if found is None:
            # A string, because tuples and the like are hashed, and hashes differ from process to process.
            found = self._random[key] = random.Random(f"{self._seed}/{key}")
        return found

    def gap(self, key: Key, name: str) -> float:
        """How long a controller is busy with ``name``, a key of GAPS."""
        return GAPS[name] * self.chance(key).uniform(0.8, 1.3)

    def jittered(self, key: Key, interval: float) -> float:
        if self._jitter is not None:
            return self._jitter(key, interval)
        return interval * self.chance(key).uniform(1 - self.flags.jitter, 1 + self.flags.jitter)
