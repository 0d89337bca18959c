"""The vocabulary of the truth about an object: its status, and since when it fails, waits or runs.

Values only. How one verdict follows from another stands in readiness; what an object proves about its own past, in
evidence.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Status(enum.Enum):
    """The status label of gotk_reconcile_condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
    DELETED = "Deleted"


@dataclass(frozen=True, slots=True)
class Span:
    """A moment of which we know only that it lies in [start, start + width]. Unix seconds; width 0 where we saw it."""

    start: float
    width: float = 0.0

    @classmethod
    def between(cls, start: float, end: float) -> Span:
        """Clocks differ: an end before the start makes no negative width."""
        return cls(start, max(0.0, end - start))

    @property
    def end(self) -> float:
        return self.start + self.width


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds of an object between two of its writes. Times are Unix seconds."""

    status: Status
    failure: Span | None = None
    """When the failure began that no success has ended since; kept while the object runs again, and while it waits."""
    waiting_since: float | None = None
    """Present while it waits for something else and does not try."""
    running_since: float | None = None
    """Present while a run goes on; creation, while nothing ever touched the object."""
    reason: str = ""
    """Of the last write that made Ready False."""
    unseen_since: float | None = None
    """Where we cannot tell whether it failed before now: since when it may have. A failure that is seen to begin is
    then one that may have begun earlier."""

    @property
    def failing(self) -> bool:
        """Its own run failed. One that waits is not failing, whatever it did before."""
        return self.failure is not None and self.waiting_since is None


@dataclass(frozen=True, slots=True)
class Seen:
    """When a write reached us, and how far back what we held was current. Unix seconds."""

    at: float
    followed_until: float | None = None
    """Up to when we know that what we held of the object was all there was: ``at`` itself while a watch runs, an
    earlier time after a gap in which writes were missed (a restart with a memory, a listing anew); None where we held
    nothing."""
    written_after: float | None = None
    """Of a write that comes late though none was missed, from a watch that went on after its connection was lost: it
    was made after this time. None where it came as it was made."""

    @classmethod
    def live(cls, at: float) -> Seen:
        return cls(at, at)
