"""How long, how often and how much: every bound of following the API server, in one place."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Bounds:
    """All durations in seconds."""

    page_objects: int = 500
    """Objects per page of a listing, as client-go's pager asks for."""
    request_timeout: float = 60.0
    """One request other than a watch or a first listing, to its last byte; of these, to the head of the answer."""
    cache_timeout: float = 300.0
    """A first listing, which comes in one answer: 100,000 objects at the pace of a slow API server."""
    cache_silence: float = 60.0
    """A first listing that stops for so long is given up."""
    connect_timeout: float = 10.0
    """TCP and TLS together."""
    watch_timeout: float = 300.0
    """What we ask the server to end a watch after, at least; up to twice that, at random, as client-go does, so that
    the watches of all kinds do not end together."""
    watch_silence: float = 90.0
    """A watch without a byte for this long is opened anew from where it stands. A server that went away without saying
    so (cut, frozen, a proxy that holds the line) sends nothing; but neither does kube-apiserver for a kind to which
    nothing is written."""
    stale_after: float = 180.0
    """What is served of a kind is marked as stale when the API server has not confirmed it for longer than this. A
    healthy kind to which nothing is written is confirmed only when its watch is opened anew, and must never get there:
    the silence, then a break with the longest back-off or an opening that times out (60 s either way), connecting, and
    the time in which a watch proves itself come to 165 s."""
    watch_short: float = 5.0
    """A watch that ends sooner counts as failed: a server that ends each one at once must not be asked in a loop."""
    backoff_first: float = 0.8
    backoff_longest: float = 30.0
    backoff_reset: float = 120.0
    """Back-off as client-go's reflector: doubling, each wait stretched by up to its own length at random, and forgotten
    after two minutes without a failure."""
    retry_after_longest: float = 600.0
    """A Retry-After beyond this is obeyed only so far."""
    discovery_interval: float = 30.0
    """So that a kind that comes, changes its version or goes is followed within a minute."""
    absence_confirmation: float = 10.0
    """A kind that we follow counts as gone only when it is still missing this much later: an API server that has just
    started serves its custom resources a moment after its discovery."""
    credentials_interval: float = 60.0
    """How often files with tokens and certificates are read again; kubelet replaces a token when a fifth of its life
    is left."""
    plugin_interval: float = 10.0
    """A credential plugin is not run more often than this, however often its token is refused."""
    plugin_timeout: float = 60.0
    lease_interval: float = 15.0
    """How often the controllers' Leases are read. They are renewed every five seconds and run out after 35."""
    lease_timeout: float = 10.0
    """One such reading: it must not hang for longer than heartbeats may go unread."""
    lease_patience: float = 90.0
    """For how long heartbeats that cannot be read any more stay as they were; then they are taken away. So one that is
    shown and older than two minutes is a controller's doing, and not ours."""
    checkpoint_interval: float = 60.0
    """The checkpoint is written at most so often."""
    checkpoint_patience: float = 30.0
    """How long the start waits for a checkpoint that cannot be read."""
    checkpoint_farewell: float = 5.0
    """How long the end waits for one that cannot be written."""

    def divided(self, speed: float) -> Bounds:
        """All durations divided by ``speed``."""
        durations: dict[str, Any] = {
            name: value / speed for name in self.__slots__ if isinstance(value := getattr(self, name), float)
        }
        return replace(self, **durations)


class Backoff:
    """The next wait after a failure. Holds no clock: ``now`` is any monotonic time in seconds."""

    def __init__(self, bounds: Bounds, chance: random.Random) -> None:
        self._bounds = bounds
        self._chance = chance
        self._next = bounds.backoff_first
        self._last_failure: float | None = None

    def wait_seconds(self, now: float) -> float:
        """How long to wait after a failure at ``now``."""
        if self._last_failure is not None and now - self._last_failure > self._bounds.backoff_reset:
            self._next = self._bounds.backoff_first
        wait = self._next
        self._next = min(self._next * 2, self._bounds.backoff_longest)
        self._last_failure = now + wait
        return wait * (1 + self._chance.random())
