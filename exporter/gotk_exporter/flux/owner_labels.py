"""Whose an object is: the labels of the Kubernetes object that the settings name become labels of one series.

Nothing else of an object's labels is read for it, and nothing is kept but the line. What the labels mean, nobody here
knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.subject import Subject, info
from gotk_exporter.metrics.families import OBJECT_FAMILIES, OWNER_INFO
from gotk_exporter.metrics.own_families import EXPORTER_FAMILIES

MAX_OWNER_LABELS = 8
"""An alert is routed by one or two; each is a part of every object's series."""

TAKEN_NAMES = frozenset(
    {
        *(label for family in (*OBJECT_FAMILIES, *EXPORTER_FAMILIES) for label in family.labels),
        *(label for kind in KINDS for label in kind.info),
        # What says where a series was scraped, by Prometheus or by its operator.
        *("job", "instance", "cluster", "pod", "container", "service", "endpoint"),
        # What Prometheus, its formats and alerts mean something by.
        *("le", "quantile", "alertname", "alertstate", "severity", "prometheus"),
    }
)
"""Labels that metrics or alerts have already: one more of that name would be renamed, or be taken for the other."""

_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_RENAMED = "exported_"
_KEY_NAME = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?")
_KEY_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_KEY_PREFIX = 253


@dataclass(frozen=True, slots=True)
class OwnerLabel:
    name: str
    """Of the label in Prometheus."""
    key: str
    """Of the label of the Kubernetes object."""


def name_refusal(name: str) -> str | None:
    """What is wrong with the name, and what to do about it."""
    if _NAME.fullmatch(name) is None:
        # What begins with two underscores, Prometheus throws away after the scrape.
        rule = "names have letters, digits and underscores, and begin with neither a digit nor two underscores"
        return f"cannot be a label in Prometheus; {rule}"
    if name in TAKEN_NAMES:
        return "is a label that metrics or alerts have already; choose another name"
    if name.startswith(_RENAMED):
        return f"is what Prometheus calls another label that it renames; choose a name without {_RENAMED}"
    return None


def key_refusal(key: str) -> str | None:
    """What is wrong with the key, and what to do about it."""
    prefix, slash, name = key.rpartition("/")
    has_good_prefix = len(prefix) <= _LONGEST_KEY_PREFIX and _KEY_PREFIX.fullmatch(prefix) is not None
    if _KEY_NAME.fullmatch(name) is not None and (has_good_prefix or not slash):
        return None
    return (
        "cannot be the key of a Kubernetes label; write it like team or example.com/team: a domain in lower case, and "
        "after the slash at most 63 letters, digits, hyphens, underscores and dots"
    )


def owner_info(owner_labels: Sequence[OwnerLabel]) -> Callable[[Subject], str]:
    """Renders the sample of an object that carries one of these labels, with those of them that it carries."""

    def render(subject: Subject) -> str:
        labels = subject.obj.metadata.labels
        if not labels:
            return ""
        # To Prometheus an empty label is none.
        carried = [(label.name, value) for label in owner_labels if (value := labels.get(label.key))]
        return info(OWNER_INFO, subject.labels, *carried) if carried else ""

    return render
