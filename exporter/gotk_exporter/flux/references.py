"""Who names whom: the objects that an object's spec, inventory, labels and messages speak of.

It reads one object and looks at no other. What follows from a reference (who blames whom) stands in blame.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple

from gotk_exporter.flux.fields import read
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.objects import FluxObject, Include, Reference
from gotk_exporter.flux.rows import Kind, Refers, Via
from gotk_exporter.metrics.exposition import MAX_LABEL_VALUE_CHARS

MAX_REFERENCES = 64
"""Of one object, for each of what it names and what it manages: nobody lists more by hand, and an object must not be
able to grow the page or the graph without bound."""


class Key(NamedTuple):
    """Which object; sorts by kind, namespace, name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Edge:
    """One object names another."""

    via: Via
    target: Key


def key_of(kind: Kind, obj: FluxObject) -> Key:
    return Key(kind.name, sys.intern(obj.metadata.namespace), obj.metadata.name)


@functools.lru_cache(maxsize=4096)
def _shared(via: Via, kind: str, namespace: str, name: str) -> Edge:
    """Whole fleets hang from a few objects: one edge serves all that hang from the same, and costs no memory."""
    return Edge(via, Key(_clipped(kind), sys.intern(_clipped(namespace)), _clipped(name)))


def _clipped(name: str) -> str:
    """Two names that are one label value are one object: nothing that exists has so long a name."""
    return name if len(name) <= MAX_LABEL_VALUE_CHARS else name[: MAX_LABEL_VALUE_CHARS - 1] + "…"


def edges_of(kind: Kind, obj: FluxObject) -> tuple[Edge, ...]:
    """What the object's spec names, in the order of the table; itself not, and nothing twice."""
    own = key_of(kind, obj)
    edges = [
        _shared(row.via, _kind(reference, row), _namespace(reference, obj, row.own_namespace), reference.name)
        for row in kind.refers
        for reference in _references(read(obj, row.path))
        if reference.name and (reference.kind or row.kind)
    ]
    chart = _own_chart(obj) if kind.name == "HelmRelease" else None
    if chart is not None:
        edges.append(Edge(Via.CHART_REF, chart))
    if len(edges) > 1:
        edges = list(dict.fromkeys(edges))
    edges = [edge for edge in edges if edge.target != own]
    if len(edges) > MAX_REFERENCES:
        # However many it depends on, it has one source.
        edges.sort(key=lambda edge: edge.via is Via.DEPENDS_ON)
    return tuple(edges[:MAX_REFERENCES])


def _references(value: object) -> Iterator[Reference]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Include):
            yield item.repository
        elif isinstance(item, Reference):
            yield item


def _kind(reference: Reference, row: Refers) -> str:
    return _kind_in(reference.api_version.rpartition("/")[0], reference.kind or row.kind)


def _kind_in(group: str, kind: str) -> str:
    """The kind, with its group where it only sounds like one of ours."""
    ours = BY_NAME.get(kind)
    return f"{kind}.{group}" if ours is not None and group not in ("", ours.group) else kind


def _namespace(reference: Reference, obj: FluxObject, own: bool) -> str:
    return reference.namespace or (obj.metadata.namespace if own else "")


def _own_chart(obj: FluxObject) -> Key | None:
    """The HelmChart that helm-controller makes of spec.chart; its status names the one of the last run."""
    template = obj.spec.chart
    if template is None or isinstance(template, str):
        return None
    namespace, slash, name = (obj.status.helm_chart or "").partition("/")
    if slash:
        return Key("HelmChart", namespace, name)
    # GetHelmChartName in its API.
    namespace = template.spec.source_ref.namespace or obj.metadata.namespace
    return Key("HelmChart", namespace, f"{obj.metadata.namespace}-{obj.metadata.name}")


def produced_by(kind: Kind, obj: FluxObject) -> tuple[Key, ...]:
    """The ExternalArtifacts that an ArtifactGenerator says it makes."""
    artifacts = (obj.spec.artifacts or ()) if kind.name == "ArtifactGenerator" else ()
    return tuple(Key("ExternalArtifact", obj.metadata.namespace, artifact.name) for artifact in artifacts)


def children_of(obj: FluxObject) -> tuple[Key, ...]:
    """The objects of our kinds that it manages in its own cluster: as many as we keep."""
    return tuple(sorted(managed_by(obj)))[:MAX_REFERENCES]


def managed_by(obj: FluxObject) -> Set[Key]:
    """All objects of our kinds that it manages in its own cluster, from its inventory."""
    inventory = obj.status.inventory
    if inventory is None or isinstance(inventory, list) or obj.spec.kube_config is not None:
        return frozenset()
    keys = (
        _inventory_key(entry.id) for entry in inventory.entries or () if ".fluxcd." in entry.id or "flagger" in entry.id
    )
    return frozenset(key for key in keys if key is not None)


def _inventory_key(entry_id: str) -> Key | None:
    """Of "namespace_name_group_Kind"; no name of our kinds holds an underscore."""
    parts = entry_id.split("_")
    if len(parts) != 4:
        return None
    namespace, name, group, kind_name = parts
    kind = BY_NAME.get(kind_name)
    return Key(kind_name, namespace, name) if kind is not None and kind.group == group else None


_OWNERS = (
    ("kustomize.toolkit.fluxcd.io", "Kustomization"),
    ("helm.toolkit.fluxcd.io", "HelmRelease"),
    ("resourceset.fluxcd.controlplane.io", "ResourceSet"),
    ("fluxcd.controlplane.io", "FluxInstance"),
)


def owners_claimed(kind: Kind, obj: FluxObject) -> tuple[Key, ...]:
    """Who applied the object, as its labels say; anybody may have copied them from elsewhere."""
    labels = obj.metadata.labels
    if not labels:
        return ()
    own = key_of(kind, obj)
    claims = [
        _shared(Via.PARENT, owner, labels.get(f"{group}/namespace", ""), labels[f"{group}/name"]).target
        for group, owner in _OWNERS
        if f"{group}/name" in labels
    ]
    return tuple(claim for claim in claims if claim != own)


_DEPENDENCY = re.compile(r"^(?:unable to get|dependency(?: output secret: '[^']*' of)?) '([^/']+)/([^']+)'")
# An API version has a slash or none, and what lives outside of namespaces has no namespace.
_ANY_DEPENDENCY = re.compile(r"dependency (?:([\w.-]+)/)?v\w+/(\w+)/(?:([^/\s]+)/)?([^/\s]+) not (?:ready|found)")


def dependency_named(kind: Kind, message: str) -> Key | None:
    """The dependency that a message of DependencyNotReady speaks of; always the first that was not ready."""
    match = _DEPENDENCY.match(message)
    if match is not None:
        return _shared(Via.DEPENDS_ON, kind.name, match[1], match[2]).target
    match = _ANY_DEPENDENCY.search(message)
    if match is None:
        return None
    return _shared(Via.DEPENDS_ON, _kind_in(match[1] or "", match[2]), match[3] or "", match[4]).target


_LIST = re.compile(r"(?:timeout waiting for|failed early due to stalled resources): \[")
_ITEM = re.compile(r"([A-Z]\w*)/(?:([^/\s\[\],']+)/)?([^/\s\[\],']+) status: '\w+'|can't determine status for (\S+)")


@dataclass(frozen=True, slots=True)
class Awaited:
    """What a failed health check was waiting for."""

    children: tuple[Key, ...]
    """Those of our kinds that the object manages."""
    others: bool
    """Whether it named anything else, or nothing that we understand."""


def awaited_in(message: str, children: Set[Key]) -> Awaited | None:
    """Read the message of a failed health check; None where it is none that names what it waited for.

    A name counts as a child only where the inventory has it.

    The list has no API groups, and an error text inside of it may hold anything, so that items are searched for and
    not split at commas.
    """
    names = awaited_names(message)
    if names is None:
        return None
    found = {name for name in names if name in children}
    return Awaited(tuple(sorted(found))[:MAX_REFERENCES], not found or any(name not in children for name in names))


def awaited_names(message: str) -> tuple[Key, ...] | None:
    """All that the message of a failed health check names, sorted; None where it is no such message."""
    start = _LIST.search(message)
    if start is None:
        return None
    # flux-operator adds the children's own messages, line by line, and those may hold such lists of their own.
    end = message.find("]\n", start.end())
    items = _ITEM.finditer(message, start.end(), len(message) if end < 0 else end)
    return tuple(sorted({Key(item[1] or "", item[2] or "", item[3] or "") for item in items}))


_RBAC = "rbac.authorization.k8s.io"


def managed_object(entry_id: str) -> Key:
    """The object that an entry of an inventory stands for, of whatever kind: "namespace_name_group_Kind"."""
    rest, group, kind = entry_id.rsplit("_", 2) if entry_id.count("_") >= 3 else (entry_id, "", "")
    namespace, _, name = rest.partition("_")
    # Only these may have a colon in their names, and an inventory writes it so.
    return Key(kind, namespace, name.replace("__", ":") if group == _RBAC else name)
