"""Reads the table's dotted paths in a decoded object. Paths are the JSON's own spelling ("spec.chartRef.name").

Absent is None at any depth; "a | b" means a, or b where a is absent. It interprets nothing that it reads.
"""

from __future__ import annotations

import functools
import re
import sys

from gotk_exporter.flux.objects import FluxObject
from gotk_exporter.flux.rows import Kind


def read(obj: FluxObject, path: str) -> object:
    """The value at the path, or None."""
    for steps in _alternatives(path):
        value: object = obj
        for step in steps:
            if isinstance(step, int):
                value = value[step] if isinstance(value, list) and len(value) > step else None
            else:
                value = getattr(value, step, None)
            if value is None:
                break
        if value is not None:
            return value
    return None


@functools.cache
def _alternatives(path: str) -> tuple[tuple[str | int, ...], ...]:
    return tuple(
        tuple(int(step) if step.isdigit() else _attribute(step) for step in alternative.strip().split("."))
        for alternative in path.split("|")
    )


def _attribute(camel: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", camel).lower()


SHARDING_LABEL = "sharding.fluxcd.io/key"


def shard_of(obj: FluxObject) -> str:
    """Which of several controllers is to reconcile the object; empty where it does not say."""
    labels = obj.metadata.labels
    return sys.intern(labels.get(SHARDING_LABEL, "")) if labels else ""


def is_suspended(kind: Kind, obj: FluxObject) -> bool | None:
    """Whether somebody suspended the object; None where it does not say (which means no)."""
    if kind.suspend_annotation is not None:
        annotation = (obj.metadata.annotations or {}).get(kind.suspend_annotation)
        return None if annotation is None else annotation.lower() == "disabled"
    if kind.suspend_path is None:
        return None
    value = read(obj, kind.suspend_path)
    return value if isinstance(value, bool) else None
