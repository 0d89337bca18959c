"""The effective interval, timeout and retry interval of an object, in seconds: as it says, or as its controller does.

A text that is no duration is a Defect and counts as silence. That is what controllers make of annotations and of a
Canary's interval; nowhere else do the CRDs let such a text in.
"""

from __future__ import annotations

from gotk_exporter.flux.durations import parse_duration
from gotk_exporter.flux.fields import read
from gotk_exporter.flux.objects import Defect, FluxObject
from gotk_exporter.flux.rows import Kind, Period


def interval_seconds(kind: Kind, obj: FluxObject) -> tuple[float | None, Defect | None]:
    """How often the object is reconciled; None where its kind has no interval, or no default and nothing is stated."""
    return _effective(kind.interval, obj, None)


def timeout_seconds(kind: Kind, obj: FluxObject, interval: float | None) -> tuple[float | None, Defect | None]:
    """How long one run may take; ``interval`` is the object's own, in seconds."""
    return _effective(kind.timeout, obj, interval)


def retry_seconds(kind: Kind, obj: FluxObject, interval: float | None) -> tuple[float | None, Defect | None]:
    """How long the controller waits after a failed run; None where it backs off."""
    return _effective(kind.retry, obj, interval)


def stated_retry_seconds(kind: Kind, obj: FluxObject) -> float | None:
    """The same where the object itself says so."""
    return None if kind.retry is None else _stated(kind.retry, obj)[0]


def _effective(period: Period | None, obj: FluxObject, interval: float | None) -> tuple[float | None, Defect | None]:
    if period is None:
        return None, None
    seconds, defect = _stated(period, obj)
    if seconds is None:
        seconds = period.default_seconds
        if period.interval_minus_seconds is not None and interval is not None:
            seconds = interval - period.interval_minus_seconds
    return None if seconds is None else max(seconds, period.minimum_seconds), defect


def _stated(period: Period, obj: FluxObject) -> tuple[float | None, Defect | None]:
    if period.annotation is not None:
        text: object = (obj.metadata.annotations or {}).get(period.annotation)
        place = f"metadata.annotations[{period.annotation}]"
    elif period.path is not None:
        text, place = read(obj, period.path), period.path.partition(" ")[0]
    else:
        return None, None
    if not isinstance(text, str) or not text:
        return None, None
    seconds = parse_duration(text)
    if seconds is None:
        return None, Defect(place, f'"{text[:40]}" is not a duration such as "10m" or "1h30m"')
    return seconds, None
