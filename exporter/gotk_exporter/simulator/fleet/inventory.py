"""How Flux writes down what it applied: namespace_name_group_Kind, and the version beside it."""

from __future__ import annotations

from collections.abc import Iterable

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.simulator.fleet.objects import Json, api_version

_APIS = {
    "Deployment": ("apps", "v1"),
    "StatefulSet": ("apps", "v1"),
    "DaemonSet": ("apps", "v1"),
    "Job": ("batch", "v1"),
    "CronJob": ("batch", "v1"),
    "Ingress": ("networking.k8s.io", "v1"),
    "NetworkPolicy": ("networking.k8s.io", "v1"),
    "ClusterRole": ("rbac.authorization.k8s.io", "v1"),
    "Role": ("rbac.authorization.k8s.io", "v1"),
    "RoleBinding": ("rbac.authorization.k8s.io", "v1"),
    "CustomResourceDefinition": ("apiextensions.k8s.io", "v1"),
    "ClusterIssuer": ("cert-manager.io", "v1"),
    "Certificate": ("cert-manager.io", "v1"),
    "PodDisruptionBudget": ("policy", "v1"),
    "HorizontalPodAutoscaler": ("autoscaling", "v2"),
    "ServiceMonitor": ("monitoring.coreos.com", "v1"),
}


def _entry(id: str) -> Json:
    kind, namespace, name = id.split("/")
    if kind in BY_NAME:
        group, _, version = api_version(kind).partition("/")
    else:
        group, version = _APIS.get(kind, ("", "v1"))
    return {"id": f"{namespace}_{name}_{group}_{kind}", "v": version}


def entries(ids: Iterable[str]) -> Json:
    """status.inventory for ``ids``, each Kind/namespace/name."""
    return {"entries": [_entry(id) for id in ids]}


def is_flux(id: str) -> bool:
    """Whether ``id`` names an object of Flux's own kinds, which lives where the fleet lives, not in the world."""
    return id.partition("/")[0] in BY_NAME


def ids(inventory: Json | None) -> list[str]:
    """The other way round."""
    if not inventory:
        return []
    parts = (entry["id"].split("_") for entry in inventory["entries"])
    return [f"{kind}/{namespace}/{name}" for namespace, name, _, kind in parts]
