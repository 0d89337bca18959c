"""Credentials stay current: what is read again, when, how often, and what happens when that fails."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Credentials, CredentialsError, Kubeconfig, Loaded, Loader
from gotk_exporter.kube.endpoint import Endpoint
from tests.kube.connection import KUSTOMIZATION, PATH, Connector, write_kubeconfig
from tests.kube.identities import Identity, client_identity
from tests.kube.scripted_clock import ScriptedClock
from tests.kube.scripted_server import ScriptedServer, page
from tests.peers.certificates import CertificateAuthority

BOUNDS = Bounds()
SERVER = "https://apiserver.example:6443"


class Files:
    """A kubeconfig whose token stands in a file, and credentials that follow it in virtual time."""

    def __init__(self, directory: Path) -> None:
        self.token = directory / "token"
        self.token.write_text("first")
        self.kubeconfig = write_kubeconfig(directory / "kubeconfig", SERVER, user={"tokenFile": "token"})
        self.clock = ScriptedClock()
        self.loads: list[str] = []
        loader = Kubeconfig(BOUNDS, self.clock, str(self.kubeconfig))
        self.credentials = Credentials(loader, BOUNDS, self.clock, self.loads.append)

    async def authorization(self) -> str | None:
        return (await self.credentials.endpoint()).authorization


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_a_token_replaced_in_its_file_is_used_after_a_minute(files: Files) -> None:
    assert await files.authorization() == "Bearer first"
    files.token.write_text("second")
    files.clock.advance(BOUNDS.credentials_interval - 1)
    assert await files.authorization() == "Bearer first"
    files.clock.advance(1)
    assert await files.authorization() == "Bearer second"
    assert files.loads == ["changed", "changed"]


async def test_a_token_replaced_in_its_file_is_used_at_once_after_a_refusal(files: Files) -> None:
    endpoint = await files.credentials.endpoint()
    files.token.write_text("second")
    files.credentials.refuse(endpoint)
    assert await files.authorization() == "Bearer second"
    # Other requests that were refused with the old one come in late.
    files.credentials.refuse(endpoint)
    assert await files.authorization() == "Bearer second"
    assert files.loads == ["changed", "changed"]


async def test_what_did_not_change_stays_the_same_endpoint(files: Files) -> None:
    endpoint = await files.credentials.endpoint()
    files.clock.advance(BOUNDS.credentials_interval)
    # The same object: connections are kept for its TLS context.
    assert await files.credentials.endpoint() is endpoint
    assert files.loads == ["changed", "unchanged"]


async def test_a_kubeconfig_that_is_edited_is_followed(files: Files) -> None:
    await files.credentials.endpoint()
    files.kubeconfig.write_text(files.kubeconfig.read_text().replace("apiserver", "other"))
    files.clock.advance(BOUNDS.credentials_interval)
    assert (await files.credentials.endpoint()).base_url == "https://other.example:6443"


async def test_what_cannot_be_read_again_stays_in_use_and_is_said_once(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gotk_exporter")
    await files.credentials.endpoint()
    files.token.unlink()
    for _ in range(3):
        files.clock.advance(BOUNDS.credentials_interval)
        assert await files.authorization() == "Bearer first"
    assert files.loads == ["changed", "failed", "failed", "failed"]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"credentials cannot be read again, the last ones stay in use: kubeconfig {files.kubeconfig}: "
            "users[test].user.tokenFile names a file that cannot be read: No such file or directory",
        )
    ]
    caplog.clear()
    files.token.write_text("second")
    files.clock.advance(BOUNDS.plugin_interval)
    assert await files.authorization() == "Bearer second"
    assert [record.getMessage() for record in caplog.records] == ["credentials can be read again"]
    files.clock.advance(BOUNDS.credentials_interval)
    await files.authorization()
    assert len(caplog.records) == 1


async def test_a_token_file_caught_empty_is_no_reason_to_go_on_as_nobody(files: Files) -> None:
    await files.credentials.endpoint()
    files.token.write_text("")
    files.clock.advance(BOUNDS.credentials_interval)
    assert await files.authorization() == "Bearer first"
    assert files.loads == ["changed", "failed"]


async def test_without_a_first_success_there_is_nothing_to_go_on_with(files: Files) -> None:
    files.token.unlink()
    for _ in range(2):
        with pytest.raises(CredentialsError, match="tokenFile"):
            await files.credentials.endpoint()
    files.token.write_text("second")
    assert await files.authorization() == "Bearer second"
    assert files.loads == ["failed", "failed", "changed"]


class ScriptedLoader:
    """Gives a new token at each load, when the test lets it."""

    def __init__(self, reload_after: float | None = None, *, costly: bool = False) -> None:
        self.count = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.fails = False
        self.reload_after = reload_after
        self._costly = costly

    async def load(self) -> Loaded:
        self.count += 1
        number = self.count
        self.begun.set()
        await self.may_end.wait()
        if self.fails:
            raise CredentialsError("the plugin failed")
        endpoint = Endpoint(SERVER, f"Bearer {number}", True)
        return Loaded(endpoint, str(number).encode(), self.reload_after, costly=self._costly)


def scripted(loader: Loader) -> tuple[Credentials, ScriptedClock]:
    clock = ScriptedClock()
    return Credentials(loader, BOUNDS, clock), clock


async def test_twenty_requests_that_need_new_credentials_load_them_once() -> None:
    loader = ScriptedLoader()
    credentials, _ = scripted(loader)
    credentials.refuse(await credentials.endpoint())
    loader.begun.clear()
    loader.may_end.clear()
    waiting = [asyncio.create_task(credentials.endpoint()) for _ in range(20)]
    await loader.begun.wait()
    loader.may_end.set()
    assert {endpoint.authorization for endpoint in await asyncio.gather(*waiting)} == {"Bearer 2"}
    assert loader.count == 2


async def test_a_request_that_is_given_up_leaves_the_others_their_credentials() -> None:
    loader = ScriptedLoader()
    credentials, _ = scripted(loader)
    loader.may_end.clear()
    impatient, patient = (asyncio.create_task(credentials.endpoint()) for _ in range(2))
    await loader.begun.wait()
    impatient.cancel()
    loader.may_end.set()
    assert (await patient).authorization == "Bearer 2"
    assert impatient.cancelled()


async def test_a_refused_plugin_is_asked_again_but_not_more_often_than_it_may_be() -> None:
    loader = ScriptedLoader(costly=True)
    credentials, clock = scripted(loader)
    for _ in range(40):
        credentials.refuse(await credentials.endpoint())
        clock.advance(BOUNDS.plugin_interval / 4)
    assert loader.count == 10


async def test_refused_files_are_read_again_each_time() -> None:
    loader = ScriptedLoader()
    credentials, _ = scripted(loader)
    for _ in range(5):
        credentials.refuse(await credentials.endpoint())
    assert loader.count == 5


async def test_a_failing_plugin_is_not_asked_in_a_loop() -> None:
    loader = ScriptedLoader(costly=True)
    credentials, clock = scripted(loader)
    endpoint = await credentials.endpoint()
    loader.fails = True
    clock.advance(BOUNDS.plugin_interval)
    credentials.refuse(endpoint)
    for _ in range(40):
        assert await credentials.endpoint() is endpoint
        clock.advance(BOUNDS.plugin_interval / 4)
    assert loader.count == 1 + 10


async def test_what_expires_is_read_again_before_and_what_does_not_is_left_alone() -> None:
    for reload_after, loads in (300.0, 2), (None, 1):
        loader = ScriptedLoader(reload_after, costly=True)
        credentials, clock = scripted(loader)
        await credentials.endpoint()
        clock.advance(299)
        await credentials.endpoint()
        assert loader.count == 1
        clock.advance(1)
        await credentials.endpoint()
        assert loader.count == loads


def printed_by(program: str) -> str:
    """In a process of its own: what is loaded in this one, anybody may have loaded."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


LOAD = "import sys, gotk_exporter.kube.credentials"


def test_what_nobody_here_uses_of_the_kubernetes_package_is_not_loaded() -> None:
    unused = ["requests", "urllib3", "oauthlib", "websocket", "kubernetes.client.api_client"]
    assert printed_by(f"{LOAD}; print([name for name in {unused} if name in sys.modules])") == "[]"


def test_what_was_not_loaded_of_the_kubernetes_package_is_there_for_whoever_asks() -> None:
    parts = "kubernetes.config.load_kube_config.__name__, kubernetes.watch.Watch.__name__"
    assert printed_by(f"{LOAD}, kubernetes; print({parts})") == "load_kube_config Watch"


def server_side(authority: CertificateAuthority, name: str) -> ssl.SSLContext:
    certificate = authority.server(name, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate_file, certificate.key_file)
    return context


async def test_an_authority_replaced_in_its_file_is_trusted_from_the_next_connection_on(
    tmp_path: Path, connect: Connector
) -> None:
    old, new = (tmp_path / "old", tmp_path / "new")
    for directory in old, new:
        directory.mkdir()
    before, after = CertificateAuthority(old), CertificateAuthority(new)
    trusted = Path(shutil.copy(before.ca_file, tmp_path / "trusted.crt"))
    async with ScriptedServer(server_side(before, "a")) as first, ScriptedServer(server_side(after, "b")) as second:
        clock = ScriptedClock()
        connections = [
            await connect(server.url, cluster={"certificate-authority": str(trusted)}, clock=clock)
            for server in (first, second)
        ]
        for server in first, second:
            server.answer(PATH, page([], "7"))
        await connections[0].client.list_page(KUSTOMIZATION, None, "")
        with pytest.raises(Exception, match="not trusted"):
            await connections[1].client.list_page(KUSTOMIZATION, None, "")
        shutil.copy(after.ca_file, trusted)
        clock.advance(BOUNDS.credentials_interval)
        await connections[1].client.list_page(KUSTOMIZATION, None, "")
        # Not over the connection that it kept from when it trusted the old one.
        with pytest.raises(Exception, match="not trusted"):
            await connections[0].client.list_page(KUSTOMIZATION, None, "")


async def test_a_file_replaced_while_it_is_being_read_is_noticed_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (tmp_path / "old", tmp_path / "new")
    for directory in old, new:
        directory.mkdir()
    trusted = Path(shutil.copy(CertificateAuthority(old).ca_file, tmp_path / "trusted.crt"))
    replacement = CertificateAuthority(new).ca_file
    trust = {"certificate-authority": str(trusted)}
    clock = ScriptedClock()
    loader = Kubeconfig(BOUNDS, clock, str(write_kubeconfig(tmp_path / "kubeconfig", SERVER, trust)))
    loads: list[str] = []
    credentials = Credentials(loader, BOUNDS, clock, loads.append)
    read = ssl.create_default_context

    def read_and_replace(**named: Any) -> ssl.SSLContext:
        context = read(**named)
        shutil.copy(replacement, trusted)
        return context

    monkeypatch.setattr(ssl, "create_default_context", read_and_replace)
    for _ in range(3):
        await credentials.endpoint()
        clock.advance(BOUNDS.credentials_interval)
    assert loads == ["changed", "changed", "unchanged"]


async def test_a_client_certificate_replaced_in_its_file_is_shown_from_the_next_connection_on(
    tmp_path: Path, connect: Connector
) -> None:
    authority = CertificateAuthority(tmp_path)
    before, after = client_identity(tmp_path, "before"), client_identity(tmp_path, "after")
    context = server_side(authority, "apiserver")
    context.verify_mode = ssl.CERT_REQUIRED
    for identity in before, after:
        context.load_verify_locations(identity.certificate_file)
    files = {"client-certificate": tmp_path / "current.crt", "client-key": tmp_path / "current.key"}

    def use(identity: Identity) -> None:
        shutil.copy(identity.certificate_file, files["client-certificate"])
        shutil.copy(identity.key_file, files["client-key"])

    use(before)
    clock = ScriptedClock()
    async with ScriptedServer(context) as server:
        server.answer(PATH, page([], "7"))
        connection = await connect(
            server.url,
            cluster={"certificate-authority": str(authority.ca_file)},
            user={name: str(file) for name, file in files.items()},
            clock=clock,
        )
        await connection.client.list_page(KUSTOMIZATION, None, "")
        # Between the two files of a replacement: they are no pair, and the last pair goes on.
        shutil.copy(after.certificate_file, files["client-certificate"])
        clock.advance(BOUNDS.credentials_interval)
        await connection.client.list_page(KUSTOMIZATION, None, "")
        use(after)
        clock.advance(BOUNDS.plugin_interval)
        await connection.client.list_page(KUSTOMIZATION, None, "")
        shown = [request.certificate["subject"][0][0][1] for request in server.requests if request.certificate]
    assert shown == ["before", "before", "after"]
    assert connection.loads == ["changed", "failed", "changed"]
