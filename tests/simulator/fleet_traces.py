"""Writes to objects, as a recording of the real controllers has them and as a fleet makes them, in one comparable form.

What differs from run to run is taken out (digests, revisions, measured durations), what must not differ stays: states,
reasons, the shape of messages, generations, and how history, revisions and inventories go on.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_MESSAGE_LENGTH = 150
"""Recorded messages are cut there."""


def unix(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def shape(message: str) -> str:
    """``message`` without what no two runs have in common."""
    text = message[:_MESSAGE_LENGTH]
    # A measured duration has a fraction; one from a spec has none.
    text = re.sub(r"(\d+m)?\d+\.\d+m?s", "<measured>", text)
    text = re.sub(r"[0-9a-f]{7,64}", "<hex>", text)
    return text[:90]


@dataclass(frozen=True)
class Write:
    """One write, and what the object was like after it."""

    time: float
    """Seconds since the scenario's beginning."""
    status: Json
    generation: int
    deleted: bool = False


@dataclass
class Trace:
    """What happened to all objects, in order."""

    writes: dict[str, list[Write]] = field(default_factory=dict)
    """By kind/name."""
    events: dict[str, list[tuple[float, str, str, str]]] = field(default_factory=dict)
    """By kind/name: time, severity, reason, message."""
    steps: list[tuple[float, str]] = field(default_factory=list)
    start: float = 0.0
    """Unix time."""

    def add(self, name: str, write: Write) -> None:
        self.writes.setdefault(name, []).append(write)


def recorded(path: Path) -> Trace:
    trace = Trace()
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if record["rec"] in ("header", "metrics"):
            continue
        trace.start = trace.start or unix(record["t"])
        time = unix(record["t"]) - trace.start
        if record["rec"] == "step":
            trace.steps.append((time, record["what"]))
            continue
        name = f"{record['kind']}/{record['name']}"
        if record["rec"] == "event":
            event = (time, record["severity"], record["reason"], record["message"])
            trace.events.setdefault(name, []).append(event)
        else:
            trace.add(name, Write(time, record["status"], record["gen"], record["ev"] == "DELETED"))
    return trace


class _Ordinals:
    """Numbers things in the order in which they come up: revisions and digests differ, their order must not."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def __call__(self, name: str | None) -> int | None:
        return None if name is None else self._seen.setdefault(name, len(self._seen) + 1)


def conditions(status: Json) -> dict[str, Json]:
    return {condition["type"]: condition for condition in status.get("conditions", ())}


def comparable(writes: Iterable[Write]) -> Iterator[Mapping[str, Any]]:
    """What both must have in common, write by write."""
    revision, digest, requested = _Ordinals(), _Ordinals(), _Ordinals()
    for write in writes:
        status = write.status
        artifact = status.get("artifact") or {}
        yield {
            "conditions": [
                (one["type"], one["status"], one["reason"], shape(one["message"]), one["observedGeneration"])
                for one in status.get("conditions", ())
            ],
            "generations": (write.generation, status.get("observedGeneration")),
            "attempted": revision(status.get("lastAttemptedRevision")),
            "applied": revision(status.get("lastAppliedRevision")),
            "artifact": revision(artifact.get("revision")),
            "inventory": _size(status.get("inventory")),
            "handled": requested(status.get("lastHandledReconcileAt")),
            "history": [
                (
                    digest(entry["digest"]),
                    entry["lastReconciledStatus"],
                    entry["totalReconciliations"],
                    entry["firstReconciled"] == entry["lastReconciled"],
                    revision(entry["metadata"]["revision"]),
                )
                for entry in status.get("history", ())
            ],
            "deleted": write.deleted,
        }


def _size(inventory: Json | None) -> int | None:
    if inventory is None:
        return None
    entries = inventory["entries"]
    return entries if isinstance(entries, int) else len(entries)


def transitions_that_break_the_rule(writes: Iterable[Write], start: float, late_seconds: float) -> list[str]:
    """Where lastTransitionTime did not do what fluxcd/pkg says: move if the state or the text changes, else stay.

    ``late_seconds``: how long after a write it was seen, at most.
    """
    broken = []
    before: dict[str, Json] = {}
    for write in writes:
        now = conditions(write.status)
        for type, condition in now.items():
            old = before.get(type)
            stays = old is not None and all(old[name] == condition[name] for name in ("status", "reason", "message"))
            moved_at = unix(condition["lastTransitionTime"])
            written = start + write.time
            if stays and old is not None and old["lastTransitionTime"] != condition["lastTransitionTime"]:
                broken.append(f"{write.time:.3f} {type} moved though nothing changed")
            if not stays and not written - 1 - late_seconds < moved_at <= written:
                broken.append(f"{write.time:.3f} {type} changed and is of {condition['lastTransitionTime']}")
        before = now
    return broken


def history_times_that_break_the_rule(writes: Iterable[Write], start: float, late_seconds: float) -> list[str]:
    """Where an entry's first and last time are not those of its first and its latest run."""
    broken = []
    before: list[Json] = []
    for write in writes:
        now = write.status.get("history", [])
        if now and now != before:
            newest = now[0]
            old = [
                entry
                for entry in before
                if (entry["digest"], entry["lastReconciledStatus"])
                == (newest["digest"], newest["lastReconciledStatus"])
            ]
            if not start + write.time - 1 - late_seconds < unix(newest["lastReconciled"]) <= start + write.time:
                broken.append(f"{write.time:.3f} last {newest['lastReconciled']}")
            if old and old[0]["firstReconciled"] != newest["firstReconciled"]:
                broken.append(f"{write.time:.3f} first moved to {newest['firstReconciled']}")
            rest = [entry for entry in before if not old or entry is not old[0]]
            if now[1:] != rest[:4]:
                broken.append(f"{write.time:.3f} another entry changed")
        before = now
    return broken
