"""Nothing that can be logged or shown holds a credential: no error, none of its causes, no log line, no repr.

Every secret carries the word "marker"; the test looks for the word in all that comes out of every way to fail.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from gotk_exporter.clock import SystemClock
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Credentials, CredentialsError, Kubeconfig
from gotk_exporter.kube.failures import ApiError
from tests.kube.connection import KUSTOMIZATION, PATH, TOKEN, Connector, write_kubeconfig
from tests.kube.scripted_proxy import ConnectProxy
from tests.kube.scripted_server import (
    Answer,
    Raw,
    Reply,
    Request,
    Scripted,
    ScriptedServer,
    Silence,
    Stream,
    html,
    page,
    status,
)
from tests.kube.test_client_faults import FAULTS
from tests.peers.processes import free_port

MARKER = "marker"
BOUNDS = Bounds(request_timeout=0.2, connect_timeout=0.2, watch_silence=0.2)


@pytest.fixture(autouse=True)
def every_line(caplog: pytest.LogCaptureFixture) -> None:
    """Of every library too, at every level."""
    caplog.set_level(logging.DEBUG)


def shown_of(error: BaseException) -> str:
    """All that a log line, a traceback or a first look in a debugger shows of it."""
    return "\n".join([*traceback.format_exception(error), repr(error), repr(error.args), repr(vars(error))])


async def echo(request: Request) -> Answer:
    """What a proxy made for debugging may answer."""
    return status(400, "BadRequest", f"you sent Authorization: {request.headers['Authorization']}")


ANSWERS: dict[str, Scripted] = {
    **{name: fault[0] for name, fault in FAULTS.items()},
    "an error page": html(502),
    "a refusal": status(403, "Forbidden", "no"),
    "a login": status(401, "Unauthorized", "Unauthorized"),
    "an echo": echo,
    "an endless refusal": Stream(b"x", Silence(), status=500),
    "a redirect": Reply(302, headers={"Location": "http://127.0.0.1:1/?token=marker"}),
    "an unreadable head": Raw(b"HTTP/1.1 200 OK\r\nmarker of nonsense\r\n\r\n"),
    "a good one": page([], "7"),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("as_whom", ["with a token", "with user and password in the address"])
async def test_no_answer_brings_a_credential_to_light(
    server: ScriptedServer, connect: Connector, caplog: pytest.LogCaptureFixture, name: str, as_whom: str
) -> None:
    url, user = server.url, {"token": TOKEN}
    if as_whom != "with a token":
        url, user = url.replace("//", "//marker-user:marker-password@"), {}
    for watch in False, True:
        server.answer(PATH, ANSWERS[name], watch=watch)
    connection = await connect(url, user=user, bounds=BOUNDS)
    errors = []
    for _ in range(2):
        try:
            async with asyncio.timeout(20):
                await connection.client.list_page(KUSTOMIZATION, None, "")
        except ApiError as error:
            errors.append(error)
    try:
        async with asyncio.timeout(20), connection.client.watch(KUSTOMIZATION, None, "7", 1) as lines:
            async for _line in lines:
                pass
    except ApiError as error:
        errors.append(error)
    shown = [shown_of(error) for error in errors]
    secret = server.requests[0].headers["Authorization"].partition(" ")[2]
    shown += [repr(await connection.credentials.endpoint()), repr(connection.requests)]
    told = "\n".join(shown) + caplog.text
    assert MARKER not in told
    assert secret not in told


@pytest.mark.parametrize("where", ["refused", "dns", "proxy refused", "proxy says no", "proxy unknown", "no TLS there"])
async def test_no_way_that_leads_nowhere_brings_a_credential_to_light(
    server: ScriptedServer, connect: Connector, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    secret = "marker-user:marker-password@"
    async with ConnectProxy(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        url, through = {
            "refused": (f"http://{secret}127.0.0.1:{free_port()}", None),
            "dns": (f"https://{secret}apiserver.invalid", None),
            "proxy refused": ("https://apiserver.invalid", f"http://{secret}127.0.0.1:{free_port()}"),
            "proxy says no": ("https://apiserver.invalid", f"http://{secret}{proxy.address}"),
            "proxy unknown": ("https://apiserver.invalid", f"http://{secret}proxy.invalid:3128"),
            "no TLS there": (f"https://{secret}127.0.0.1:{server.port}", None),
        }[where]
        connection = await connect(url, cluster={"proxy-url": through} if through else {}, bounds=BOUNDS)
        with pytest.raises(ApiError) as failed:
            await connection.client.list_page(KUSTOMIZATION, None, "")
        endpoint = repr(await connection.credentials.endpoint())
    assert MARKER not in shown_of(failed.value) + endpoint + caplog.text


async def test_user_and_password_in_the_address_are_used_as_such(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, page([], "7"))
    connection = await connect(server.url.replace("//", "//me:a%20secret@"), user={})
    await connection.client.list_page(KUSTOMIZATION, None, "")
    assert server.requests[0].headers["Authorization"] == f"Basic {base64.b64encode(b'me:a secret').decode()}"
    assert (await connection.credentials.endpoint()).base_url == server.url


async def test_a_token_goes_before_user_and_password_in_the_address(server: ScriptedServer, connect: Connector) -> None:
    server.answer(PATH, page([], "7"))
    connection = await connect(server.url.replace("//", "//me:secret@"))
    await connection.client.list_page(KUSTOMIZATION, None, "")
    assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


SECRET = "marker-of-a-secret"
INLINE = base64.b64encode(f"-----BEGIN NONSENSE-----\n{SECRET}".encode()).decode()
ENTRY = {"token": SECRET, "client-key-data": "bWFya2Vy" + "marker"}

BROKEN: dict[str, dict[str, Any]] = {
    "a token beside its user": {"users": [{"name": "test", "token": SECRET}]},
    "a user that is a text": {"users": [{"name": "test", "user": SECRET}]},
    "a user without a name": {"users": [{"user": ENTRY}]},
    "a list for a user": {"users": [{"name": "test", "user": [SECRET]}]},
    "a token for a file": {"users": [{"name": "test", "user": {"tokenFile": SECRET}}]},
    "a key for a file": {"users": [{"name": "test", "user": {"client-key": SECRET, "token": SECRET}}]},
    "a key that is no base64": {"users": [{"name": "test", "user": {**ENTRY, "client-certificate-data": "x"}}]},
    "a key that is no key": {
        "users": [{"name": "test", "user": {"client-certificate-data": INLINE, "client-key-data": INLINE}}]
    },
    "a token of two lines": {"users": [{"name": "test", "user": {"token": f"a\n{SECRET}"}}]},
    "a token beyond ASCII": {"users": [{"name": "test", "user": {"token": f"{SECRET}é"}}]},
    "an unknown auth-provider": {
        "users": [{"name": "test", "user": {"auth-provider": {"name": "azure", "config": {"access-token": SECRET}}}}]
    },
    "an OIDC token that is none": {
        "users": [{"name": "test", "user": {"auth-provider": {"name": "oidc", "config": {"id-token": SECRET}}}}]
    },
    "a plugin without a command": {"users": [{"name": "test", "user": {"exec": {"env": [SECRET]}, "token": SECRET}}]},
    "an authority that is none": {
        "clusters": [{"name": "test", "cluster": {"server": "https://x", "certificate-authority-data": INLINE}}]
    },
    "a server that is no URL": {"clusters": [{"name": "test", "cluster": {"server": f"{SECRET}@x"}}]},
    "a port that is none": {"clusters": [{"name": "test", "cluster": {"server": f"https://u:{SECRET}@x:99999"}}]},
    "a proxy that we cannot use": {
        "clusters": [{"name": "test", "cluster": {"server": "https://x", "proxy-url": f"socks5://u:{SECRET}@x"}}]
    },
}


@pytest.mark.parametrize("name", BROKEN)
async def test_no_kubeconfig_is_so_broken_that_its_error_tells_its_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = write_kubeconfig(tmp_path / "kubeconfig", "https://x", user=ENTRY)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | BROKEN[name]))
    await assert_fails_in_silence(path, caplog)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"users: [{{name: test, user: {{token: {SECRET}", id="a document that ends too early"),
        pytest.param(f"token: {SECRET}\n\t- {SECRET}: [", id="a tab"),
        pytest.param(f"{SECRET}", id="a text"),
        pytest.param(f"- {SECRET}", id="a list"),
        pytest.param(f"users: !!python/object:{SECRET} x", id="an unknown tag"),
        pytest.param(f"users: {SECRET}\ncurrent-context: x", id="a text for a list"),
    ],
)
async def test_no_text_is_so_far_from_a_kubeconfig_that_its_error_quotes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    await assert_fails_in_silence(path, caplog)


PLUGINS = {
    "fails": f"print({SECRET!r}); print({SECRET!r}, file=sys.stderr); sys.exit(3)",
    "writes no JSON": f"print({SECRET!r})",
    "speaks another version": f"print({json.dumps({'apiVersion': 'v0', 'status': {'token': SECRET}})!r})",
    "gives half a certificate": "print({!r})".format(
        json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "status": {"clientCertificateData": SECRET}})
    ),
    "gives a token of two lines": "print({!r})".format(
        json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": f"a\n{SECRET}"}})
    ),
}


@pytest.mark.parametrize("name", PLUGINS)
async def test_no_plugin_fails_so_that_what_it_wrote_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(f"import sys\n{PLUGINS[name]}\n")
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(script), "--secret", SECRET],
        "env": [{"name": "SECRET", "value": SECRET}],
    }
    path = write_kubeconfig(tmp_path / "kubeconfig", "https://x", user={"exec": plugin})
    await assert_fails_in_silence(path, caplog)


async def assert_fails_in_silence(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Loading fails with an error that names the file, and neither it nor a log line tells more than it should."""
    credentials = Credentials(Kubeconfig(BOUNDS, SystemClock(), str(path)), BOUNDS, SystemClock())
    with pytest.raises(CredentialsError) as failed:
        await credentials.endpoint()
    assert str(failed.value).startswith(f"kubeconfig {path}: ")
    # Not in the path: pytest makes it of the test's name.
    assert MARKER not in (shown_of(failed.value) + caplog.text + repr(credentials)).replace(str(path), "")
