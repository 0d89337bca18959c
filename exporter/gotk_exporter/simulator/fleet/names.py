"""What things are called in a platform that could be somebody's: teams, services, images, what they consist of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

TEAMS = (
    "payments",
    "checkout",
    "catalog",
    "search",
    "identity",
    "notifications",
    "fulfilment",
    "recommendations",
    "pricing",
    "analytics",
)

SERVICES = ("database", "api", "web", "worker", "cache", "gateway", "scheduler", "admin", "exports", "webhooks")
"""Of one team. The first is what the next few stand on."""

_PARTS = (
    "Service/{ns}/{name}",
    "ConfigMap/{ns}/{name}-config",
    "ServiceAccount/{ns}/{name}",
    "PodDisruptionBudget/{ns}/{name}",
    "HorizontalPodAutoscaler/{ns}/{name}",
    "NetworkPolicy/{ns}/{name}",
    "Role/{ns}/{name}",
    "RoleBinding/{ns}/{name}",
    "ServiceMonitor/{ns}/{name}",
)


def teams() -> Iterator[str]:
    """Without end: the second time around with a region behind the name."""
    for number in itertools.count():
        for team in TEAMS:
            yield team if number == 0 else f"{team}-{number + 1:02}"


def workload(namespace: str, service: str) -> str:
    """What a service runs as."""
    kind = "StatefulSet" if service in ("database", "cache") else "Deployment"
    return f"{kind}/{namespace}/{service}"


def objects(namespace: str, service: str, count: int) -> list[str]:
    """What a service consists of: its workload, an Ingress where there is a user, and the usual, ``count`` in all."""
    found = [workload(namespace, service)]
    if service in ("web", "gateway", "admin"):
        found.append(f"Ingress/{namespace}/{service}")
    usual = (part.format(ns=namespace, name=service) for part in _PARTS)
    more = (f"ConfigMap/{namespace}/{service}-{number:02}" for number in itertools.count(1))
    return [*found, *itertools.islice(itertools.chain(usual, more), max(0, count - len(found)))]
