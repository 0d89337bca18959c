"""OpenAPI v3, as little as kubectl needs: that fields are validated here, and what `kubectl explain` shows.

kubectl looks up whether a PATCH of the kind takes fieldValidation, and leaves validation to the server if so. The
server validates no fields.
"""

from __future__ import annotations

import hashlib
from typing import Any

from gotk_exporter.simulator.http.answers import Answer, encode, json_answer
from gotk_exporter.simulator.state.errors import NoSuchPath
from gotk_exporter.simulator.state.objects import GroupResource
from gotk_exporter.simulator.state.served import ServedKind, ServedVersion
from gotk_exporter.simulator.storage import Storage

_PREFIX = "/openapi/v3"
_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("fieldManager", "fieldValidation")
]
_ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class OpenApi:
    """Documents by group and version; made anew when a kind comes, changes or goes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._documents: dict[str, bytes] = {}
        self._unsubscribe = storage.subscribe_to_kinds(self._on_kind)

    def close(self) -> None:
        self._unsubscribe()

    def answer(self, path: str) -> Answer:
        """Raises NoSuchPath."""
        if not self._documents:
            self._documents = {name: encode(document) for name, document in self._all().items()}
        if path == _PREFIX:
            return json_answer(
                {
                    "paths": {
                        name: {"serverRelativeURL": f"{_PREFIX}/{name}?hash={hashlib.sha256(document).hexdigest()}"}
                        for name, document in self._documents.items()
                    }
                }
            )
        found = self._documents.get(path.removeprefix(f"{_PREFIX}/"))
        if found is None:
            raise NoSuchPath
        return Answer(200, (found,))

    def _all(self) -> dict[str, dict[str, Any]]:
        documents: dict[str, dict[str, Any]] = {}
        for kind in self._storage.kinds:
            for version in kind.versions:
                path = _path(kind, version)
                document = documents.setdefault(path, _empty_document())
                document["paths"] |= _paths(kind, version)
                document["components"]["schemas"][_schema_name(kind, version)] = _schema(kind, version)
        return documents

    def _on_kind(self, _resource: GroupResource) -> None:
        self._documents = {}


def _empty_document() -> dict[str, Any]:
    info = {"title": "Simulated API server", "version": "v1"}
    return {"openapi": "3.0.0", "info": info, "paths": {}, "components": {"schemas": {}}}


def _path(kind: ServedKind, version: ServedVersion) -> str:
    return f"{'apis' if kind.group else 'api'}/{kind.api_version(version.name)}"


def _identity(kind: ServedKind, version: ServedVersion) -> dict[str, str]:
    return {"group": kind.group, "version": version.name, "kind": kind.name}


def _paths(kind: ServedKind, version: ServedVersion) -> dict[str, Any]:
    place = "/namespaces/{namespace}" if kind.namespaced else ""
    reference = {"$ref": f"#/components/schemas/{_schema_name(kind, version)}"}
    response = {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}}
    common = {"responses": response, "x-kubernetes-group-version-kind": _identity(kind, version)}
    collection = f"/{_path(kind, version)}{place}/{kind.plural}"
    return {
        collection: {
            "get": {**common, "x-kubernetes-action": "list"},
            "post": {**common, "x-kubernetes-action": "post", "parameters": _PARAMETERS},
        },
        f"{collection}/{{name}}": {
            "get": {**common, "x-kubernetes-action": "get"},
            "put": {**common, "x-kubernetes-action": "put", "parameters": _PARAMETERS},
            "patch": {**common, "x-kubernetes-action": "patch", "parameters": _PARAMETERS},
            "delete": {**common, "x-kubernetes-action": "delete"},
        },
    }


def _schema_name(kind: ServedKind, version: ServedVersion) -> str:
    return ".".join([*reversed((kind.group or "core").split(".")), version.name, kind.name])


def _schema(kind: ServedKind, version: ServedVersion) -> dict[str, Any]:
    schema = dict(version.schema) or _ANY
    return {**schema, "x-kubernetes-group-version-kind": [_identity(kind, version)]}
