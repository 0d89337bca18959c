"""Objects as JSON: how they are named, and how times and durations are written in them; decides nothing.

Durations are Go's ("1m30s"), as metav1.Duration writes and reads them; times are RFC 3339 in UTC and whole seconds, as
metav1.Time.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gotk_exporter.flux.kinds import BY_NAME

Json = dict[str, Any]

REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"
FINALIZER = "finalizers.fluxcd.io"


class Key(NamedTuple):
    """Names one object. Kinds of Flux are unique across groups, and so are those that the fleet has beside them."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def path(self) -> str:
        """namespace/name, as messages of Flux have it."""
        return f"{self.namespace}/{self.name}"


def key_of(obj: Json) -> Key:
    meta = obj["metadata"]
    return Key(obj["kind"], meta.get("namespace", ""), meta["name"])


_VERSIONS = {"HelmRelease": "v2", "Alert": "v1beta3", "Provider": "v1beta3"}


def api_version(kind: str) -> str:
    """The version in which Flux 2.9 stores ``kind``."""
    group = BY_NAME[kind].group
    return f"{group}/{_VERSIONS.get(kind, 'v1')}"


def reference(owner: Json, ref: Mapping[str, str], kind: str | None = None) -> Key:
    """What ``ref`` in the spec of ``owner`` names; the namespace is the owner's where the reference has none."""
    return Key(
        kind or ref["kind"],
        ref.get("namespace") or owner["metadata"].get("namespace", ""),
        ref["name"],
    )


def requested_at(obj: Json) -> str | None:
    annotations = obj["metadata"].get("annotations")
    return annotations.get(REQUESTED_AT) if annotations else None


def refers_to(owner: Json, field: str, key: Key) -> bool:
    """Whether a reference in the spec of ``owner``, if it is there at all, names ``key``."""
    ref = owner["spec"].get(field)
    return isinstance(ref, dict) and "name" in ref and reference(owner, ref, ref.get("kind", "")) == key


def artifact_revision(obj: Json) -> str | None:
    artifact = obj.get("status", {}).get("artifact")
    return artifact["revision"] if artifact else None


def new_artifact(old: Json | None, new: Json) -> str | None:
    """The revision of an artifact that was not there before; a source that appears with one is no news."""
    revision = artifact_revision(new)
    return None if old is None or artifact_revision(old) == revision else revision


def is_ready(obj: Json) -> bool:
    """Whether the object says so, and says it of its present generation."""
    status = obj.get("status", {})
    return status.get("observedGeneration") == obj["metadata"].get("generation") and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions", ())
    )


def is_deleted(obj: Json) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def is_suspended(obj: Json) -> bool:
    return obj.get("spec", {}).get("suspend") is True


def timestamp(unix_seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(int(unix_seconds), datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(unix_seconds: float) -> str:
    """As metav1.MicroTime, which Leases have."""
    moment = datetime.datetime.fromtimestamp(unix_seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")


def seconds(duration: str) -> float:
    """``duration`` in seconds.

    Raises:
        ValueError: it is no duration of Go's.
    """
    total, end = 0.0, 0
    for part in _PART.finditer(duration):
        if part.start() != end:
            break
        total += float(part[1]) * _UNITS[part[2]]
        end = part.end()
    if not duration or end != len(duration):
        raise ValueError(f"{duration!r} is no duration; write it like 1m30s")
    return total


def spec_seconds(obj: Json, field: str) -> float | None:
    value = obj["spec"].get(field)
    return None if value is None else seconds(value)


def duration(value: float) -> str:
    """``value`` seconds as Go's Duration.String() has them: 10m0s, 30s, 5.145773174s, 123.77766ms."""
    nanoseconds = round(value * 1e9)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000_000_000:
        unit, size = ("ms", 1_000_000) if nanoseconds >= 1_000_000 else ("µs", 1_000)
        return _trimmed(nanoseconds, size) + unit
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    text = _trimmed(rest, 1_000_000_000) + "s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{minutes}m{text}"
        if hours:
            text = f"{hours}h{text}"
    return text


def _trimmed(number: int, size: int) -> str:
    whole, fraction = divmod(number, size)
    digits = len(str(size)) - 1
    decimals = f"{fraction:0{digits}d}".rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)


def sha256(*parts: str) -> str:
    return "sha256:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()


def sha1(*parts: str) -> str:
    return hashlib.sha1("\0".join(parts).encode(), usedforsecurity=False).hexdigest()
