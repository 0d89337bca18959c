"""The admin client also works with a server that speaks plain HTTP, wants no token and aggregates no discovery."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from tests.peers import admin
from tests.peers.admin import AdminClient, ApiError
from tests.peers.manifests import CRDS, read_objects
from tests.peers.processes import PeerFailed

CRD_PATH = "/apis/apiextensions.k8s.io/v1"
SOURCES = "source.toolkit.fluxcd.io"


class PlainServer:
    """Answers what an installation of a CRD asks for; ``versions`` are those that it lists as served."""

    def __init__(self) -> None:
        self.versions = ["v1", "v1beta2"]
        self.created: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        if request.method == "POST":
            self.created.append((await request.json())["metadata"]["name"])
            return web.json_response({}, status=201)
        crd = {"name": "customresourcedefinitions", "kind": "CustomResourceDefinition", "namespaced": False}
        git = {"name": "gitrepositories", "kind": "GitRepository", "namespaced": True}
        answers = {
            CRD_PATH: {"resources": [crd]},
            "/apis": {
                "kind": "APIGroupList",
                "groups": [{"name": SOURCES, "versions": [{"version": version} for version in self.versions]}],
            },
            **{f"/apis/{SOURCES}/{version}": {"resources": [git]} for version in self.versions},
            **{f"/apis/{SOURCES}/{version}/gitrepositories": {"items": []} for version in self.versions},
        }
        if request.path in answers:
            return web.json_response(answers[request.path])
        return web.Response(status=404, text="404 page not found")


@pytest.fixture
def plain_server() -> PlainServer:
    return PlainServer()


@pytest_asyncio.fixture
async def plain_admin(plain_server: PlainServer) -> AsyncIterator[AdminClient]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", plain_server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AdminClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        yield client
    await runner.cleanup()


async def test_crd_is_served_when_each_of_its_versions_is(plain_server: PlainServer, plain_admin: AdminClient) -> None:
    await plain_admin.install_crds(read_objects(CRDS / "gitrepositories.yaml"))
    assert plain_server.created == [f"gitrepositories.{SOURCES}"]


async def test_crd_with_a_version_that_is_not_served_fails_in_time(
    plain_server: PlainServer, plain_admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "SERVED_SECONDS", 0.2)
    plain_server.versions = ["v1"]
    with pytest.raises(PeerFailed, match="CRD gitrepositories"):
        await plain_admin.install_crds(read_objects(CRDS / "gitrepositories.yaml"))


async def test_kind_that_is_not_served_is_named(plain_admin: AdminClient) -> None:
    with pytest.raises(LookupError, match=f"serves no Bucket in {SOURCES}/v1; install its CRD"):
        await plain_admin.get(f"{SOURCES}/v1", "Bucket", "one", "apps")


async def test_answer_that_is_no_status_object_is_the_message(plain_admin: AdminClient) -> None:
    with pytest.raises(ApiError, match="GET /nowhere: 404 : 404 page not found") as refused:
        await plain_admin.request("GET", "/nowhere")
    assert (refused.value.status, refused.value.reason) == (404, "")
