"""How following one listing stands, as it is shown and logged: the state, and one line when it changes.

The reflector tells what happened; nothing here decides what is asked next (watch) or how long to wait (bounds). A state
is never better than what is served: only a complete listing, or a watch that has proved itself, makes it synced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from gotk_exporter.telemetry import ResourceState, ResourceTelemetry

log = logging.getLogger(__name__)

_OF_THE_WHOLE_SERVER = frozenset({401, 429, 502, 503, 504})
"""Said about one kind, meant about the server or about us: discovery says it once, and as a warning."""

_LISTED = frozenset({ResourceState.SYNCED, ResourceState.UNREACHABLE, ResourceState.RELISTING})

_STILL_SERVED = "what was last known stays served"


class Standing:
    """Of one kind, in all namespaces or in one."""

    def __init__(
        self, name: str, limited: bool, telemetry: ResourceTelemetry, on_missing: Callable[[], None] = lambda: None
    ) -> None:
        """``limited``: one of many namespaces, whose ups are not worth a line each. ``on_missing`` is called when the
        server says that it does not serve the kind (any more): whether that is so, discovery decides."""
        self._name = name
        self._up_level = logging.DEBUG if limited else logging.INFO
        self._telemetry = telemetry
        self._on_missing = on_missing
        self._failures = 0
        # True also for the successor of a reflector that has listed the kind at another version.
        self._listed_once = telemetry.state in _LISTED

    @property
    def proven(self) -> bool:
        """Whether there is nothing left that a watch could prove by going on."""
        return self._telemetry.state is ResourceState.SYNCED and not self._failures

    def listed(self, objects: int) -> None:
        """A listing is complete, and served."""
        self._listed_once = True
        # A kind that may be listed but not watched is refreshed by listing alone; it is no less forbidden for that.
        if self._telemetry.state is not ResourceState.FORBIDDEN:
            self._up(objects)

    def watched(self, objects: int) -> None:
        """A watch has brought something, or lasted: an API server that has just started accepts a watch before it says
        that it no longer knows our place."""
        if self._listed_once:
            self._up(objects)

    def failed(self, error: ApiError) -> None:
        """A request or a stream ended in this."""
        self._failures += 1
        code = error.code if isinstance(error, StatusError) else None
        if code == 404:
            self._on_missing()
        state = self._after(code)
        if state is None:
            log.debug("%s: %s", self._name, error)
            return
        # Before the first listing there is no change of state to tell by.
        if self._telemetry.enter(state) or (state is ResourceState.SYNCING and self._failures == 2):
            whole = isinstance(error, Unreachable) or code in _OF_THE_WHOLE_SERVER or code == 410
            remedy = self._remedy(state)
            log.log(
                logging.INFO if whole else logging.WARNING, "%s: %s: %s; %s", self._name, state.value, error, remedy
            )

    def _after(self, code: int | None) -> ResourceState | None:
        if code == 403:
            return ResourceState.FORBIDDEN
        if code == 410:
            return ResourceState.RELISTING if self._listed_once else ResourceState.SYNCING
        if self._failures < 2:
            # One broken stream is everyday life; it is a state when trying again fails too.
            return None
        return ResourceState.UNREACHABLE if self._listed_once else ResourceState.SYNCING

    def _remedy(self, state: ResourceState) -> str:
        if state is ResourceState.FORBIDDEN:
            served = f"; {_STILL_SERVED}" if self._listed_once else ""
            return f"grant list and watch on it to the exporter's account{served}"
        if state is ResourceState.RELISTING:
            return f"listing anew; {_STILL_SERVED} meanwhile"
        return f"trying on; {_STILL_SERVED}" if self._listed_once else "trying on"

    def _up(self, objects: int) -> None:
        self._failures = 0
        if self._telemetry.enter(ResourceState.SYNCED):
            log.log(self._up_level, "%s: synced, %d objects", self._name, objects)
