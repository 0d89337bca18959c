"""Tells each event to whoever subscribed, in the order in which they happened. Keeps none of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gotk_exporter.simulator.state.objects import Event, GroupResource

Listener = Callable[[Event], None]


class Announcer:
    """Calls are synchronous: when announce() returns, everyone knows, unless it was called by a listener."""

    def __init__(self) -> None:
        self._listeners: list[tuple[GroupResource | None, Listener]] = []
        self._pending: deque[Event] = deque()
        self._announcing = False

    def subscribe(self, listener: Listener, resource: GroupResource | None) -> Callable[[], None]:
        """Tell ``listener`` of events of the resource (None: of all); returns what ends that."""
        entry = (resource, listener)
        self._listeners.append(entry)

        def end() -> None:
            if entry in self._listeners:
                self._listeners.remove(entry)

        return end

    def announce(self, event: Event) -> None:
        """Tell it, after all that came before."""
        self._pending.append(event)
        if self._announcing:
            # A listener wrote. Everyone hears first of what that listener was told.
            return
        self._announcing = True
        try:
            while self._pending:
                self._tell(self._pending.popleft())
        finally:
            self._announcing = False
            self._pending.clear()

    def _tell(self, event: Event) -> None:
        for resource, listener in tuple(self._listeners):
            if resource is None or resource == event.resource:
                listener(event)
