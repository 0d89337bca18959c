"""ServiceAccounts of a test and what RBAC lets them do. Their tokens are minted by apiserver.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.peers.admin import AdminClient, ApiError
from tests.peers.processes import poll_until

RBAC = "rbac.authorization.k8s.io"
EFFECTIVE_SECONDS = 10.0
"""kube-apiserver's authorizer learns of roles through watches of its own: a moment later."""

Rule = Mapping[str, Sequence[str]]
"""A PolicyRule: ``{"apiGroups": [...], "resources": [...], "verbs": [...]}``, or with nonResourceURLs."""


@dataclass(frozen=True)
class ServiceAccount:
    """An account that exists in the server; ``uid`` is part of its tokens."""

    namespace: str
    name: str
    uid: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    @property
    def groups(self) -> list[str]:
        return ["system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"]


async def create_service_account(admin: AdminClient, namespace: str, name: str) -> ServiceAccount:
    """Create the account, and its namespace if that is missing."""
    await admin.ensure_namespace(namespace)
    created = await admin.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    )
    return ServiceAccount(namespace, name, created["metadata"]["uid"])


async def grant(
    admin: AdminClient, account: ServiceAccount, rules: Sequence[Rule], namespace: str | None = None
) -> None:
    """Let ``account`` do ``rules`` in ``namespace`` (Role), or in the whole cluster when None (ClusterRole).

    Replaces what an earlier grant gave it in the same place; returns when every new permission is effective.
    """
    role, binding = _role(account, rules, namespace), _binding(account, namespace)
    for obj in role, binding:
        try:
            await admin.create(obj)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await admin.update(obj)
    await _wait_until_reviewed(admin, account, _permissions(rules, namespace), allowed=True)


async def revoke(admin: AdminClient, account: ServiceAccount, namespace: str | None = None) -> None:
    """Take back what grant() gave in ``namespace`` (None: in the whole cluster); returns when it has no more effect.

    Requests that were accepted, watches included, are not cut.
    """
    kind, name = ("Role" if namespace else "ClusterRole"), _name(account)
    role = await admin.get(f"{RBAC}/v1", kind, name, namespace)
    await admin.delete(f"{RBAC}/v1", f"{kind}Binding", name, namespace)
    await admin.delete(f"{RBAC}/v1", kind, name, namespace)
    await _wait_until_reviewed(admin, account, _permissions(role["rules"], namespace), allowed=False)


async def is_allowed(admin: AdminClient, account: ServiceAccount, permission: Mapping[str, Any]) -> bool:
    """Ask the server's own authorizer; ``permission`` holds resourceAttributes or nonResourceAttributes."""
    review = await admin.request(
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        body={"spec": {"user": account.user, "groups": account.groups, **permission}},
    )
    return bool(review["status"]["allowed"])


async def _wait_until_reviewed(
    admin: AdminClient, account: ServiceAccount, permissions: Iterable[Mapping[str, Any]], *, allowed: bool
) -> None:
    for permission in permissions:

        async def effective(permission: Mapping[str, Any] = permission) -> bool:
            return await is_allowed(admin, account, permission) is allowed

        change = "allowed" if allowed else "forbidden"
        await poll_until(effective, f"{account.user}: {permission} is not {change}", EFFECTIVE_SECONDS)


def _permissions(rules: Iterable[Rule], namespace: str | None) -> Iterator[dict[str, Any]]:
    for rule in rules:
        for path, verb in itertools.product(rule.get("nonResourceURLs", ()), rule["verbs"]):
            yield {"nonResourceAttributes": {"path": path, "verb": verb}}
        for group, resource, verb in itertools.product(
            rule.get("apiGroups", ()), rule.get("resources", ()), rule["verbs"]
        ):
            plural, _, subresource = resource.partition("/")
            attributes = {"group": group, "resource": plural, "subresource": subresource, "verb": verb}
            for name in rule.get("resourceNames", [""]):
                yield {"resourceAttributes": {**attributes, "namespace": namespace or "", "name": name}}


def _role(account: ServiceAccount, rules: Sequence[Rule], namespace: str | None) -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": _metadata(account, namespace),
        "rules": [dict(rule) for rule in rules],
    }


def _binding(account: ServiceAccount, namespace: str | None) -> dict[str, Any]:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": _metadata(account, namespace),
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": _name(account)},
        "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}],
    }


def _metadata(account: ServiceAccount, namespace: str | None) -> dict[str, str]:
    return {"name": _name(account), **({"namespace": namespace} if namespace else {})}


def _name(account: ServiceAccount) -> str:
    return f"{account.namespace}-{account.name}"
