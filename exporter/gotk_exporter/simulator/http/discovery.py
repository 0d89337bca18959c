"""Discovery documents: which groups, versions and resources there are, aggregated and plain, made of what is served.

Reference: kubernetes.io, "The Kubernetes API", Discovery API; the shapes are those of kube-apiserver 1.34.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gotk_exporter.simulator.http.answers import Answer, encode, json_answer
from gotk_exporter.simulator.http.negotiation import choose_discovery
from gotk_exporter.simulator.state.errors import NoSuchPath
from gotk_exporter.simulator.state.objects import GroupResource
from gotk_exporter.simulator.state.served import ServedKind, preference
from gotk_exporter.simulator.storage import Storage

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+simulated",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}
_SUBRESOURCE_VERBS: Mapping[str, list[str]] = {"status": ["get", "patch", "update"], "finalize": ["update"]}


class Discovery:
    """Answers for the paths above the resources; documents are made anew when a kind comes, changes or goes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._aggregated: dict[tuple[bool, str], tuple[bytes, str]] = {}
        self._unsubscribe = storage.subscribe_to_kinds(self._on_kind)

    def close(self) -> None:
        self._unsubscribe()

    def answer(self, path: str, accept: str, known_etag: str) -> Answer:
        """Raises Refusal where the path is none of discovery's, or the form cannot be had."""
        parts = path.strip("/").split("/")
        answers: Mapping[tuple[str, int], Callable[[], Answer]] = {
            ("version", 1): lambda: json_answer(VERSION),
            ("api", 1): lambda: self._root(accept, known_etag, core=True),
            ("apis", 1): lambda: self._root(accept, known_etag, core=False),
            ("api", 2): lambda: self._resources("", parts[1]),
            ("apis", 2): lambda: self._group(parts[1]),
            ("apis", 3): lambda: self._resources(parts[1], parts[2]),
        }
        found = answers.get((parts[0], len(parts)))
        if found is None:
            raise NoSuchPath
        return found()

    def _root(self, accept: str, known_etag: str, *, core: bool) -> Answer:
        version = choose_discovery(accept)
        if not version:
            return json_answer(_CORE_VERSIONS if core else self._group_list())
        if (core, version) not in self._aggregated:
            document = encode(self._aggregated_list(version, core=core))
            self._aggregated[core, version] = document, f'"{hashlib.sha512(document).hexdigest().upper()}"'
        document, etag = self._aggregated[core, version]
        headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "public"}
        if known_etag == etag:
            return Answer(304, (), "", headers)
        content_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        return Answer(200, (document,), content_type, headers)

    def _aggregated_list(self, version: str, *, core: bool) -> dict[str, Any]:
        groups = [group for group in self._groups() if (group == "") is core]
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": [
                {
                    "metadata": {"name": group} if group else {},
                    "versions": [
                        {
                            "version": version,
                            "resources": [_aggregated_resource(kind, version) for kind in kinds],
                            "freshness": "Current",
                        }
                        for version, kinds in self._versions(group).items()
                    ],
                }
                for group in groups
            ],
        }

    def _group_list(self) -> dict[str, Any]:
        groups = [self._group_document(group) for group in self._groups() if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _group(self, group: str) -> Answer:
        if group not in self._groups():
            raise NoSuchPath
        return json_answer({"kind": "APIGroup", "apiVersion": "v1", **self._group_document(group)})

    def _group_document(self, group: str) -> dict[str, Any]:
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in self._versions(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Answer:
        kinds = self._versions(group).get(version)
        if kinds is None:
            raise NoSuchPath
        return json_answer(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{group}/{version}" if group else version,
                "resources": [resource for kind in kinds for resource in _plain_resources(kind, version)],
            }
        )

    def _groups(self) -> list[str]:
        """Those that serve something, in the order in which they came."""
        return list(dict.fromkeys(kind.group for kind in self._storage.kinds if kind.versions))

    def _versions(self, group: str) -> dict[str, list[ServedKind]]:
        """The kinds of each version, the preferred version first."""
        kinds = [kind for kind in self._storage.kinds if kind.group == group]
        names = {version.name for kind in kinds for version in kind.versions}
        return {
            name: [kind for kind in kinds if kind.version(name) is not None] for name in sorted(names, key=preference)
        }

    def _on_kind(self, _resource: GroupResource) -> None:
        self._aggregated.clear()


_CORE_VERSIONS = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _aggregated_resource(kind: ServedKind, version: str) -> dict[str, Any]:
    # Of its own kinds, kube-apiserver leaves group and version to be understood.
    named = {"group": kind.group, "version": version} if kind.custom else {"group": "", "version": ""}
    response_kind = {**named, "kind": kind.name}
    subresources = [
        {"subresource": name, "responseKind": response_kind, "verbs": _SUBRESOURCE_VERBS[name]}
        for name in _subresources(kind, version)
    ]
    return {
        "resource": kind.plural,
        "responseKind": response_kind,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": _singular(kind),
        "verbs": list(kind.verbs),
        **_names(kind),
        **({"subresources": subresources} if subresources else {}),
    }


def _plain_resources(kind: ServedKind, version: str) -> Iterable[dict[str, Any]]:
    common = {"namespaced": kind.namespaced, "kind": kind.name}
    yield {"name": kind.plural, "singularName": _singular(kind), **common, "verbs": list(kind.verbs), **_names(kind)}
    for name in _subresources(kind, version):
        yield {"name": f"{kind.plural}/{name}", "singularName": "", **common, "verbs": _SUBRESOURCE_VERBS[name]}


def _subresources(kind: ServedKind, version: str) -> list[str]:
    served = kind.version(version)
    return sorted([*kind.subresources, *(["status"] if served is not None and served.status else [])])


def _singular(kind: ServedKind) -> str:
    return kind.singular or kind.name.lower()


def _names(kind: ServedKind) -> dict[str, list[str]]:
    names = {"shortNames": list(kind.short_names), "categories": list(kind.categories)}
    return {name: values for name, values in names.items() if values}
