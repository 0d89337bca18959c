"""What does a request mean? Path and method to verb and resource, as kube-apiserver's RequestInfo has it.

Whether the resource is served, and whether the client may, others decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gotk_exporter.simulator.state.objects import GroupResource

_OF_A_NAMESPACE = frozenset({"status", "finalize"})
"""What may follow a namespace's name without being a resource in it."""
_FALSE = frozenset({"", "0", "f", "F", "false", "FALSE", "False"})

_VERBS: Mapping[tuple[str, bool], str] = {
    ("GET", True): "get",
    ("GET", False): "list",
    ("HEAD", True): "get",
    ("HEAD", False): "list",
    ("POST", True): "create",
    ("POST", False): "create",
    ("PUT", True): "update",
    ("PUT", False): "update",
    ("PATCH", True): "patch",
    ("PATCH", False): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}
"""By method, and whether the path ends in an object."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a path leads to: objects of a kind, or one of them."""

    group: str
    version: str
    plural: str
    namespace: str | None = None
    object_name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> GroupResource:
        return GroupResource(self.group, self.plural)

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def verb(self, method: str, query: Mapping[str, str]) -> str:
        """As RBAC knows it; empty for a method that it does not know."""
        verb = _VERBS.get((method, bool(self.object_name)), "")
        return "watch" if verb == "list" and is_true(query.get("watch")) else verb


def parse_target(path: str) -> Target | None:
    """None for a path that is no resource's, as discovery's."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, rest = "", parts[1:]
    elif parts[0] == "apis" and len(parts) > 1:
        group, rest = parts[1], parts[2:]
    else:
        return None
    if len(rest) < 2:
        return None
    version, rest = rest[0], rest[1:]
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _OF_A_NAMESPACE:
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 or not all(rest):
        return None
    name, subresource = [*rest[1:], "", ""][:2]
    return Target(group, version, rest[0], namespace, name, subresource)


def is_true(value: str | None) -> bool:
    """A boolean parameter; given without a value, it is false."""
    return value is not None and value not in _FALSE
