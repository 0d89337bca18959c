"""Virtual time for tests: a Clock on which nobody waits. Starts no task and reads no real clock."""

from __future__ import annotations

import asyncio
import heapq
import itertools

EPOCH = 1_700_000_000.0
"""What wall() says first: 2023-11-14T22:13:20Z."""


class ScriptedClock:
    """Implements gotk_exporter.clock.Clock.

    ``sleep()`` lets every other task run once, moves the time to its end and returns: a loop that sleeps an hour
    between two requests makes them one after the other. Sleeps that overlap do not add up, and they end in the order of
    their ends, each at its time: of two that begin together and last 10 s and 1 s, the second ends first, after 1 s.

    With ``held=True`` time moves by ``advance()`` only: a sleeping task sleeps until the test says so, and
    ``await sleeping(n)`` waits, without polling, until n tasks are asleep. For tasks that should not go on while the
    test looks at them, and for several loops that would otherwise race through virtual days during one real request.

    ``slept`` lists the seconds of every sleep that has begun, in order.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.slept: list[float] = []
        self._now = 0.0
        self._held = held
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._waking: set[asyncio.Future[None]] = set()
        self._someone_sleeps = asyncio.Condition()

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return EPOCH + self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (self._now + max(seconds, 0.0), next(self._order), ended)
        heapq.heappush(self._sleepers, sleeper)
        try:
            async with self._someone_sleeps:
                self._someone_sleeps.notify_all()
            await asyncio.sleep(0)
            if self._held:
                await ended
            while not ended.done():
                # Whoever was woken must see the time at which it was, before time moves on.
                if not self._waking:
                    self._wake_first()
                await asyncio.sleep(0)
        finally:
            self._waking.discard(ended)
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move the time at once; whoever sleeps until then goes on as soon as the test awaits something."""
        end = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            self._wake_first()
        self._now = max(self._now, end)

    async def sleeping(self, count: int = 1) -> None:
        """Wait until at least ``count`` tasks are asleep."""
        async with self._someone_sleeps:
            await self._someone_sleeps.wait_for(lambda: len(self._sleepers) >= count)

    def _wake_first(self) -> None:
        end, _, ended = heapq.heappop(self._sleepers)
        self._now = max(self._now, end)
        if not ended.done():
            ended.set_result(None)
            self._waking.add(ended)
