"""Who may do what: bearer tokens and their permissions, for tests of clients that may do little.

Whoever sends no token may do everything, so that kubectl needs none. Permissions are a table, not RBAC objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gotk_exporter.simulator.http.routing import Target
from gotk_exporter.simulator.state.errors import Refusal, forbidden, unauthorized

ANY = "*"
_OPEN_PATHS = ("/api", "/apis", "/version", "/healthz", "/livez", "/readyz", "/openapi")
"""What kube-apiserver shows to everyone who is known, with all below."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What one rule allows. ``ANY`` in a set stands for everything."""

    groups: frozenset[str]
    resources: frozenset[str]
    """Plurals, or plural/subresource."""
    verbs: frozenset[str]
    namespaces: frozenset[str] = frozenset({ANY})
    """Without ANY, requests across all namespaces are refused."""

    def allows(self, verb: str, target: Target) -> bool:
        resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
        return all(
            ANY in allowed or wanted in allowed
            for allowed, wanted in (
                (self.groups, target.group),
                (self.resources, resource),
                (self.verbs, verb),
                (self.namespaces, _namespace(target)),
            )
        )


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a token stands for."""

    user: str
    permissions: tuple[Permission, ...]
    expires: float | None
    """Unix time."""


class Access:
    """The tokens that are known."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._accounts: dict[str, Account] = {}

    def grant(
        self, token: str, permissions: Iterable[Permission], *, user: str = "test", expires: float | None = None
    ) -> None:
        """Let whoever sends ``token`` do this and no more, until ``expires`` (Unix time); replaces what it could."""
        self._accounts[token] = Account(user, tuple(permissions), expires)

    def revoke(self, token: str) -> None:
        """Know the token no longer. Requests that were accepted, watches included, are not cut."""
        self._accounts.pop(token, None)

    def authenticate(self, authorization: str) -> Account | None:
        """Whose request it is; None for who may do everything.

        Raises:
            Refusal: 401 for a token that is not known, or no longer good.
        """
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        account = self._accounts.get(token.strip()) if scheme.lower() == "bearer" else None
        if account is None or (account.expires is not None and self._now() >= account.expires):
            raise unauthorized()
        return account

    def authorize(self, account: Account | None, verb: str, target: Target) -> None:
        """Raises Refusal (403) where the account may not."""
        if account is None or any(permission.allows(verb, target) for permission in account.permissions):
            return
        resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
        namespace = _namespace(target)
        place = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        because = f'User "{account.user}" cannot {verb} resource "{resource}" in API group "{target.group}" {place}'
        raise forbidden(target.resource, target.object_name, because)

    def authorize_path(self, account: Account | None, method: str, path: str) -> None:
        """The same for a path that is no resource's."""
        if account is None or any(path == known or path.startswith(f"{known}/") for known in _OPEN_PATHS):
            return
        message = f'forbidden: User "{account.user}" cannot {method.lower()} path "{path}"'
        raise Refusal(403, "Forbidden", message, {})


def _namespace(target: Target) -> str:
    """A namespace counts as being in itself."""
    if target.namespace is not None:
        return target.namespace
    return target.object_name if (target.group, target.plural) == ("", "namespaces") else ""
