"""From what a client sends to what is stored: which of it counts, and what is kept of the object that was there.

Pure functions over documents; storage.py calls them and commits what they make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gotk_exporter.simulator.state.errors import internal
from gotk_exporter.simulator.state.objects import Document
from gotk_exporter.simulator.state.served import ServedKind, ServedVersion
from gotk_exporter.simulator.state.validation import check, metadata_of

_FIELD_OF: Mapping[str, str] = {"status": "status", "finalize": "spec"}
"""The one field that each subresource writes."""
_FIXED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
"""Of metadata: what stays as it is, and may be left out of a write."""
_OURS = ("resourceVersion", "generation", "managedFields", "selfLink")
"""Of metadata: what is ignored in a write."""


def first(kind: ServedKind, served: ServedVersion, document: Mapping[str, Any], uid: str) -> Document:
    """A new object, its system's metadata still missing. A name is made of ``uid`` where only a prefix is given."""
    metadata = metadata_of(kind, document, served.name)
    if metadata.get("resourceVersion"):
        raise internal("resourceVersion should not be set on objects to be created")
    metadata = {name: value for name, value in metadata.items() if name not in (*_FIXED, *_OURS)}
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + uid.replace("-", "")[:5]
    new = _with_metadata(kind, metadata, document)
    if served.status:
        new.pop("status", None)
    return _completed(served, new)


def successor(
    kind: ServedKind, served: ServedVersion, current: Document, document: Mapping[str, Any], subresource: str
) -> Document:
    """What a write of ``document`` makes of ``current``; equal to it where nothing changes.

    Raises:
        Refusal: the write is invalid.
    """
    old = current["metadata"]
    if subresource:
        new = {**current, "metadata": dict(old)}
        _take(new, document, _FIELD_OF[subresource])
    else:
        metadata = {name: value for name, value in document["metadata"].items() if name not in _OURS}
        metadata = {name: old[name] for name in _FIXED if name in old} | metadata
        check(kind, metadata, old)
        metadata |= {name: old[name] for name in _OURS if name in old}
        new = _with_metadata(kind, metadata, document)
        if served.status:
            _take(new, current, "status")
    new = _completed(served, new)
    kind.rules.prepare(new, current)
    if kind.has_generation and _spec(new, served) != _spec(current, served):
        new["metadata"]["generation"] = old["generation"] + 1
    return new


def _with_metadata(kind: ServedKind, metadata: Document, document: Mapping[str, Any]) -> Document:
    # In this order, which is how it is served: whoever looks at a trace sees the name first.
    rest = {name: value for name, value in document.items() if name not in ("apiVersion", "kind", "metadata")}
    return {"kind": kind.name, "metadata": metadata, **rest}


def _completed(served: ServedVersion, new: Document) -> Document:
    completed: Document = served.defaults.completed(new)
    return completed


def _spec(document: Mapping[str, Any], served: ServedVersion) -> Document:
    """What generation counts the changes of."""
    apart = ("metadata", "status") if served.status else ("metadata",)
    return {name: value for name, value in document.items() if name not in apart}


def _take(target: Document, source: Mapping[str, Any], name: str) -> None:
    if name in source:
        target[name] = source[name]
    else:
        target.pop(name, None)
