"""Whether what an image automation pushes is deployed without anybody's doing: its branch against its source's.

The source is the GitRepository that the automation names. That another one, of the same address, follows the branch is
not looked for.
"""

from __future__ import annotations

from collections.abc import Mapping

from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.offers import Follows, Push, PushesTo
from gotk_exporter.flux.references import Key


class Pushes:
    """All image automations and the repositories that they push to."""

    def __init__(self) -> None:
        self._ends: dict[Key, Push] = {}
        self._pushers: dict[Key, set[Key]] = {}
        """Of each source that an automation names, also of one that is not there."""

    def update(self, changes: Mapping[Key, Node | None]) -> set[Key]:
        """Take in objects as they are now; returns those whose answer may have changed."""
        touched: set[Key] = set()
        for key, node in changes.items():
            before, end = self._ends.get(key), node.push if node is not None else None
            if end == before:
                continue
            self._forget(key, before)
            if end is not None:
                self._ends[key] = end
            if isinstance(end, PushesTo):
                self._pushers.setdefault(end.source, set()).add(key)
            if isinstance(end, PushesTo) or isinstance(before, PushesTo):
                touched.add(key)
            touched |= self._pushers.get(key, set())
        return touched

    def followed(self, key: Key) -> bool | None:
        """Whether its source follows the branch that it pushes to; None where it pushes nothing, or nobody can know."""
        push = self._ends.get(key)
        source = self._ends.get(push.source) if isinstance(push, PushesTo) else None
        if not isinstance(push, PushesTo) or not isinstance(source, Follows):
            return None
        branch = push.branch or source.stated
        if not branch:
            # Its controller refuses to guess.
            return None
        return source.branch != "" and source.branch in (branch, push.also)

    def _forget(self, key: Key, end: Push | None) -> None:
        if end is None:
            return
        del self._ends[key]
        if isinstance(end, PushesTo):
            pushers = self._pushers[end.source]
            pushers.discard(key)
            if not pushers:
                del self._pushers[end.source]
