"""What an object's samples are made of, and the forms that most of them have. Which families there are stands in
samples."""

from __future__ import annotations

from dataclasses import dataclass

from gotk_exporter.flux.diagnosis import Diagnosis
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.objects import FluxObject
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.runs import Runs
from gotk_exporter.flux.verdicts import Verdict
from gotk_exporter.metrics.exposition import label_text, line
from gotk_exporter.metrics.families import Family


@dataclass(frozen=True, slots=True)
class Subject:
    """One object, and all that is known of it by itself."""

    kind: Kind
    version: str
    obj: FluxObject
    verdict: Verdict | None
    node: Node
    diagnosis: Diagnosis | None
    runs: Runs
    labels: str
    """The labels that all of its series share, as text."""
    interval: float | None
    timeout: float | None


def labels_of(key: Key) -> str:
    """The labels that name an object, as text."""
    return label_text((("kind", key.kind), ("name", key.name), ("namespace", key.namespace)))


def number(family: Family, labels: str, value: float | None) -> str:
    """The one sample of a family without labels of its own; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        # Milliseconds are all that a time is worth, and binary fractions make long lines.
        value = int(value) if value.is_integer() else round(value, 3)
    return line(family.name, labels, value)


def info(family: Family, labels: str, *more: tuple[str, str]) -> str:
    """One sample of an info family, with the labels that it adds."""
    return line(family.name, f"{labels},{label_text(more)}" if more else labels, 1)
