"""The events of one kind that can still be asked for: a bounded window, and what was before it.

Reference: kubernetes.io, API concepts, "Efficient detection of changes": history ends, and then there is a 410.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from operator import attrgetter

from gotk_exporter.simulator.state.objects import Event, Stored

_version = attrgetter("version")


class Forgotten(Exception):
    """The history begins later than what was asked for; ``floor`` is where."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"history begins after {floor}")
        self.floor = floor


class History:
    """Events in the order of their versions."""

    def __init__(self, longest: int, floor: int) -> None:
        """``longest``: events kept. ``floor``: the version after which it begins."""
        self._longest = longest
        self._events: list[Event] = []
        self._last_dropped = floor
        self.floor = floor

    def append(self, event: Event) -> None:
        self._events.append(event)
        # In lots, since taking from a list's front costs its length.
        surplus = len(self._events) - self._longest
        if surplus > self._longest // 8:
            self.forget(self._events[surplus - 1].version)

    def after(self, version: int, at_most: int | None = None) -> list[Event]:
        """Events later than ``version``, the earliest first.

        Raises:
            Forgotten: some of them are no longer known.
        """
        if version < self.floor:
            raise Forgotten(self.floor)
        return self.next(version, at_most)

    def next(self, version: int, at_most: int | None = None) -> list[Event]:
        """The same for who has followed up to ``version``: only an event that was not followed is missing.

        Raises:
            Forgotten: there was one, and it is no longer known.
        """
        if version < self._last_dropped:
            raise Forgotten(self._last_dropped)
        if not self._events or self._events[-1].version <= version:
            return []
        first = bisect_right(self._events, version, key=_version)
        return list(islice(self._events, first, None if at_most is None else first + at_most))

    def undo(self, version: int) -> dict[str, Stored | None]:
        """Each object that changed after ``version``, by key, as it was then; None where it was not there yet.

        Raises:
            Forgotten: as after().
        """
        return {event.object.key: event.previous for event in reversed(self.after(version))}

    def forget(self, version: int) -> None:
        """Begin after ``version``."""
        self.floor = max(self.floor, version)
        end = bisect_right(self._events, version, key=_version)
        if end:
            self._last_dropped = self._events[end - 1].version
            del self._events[:end]
