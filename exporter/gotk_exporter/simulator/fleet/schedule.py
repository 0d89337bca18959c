"""What happens when: a heap of calls, on time that is virtual or real; knows nothing of Flux.

Virtual time stands still between two calls, so that hours of it pass in seconds and the same calls come in the same
order each time. Real time is the event loop's.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Timer:
    """One call to come."""

    due: float
    call: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Schedule:
    """Calls in the order in which they are due. Times are seconds since ``epoch``, which is Unix time."""

    def __init__(self, epoch: float) -> None:
        self.epoch = epoch
        self._now = 0.0
        self._elapsed: Callable[[], float] | None = None
        """On real time: how much of it has passed."""
        self._advancing = False
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._sooner = asyncio.Event()

    @property
    def now(self) -> float:
        """During a call, the time at which it was due, so that no call is late by its own account."""
        if self._elapsed is None or self._advancing:
            return self._now
        return max(self._now, self._elapsed())

    @property
    def wall(self) -> float:
        """Now, as Unix time."""
        return self.epoch + self.now

    @property
    def next_due(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def at(self, due: float, call: Callable[[], object]) -> Timer:
        """Have ``call`` made at ``due``, or as soon as possible if that has passed."""
        timer = Timer(max(due, self.now), call)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        if self._timers[0][2] is timer:
            self._sooner.set()
        return timer

    def after(self, delay: float, call: Callable[[], object]) -> Timer:
        return self.at(self.now + delay, call)

    def advance(self, until: float) -> None:
        """Make all calls that are due up to ``until``, each at its time, and stop there."""
        self._advancing = True
        try:
            while (due := self.next_due) is not None and due <= until:
                self._now = due
                heapq.heappop(self._timers)[2].call()
            self._now = max(self._now, until)
        finally:
            self._advancing = False

    async def live(self, wall: Callable[[], float] = time.time) -> None:
        """Make all calls as real time passes, from now on and for ever; ``wall`` is what the time is in Unix time."""
        loop = asyncio.get_running_loop()
        self.epoch = wall() - self._now
        began = loop.time() - self._now
        self._elapsed = lambda: loop.time() - began
        try:
            while True:
                self._sooner.clear()
                self.advance(self.now)
                due = self.next_due
                try:
                    async with asyncio.timeout_at(None if due is None else due + began):
                        await self._sooner.wait()
                except TimeoutError:
                    continue
        finally:
            self._now, self._elapsed = self.now, None
