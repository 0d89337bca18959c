"""A cluster of two Flux groups in the words of both forms of discovery, to be changed and then served by a script.

The documents in tests/data/discovery were recorded from kube-apiserver 1.34.4 with Flux's groups (and one more), the
group image.toolkit.fluxcd.io being served by an aggregated API that is down. They are complete but for other groups.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from tests.kube.scripted_server import Reply, ScriptedServer

DATA = Path(__file__).parents[1] / "data" / "discovery"
AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
KUSTOMIZE, SOURCE, IMAGE = (f"{name}.toolkit.fluxcd.io" for name in ("kustomize", "source", "image"))
DOWN = Reply(503, b"service unavailable\n", content_type="text/plain; charset=utf-8")
"""As kube-apiserver answers for an aggregated API that is down."""


def recorded(name: str) -> Any:
    return json.loads((DATA / name).read_text())


class Script(Protocol):
    """A cluster that both forms of discovery tell of; changed by group, version and resource, in the plain form."""

    def apply(self, server: ScriptedServer) -> None: ...

    def rename_version(self, group: str, version: str, to: str) -> None: ...

    def prefer(self, group: str, version: str) -> None: ...

    def drop_kind(self, group: str, version: str) -> None: ...

    def set_verbs(self, group: str, version: str, verbs: list[str] | None) -> None: ...

    def break_version(self, group: str, version: str) -> None: ...

    def drop_group(self, group: str) -> None: ...


class Aggregated:
    """One document."""

    def __init__(self) -> None:
        self.document = recorded("aggregated.json")

    def apply(self, server: ScriptedServer) -> None:
        server.answer("/apis", self.reply())

    def reply(self, etag: str = '"1"') -> Reply:
        return Reply(body=json.dumps(self.document).encode(), headers={"ETag": etag}, content_type=AGGREGATED_TYPE)

    def rename_version(self, group: str, version: str, to: str) -> None:
        self.version(group, version)["version"] = to

    def prefer(self, group: str, version: str) -> None:
        self.group(group)["versions"].sort(key=lambda item: item["version"] != version)

    def drop_kind(self, group: str, version: str) -> None:
        del self.version(group, version)["resources"]

    def set_verbs(self, group: str, version: str, verbs: list[str] | None) -> None:
        self.version(group, version)["resources"][0]["verbs"] = verbs

    def break_version(self, group: str, version: str) -> None:
        broken = self.version(group, version)
        broken["freshness"] = "Stale"
        broken.pop("resources", None)

    def drop_group(self, group: str) -> None:
        self.document["items"].remove(self.group(group))

    def group(self, name: str) -> Any:
        return next(item for item in self.document["items"] if item["metadata"]["name"] == name)

    def version(self, group: str, version: str) -> Any:
        return next(item for item in self.group(group)["versions"] if item["version"] == version)


class Plain:
    """A list of groups, and one document for each version."""

    def __init__(self) -> None:
        self.groups = recorded("groups.json")
        self.versions: dict[tuple[str, str], Any] = {
            (group, version): recorded(f"{group}_{version}.json")
            for group in (KUSTOMIZE, SOURCE)
            for version in ("v1", "v1beta2")
        }
        self.versions[IMAGE, "v1beta1"] = DOWN

    def apply(self, server: ScriptedServer) -> None:
        server.answer("/apis", Reply(body=json.dumps(self.groups).encode()))
        for (group, version), document in self.versions.items():
            answer = document if isinstance(document, Reply) else Reply(body=json.dumps(document).encode())
            server.answer(f"/apis/{group}/{version}", answer)

    def rename_version(self, group: str, version: str, to: str) -> None:
        entry = self.group(group)
        for item in (*entry["versions"], entry["preferredVersion"]):
            if item["version"] == version:
                item |= {"version": to, "groupVersion": f"{group}/{to}"}
        self.versions[group, to] = self.versions.pop((group, version))

    def prefer(self, group: str, version: str) -> None:
        self.group(group)["preferredVersion"] = {"version": version, "groupVersion": f"{group}/{version}"}

    def drop_kind(self, group: str, version: str) -> None:
        self.versions[group, version]["resources"] = []

    def set_verbs(self, group: str, version: str, verbs: list[str] | None) -> None:
        self.versions[group, version]["resources"][0]["verbs"] = verbs

    def break_version(self, group: str, version: str) -> None:
        self.versions[group, version] = DOWN

    def drop_group(self, group: str) -> None:
        self.groups["groups"].remove(self.group(group))

    def group(self, name: str) -> Any:
        return next(item for item in self.groups["groups"] if item["name"] == name)
