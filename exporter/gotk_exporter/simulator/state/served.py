"""What is served of a kind: its names, versions, columns, and the rules that only it has. Data; nothing is stored here.

The kinds of the core are a table in core.py; all others come from CustomResourceDefinitions (crds.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gotk_exporter.simulator.state.objects import Document, GroupResource
from gotk_exporter.simulator.state.schemas import NO_DEFAULTS, Defaults

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
"""The same, in the order in which kube-apiserver tells them."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of kubectl's tables."""

    name: str
    path: str
    """A JSONPath without braces, as CRDs have them: .status.conditions[?(@.type=="Ready")].status"""
    type: str = "string"
    priority: int = 0
    """Above 0 only with -o wide."""
    description: str = ""


AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A kind as one of its versions has it."""

    name: str
    status: bool = True
    """Whether status is a subresource: then the object's own path ignores it, and its path ignores all else."""
    columns: tuple[Column, ...] = (AGE,)
    """Beyond the name."""
    schema: Mapping[str, Any] = field(default_factory=dict)
    """OpenAPI v3; told to who asks, and checked by nobody."""
    defaults: Defaults = NO_DEFAULTS


class Rules:
    """What every kind asks of a write; a kind with wishes of its own has a subclass."""

    def prepare(self, document: Document, old: Document | None) -> None:
        """Complete and check what is to be written in place of ``old`` (None: a new object). May raise Refusal."""

    def begin_deletion(self, document: Document) -> None:
        """Change what a deletion changes beyond the timestamp."""

    def is_held(self, document: Document) -> bool:
        """Whether a deleted object stays, since somebody has to let go of it first."""
        return bool(document["metadata"].get("finalizers"))


@dataclass(frozen=True, slots=True)
class ServedKind:
    """One kind. Two that are equal are served alike."""

    group: str
    """Empty for the core's."""
    plural: str
    name: str
    versions: tuple[ServedVersion, ...]
    """The preferred one first."""
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    singular: str = ""
    list_name: str = ""
    has_generation: bool = True
    """Whether metadata.generation counts the changes of what is neither metadata nor status."""
    custom: bool = True
    """Of a CustomResourceDefinition."""
    subresources: tuple[str, ...] = ()
    """Beyond status."""
    selectable: tuple[str, ...] = ()
    """Paths that field selectors may name beyond name and namespace."""
    rules: Rules = field(default_factory=Rules, compare=False)

    @property
    def resource(self) -> GroupResource:
        return GroupResource(self.group, self.plural)

    @property
    def list_kind(self) -> str:
        return self.list_name or f"{self.name}List"

    @property
    def preferred(self) -> ServedVersion:
        return self.versions[0]

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version

    def version(self, name: str) -> ServedVersion | None:
        """None where the kind is not served at it."""
        return next((version for version in self.versions if version.name == name), None)

    @property
    def verbs(self) -> tuple[str, ...]:
        if self.custom:
            return _CUSTOM_VERBS
        # Namespaces are too dear to be deleted by the dozen.
        return tuple(verb for verb in _VERBS if verb != "deletecollection" or "finalize" not in self.subresources)


_KUBE_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def preference(version: str) -> tuple[int, int, int, str]:
    """A sort key that puts the preferred version first: GA before beta before alpha, the higher before the lower."""
    found = _KUBE_VERSION.fullmatch(version)
    if found is None:
        return (3, 0, 0, version)
    major, stage, minor = found.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), version)
