"""metadata.managedFields: which manager wrote which field, and when it last wrote at all.

Fields are owned as kube-apiserver has it for objects without a schema: maps field by field, lists as a whole; only
metadata's own lists are owned item by item. A write moves the time of its manager's entry, and takes what it changed
or removed from all others. There is no server-side apply, so there are no conflicts.

Reference: kubernetes.io, "Server-Side Apply", Field management; sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]
"""A set of fields as a tree; the key "." says that the place itself is in the set."""

_WHOLE: Fields = {".": {}}
_SYSTEM = {
    "f:name",
    "f:namespace",
    "f:uid",
    "f:resourceVersion",
    "f:generation",
    "f:creationTimestamp",
    "f:deletionTimestamp",
    "f:deletionGracePeriodSeconds",
    "f:managedFields",
    "f:selfLink",
}
"""Fields of metadata that are the server's."""
_ORDER = ("operation", "time", "manager", "apiVersion", "subresource")
"""What entries are sorted by."""


def record(
    old: Mapping[str, Any], new: Mapping[str, Any], manager: str, subresource: str, api_version: str, time: str
) -> list[dict[str, Any]]:
    """The managedFields of ``new``, which ``manager`` wrote in place of ``old`` (empty: there was none)."""
    came, gone = _compare(_content(old), _content(new), "")
    who = (manager, subresource)
    mine: Fields = {}
    kept: list[dict[str, Any]] = []
    for entry in old.get("metadata", {}).get("managedFields") or ():
        fields = _without(_parse(entry.get("fieldsV1") or {}), gone)
        if (entry.get("manager"), entry.get("subresource", "")) == who and entry.get("apiVersion") == api_version:
            mine = fields
        elif fields:
            kept.append({**entry, "fieldsV1": _format(fields)})
    mine = _with(mine, came)
    if mine:
        entry = {
            "apiVersion": api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": _format(mine),
            "manager": manager,
            "operation": "Update",
            "time": time,
        }
        kept.append({**entry, "subresource": subresource} if subresource else entry)
    return sorted(kept, key=lambda entry: tuple(entry.get(name, "") for name in _ORDER))


def _content(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in ("apiVersion", "kind")}


def _elements(value: Any, place: str) -> dict[str, Any] | None:
    """The parts of a value that have owners of their own; None where it is owned as a whole."""
    if isinstance(value, dict):
        parts = {f"f:{name}": one for name, one in value.items()}
        return {name: one for name, one in parts.items() if name not in _SYSTEM} if place == "f:metadata" else parts
    if place == "f:metadata/f:finalizers" and isinstance(value, list):
        return {f"v:{json.dumps(one)}": None for one in value}
    if place == "f:metadata/f:ownerReferences" and isinstance(value, list):
        return {"k:" + json.dumps({"uid": one["uid"]}, separators=(",", ":")): None for one in value}
    return None


def _compare(old: Any, new: Any, place: str) -> tuple[Fields, Fields]:
    """What is there anew or changed, and what went or changed."""
    if old == new:
        return {}, {}
    before, after = _elements(old, place), _elements(new, place)
    if before is None or after is None:
        return _all(new, place), _all(old, place)
    came: Fields = {}
    gone: Fields = {}
    for name in {**before, **after}:
        below = _below(place, name)
        changes: tuple[Fields, Fields]
        if name not in before:
            changes = _all(after[name], below), {}
        elif name not in after:
            changes = {}, _all(before[name], below)
        else:
            changes = _compare(before[name], after[name], below)
        for tree, change in zip((came, gone), changes, strict=True):
            if change:
                tree[name] = change
    return came, gone


def _all(value: Any, place: str) -> Fields:
    parts = _elements(value, place) or {}
    below = {name: _all(one, _below(place, name)) for name, one in parts.items()}
    # Every object has metadata: nobody owns that.
    return below if place == "f:metadata" else {**_WHOLE, **below}


def _below(place: str, name: str) -> str:
    """Which place it is, as far as it matters: only metadata is read differently."""
    return f"{place}/{name}" if place == "f:metadata" else name if place == "" else "-"


def _with(fields: Fields, more: Fields) -> Fields:
    return {name: _with(fields.get(name, {}), more.get(name, {})) if name != "." else {} for name in {**fields, **more}}


def _without(fields: Fields, less: Fields) -> Fields:
    kept: Fields = {}
    for name, below in fields.items():
        if name not in less:
            kept[name] = below
        elif name != "." and (rest := _without(below, less[name])):
            kept[name] = rest
    return kept


def _parse(fields: Mapping[str, Any]) -> Fields:
    """In FieldsV1 a place without anything below is {}, which here is {".": {}}."""
    return {name: ({} if name == "." else _parse(below) or dict(_WHOLE)) for name, below in fields.items()}


def _format(fields: Fields) -> Fields:
    return {name: ({} if below == _WHOLE else _format(below)) for name, below in fields.items()}
