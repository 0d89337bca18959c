"""CustomResourceDefinitions: objects whose writes make kinds served, served otherwise, or served no more.

What apiextensions-apiserver's controllers do a moment later happens here before the write returns. Schemas give
defaults and documentation; they neither check nor prune.

Reference: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gotk_exporter.simulator.state.errors import Cause, bad_request, invalid, qualified
from gotk_exporter.simulator.state.objects import Document, Event, GroupResource, timestamp
from gotk_exporter.simulator.state.schemas import defaults_of
from gotk_exporter.simulator.state.served import AGE, Column, Rules, ServedKind, ServedVersion, preference
from gotk_exporter.simulator.storage import Storage

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that holds a deleted definition until its objects are gone."""
_SERVER = "kube-apiserver"


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    pass


class _Names(_Part, frozen=True):
    plural: str = ""
    kind: str = ""
    singular: str = ""
    list_kind: str = ""
    short_names: list[str] | None = None
    categories: list[str] | None = None


class _Column(_Part, frozen=True):
    name: str
    json_path: str
    type: str
    priority: int = 0
    description: str = ""


class _Schema(_Part, frozen=True):
    open_api_v3_schema: dict[str, Any] | None = msgspec.field(name="openAPIV3Schema", default=None)


class _Version(_Part, frozen=True):
    name: str
    served: bool
    storage: bool
    schema: _Schema | None = None
    subresources: dict[str, Any] | None = None
    additional_printer_columns: list[_Column] | None = None


class _Spec(_Part, frozen=True):
    """What a definition says, as far as it is looked at."""

    group: str = ""
    scope: str = ""
    names: _Names = _Names()
    versions: list[_Version] = []


class _DefinitionRules(Rules):
    def prepare(self, document: Document, old: Document | None) -> None:
        name = document["metadata"].get("name", "")
        try:
            spec = msgspec.convert(document.get("spec") or {}, _Spec)
        except msgspec.ValidationError as error:
            raise bad_request(f"CustomResourceDefinition cannot be handled: {error}") from None
        causes = [
            *_own_causes(name, spec),
            *(_changed_causes(spec, msgspec.convert(old["spec"], _Spec)) if old else ()),
        ]
        if causes:
            raise invalid(DEFINITION, name, *causes)
        kind = spec.names.kind
        names = {"singular": kind.lower(), "listKind": f"{kind}List", **document["spec"]["names"]}
        document["spec"] = {"conversion": {"strategy": "None"}, **document["spec"], "names": names}
        status = document.get("status") or {}
        stored = status.get("storedVersions", [])
        missing = [version.name for version in spec.versions if version.storage and version.name not in stored]
        if missing:
            document["status"] = {**status, "storedVersions": [*stored, *missing]}

    def begin_deletion(self, document: Document) -> None:
        metadata = document["metadata"]
        metadata["finalizers"] = [*metadata.get("finalizers", []), CLEANUP]


DEFINITION = ServedKind(
    "apiextensions.k8s.io",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    (ServedVersion("v1", columns=(Column("Created At", ".metadata.creationTimestamp"),)),),
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    custom=False,
    rules=_DefinitionRules(),
)
DEFINITIONS = DEFINITION.resource


class CustomResources:
    """Keeps what a storage serves in line with the definitions that it holds."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        storage.serve(DEFINITION)
        storage.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        if event.resource == DEFINITIONS:
            self._on_definition(event)
        elif event.type == "DELETED":
            self._finish_if_empty(event.resource)

    def _on_definition(self, event: Event) -> None:
        document = event.object.document()
        kind = served_kind(document)
        if event.type == "DELETED":
            self._storage.withdraw(kind.resource)
        elif event.object.deleting:
            self._terminate(document, kind.resource)
        else:
            self._storage.serve(kind)
            self._accept(document)

    def _accept(self, document: Document) -> None:
        spec = document["spec"]
        accepted = {
            "NamesAccepted": ("NoConflicts", "no conflicts found"),
            "Established": ("InitialNamesAccepted", "the initial names have been accepted"),
        }
        if document["status"].get("acceptedNames") != spec["names"]:
            conditions = [self._condition(name, *why) for name, why in accepted.items()]
            self._write_status(document, {"acceptedNames": spec["names"], "conditions": conditions})

    def _terminate(self, document: Document, resource: GroupResource) -> None:
        collection = self._storage.collection(resource)
        if collection.terminating:
            return
        collection.terminating = True
        condition = self._condition("Terminating", "InstanceDeletionPending", "CustomResource deletion will begin soon")
        self._write_status(document, {"conditions": [*document["status"].get("conditions", []), condition]})
        for stored in collection:
            self._storage.delete(resource, stored.namespace, stored.name)
        self._finish_if_empty(resource)

    def _finish_if_empty(self, resource: GroupResource) -> None:
        """Let go of the definition when none of its objects is left."""
        collection = self._storage.collection(resource)
        definition = self._storage.collection(DEFINITIONS).get(qualified(collection.kind))
        if not collection.terminating or len(collection) or definition is None:
            return
        held = definition.document()["metadata"]["finalizers"]
        left = [finalizer for finalizer in held if finalizer != CLEANUP]
        self._storage.patch(DEFINITIONS, "", definition.name, {"metadata": {"finalizers": left}}, manager=_SERVER)

    def _write_status(self, document: Document, status: Mapping[str, Any]) -> None:
        name = document["metadata"]["name"]
        self._storage.patch(DEFINITIONS, "", name, {"status": status}, subresource="status", manager=_SERVER)

    def _condition(self, type_: str, reason: str, message: str) -> dict[str, str]:
        now = timestamp(self._storage.now())
        return {"type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}


def served_kind(definition: Mapping[str, Any]) -> ServedKind:
    """What a definition, as it is stored, asks to be served."""
    spec = msgspec.convert(definition["spec"], _Spec)
    versions = [_served_version(version) for version in spec.versions if version.served]
    return ServedKind(
        group=spec.group,
        plural=spec.names.plural,
        name=spec.names.kind,
        versions=tuple(sorted(versions, key=lambda version: preference(version.name))),
        namespaced=spec.scope == "Namespaced",
        short_names=tuple(spec.names.short_names or ()),
        categories=tuple(spec.names.categories or ()),
        singular=spec.names.singular,
        list_name=spec.names.list_kind,
    )


def _served_version(version: _Version) -> ServedVersion:
    columns = tuple(
        Column(
            column.name,
            column.json_path,
            column.type,
            column.priority,
            column.description or f"Custom resource definition column (in JSONPath format): {column.json_path}",
        )
        for column in version.additional_printer_columns or ()
    )
    schema = (version.schema and version.schema.open_api_v3_schema) or {}
    has_status = "status" in (version.subresources or {})
    return ServedVersion(version.name, has_status, columns or (AGE,), schema, defaults_of(schema))


def _own_causes(name: str, spec: _Spec) -> list[Cause]:
    required = {
        "spec.group": spec.group,
        "spec.scope": spec.scope,
        "spec.versions": spec.versions,
        "spec.names.plural": spec.names.plural,
        "spec.names.kind": spec.names.kind,
    }
    missing = [field for field, value in required.items() if not value]
    if missing:
        return [_missing(field) for field in missing]
    causes = []
    if name != f"{spec.names.plural}.{spec.group}":
        causes.append(_bad("metadata.name", f'"{name}"', 'must be spec.names.plural+"."+spec.group'))
    if sum(version.storage for version in spec.versions) != 1:
        causes.append(_bad("spec.versions", "[]", "must have exactly one version marked as storage version"))
    for index, version in enumerate(spec.versions):
        if version.schema is None or not version.schema.open_api_v3_schema:
            causes.append(_missing(f"spec.versions[{index}].schema.openAPIV3Schema"))
    return causes


def _changed_causes(spec: _Spec, old: _Spec) -> list[Cause]:
    fixed = {"spec.group": (spec.group, old.group), "spec.scope": (spec.scope, old.scope)}
    return [_bad(field, f'"{new}"', "field is immutable") for field, (new, was) in fixed.items() if new != was]


def _missing(field: str) -> Cause:
    return Cause("FieldValueRequired", "Required value", field)


def _bad(field: str, value: str, because: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {value}: {because}", field)
