"""What several objects together say about one becomes sample lines: one function per family. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gotk_exporter.flux.attempts import Awaiting
from gotk_exporter.flux.graph import NOTHING, Answer
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.rows import Via
from gotk_exporter.flux.samples import dependency
from gotk_exporter.flux.subject import info, labels_of, number
from gotk_exporter.metrics import families as f
from gotk_exporter.metrics.exposition import label_text, line
from gotk_exporter.metrics.families import Family
from gotk_exporter.metrics.store import Lines

MAX_BLOCKED_BY = 5
"""Series of gotk_resource_blocked per object."""


@dataclass(frozen=True, slots=True)
class Facts:
    """About one object, or about one that is missing."""

    answer: Answer = NOTHING
    awaiting: Awaiting | None = None
    behind_since: float | None = None
    """Unix seconds."""
    receivers: int | None = None
    """None where the object is no source, or Receivers are not known."""
    revision_changes: Mapping[str, int] | None = None
    """By trigger; None where the object is no source."""
    push_followed: bool | None = None
    """None where the object pushes nothing, or its source is not known."""
    unserved: bool = False


NO_FACTS = Facts()


def render(families: Sequence[Family], key: Key, facts: Facts) -> Lines:
    """The lines in these families."""
    labels = labels_of(key)
    return tuple(
        [SAMPLES[family.name](labels, facts).encode() if family.name in SAMPLES else b"" for family in families]
    )


def render_behind(families: Sequence[Family]) -> Callable[[Key, float], Lines]:
    """Renders the one line of an object that is behind its source, since when (Unix seconds).

    Apart from everything else: a new revision changes this line in a whole fleet, and to render all lines of 50,000
    objects took a second longer.
    """
    if f.REVISION_BEHIND not in families:
        return lambda key, since: ()
    before = (b"",) * families.index(f.REVISION_BEHIND)
    after = (b"",) * (len(families) - len(before) - 1)
    return lambda key, since: (*before, number(f.REVISION_BEHIND, labels_of(key), since).encode(), *after)


def render_heartbeat(families: Sequence[Family], controller: str, namespace: str, renewed_at: float) -> Lines:
    """The line of a controller, which is no object of ours and has labels of its own."""
    labels = label_text((("controller", controller), ("namespace", namespace)))
    heartbeat = number(f.CONTROLLER_LEASE_RENEW, labels, renewed_at).encode()
    return tuple([heartbeat if family == f.CONTROLLER_LEASE_RENEW else b"" for family in families])


def _blocked(labels: str, facts: Facts) -> str:
    lines = []
    for root, via in facts.answer.blocked_by[:MAX_BLOCKED_BY]:
        by = label_text(
            (("by_kind", root.kind), ("by_name", root.name), ("by_namespace", root.namespace), ("via", via.value))
        )
        lines.append(line(f.BLOCKED.name, f"{labels},{by}", 1))
    return "".join(lines)


def _root_cause(labels: str, facts: Facts) -> str:
    reason = facts.answer.root_reason
    return info(f.ROOT_CAUSE_INFO, labels, ("reason", reason)) if reason else ""


def _blocked_dependents(labels: str, facts: Facts) -> str:
    return number(f.BLOCKED_DEPENDENTS, labels, facts.answer.blocked if facts.answer.root_reason else None)


def _held_back(labels: str, facts: Facts) -> str:
    return number(f.HELD_BACK, labels, facts.answer.held_back)


def _parents(labels: str, facts: Facts) -> str:
    return "".join([dependency(labels, parent, Via.PARENT) for parent in facts.answer.parents])


def _awaiting_retry(labels: str, facts: Facts) -> str:
    awaiting = facts.awaiting
    if awaiting is None:
        return ""
    return number(f.AWAITING_RETRY, f'{labels},cause="{awaiting.cause.value}"', awaiting.until)


def _receivers(labels: str, facts: Facts) -> str:
    return number(f.SOURCE_RECEIVERS, labels, facts.receivers)


def _revision_changes(labels: str, facts: Facts) -> str:
    name = f.SOURCE_REVISION_CHANGES.name
    changes = facts.revision_changes or {}
    return "".join([line(name, f'{labels},trigger="{trigger}"', count) for trigger, count in changes.items()])


def _push_followed(labels: str, facts: Facts) -> str:
    return number(f.IMAGE_AUTOMATION_PUSH_FOLLOWED, labels, facts.push_followed)


def _unserved(labels: str, facts: Facts) -> str:
    return number(f.UNSERVED, labels, 1 if facts.unserved else None)


SAMPLES: Mapping[str, Callable[[str, Facts], str]] = {
    f.BLOCKED.name: _blocked,
    f.ROOT_CAUSE_INFO.name: _root_cause,
    f.BLOCKED_DEPENDENTS.name: _blocked_dependents,
    f.HELD_BACK.name: _held_back,
    f.DEPENDENCY_INFO.name: _parents,
    f.AWAITING_RETRY.name: _awaiting_retry,
    f.SOURCE_RECEIVERS.name: _receivers,
    f.SOURCE_REVISION_CHANGES.name: _revision_changes,
    f.IMAGE_AUTOMATION_PUSH_FOLLOWED.name: _push_followed,
    f.UNSERVED.name: _unserved,
}
"""From the labels of an object. A family may have lines of this table and of samples' too."""
