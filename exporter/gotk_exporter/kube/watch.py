"""List and watch of one resource as a state table; performs no I/O and knows no time.

The first listing comes from the API server's memory, in one answer; later ones come by the page and are of the moment:
what the server has in memory may lag behind what we have seen, and time must not go back. The reflector asks
``Cursor.request`` what to do next, does it, and tells the cursor what came of it; the cursor answers with the effect on
what is held. Back-off, timeouts and decoding belong to the reflector and the client.

Reference: kubernetes.io, API concepts, "Efficient detection of changes" and "Retrieving large results sets in chunks".
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Phase(enum.Enum):
    STARTING = "listing for the first time"
    LISTING = "listing"
    WATCHING = "watching"


class Signal(enum.Enum):
    """What a request or a stream can bring."""

    PAGE = "a page, and more to come"
    LAST_PAGE = "the last page"
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    EXPIRED = "410, as an HTTP status or in the stream"
    REFUSED = "an ERROR event other than 410, or a request that the server calls invalid"
    LOST = "no answer, or a stream that ended or broke"


class Effect(enum.Enum):
    """What happens to the objects held."""

    NOTHING = "nothing"
    STAGE = "keep the page aside"
    COMMIT = "keep the page aside, then serve what was kept in place of all that was served"
    ABANDON = "forget what was kept aside"
    UPSERT = "serve the object"
    DELETE = "forget the object"


_S, _L, _W = Phase.STARTING, Phase.LISTING, Phase.WATCHING

TRANSITIONS: dict[tuple[Phase, Signal], tuple[Phase, Effect]] = {
    # Without a cache in front of its storage a server answers by the page nevertheless.
    (_S, Signal.PAGE): (_L, Effect.STAGE),
    (_S, Signal.LAST_PAGE): (_W, Effect.COMMIT),
    # One long answer has no place to go on from, and a proxy may not let it pass: whatever went wrong with it, from now
    # on by the page.
    (_S, Signal.EXPIRED): (_L, Effect.ABANDON),
    (_S, Signal.REFUSED): (_L, Effect.ABANDON),
    (_S, Signal.LOST): (_L, Effect.ABANDON),
    (_L, Signal.PAGE): (_L, Effect.STAGE),
    (_L, Signal.LAST_PAGE): (_W, Effect.COMMIT),
    # The continue token has expired: pages of two different moments must not be mixed, so from page 1.
    (_L, Signal.EXPIRED): (_L, Effect.ABANDON),
    # A token that the server calls invalid will not get better (it was upgraded, or replaced by another).
    (_L, Signal.REFUSED): (_L, Effect.ABANDON),
    # The same page is asked for again: its token is still good.
    (_L, Signal.LOST): (_L, Effect.NOTHING),
    (_W, Signal.ADDED): (_W, Effect.UPSERT),
    (_W, Signal.MODIFIED): (_W, Effect.UPSERT),
    (_W, Signal.DELETED): (_W, Effect.DELETE),
    (_W, Signal.BOOKMARK): (_W, Effect.NOTHING),
    # What we hold stays served until the new listing is complete.
    (_W, Signal.EXPIRED): (_L, Effect.NOTHING),
    (_W, Signal.REFUSED): (_L, Effect.NOTHING),
    # The stream goes on where it broke.
    (_W, Signal.LOST): (_W, Effect.NOTHING),
}


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """Everything at once, of any moment that the server has at hand."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A page of the newest listing, or of the one that the token belongs to."""

    continue_token: str


@dataclass(frozen=True, slots=True)
class WatchRequest:
    resource_version: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a list and watch stands."""

    phase: Phase = Phase.STARTING
    resource_version: str = ""
    """Of the last page or event; where the watch (re)starts."""
    continue_token: str = ""

    @property
    def request(self) -> CacheRequest | ListRequest | WatchRequest:
        """What to ask the API server next."""
        if self.phase is Phase.STARTING:
            return CacheRequest()
        if self.phase is Phase.LISTING:
            return ListRequest(self.continue_token)
        return WatchRequest(self.resource_version)

    def advance(self, signal: Signal, resource_version: str = "", continue_token: str = "") -> tuple[Cursor, Effect]:
        """Where it stands after the signal, and what that does to the objects held.

        ``resource_version`` is the page's or the event's; an event without one leaves the place as it was.

        Raises:
            ValueError: the signal cannot come in this phase, as an event while listing.
        """
        try:
            phase, effect = TRANSITIONS[self.phase, signal]
        except KeyError:
            raise ValueError(f"{signal.name} cannot come while {self.phase.value}") from None
        if phase is Phase.WATCHING:
            return Cursor(phase, resource_version or self.resource_version), effect
        if signal is Signal.PAGE:
            return Cursor(phase, resource_version, continue_token), effect
        if effect is Effect.NOTHING and phase is self.phase:
            return self, effect
        return Cursor(phase), effect
