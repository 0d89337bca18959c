"""Whom we trust, who we are, and the way through a proxy. Both ends are real TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.failures import StatusError, Unreachable
from tests.kube.connection import KUSTOMIZATION, PATH, TOKEN, Connection, Connector, inline
from tests.kube.identities import Identity, below_an_intermediate, client_identity
from tests.kube.scripted_proxy import ConnectProxy
from tests.kube.scripted_server import ScriptedServer, Silence, Stream, page
from tests.kube.sockets import open_sockets_to
from tests.kube.tap import Tap
from tests.peers.certificates import CertificateAuthority
from tests.peers.processes import free_port

LISTING = page([], "7")


def server_side(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context


async def list_once(connection: Connection) -> None:
    await connection.client.list_page(KUSTOMIZATION, None, "")


async def failed_listing(connection: Connection) -> Unreachable:
    with pytest.raises(Unreachable) as failed:
        await list_once(connection)
    assert connection.requests == [("list", "Kustomization", failed.value.outcome)]
    return failed.value


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


@pytest_asyncio.fixture
async def tls_server(authority: CertificateAuthority) -> AsyncIterator[ScriptedServer]:
    """Its certificate is for the name kubernetes.default.svc only, and it is asked at 127.0.0.1."""
    certificate = authority.server("apiserver", "kubernetes.default.svc")
    async with ScriptedServer(server_side(certificate.certificate_file, certificate.key_file)) as server:
        server.answer(PATH, LISTING)
        yield server


NAMED = {"tls-server-name": "kubernetes.default.svc"}


async def test_a_server_whose_authority_we_trust_is_asked(
    tls_server: ScriptedServer, authority: CertificateAuthority, connect: Connector
) -> None:
    for trust in (
        {"certificate-authority": str(authority.ca_file)},
        {"certificate-authority-data": inline(authority.ca_file)},
    ):
        await list_once(await connect(tls_server.url, cluster=trust | NAMED))


async def test_a_server_of_another_authority_gets_no_token(tls_server: ScriptedServer, connect: Connector) -> None:
    error = await failed_listing(await connect(tls_server.url, cluster=NAMED))
    assert error.outcome == "tls"
    assert str(error) == "the API server's certificate is not trusted: unable to get local issuer certificate"
    assert not tls_server.requests


async def test_a_certificate_for_another_name_is_not_trusted(
    tls_server: ScriptedServer, authority: CertificateAuthority, connect: Connector
) -> None:
    trust = {"certificate-authority": str(authority.ca_file)}
    error = await failed_listing(await connect(tls_server.url, cluster=trust))
    assert error.outcome == "tls"
    assert "not trusted: IP address mismatch" in str(error)
    error = await failed_listing(await connect(tls_server.url, cluster=trust | {"tls-server-name": "example.org"}))
    assert "not trusted: Hostname mismatch" in str(error)
    assert not tls_server.requests


async def test_whoever_wants_to_trust_anyone_may(tls_server: ScriptedServer, connect: Connector) -> None:
    await list_once(await connect(tls_server.url, cluster={"insecure-skip-tls-verify": True}))


async def test_an_intermediate_authority_may_be_all_that_is_trusted(tmp_path: Path, connect: Connector) -> None:
    identity, intermediate = below_an_intermediate(tmp_path, "apiserver.example")
    async with ScriptedServer(server_side(identity.certificate_file, identity.key_file)) as server:
        server.answer(PATH, LISTING)
        trust = {"certificate-authority": str(intermediate), "tls-server-name": "apiserver.example"}
        await list_once(await connect(server.url, cluster=trust))


async def test_tls_with_a_port_that_does_not_speak_it_is_named(server: ScriptedServer, connect: Connector) -> None:
    error = await failed_listing(await connect(server.url.replace("http:", "https:")))
    assert (error.outcome, str(error)) == ("tls", "TLS with the API server failed: WRONG_VERSION_NUMBER")


@pytest.fixture
def operator(tmp_path: Path) -> Identity:
    return client_identity(tmp_path, "operator")


@pytest_asyncio.fixture
async def strict_server(authority: CertificateAuthority, operator: Identity) -> AsyncIterator[ScriptedServer]:
    """It talks to nobody but the operator."""
    certificate = authority.server("apiserver", "127.0.0.1")
    context = server_side(certificate.certificate_file, certificate.key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(operator.certificate_file)
    async with ScriptedServer(context) as server:
        server.answer(PATH, LISTING)
        yield server


@pytest.mark.parametrize("as_data", [False, True])
async def test_a_client_certificate_says_who_we_are(
    strict_server: ScriptedServer,
    authority: CertificateAuthority,
    operator: Identity,
    connect: Connector,
    as_data: bool,
) -> None:
    files = {"client-certificate": operator.certificate_file, "client-key": operator.key_file}
    user = (
        {f"{name}-data": inline(file) for name, file in files.items()}
        if as_data
        else {name: str(file) for name, file in files.items()}
    )
    trust = {"certificate-authority": str(authority.ca_file)}
    await list_once(await connect(strict_server.url, cluster=trust, user=user))
    (request,) = strict_server.requests
    assert request.certificate is not None
    assert request.certificate["subject"] == ((("commonName", "operator"),),)
    assert "Authorization" not in request.headers


async def test_a_server_that_hangs_up_on_strangers_is_a_failure_like_others(
    strict_server: ScriptedServer, authority: CertificateAuthority, connect: Connector
) -> None:
    trust = {"certificate-authority": str(authority.ca_file)}
    error = await failed_listing(await connect(strict_server.url, cluster=trust))
    # In TLS 1.3 the refusal follows the handshake, and asyncio may lose it. (kube-apiserver answers 401 instead.)
    assert error.outcome in {"cut", "tls"}
    assert not strict_server.requests


async def test_a_watch_that_is_left_does_not_wait_for_a_peer_that_is_gone_to_say_goodbye(
    tls_server: ScriptedServer, authority: CertificateAuthority, connect: Connector
) -> None:
    tls_server.answer(PATH, Stream(b"\n", Silence()), watch=True)
    trust = {"certificate-authority": str(authority.ca_file), **NAMED}
    async with Tap("127.0.0.1", tls_server.port) as tap:
        connection = await connect(f"https://127.0.0.1:{tap.port}", cluster=trust)
        async with connection.client.watch(KUSTOMIZATION, None, "7", 300):
            assert open_sockets_to(tap.port) == 1
            tap.silence()
        await asyncio.sleep(0)  # a transport that is aborted closes its socket in the loop's next round
        assert open_sockets_to(tap.port) == 0


async def test_http_goes_through_a_proxy_with_the_proxys_own_credentials(
    server: ScriptedServer, connect: Connector
) -> None:
    """The scripted server plays the proxy; the API server's name resolves nowhere."""
    server.answer(PATH, LISTING)
    proxy = server.url.replace("http://", "http://me:secret@")
    await list_once(await connect("http://apiserver.invalid:8080", cluster={"proxy-url": proxy}))
    (request,) = server.requests
    assert request.target == f"http://apiserver.invalid:8080{PATH}?limit=500"
    assert request.headers["Proxy-Authorization"] == "Basic bWU6c2VjcmV0"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


def through(proxy: str, authority: CertificateAuthority, **cluster: Any) -> Mapping[str, Any]:
    return {"proxy-url": proxy, "certificate-authority": str(authority.ca_file), **NAMED, **cluster}


async def test_https_goes_through_a_tunnel_and_the_proxy_sees_no_token(
    tls_server: ScriptedServer, authority: CertificateAuthority, connect: Connector
) -> None:
    async with ConnectProxy() as proxy:
        cluster = through(f"http://me:secret@{proxy.address}", authority)
        await list_once(await connect(tls_server.url, cluster=cluster))
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT 127.0.0.1:{tls_server.port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in head
    assert TOKEN not in head
    assert tls_server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Proxy-Authorization" not in tls_server.requests[0].headers


@pytest.mark.parametrize("code", [403, 407, 502])
async def test_a_proxy_that_refuses_is_named(authority: CertificateAuthority, connect: Connector, code: int) -> None:
    async with ConnectProxy(f"HTTP/1.1 {code} No\r\nContent-Length: 0\r\n\r\n".encode()) as proxy:
        connection = await connect("https://apiserver.invalid", cluster=through(f"http://{proxy.address}", authority))
        error = await failed_listing(connection)
    assert (error.outcome, str(error)) == ("proxy", f"the proxy refused with {code}")


async def test_a_proxy_that_never_answers_is_given_up_in_time(
    authority: CertificateAuthority, connect: Connector
) -> None:
    async with ConnectProxy(b"") as proxy:
        cluster = through(f"http://{proxy.address}", authority)
        bounds = Bounds(connect_timeout=0.2)
        error = await failed_listing(await connect("https://apiserver.invalid", cluster=cluster, bounds=bounds))
    assert (error.outcome, str(error)) == ("timeout", "no connection to the API server in time")


async def test_a_proxy_that_is_not_there_is_not_taken_for_the_api_server(
    server: ScriptedServer, connect: Connector
) -> None:
    gone = {"proxy-url": f"http://127.0.0.1:{free_port()}"}
    error = await failed_listing(await connect(server.url, cluster=gone))
    assert (error.outcome, str(error)) == ("proxy", "the proxy cannot be reached: Connection refused")
    unknown = {"proxy-url": "http://proxy.invalid:3128"}
    error = await failed_listing(await connect(server.url, cluster=unknown))
    assert (error.outcome, str(error)) == ("proxy", "the proxy's name cannot be resolved")


async def test_a_proxys_own_error_page_is_an_error(server: ScriptedServer, connect: Connector) -> None:
    connection = await connect("http://apiserver.invalid:8080", cluster={"proxy-url": server.url})
    with pytest.raises(StatusError, match="501"):
        await list_once(connection)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "https://127.0.0.1:3128", "127.0.0.1:3128"])
async def test_a_proxy_of_a_kind_that_we_cannot_use_is_refused_at_once(
    server: ScriptedServer, connect: Connector, proxy: str
) -> None:
    error = await failed_listing(await connect(server.url, cluster={"proxy-url": proxy}))
    assert error.outcome == "credentials"
    assert "proxy-url must begin with http://" in str(error)
