"""What is remembered across a restart: the verdicts that an object cannot be asked for, as bytes and back.

Most objects are well, and say so themselves; only the others are written down. An object that is in none of the lists
was well, if its listing was complete when they were made. Bytes in, bytes out: where they are kept is kube.checkpoint's
business. Content that is not ours, or broken, is no memory at all, and never an error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from gotk_exporter.flux.attempts import Awaiting, Cause
from gotk_exporter.flux.verdicts import Span, Status, Verdict

VERSION = 1
MAX_BYTES = 700_000
"""Of the compressed text: in base64 it fits into a ConfigMap, which may have 1 MiB."""
MAX_TEXT_BYTES = 64 * 2**20
"""Of the text: nobody may make us unpack more."""


class _Entry(msgspec.Struct, array_like=True):
    """One object, as a list: names of fields would be most of the text."""

    uid: str
    resource_version: str
    status: str
    failure_start: float | None
    failure_width: float | None
    waiting_since: float | None
    running_since: float | None
    unseen_since: float | None
    reason: str
    longest_run_seconds: float | None = None
    excuse: str = ""
    excuse_ended_at: float | None = None
    excuse_until: float | None = None
    behind_since: float | None = None


class _Document(msgspec.Struct):
    version: int
    written_at: float
    """Unix seconds: up to when all of it was current."""
    listings: dict[str, list[_Entry]]
    """By the name of the listing; it is here also where it has no entries."""
    incomplete: list[str] = []
    """Listings of which some entries found no room."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of an object that it cannot be asked for."""

    verdict: Verdict
    longest_run_seconds: float | None = None
    """Of its successful runs: a run that changes nothing overwrites what its history has."""
    excuse: Awaiting | None = None
    behind_since: float | None = None
    """Unix seconds: since when it has not applied what its source offers."""

    @property
    def is_worth_it(self) -> bool:
        """Whether it is anything but well and at rest, which an object says itself."""
        if self.verdict.status is Status.DELETED:
            return False
        return not self.is_plain or (self.longest_run_seconds or 0.0) >= LONG_RUN_SECONDS

    @property
    def is_plain(self) -> bool:
        """Nothing is lost without it but the length of a run."""
        return self.verdict == WELL and self.excuse is None and self.behind_since is None


WELL = Verdict(Status.TRUE)
LONG_RUN_SECONDS = 300.0
"""Shorter runs are not worth remembering: to three times such a one, no run is slow."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The same from before the restart."""

    kept: Kept
    resource_version: str | None
    """None where it is known only by its absence from the list: it was well."""
    until: float
    """Unix seconds: up to when this was current."""


@dataclass(frozen=True, slots=True)
class Written:
    """A memory as bytes."""

    content: bytes
    objects: int
    left_out: int
    """Objects that found no room."""


@dataclass
class Memory:
    """What was read back; empty where there is nothing to remember."""

    written_at: float = 0.0
    _listings: Mapping[str, Mapping[str, Remembered]] = field(default_factory=dict)
    _complete: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._listings.values())

    def recall(self, listing: str, uid: str, created_at: float | None) -> Remembered | None:
        """What is remembered of the object with this uid; None where nothing is."""
        found = self._listings.get(listing, {}).get(uid)
        if found is not None or listing not in self._complete:
            return found
        if created_at is None or created_at >= self.written_at:
            return None
        return Remembered(Kept(WELL), None, self.written_at)

    def take(self, other: Memory) -> None:
        """Remember what the other one does, and nothing else."""
        self.written_at, self._listings, self._complete = other.written_at, other._listings, other._complete

    def forget(self, listing: str) -> None:
        """The listing has been read: from now on we know better ourselves."""
        self._listings = {name: entries for name, entries in self._listings.items() if name != listing}
        self._complete -= {listing}


def write(written_at: float, listings: Mapping[str, Iterable[tuple[str, str, Kept]]], room: int = MAX_BYTES) -> Written:
    """The memory of these listings: uid and resourceVersion of each object that is worth remembering, and what of it.

    Where it does not fit, those go first that an object can best be asked for itself.
    """
    entries = {
        name: sorted((_entry(*item) for item in items), key=_importance, reverse=True)
        for name, items in listings.items()
    }
    total = sum(len(items) for items in entries.values())
    share = 1.0
    while True:
        kept = {name: items[: int(len(items) * share)] for name, items in entries.items()}
        incomplete = [
            name
            for name, items in entries.items()
            if any(_importance(entry) > _LEAST for entry in items[len(kept[name]) :])
        ]
        content = zlib.compress(_encoder.encode(_Document(VERSION, written_at, kept, incomplete)), level=6)
        if len(content) <= room or share < 0.001:
            break
        share *= 0.9 * room / len(content)
    count = sum(len(items) for items in kept.values())
    return Written(content, count, total - count)


def read(content: bytes) -> Memory | str:
    """The memory in these bytes, or why there is none."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(content, MAX_TEXT_BYTES)
        if not unpacker.eof:
            return "it is cut off, or larger than any that gotk-exporter writes"
        document = _decoder.decode(text)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError):
        return "it is not what gotk-exporter writes"
    if document.version != VERSION:
        return f"it has version {document.version}, and this gotk-exporter reads version {VERSION}"
    listings = {}
    for name, entries in document.listings.items():
        found = ((entry, _kept(entry)) for entry in entries)
        listings[name] = {
            entry.uid: Remembered(kept, entry.resource_version, document.written_at)
            for entry, kept in found
            if kept is not None
        }
    return Memory(document.written_at, listings, frozenset(document.listings) - set(document.incomplete))


def _entry(uid: str, resource_version: str, kept: Kept) -> _Entry:
    verdict, excuse = kept.verdict, kept.excuse
    failure = verdict.failure
    return _Entry(
        uid,
        resource_version,
        verdict.status.value,
        failure.start if failure is not None else None,
        failure.width if failure is not None else None,
        verdict.waiting_since,
        verdict.running_since,
        verdict.unseen_since,
        verdict.reason,
        kept.longest_run_seconds,
        excuse.cause.value if excuse is not None else "",
        excuse.ended_at if excuse is not None else None,
        excuse.until if excuse is not None else None,
        kept.behind_since,
    )


def _importance(entry: _Entry) -> tuple[bool, bool, bool]:
    kept = _kept(entry)
    return entry.failure_start is not None, entry.status != Status.TRUE.value, kept is None or not kept.is_plain


_LEAST = (False, False, False)
_STATUSES = {status.value: status for status in Status if status is not Status.DELETED}
_CAUSES = {cause.value: cause for cause in Cause}


def _kept(entry: _Entry) -> Kept | None:
    status = _STATUSES.get(entry.status)
    if status is None:
        return None
    failure = None if entry.failure_start is None else Span(entry.failure_start, max(0.0, entry.failure_width or 0.0))
    verdict = Verdict(status, failure, entry.waiting_since, entry.running_since, entry.reason, entry.unseen_since)
    cause, excuse = _CAUSES.get(entry.excuse), None
    if cause is not None and entry.excuse_ended_at is not None and entry.excuse_until is not None:
        excuse = Awaiting(cause, entry.excuse_ended_at, entry.excuse_until)
    return Kept(verdict, entry.longest_run_seconds, excuse, entry.behind_since)
