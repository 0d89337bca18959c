"""A client of any Kubernetes API server, real or simulated, for arranging tests. Retries nothing, follows nothing.

Deliberately not the client of the package under test: what one of them gets wrong, the other shows.
"""

from __future__ import annotations

import json
import ssl as tls
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.peers.processes import poll_until

KubernetesObject = dict[str, Any]

REQUEST_SECONDS = 30.0
SERVED_SECONDS = 30.0
AGGREGATED_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The server refused; ``status`` is the HTTP status, ``reason`` and the message are those of its Status object."""

    def __init__(self, request: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{request}: {status} {reason}: {message}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Listing:
    """What a whole listing gave, over all of its pages."""

    items: list[KubernetesObject]
    resource_version: str


class AdminClient:
    """Creates, reads and changes objects; an ``async with`` block ends its connections.

    Objects are addressed as in a manifest, by apiVersion and kind; the resource's name comes from discovery.
    """

    def __init__(self, base_url: str, token: str | None = None, ssl: tls.SSLContext | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(ssl=ssl if ssl is not None else True, limit=0),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        )
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def create(self, obj: Mapping[str, Any]) -> KubernetesObject:
        """Create ``obj``. Its status, if it has one, is written too, by a second request, unless the server kept it."""
        api_version, kind, name, namespace = _identity(obj)
        created = await self.request("POST", await self.path(api_version, kind, None, namespace), body=obj)
        if "status" in obj and created.get("status") != obj["status"]:
            created = await self.patch_status(api_version, kind, name, obj["status"], namespace)
        return created

    async def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> KubernetesObject:
        return await self.request("GET", await self.path(api_version, kind, name, namespace))

    async def update(self, obj: Mapping[str, Any]) -> KubernetesObject:
        """Replace ``obj``; when it carries a resourceVersion, only that version of it."""
        return await self.request("PUT", await self.path(*_identity(obj)), body=obj)

    async def patch(
        self, api_version: str, kind: str, name: str, change: Mapping[str, Any], namespace: str | None = None
    ) -> KubernetesObject:
        """Apply ``change`` as a JSON merge patch."""
        path = await self.path(api_version, kind, name, namespace)
        return await self.request("PATCH", path, body=change, content_type=MERGE_PATCH)

    async def patch_status(
        self, api_version: str, kind: str, name: str, status: Mapping[str, Any], namespace: str | None = None
    ) -> KubernetesObject:
        """Apply ``status`` as a JSON merge patch to the status subresource."""
        path = await self.path(api_version, kind, name, namespace)
        return await self.request("PATCH", f"{path}/status", body={"status": status}, content_type=MERGE_PATCH)

    async def update_status(self, obj: Mapping[str, Any]) -> KubernetesObject:
        """Replace the status of ``obj``, which must carry the current resourceVersion."""
        return await self.request("PUT", f"{await self.path(*_identity(obj))}/status", body=obj)

    async def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> KubernetesObject:
        """Delete one object. A namespace without its controller stays Terminating: use delete_namespace()."""
        return await self.request("DELETE", await self.path(api_version, kind, name, namespace))

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        limit: int | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Listing:
        """All objects of a kind, in one namespace or in all, page by page of ``limit``."""
        path = await self.path(api_version, kind, None, namespace)
        query = {**(parameters or {}), **({"limit": str(limit)} if limit else {})}
        page = await self.request("GET", path, parameters=query)
        items: list[KubernetesObject] = page["items"]
        while token := page["metadata"].get("continue"):
            page = await self.request("GET", path, parameters={**query, "continue": token})
            items.extend(page["items"])
        return Listing(items, page["metadata"]["resourceVersion"])

    async def ensure_namespace(self, name: str) -> None:
        """Create the namespace unless it is there."""
        try:
            await self.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def delete_namespace(self, name: str) -> None:
        """Delete a namespace, doing the part of the namespace controller that finishes it; its objects stay behind."""
        await self.request("DELETE", f"/api/v1/namespaces/{name}")
        finalized = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": []}}
        await self.request("PUT", f"/api/v1/namespaces/{name}/finalize", body=finalized)

    async def install_crds(self, crds: Sequence[Mapping[str, Any]]) -> None:
        """Create or replace CRDs and wait until each version that they serve is discovered and can be listed.

        Raises:
            PeerFailed: one of them was not served within SERVED_SECONDS.
        """
        for crd in crds:
            try:
                await self.create({key: value for key, value in crd.items() if key != "status"})
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
                await self.patch(crd["apiVersion"], crd["kind"], crd["metadata"]["name"], {"spec": crd["spec"]})
        for crd in crds:
            name = crd["metadata"]["name"]

            async def served(crd: Mapping[str, Any] = crd) -> bool:
                return await self._serves(crd)

            await poll_until(served, f"{self.base_url}: CRD {name} is not served", SERVED_SECONDS)

    async def delete_crd(self, name: str) -> None:
        """Delete a CRD, and with it all of its objects, and wait until it is gone."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        await self.request("DELETE", path)

        async def gone() -> bool:
            try:
                await self.request("GET", path)
            except ApiError as error:
                return error.status == 404
            return False

        await poll_until(gone, f"{self.base_url}: CRD {name} is not gone", SERVED_SECONDS)
        self._resources.clear()

    async def path(self, api_version: str, kind: str, name: str | None, namespace: str | None) -> str:
        """The URL path of a collection (``name`` None) or of an object."""
        plural, namespaced = await self._resource(api_version, kind)
        parts = [_version_path(api_version)]
        if namespaced and namespace is not None:
            parts.append(f"namespaces/{namespace}")
        parts.append(plural)
        if name is not None:
            parts.append(name)
        return "/".join(parts)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> KubernetesObject:
        """Send one request and return the decoded answer.

        Raises:
            ApiError: the answer's status is 400 or above.
        """
        async with self._session.request(
            method,
            self.base_url + path,
            params=parameters,
            data=None if body is None else aiohttp.JsonPayload(body, content_type=content_type),
            headers={"Accept": accept},
        ) as response:
            if response.status >= 400:
                text = await response.text()
                status = _status(text)
                raise ApiError(f"{method} {path}", response.status, status["reason"], status["message"])
            answer: KubernetesObject = await response.json(content_type=None)
            return answer

    async def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._resources:
            for resource in (await self.request("GET", _version_path(api_version)))["resources"]:
                if "/" not in resource["name"]:
                    self._resources[api_version, resource["kind"]] = (resource["name"], resource["namespaced"])
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise LookupError(f"{self.base_url}: serves no {kind} in {api_version}; install its CRD") from None

    async def _serves(self, crd: Mapping[str, Any]) -> bool:
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        versions = [version["name"] for version in crd["spec"]["versions"] if version["served"]]
        try:
            for version in versions:
                resources = (await self.request("GET", f"/apis/{group}/{version}"))["resources"]
                if plural not in (resource["name"] for resource in resources):
                    return False
                await self.request("GET", f"/apis/{group}/{version}/{plural}", parameters={"limit": "1"})
            discovery = await self.request("GET", "/apis", accept=f"{AGGREGATED_DISCOVERY},application/json")
        except ApiError as error:
            if error.status in (404, 429, 503):
                return False
            raise
        return _discovered(discovery, group, plural) >= set(versions)


def _discovered(discovery: Mapping[str, Any], group: str, plural: str) -> set[str]:
    """The versions in which ``discovery``, aggregated or a plain list of groups, names the resource (or the group)."""
    if discovery["kind"] == "APIGroupList":
        return {v["version"] for g in discovery["groups"] if g["name"] == group for v in g["versions"]}
    return {
        version["version"]
        for item in discovery["items"]
        if item["metadata"]["name"] == group
        for version in item["versions"]
        if plural in (resource["resource"] for resource in version.get("resources", ()))
    }


def _identity(obj: Mapping[str, Any]) -> tuple[str, str, str, str | None]:
    metadata = obj["metadata"]
    return obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace")


def _version_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _status(text: str) -> dict[str, str]:
    try:
        status = json.loads(text)
        return {"reason": status.get("reason", ""), "message": status.get("message", "")}
    except (ValueError, AttributeError):
        return {"reason": "", "message": text}
