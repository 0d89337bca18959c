"""Runs of one kind's objects, as controller-runtime's queue has them; what a run does is its reconciler's.

An object has at most one run at a time and at most one place in the queue: what asks for it sooner moves that place
forward, what asks for it during a run has it run again at once. (Recorded: a run that was asked for in the middle of
another replaces the retry that the other had planned.)
Reference: sigs.k8s.io/controller-runtime, pkg/controller/priorityqueue; client-go, exponential failure rate limiter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from gotk_exporter.simulator.fleet.cluster import Cluster
from gotk_exporter.simulator.fleet.objects import Json, Key, requested_at
from gotk_exporter.simulator.fleet.patches import Doing, Effect, Emit, Patch, Wait, Working
from gotk_exporter.simulator.fleet.schedule import Timer


@dataclass(frozen=True, slots=True)
class After:
    """All is said; the next run after this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class BackOff:
    """Again, each time after twice the time."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more until something changes."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """An error that no retry would mend."""


INVALID_SPEC = "InvalidSpec"
"""The reason of an event that no controller of Flux's sends: the object cannot be understood, and is left alone."""

Result = After | BackOff | Done | Terminal
Run = Generator[Effect, Any, Result]


class Reconciler(Protocol):
    """What a kind does in a run."""

    kind: str
    process: str
    """The controller that it is part of."""
    field_manager: str

    def reconcile(self, obj: Json) -> Run: ...

    def woken_by(self, old: Json | None, new: Json) -> Iterable[Key]:
        """Who is to run because another kind's object changed."""
        ...


class Base:
    """What reconcilers have in common."""

    kind = ""
    process = ""
    field_manager = ""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def woken_by(self, old: Json | None, new: Json) -> Iterable[Key]:
        return ()

    def pause(self, key: Key, name: str) -> Wait:
        return Wait(self.cluster.gap(key, name))

    def patch(self, key: Key, work: Working) -> Doing:
        """Write what the run changed since it wrote last."""
        stored = self.cluster.get(key)
        if stored is None:
            return
        written = False
        conditions = work.changed_conditions(stored, self.cluster.stamp)
        if conditions is not None:
            yield Patch({"status": {"conditions": conditions}}, status=True)
            written = True
        finalizers = work.changed_finalizers()
        if finalizers is not None:
            if written:
                yield self.pause(key, "second write")
            yield Patch({"metadata": {"finalizers": finalizers or None}}, status=False)
            written = True
        status = work.changed_status()
        if status:
            if written:
                yield self.pause(key, "second write")
            yield Patch({"status": status}, status=True)


class Controller:
    """The queue of one kind, and its runs."""

    def __init__(
        self, reconciler: Reconciler, cluster: Cluster, act: Callable[[Reconciler, Key, Effect], None]
    ) -> None:
        self.reconciler = reconciler
        self._cluster = cluster
        self._act = act
        self._alive = False
        self._waiting: dict[Key, Timer] = {}
        self._ready: deque[Key] = deque()
        self._running: dict[Key, Run] = {}
        self._resume: dict[Key, Timer] = {}
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self.runs: dict[Key, int] = {}
        """How often each object was reconciled since the controller started."""

    @property
    def alive(self) -> bool:
        return self._alive

    def start(self) -> None:
        """Begin with all objects there are."""
        self._alive = True
        for key in self._cluster.keys(self.reconciler.kind):
            self.enqueue(key)

    def kill(self) -> None:
        """Stop in the middle of whatever is going on; nothing is remembered."""
        self._alive = False
        for timer in (*self._waiting.values(), *self._resume.values()):
            timer.cancel()
        for run in self._running.values():
            run.close()
        for each in (self._waiting, self._ready, self._running, self._resume, self._again, self._failures, self.runs):
            each.clear()

    def enqueue(self, key: Key, delay: float | None = None) -> None:
        """Have ``key`` run after ``delay`` seconds, or as soon as a controller reacts."""
        if not self._alive:
            return
        if key in self._running:
            self._again.add(key)
            return
        if key in self._ready:
            return
        due = self._cluster.now + (self._cluster.gap(key, "react") if delay is None else delay)
        waiting = self._waiting.get(key)
        if waiting is not None:
            if waiting.due <= due:
                return
            waiting.cancel()
        self._waiting[key] = self._cluster.schedule.at(due, lambda: self._due(key))

    def changed(self, key: Key, old: Json | None, new: Json | None) -> None:
        """One of its own objects changed: a new generation, deletion and a request are what it looks for."""
        if new is None:
            self._failures.pop(key, None)
            waiting = self._waiting.pop(key, None)
            if waiting is not None:
                waiting.cancel()
        elif (
            old is None
            or old["metadata"].get("generation") != new["metadata"].get("generation")
            or old["metadata"].get("deletionTimestamp") != new["metadata"].get("deletionTimestamp")
            or requested_at(old) != requested_at(new)
        ):
            self.enqueue(key)

    def _due(self, key: Key) -> None:
        del self._waiting[key]
        limit = self._cluster.flags.concurrent
        if limit is not None and len(self._running) >= limit:
            self._ready.append(key)
        else:
            self._begin(key)

    def _begin(self, key: Key) -> None:
        obj = self._cluster.get(key)
        if obj is None:
            self._next()
            return
        self.runs[key] = self.runs.get(key, 0) + 1
        run = self._running[key] = self.reconciler.reconcile(obj)
        self._continue(key, run)

    def _continue(self, key: Key, run: Run) -> None:
        self._resume.pop(key, None)
        while self._running.get(key) is run:
            try:
                effect = next(run)
            except StopIteration as stop:
                self._end(key, stop.value)
                return
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # The schemas of the storage let through what those of the real CRDs would not.
                self._act(self.reconciler, key, Emit("error", INVALID_SPEC, f"{type(error).__name__}: {error}"))
                self._end(key, Terminal())
                return
            if isinstance(effect, Wait):
                self._resume[key] = self._cluster.schedule.after(effect.seconds, lambda: self._continue(key, run))
                return
            if isinstance(effect, Patch) and self._cluster.get(key) is None:
                # Gone under its hands; whatever it still has to say, there is nothing to say it of.
                run.close()
                self._end(key, Done())
                return
            self._act(self.reconciler, key, effect)

    def _end(self, key: Key, result: Result) -> None:
        del self._running[key]
        again = key in self._again
        self._again.discard(key)
        delay = self._delay(key, result)
        if again:
            self.enqueue(key)
        elif delay is not None:
            self.enqueue(key, delay)
        self._next()

    def _delay(self, key: Key, result: Result) -> float | None:
        flags = self._cluster.flags
        match result:
            case BackOff():
                failures = self._failures.get(key, 0)
                self._failures[key] = failures + 1
                return float(min(flags.min_retry_delay * 2 ** min(failures, 30), flags.max_retry_delay))
            case After():
                self._failures.pop(key, None)
                return result.seconds
            case Done():
                self._failures.pop(key, None)
        return None

    def _next(self) -> None:
        if self._ready:
            self._begin(self._ready.popleft())
