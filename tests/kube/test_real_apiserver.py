"""Client, credentials and discovery against a real kube-apiserver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from gotk_exporter.clock import SystemClock
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.rows import Kind
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import ApiClient, Resource
from gotk_exporter.kube.credentials import Credentials, InCluster
from gotk_exporter.kube.discovery import Discovery, Served
from gotk_exporter.kube.failures import StatusError
from gotk_exporter.kube.wire import identify
from tests.kube.connection import KUSTOMIZATION, Connector, inline
from tests.kube.scripted_server import Reply, Request, ScriptedServer
from tests.peers.access import create_service_account, grant
from tests.peers.admin import AdminClient, KubernetesObject
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import CRDS, read_objects
from tests.peers.processes import poll_until

READ = {"apiGroups": [KUSTOMIZATION.group], "resources": [KUSTOMIZATION.plural], "verbs": ["list", "watch"]}


def kustomization(namespace: str, name: str) -> KubernetesObject:
    return {
        "apiVersion": f"{KUSTOMIZATION.group}/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": namespace},
    }


async def test_a_kubeconfigs_token_lists_page_by_page_and_watches_on(
    api_server: RealApiServer, admin: AdminClient, namespace: str, tmp_path: Path, connect: Connector
) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    for name in "one", "two", "three":
        await admin.create(kustomization(namespace, name))
    kubeconfig = api_server.kubeconfig(tmp_path / "kubeconfig")
    client = (await connect.by_kubeconfig(kubeconfig, Bounds(page_objects=2))).client
    first = await client.list_page(KUSTOMIZATION, namespace, "")
    last = await client.list_page(KUSTOMIZATION, namespace, first.metadata.continue_)
    assert [len(page.items or ()) for page in (first, last)] == [2, 1]
    await admin.create(kustomization(namespace, "four"))
    async with client.watch(KUSTOMIZATION, namespace, last.metadata.resource_version, 30) as lines:
        line = await anext(lines)
    assert b'"ADDED"' in line
    assert b'"name":"four"' in line


@pytest.mark.parametrize("watch_cache", [True, False])
async def test_the_first_listing_comes_in_one_answer_from_a_cache_and_by_the_page_without_one(
    start_api_server: Callable[..., Awaitable[RealApiServer]], watch_cache: bool, tmp_path: Path, connect: Connector
) -> None:
    server = await start_api_server(watch_cache=watch_cache)
    async with AdminClient(server.url, server.admin_token, server.ssl_context()) as admin:
        await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
        await admin.ensure_namespace("team-a")
        for name in "one", "two", "three":
            await admin.create(kustomization("team-a", name))
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
        client = (await connect.by_kubeconfig(kubeconfig, Bounds(page_objects=2))).client
        names: list[str] = []

        def take(items: Sequence[msgspec.Raw]) -> None:
            names.extend(identify(item).key for item in items)

        async def complete() -> bool:
            # A cache may lag behind a moment.
            names.clear()
            page = await client.list_from_cache(KUSTOMIZATION, None, take)
            take(page.items or ())
            if page.metadata.continue_:
                take((await client.list_page(KUSTOMIZATION, None, page.metadata.continue_)).items or ())
            assert bool(page.metadata.continue_) == (not watch_cache)
            return len(names) == 3

        await poll_until(complete, "the cache", 10)
    assert sorted(names) == ["team-a/one", "team-a/three", "team-a/two"]


async def test_a_pods_token_and_authority_are_good_for_what_the_account_may_do(
    api_server: RealApiServer, admin: AdminClient, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    account = await create_service_account(admin, namespace, "exporter")
    token = tmp_path / "token"
    token.write_text(api_server.service_account_token(namespace, account.name, account.uid, 600) + "\n")
    address = urlsplit(api_server.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    bounds, clock = Bounds(), SystemClock()
    credentials = Credentials(InCluster(bounds, str(token), str(api_server.ca_file)), bounds, clock)
    async with ApiClient(credentials, bounds, clock) as client:
        with pytest.raises(StatusError, match=f'403 Forbidden: .*User "{account.user}" cannot list'):
            await client.list_page(KUSTOMIZATION, None, "")
        await grant(admin, account, [READ])
        await client.list_page(KUSTOMIZATION, None, "")


async def test_a_wrong_token_is_401_and_its_replacement_is_used_at_once(
    api_server: RealApiServer, admin: AdminClient, tmp_path: Path, connect: Connector
) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    token = tmp_path / "token"
    token.write_text("nobody's")
    trust = {"certificate-authority-data": inline(Path(api_server.ca_file))}
    connection = await connect(api_server.url, cluster=trust, user={"tokenFile": str(token)})
    with pytest.raises(StatusError, match="401 Unauthorized"):
        await connection.client.list_page(KUSTOMIZATION, None, "")
    token.write_text(api_server.admin_token)
    await connection.client.list_page(KUSTOMIZATION, None, "")
    assert connection.loads == ["changed", "changed"]


async def test_what_is_not_served_is_404_in_the_servers_own_words(
    api_server: RealApiServer, tmp_path: Path, connect: Connector
) -> None:
    client = (await connect.by_kubeconfig(api_server.kubeconfig(tmp_path / "kubeconfig"))).client
    nothing = Resource("nothing.example.org", "v1", "things", "Thing")
    with pytest.raises(StatusError, match=r"^404 Not Found: 404 page not found$"):
        await client.list_page(nothing, None, "")


async def test_discovery_needs_no_permission_beyond_what_every_account_has(
    api_server: RealApiServer, admin: AdminClient, namespace: str, tmp_path: Path, connect: Connector
) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    account = await create_service_account(admin, namespace, "nobody")
    token = api_server.service_account_token(namespace, account.name, account.uid, 600)
    client = (await connect.by_kubeconfig(api_server.kubeconfig(tmp_path / "kubeconfig", token))).client
    assert "Kustomization" in (await Discovery(client, [BY_NAME["Kustomization"]]).ask()).resources


class Forwarder:
    """Passes requests on to the real server, in the plain form of discovery only if it is told to."""

    def __init__(self, server: RealApiServer, session: aiohttp.ClientSession, *, plain: bool) -> None:
        self._server = server
        self._session = session
        self._plain = plain

    async def __call__(self, request: Request) -> Reply:
        headers = {
            name: request.headers[name]
            for name in ("Authorization", "Accept", "If-None-Match")
            if name in request.headers
        }
        if self._plain:
            headers["Accept"] = "application/json"
        async with self._session.get(
            self._server.url + request.target, headers=headers, ssl=self._server.ssl_context()
        ) as answer:
            kept = {"ETag": answer.headers["ETag"]} if "ETag" in answer.headers else {}
            return Reply(answer.status, await answer.read(), kept, answer.headers.get("Content-Type", ""))


async def said_by_versions(admin: AdminClient, kinds: Iterable[Kind]) -> dict[str, Resource]:
    """The oracle: each kind at the first version of its group, in the server's order, whose own document has it."""
    groups = {group["name"]: group for group in (await admin.request("GET", "/apis"))["groups"]}
    found: dict[str, Resource] = {}
    for kind in kinds:
        for entry in groups.get(kind.group, {"versions": ()})["versions"]:
            if (kind.group, entry["version"]) == (DOWN_GROUP, DOWN_VERSION):
                continue
            document: dict[str, Any] = await admin.request("GET", f"/apis/{entry['groupVersion']}")
            for item in document["resources"]:
                if item["kind"] == kind.name and {"list", "watch"} <= set(item["verbs"]) and kind.name not in found:
                    found[kind.name] = Resource(kind.group, entry["version"], item["name"], kind.name)
    return found


DOWN_GROUP, DOWN_VERSION = "image.toolkit.fluxcd.io", "v1beta1"
NOBODY_THERE = {
    "apiVersion": "apiregistration.k8s.io/v1",
    "kind": "APIService",
    "metadata": {"name": f"{DOWN_VERSION}.{DOWN_GROUP}"},
    "spec": {
        "group": DOWN_GROUP,
        "version": DOWN_VERSION,
        "groupPriorityMinimum": 1000,
        "versionPriority": 15,
        "insecureSkipTLSVerify": True,
        "service": {"namespace": "default", "name": "nobody-there", "port": 443},
    },
}
"""An aggregated API that is down."""


async def test_both_forms_of_discovery_find_what_each_versions_own_document_says(
    own_api_server: RealApiServer, tmp_path: Path, connect: Connector
) -> None:
    kinds = list(BY_NAME.values())
    async with (
        AdminClient(own_api_server.url, own_api_server.admin_token, own_api_server.ssl_context()) as admin,
        aiohttp.ClientSession() as session,
        ScriptedServer() as aggregated,
        ScriptedServer() as plain,
    ):
        await admin.install_crds(read_objects(CRDS / "kustomizations-two-versions.yaml", CRDS / "gitrepositories.yaml"))
        await admin.create(NOBODY_THERE)
        discoveries = []
        for forwarder in aggregated, plain:
            forwarder.answer_rest(Forwarder(own_api_server, session, plain=forwarder is plain))
            user = {"token": own_api_server.admin_token}
            discoveries.append(Discovery((await connect(forwarder.url, user=user)).client, kinds))

        async def both() -> list[Served]:
            return [await discovery.ask() for discovery in discoveries]

        async def the_broken_api_is_known_as_such() -> bool:
            return all("ImageRepository" in served.unknown for served in await both())

        # The aggregator notices it after a moment.
        await poll_until(the_broken_api_is_known_as_such, "the API that is down", 30)
        expected = await said_by_versions(admin, kinds)
        assert expected.keys() == {"Kustomization", "GitRepository"}
        for served in await both():
            assert served.resources == expected
            assert served.unknown == {kind.name for kind in kinds if kind.group == DOWN_GROUP}
        # Once nothing is down, the aggregated form is asked for changes only.
        await admin.delete("apiregistration.k8s.io/v1", "APIService", f"{DOWN_VERSION}.{DOWN_GROUP}")

        async def nothing_is_unknown() -> bool:
            return not any(served.unknown for served in await both())

        await poll_until(nothing_is_unknown, "the end of the API that was down", 30)
        await asyncio.gather(*(discovery.ask() for discovery in discoveries))
    assert "If-None-Match" in aggregated.requests[-1].headers
    for forwarder in aggregated, plain:
        assert {request.method for request in forwarder.requests} == {"GET"}
        assert all(f"{request.path}/".startswith("/apis/") for request in forwarder.requests)
        assert all(request.path.count("/") in (1, 3) for request in forwarder.requests)  # never a resource
