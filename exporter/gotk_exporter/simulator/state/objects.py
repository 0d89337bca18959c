"""An object at rest: its JSON text, encoded once, and the little that is asked of it without reading that text.

The text is kept without its apiVersion: all versions of a kind serve the same one behind another beginning. It knows
no rules (storage.py) and no HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

Document = dict[str, Any]
"""An object as decoded JSON. Inside of the storage it has no apiVersion."""

_encode = msgspec.json.Encoder().encode


class GroupResource(NamedTuple):
    """What a kind is addressed by: the group ("" for the core's) and the plural."""

    group: str
    plural: str


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One version of one object. Never changes; the next write makes another."""

    namespace: str
    """Empty for what lives outside of namespaces."""
    name: str
    uid: str
    version: int
    """Its resourceVersion."""
    generation: int
    deleting: bool
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    """What field selectors can ask for, beyond name and namespace."""
    text: bytes
    """JSON, from the comma behind its apiVersion to its end."""

    @property
    def key(self) -> str:
        return key_of(self.namespace, self.name)

    def document(self, api_version: str | None = None) -> Document:
        """A copy that is the caller's own; without an apiVersion where none is given."""
        decoded: Document = msgspec.json.decode(b"{" + self.text[1:] if api_version is None else self.json(api_version))
        return decoded

    def json(self, api_version: str) -> bytes:
        return beginning(api_version) + self.text


class Event(msgspec.Struct, frozen=True, gc=False):
    """What a write did."""

    resource: GroupResource
    type: str
    """ADDED, MODIFIED or DELETED."""
    object: Stored
    """As it is now; when DELETED, as it last was, at the resourceVersion of its end."""
    previous: Stored | None

    @property
    def version(self) -> int:
        return self.object.version


def store(document: Document, version: int, field_paths: Iterable[str]) -> Stored:
    """``document``, with its kind and whole metadata, at ``version``."""
    metadata = document["metadata"]
    metadata["resourceVersion"] = str(version)
    return Stored(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata["uid"],
        version=version,
        generation=metadata.get("generation", 0),
        deleting="deletionTimestamp" in metadata,
        labels=metadata.get("labels") or {},
        fields={path: str(_at(document, path) or "") for path in field_paths},
        text=b"," + _encode(document)[1:],
    )


def merge(target: Any, change: Any) -> Any:
    """``target`` after a JSON merge patch (RFC 7386). Neither is changed, both are shared with the result."""
    if not isinstance(change, dict):
        return change
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def beginning(api_version: str) -> bytes:
    """What stands before ``Stored.text``."""
    return b'{"apiVersion":' + _encode(api_version)


def key_of(namespace: str, name: str) -> str:
    """As in etcd, so that listings have the same order."""
    return f"{namespace}/{name}" if namespace else name


def timestamp(seconds: float) -> str:
    """Unix time as Kubernetes writes it: UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document
