"""The real API server does what its class promises: serves, forgets, dies, comes back, freezes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.peers import processes
from tests.peers.access import create_service_account, grant, is_allowed, revoke
from tests.peers.admin import AdminClient, ApiError
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import CRDS, read_objects

KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
READ_KUSTOMIZATIONS = {"apiGroups": [KUSTOMIZE], "resources": ["kustomizations"], "verbs": ["list", "watch"]}
TOKEN_CACHE_SECONDS = 10


def kustomization(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{KUSTOMIZE}/v1", "kind": "Kustomization", "metadata": metadata, "spec": spec}


def client(server: RealApiServer, token: str | None = None) -> AdminClient:
    return AdminClient(server.url, token or server.admin_token, server.ssl_context())


async def first_watch_event(server: RealApiServer, path: str, resource_version: str) -> Mapping[str, Any]:
    """What a watch from ``resource_version`` says first; a server that is still starting its cache is asked again."""
    parameters = {"watch": "1", "resourceVersion": resource_version}
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    deadline = time.monotonic() + 10
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), headers=headers) as session:
        while True:
            async with session.get(server.url + path, params=parameters, ssl=server.ssl_context()) as response:
                if response.status != 429 or time.monotonic() > deadline:
                    assert response.status == 200, await response.text()
                    event: Mapping[str, Any] = json.loads(await response.content.readline())
                    return event
            await asyncio.sleep(0.1)


async def old_listing(admin: AdminClient, namespace: str) -> tuple[str, str, str]:
    """A path, and the resource version and continue token of a first page there; two writes follow it."""
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    await admin.ensure_namespace(namespace)
    for name in "one", "two":
        await admin.create(kustomization(namespace, name))
    path = await admin.path(f"{KUSTOMIZE}/v1", "Kustomization", None, namespace)
    metadata = (await admin.request("GET", path, parameters={"limit": "1"}))["metadata"]
    for suspend in True, False:
        await admin.patch(f"{KUSTOMIZE}/v1", "Kustomization", "one", {"spec": {"suspend": suspend}}, namespace)
    return path, metadata["resourceVersion"], metadata["continue"]


async def assert_next_page_is_gone(admin: AdminClient, path: str, continue_token: str) -> None:
    with pytest.raises(ApiError) as refused:
        await admin.request("GET", path, parameters={"limit": "1", "continue": continue_token})
    assert (refused.value.status, refused.value.reason) == (410, "Expired")


async def test_custom_object_is_created_with_status_and_listed_page_by_page(admin: AdminClient, namespace: str) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml", CRDS / "gitrepositories.yaml"))
    condition = {"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "ok"}
    for name in "one", "two", "three":
        await admin.create({**kustomization(namespace, name, interval="5m"), "status": {"conditions": [condition]}})
    listing = await admin.list(f"{KUSTOMIZE}/v1", "Kustomization", namespace, limit=2)
    assert sorted(obj["metadata"]["name"] for obj in listing.items) == ["one", "three", "two"]
    assert all(obj["status"]["conditions"] == [condition] for obj in listing.items)
    assert int(listing.resource_version) >= max(int(obj["metadata"]["resourceVersion"]) for obj in listing.items)


async def test_object_is_updated_only_at_its_version_and_deleted(admin: AdminClient, namespace: str) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    created = await admin.create(kustomization(namespace, "one", interval="5m"))
    updated = await admin.update({**created, "spec": {"interval": "10m"}})
    assert updated["metadata"]["generation"] == 2
    with pytest.raises(ApiError) as conflict:
        await admin.update(created)
    assert conflict.value.reason == "Conflict"
    await admin.update_status({**updated, "status": {"observedGeneration": 2}})
    await admin.delete(f"{KUSTOMIZE}/v1", "Kustomization", "one", namespace)
    with pytest.raises(ApiError) as missing:
        await admin.get(f"{KUSTOMIZE}/v1", "Kustomization", "one", namespace)
    assert missing.value.status == 404


async def test_crd_serves_an_object_in_both_of_its_versions(admin: AdminClient, namespace: str) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations-two-versions.yaml"))
    await admin.create(kustomization(namespace, "one"))
    old = await admin.get(f"{KUSTOMIZE}/v1beta2", "Kustomization", "one", namespace)
    assert old["apiVersion"] == f"{KUSTOMIZE}/v1beta2"


async def test_deleted_namespace_and_crd_are_gone(admin: AdminClient, namespace: str) -> None:
    await admin.delete_namespace(namespace)
    assert namespace not in {obj["metadata"]["name"] for obj in (await admin.list("v1", "Namespace")).items}
    await admin.install_crds(read_objects(CRDS / "gitrepositories.yaml"))
    await admin.delete_crd("gitrepositories.source.toolkit.fluxcd.io")
    with pytest.raises((ApiError, LookupError)):
        await admin.list("source.toolkit.fluxcd.io/v1", "GitRepository")


async def test_account_may_do_what_it_was_granted_until_it_is_revoked(
    api_server: RealApiServer, admin: AdminClient, namespace: str
) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    account = await create_service_account(admin, namespace, "exporter")
    await grant(admin, account, [READ_KUSTOMIZATIONS])
    token = api_server.service_account_token(account.namespace, account.name, account.uid, lifetime_seconds=600)
    path = f"/apis/{KUSTOMIZE}/v1/kustomizations"
    async with client(api_server, token) as exporter:
        assert (await exporter.request("GET", path))["kind"] == "KustomizationList"
        await revoke(admin, account)
        with pytest.raises(ApiError) as refused:
            await exporter.request("GET", path)
    assert refused.value.status == 403


async def test_grant_in_a_namespace_ends_at_its_border(admin: AdminClient, namespace: str) -> None:
    account = await create_service_account(admin, namespace, "exporter")
    await grant(admin, account, [READ_KUSTOMIZATIONS], namespace)
    attributes = {"group": KUSTOMIZE, "resource": "kustomizations", "verb": "list"}
    assert await is_allowed(admin, account, {"resourceAttributes": {**attributes, "namespace": namespace}})
    assert not await is_allowed(admin, account, {"resourceAttributes": {**attributes, "namespace": "default"}})


async def test_minted_token_ends_with_its_lifetime(
    api_server: RealApiServer, admin: AdminClient, namespace: str
) -> None:
    account = await create_service_account(admin, namespace, "exporter")
    names = (account.namespace, account.name, account.uid)
    async with client(api_server, api_server.service_account_token(*names, lifetime_seconds=-1)) as late:
        with pytest.raises(ApiError) as refused:
            await late.request("GET", "/version")
        assert refused.value.status == 401
    started = time.monotonic()
    async with client(api_server, api_server.service_account_token(*names, lifetime_seconds=2)) as exporter:

        async def expired() -> bool:
            try:
                await exporter.request("GET", "/apis")
            except ApiError as error:
                return error.status == 401
            return False

        assert not await expired()
        await processes.poll_until(expired, "token: has not expired", 2 + TOKEN_CACHE_SECONDS + 5)
    assert time.monotonic() - started >= 1


def test_kubectl_reads_the_kubeconfig(
    api_server: RealApiServer, namespace: str, require_peer: Callable[[str], Path], tmp_path: Path
) -> None:
    kubeconfig = api_server.kubeconfig(tmp_path / "kubeconfig", namespace=namespace)
    command = [
        str(require_peer("kubectl")),
        f"--kubeconfig={kubeconfig}",
        "auth",
        "can-i",
        "delete",
        "nodes",
        "--quiet",
    ]
    assert subprocess.run(command, timeout=30, env={"HOME": str(tmp_path)}).returncode == 0


async def test_compaction_expires_watches_and_pages_without_watch_cache(
    start_api_server: Callable[..., Awaitable[RealApiServer]],
) -> None:
    server = await start_api_server(watch_cache=False)
    async with client(server) as admin:
        path, resource_version, continue_token = await old_listing(admin, "apps")
        assert (await first_watch_event(server, path, resource_version))["type"] == "MODIFIED"
        await server.compact()
        event = await first_watch_event(server, path, resource_version)
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        await assert_next_page_is_gone(admin, path, continue_token)


async def test_killed_server_refuses_and_comes_back_with_its_objects_but_without_its_history(
    own_api_server: RealApiServer,
) -> None:
    server = own_api_server
    async with client(server) as admin:
        path, resource_version, continue_token = await old_listing(admin, "apps")
        await server.compact()
        assert (await first_watch_event(server, path, resource_version))["type"] == "MODIFIED"
        server.kill()
        with pytest.raises(aiohttp.ClientError):
            await admin.request("GET", "/version")
        await server.restart()
        event = await first_watch_event(server, path, resource_version)
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        await assert_next_page_is_gone(admin, path, continue_token)
        names = [obj["metadata"]["name"] for obj in (await admin.list(f"{KUSTOMIZE}/v1", "Kustomization")).items]
        assert names == ["one", "two"]


async def test_frozen_server_answers_when_it_is_thawed_and_is_gone_after_stop(own_api_server: RealApiServer) -> None:
    server = own_api_server
    async with client(server) as admin:
        await admin.request("GET", "/version")
        server.freeze()
        assert server.running
        answer = asyncio.ensure_future(admin.request("GET", "/version"))
        done, _ = await asyncio.wait([answer], timeout=0.5)
        assert not done
        server.thaw()
        assert (await asyncio.wait_for(answer, 10))["major"] == "1"
    server.freeze()
    pids = server.pids
    await server.stop()
    assert not server.running
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
