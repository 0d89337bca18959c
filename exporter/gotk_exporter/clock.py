"""Time as the shell sees it, so that tests can script it. The core takes ``now`` as an argument instead."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """The three uses of time. All in seconds."""

    def monotonic(self) -> float: ...

    def wall(self) -> float:
        """Unix time."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real one."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
