"""Which of the kinds that we know does the API server serve, and at which version does it prefer them?

Aggregated discovery where it is served (one request, answered with 304 while nothing changes), else one request for the
groups and one per version. Only groups that hold a kind we want are looked at. It follows nothing (cluster does) and
remembers nothing but the ETag.

Reference: kubernetes.io, "The Kubernetes API", Discovery API.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import msgspec

from gotk_exporter.flux.rows import Kind
from gotk_exporter.kube.client import Answer, ApiClient, Resource
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable

_AGGREGATED = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)
_PLAIN = "application/json"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Served:
    """What the API server said."""

    resources: dict[str, Resource]
    """By kind: what is served, at the preferred version."""
    unknown: frozenset[str]
    """Kinds about which it could not say (an aggregated API that is down, a group that answered with an error): what
    was known of them holds. Also where only the preferred version could not say: to follow the next one meanwhile would
    list the kind anew now and again when the preferred one is back."""


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    """Lists may be null: Go writes an empty one so."""


class _Name(_Part, frozen=True):
    name: str = ""


class _GroupVersion(_Part, frozen=True):
    version: str = ""


class _ResponseKind(_Part, frozen=True):
    kind: str = ""


class _AggregatedResource(_Part, frozen=True):
    resource: str = ""
    response_kind: _ResponseKind | None = None
    verbs: list[str] | None = None


class _AggregatedVersion(_Part, frozen=True):
    version: str = ""
    freshness: str = ""
    resources: list[_AggregatedResource] | None = None


class _AggregatedGroup(_Part, frozen=True):
    metadata: _Name = _Name()
    versions: list[_AggregatedVersion] | None = None


class _PlainGroup(_Part, frozen=True):
    name: str = ""
    versions: list[_GroupVersion] | None = None
    preferred_version: _GroupVersion | None = None


class _Groups(_Part, frozen=True):
    """The answer to /apis, which itself says which of the two it is: proxies lose the parameters of a Content-Type."""

    items: list[_AggregatedGroup] | None = None
    """Of an APIGroupDiscoveryList."""
    groups: list[_PlainGroup] | None = None
    """Of an APIGroupList."""


class _PlainResource(_Part, frozen=True):
    name: str = ""
    kind: str = ""
    verbs: list[str] | None = None


class _PlainResourceList(_Part, frozen=True):
    resources: list[_PlainResource] | None


class Discovery:
    """Asks one API server about a fixed set of kinds."""

    def __init__(self, client: ApiClient, kinds: Iterable[Kind]) -> None:
        self._client = client
        self._kinds = tuple(kinds)
        self._etag: str | None = None
        self._last: Served | None = None

    async def ask(self) -> Served:
        """What is served now. Raises ApiError where the API server did not say anything usable."""
        answer = await self._client.get("/apis", f"{_AGGREGATED},{_PLAIN}", self._etag)
        if answer.unchanged and self._last is not None:
            return self._last
        document = _decode(answer, _Groups)
        if document.items is not None:
            served = self._from_aggregated(document.items)
            # An answer with gaps may be right again without a new ETag.
            self._etag = answer.etag if not served.unknown else None
        elif document.groups is not None:
            served = await self._from_plain(document.groups)
            # A list of groups stays the same while what they hold changes.
            self._etag = None
        else:
            raise Unreachable("malformed", "the answer to /apis is no discovery document")
        self._last = served
        return served

    def _from_aggregated(self, listed: Iterable[_AggregatedGroup]) -> Served:
        groups = {group.metadata.name: group for group in listed}
        resources: dict[str, Resource] = {}
        unknown: set[str] = set()
        for kind in self._kinds:
            for version in (groups[kind.group].versions or ()) if kind.group in groups else ():
                found = next((item for item in version.resources or () if _is(kind, item)), None)
                if found is not None:
                    resources[kind.name] = Resource(kind.group, version.version, found.resource, kind.name)
                    break
                if version.freshness == "Stale":
                    unknown.add(kind.name)
                    break
        return Served(resources, frozenset(unknown))

    async def _from_plain(self, listed: Iterable[_PlainGroup]) -> Served:
        groups = {group.name: group for group in listed}
        resources: dict[str, Resource] = {}
        unknown: set[str] = set()
        for name in dict.fromkeys(kind.group for kind in self._kinds):
            missing = {kind.name for kind in self._kinds if kind.group == name}
            for version in _in_order(groups[name]) if name in groups else ():
                if not missing:
                    break
                try:
                    found = await self._plain_version(name, version, missing)
                except ApiError as error:
                    if isinstance(error, StatusError) and error.code == 404:
                        continue
                    unknown |= missing
                    break
                resources |= found
                missing -= found.keys()
        return Served(resources, frozenset(unknown))

    async def _plain_version(self, group: str, version: str, wanted: Collection[str]) -> dict[str, Resource]:
        answer = await self._client.get(f"/apis/{quote(group, safe='')}/{quote(version, safe='')}", _PLAIN)
        return {
            item.kind: Resource(group, version, item.name, item.kind)
            for item in _decode(answer, _PlainResourceList).resources or ()
            if item.kind in wanted and "/" not in item.name and _can_be_followed(item.verbs)
        }


def _in_order(group: _PlainGroup) -> list[str]:
    """The group's versions, the preferred one first."""
    preferred = [group.preferred_version.version] if group.preferred_version else []
    return list(dict.fromkeys([*preferred, *(version.version for version in group.versions or ())]))


def _is(kind: Kind, item: _AggregatedResource) -> bool:
    return item.response_kind is not None and item.response_kind.kind == kind.name and _can_be_followed(item.verbs)


def _can_be_followed(verbs: Collection[str] | None) -> bool:
    return {"list", "watch"} <= set(verbs or ())


def _decode(answer: Answer, into: type[_T]) -> _T:
    try:
        return msgspec.json.decode(answer.body, type=into)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Unreachable("malformed", "the API server's discovery cannot be read") from None
