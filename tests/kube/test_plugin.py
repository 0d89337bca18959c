"""Credential plugins (users[].user.exec): small Python programs, run as the real ones are."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Credentials, CredentialsError, Kubeconfig, Loaded
from tests.kube.connection import KUSTOMIZATION, PATH, Connector, write_kubeconfig
from tests.kube.identities import client_identity
from tests.kube.scripted_clock import EPOCH, ScriptedClock
from tests.kube.scripted_server import ScriptedServer, page
from tests.peers.certificates import CertificateAuthority
from tests.peers.processes import poll_until

API_VERSION = "client.authentication.k8s.io/v1"
SERVER = "https://apiserver.example:6443"


class Plugin:
    """A program in a directory; each of its runs adds a line to ``runs``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ScriptedClock()
        self.script = directory / "plugin.py"
        self._runs = directory / "runs"
        self.entry: dict[str, Any] = {"apiVersion": API_VERSION, "command": sys.executable, "args": [str(self.script)]}

    def does(self, code: str) -> None:
        self.script.write_text(f"import json, os, sys, time\nopen({str(self._runs)!r}, 'a').write('x\\n')\n{code}\n")

    def gives(self, **status: Any) -> None:
        credential = {"apiVersion": API_VERSION, "kind": "ExecCredential", "status": status}
        self.does(f"print({json.dumps(credential)!r})")

    @property
    def runs(self) -> int:
        return len(self._runs.read_text().splitlines()) if self._runs.exists() else 0

    def loader(self, bounds: Bounds | None = None) -> Kubeconfig:
        path = write_kubeconfig(self.directory / "kubeconfig", SERVER, user={"exec": self.entry})
        return Kubeconfig(bounds or Bounds(), self.clock, str(path))

    async def load(self) -> Loaded:
        return await self.loader().load()

    async def problem(self, bounds: Bounds | None = None) -> str:
        with pytest.raises(CredentialsError) as failed:
            await self.loader(bounds).load()
        return str(failed.value).removeprefix(f"kubeconfig {self.directory / 'kubeconfig'}: ")


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def timestamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_its_token_is_used_until_four_fifths_of_its_life_are_over(plugin: Plugin) -> None:
    plugin.gives(token="abc", expirationTimestamp=timestamp(EPOCH + 900))
    loaded = await plugin.load()
    assert loaded.endpoint.authorization == "Bearer abc"
    assert loaded.reload_after == pytest.approx(720)
    assert loaded.costly


@pytest.mark.parametrize("expiry", [{}, {"expirationTimestamp": None}])
async def test_a_token_without_end_is_asked_for_again_only_when_it_is_refused(
    plugin: Plugin, expiry: dict[str, Any]
) -> None:
    plugin.gives(token="abc", **expiry)
    assert (await plugin.load()).reload_after is None


async def test_a_token_that_has_already_expired_does_not_run_it_in_a_loop(plugin: Plugin) -> None:
    plugin.gives(token="abc", expirationTimestamp=timestamp(EPOCH - 900))
    bounds = Bounds()
    credentials = Credentials(plugin.loader(bounds), bounds, plugin.clock)
    for _ in range(8):
        await credentials.endpoint()
        plugin.clock.advance(bounds.plugin_interval / 4)
    assert plugin.runs == 2


async def test_it_is_run_before_its_token_expires_and_not_more_often_than_it_may_be(plugin: Plugin) -> None:
    plugin.gives(token="abc", expirationTimestamp=timestamp(EPOCH + 900))
    bounds = Bounds()
    credentials = Credentials(plugin.loader(bounds), bounds, plugin.clock)
    await credentials.endpoint()
    plugin.clock.advance(719)
    endpoint = await credentials.endpoint()
    assert plugin.runs == 1
    plugin.clock.advance(2)
    plugin.gives(token="def", expirationTimestamp=timestamp(EPOCH + 1800))
    renewed = await credentials.endpoint()
    assert (plugin.runs, renewed.authorization) == (2, "Bearer def")
    for _ in range(3):
        credentials.refuse(renewed)
        credentials.refuse(endpoint)
        assert await credentials.endpoint() is renewed
    assert plugin.runs == 2
    plugin.clock.advance(bounds.plugin_interval)
    await credentials.endpoint()
    assert plugin.runs == 3


async def test_its_client_certificate_is_shown(tmp_path: Path, plugin: Plugin, connect: Connector) -> None:
    authority, me = CertificateAuthority(tmp_path), client_identity(tmp_path, "me")
    certificate = authority.server("apiserver", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate_file, certificate.key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(me.certificate_file)
    plugin.gives(
        clientCertificateData=me.certificate_file.read_text(),
        clientKeyData=me.key_file.read_text(),
        expirationTimestamp=timestamp(EPOCH + 900),
    )
    async with ScriptedServer(context) as server:
        server.answer(PATH, page([], "7"))
        trust = {"certificate-authority": str(authority.ca_file)}
        connection = await connect(server.url, cluster=trust, user={"exec": plugin.entry}, clock=plugin.clock)
        await connection.client.list_page(KUSTOMIZATION, None, "")
        # It ends as a token does: the package forgets that.
        plugin.clock.advance(721)
        await connection.client.list_page(KUSTOMIZATION, None, "")
    assert plugin.runs == 2
    assert [request.certificate is not None for request in server.requests] == [True, True]


@pytest.fixture
def somebody_types() -> Iterator[None]:
    """Our own standard input has something to read."""
    own = os.dup(0)
    reading, writing = os.pipe()
    os.write(writing, b"typed")
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
    yield
    os.dup2(own, 0)
    os.close(own)


@pytest.mark.usefixtures("somebody_types")
async def test_it_is_told_what_is_asked_of_it_and_that_nobody_is_there_to_answer_questions(plugin: Plugin) -> None:
    plugin.entry["env"] = [{"name": "REGION", "value": "eu-north-1"}]
    plugin.entry["args"] += ["get-token", "--cluster", "prod"]
    plugin.does(
        "told = json.dumps([os.environ['KUBERNETES_EXEC_INFO'], os.environ['REGION'], 'PATH' in os.environ, "
        "sys.argv[1:], sys.stdin.read(), sys.stdin.isatty()])\n"
        f"print(json.dumps({{'apiVersion': {API_VERSION!r}, 'status': {{'token': told.encode().hex()}}}}))"
    )
    authorization = (await plugin.load()).endpoint.authorization
    assert authorization is not None
    info, *told = json.loads(bytes.fromhex(authorization.removeprefix("Bearer ")))
    assert json.loads(info) == {"apiVersion": API_VERSION, "kind": "ExecCredential", "spec": {"interactive": False}}
    assert told == ["eu-north-1", True, ["get-token", "--cluster", "prod"], "", False]


async def test_a_command_with_a_slash_is_found_beside_its_kubeconfig(plugin: Plugin) -> None:
    plugin.gives(token="abc")
    program = plugin.directory / "bin" / "login"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{plugin.script.read_text()}")
    program.chmod(0o755)
    plugin.entry |= {"command": "./bin/login", "args": None}
    assert (await plugin.load()).endpoint.authorization == "Bearer abc"


async def test_it_goes_before_a_token_beside_it(plugin: Plugin) -> None:
    plugin.gives(token="of-the-plugin")
    path = write_kubeconfig(plugin.directory / "kubeconfig", SERVER, user={"exec": plugin.entry, "token": "beside"})
    loaded = await Kubeconfig(Bounds(), plugin.clock, str(path)).load()
    assert loaded.endpoint.authorization == "Bearer of-the-plugin"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("sys.exit(3)", "failed (exit status 3); run it by hand to see why"),
        ("os.kill(os.getpid(), 15)", "failed (exit status -15); run it by hand to see why"),
        ("", "wrote no ExecCredential; run it by hand to see what it writes"),
        ("print('{}')", "wrote no ExecCredential; run it by hand to see what it writes"),
        ("print('\\xff')", "wrote no ExecCredential; run it by hand to see what it writes"),
        (
            "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1beta1', 'status': {'token': 'x'}}))",
            f"does not speak {API_VERSION}, which users[].user.exec.apiVersion asks for",
        ),
        (
            f"print(json.dumps({{'apiVersion': {API_VERSION!r}, 'status': {{}}}}))",
            "gave neither a token nor a client certificate with its key",
        ),
        (
            f"print(json.dumps({{'apiVersion': {API_VERSION!r}, 'status': {{'clientCertificateData': 'x'}}}}))",
            "gave neither a token nor a client certificate with its key",
        ),
    ],
)
async def test_what_it_does_wrong_is_said(plugin: Plugin, code: str, problem: str) -> None:
    plugin.does(code)
    assert await plugin.problem() == f"its credential plugin {sys.executable!r} {problem}"


async def test_a_program_that_is_missing_is_named(plugin: Plugin) -> None:
    plugin.entry["command"] = "no-such-plugin"
    assert await plugin.problem() == (
        "its credential plugin 'no-such-plugin' cannot be started: No such file or directory"
    )


async def test_much_on_standard_error_does_not_stop_it(plugin: Plugin) -> None:
    plugin.gives(token="abc")
    plugin.does("sys.stderr.write('x' * 1_000_000)\n" + plugin.script.read_text())
    async with asyncio.timeout(20):
        assert (await plugin.load()).endpoint.authorization == "Bearer abc"


class Hang:
    """Makes a plugin hang together with a child; both say so through a pipe with a name."""

    def __init__(self, plugin: Plugin) -> None:
        self._fifo = plugin.directory / "ready"
        os.mkfifo(self._fifo)
        plugin.does(
            "pids = [os.getpid(), os.fork()]\n"
            f"if pids[1]: open({str(self._fifo)!r}, 'w').write(json.dumps(pids))\n"
            "time.sleep(600)"
        )

    async def begun(self) -> list[int]:
        """Their process ids, once they are."""
        loop = asyncio.get_running_loop()
        written = asyncio.Event()
        descriptor = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)
        try:
            loop.add_reader(descriptor, written.set)
            async with asyncio.timeout(20):
                await written.wait()
            pids: list[int] = json.loads(os.read(descriptor, 1000))
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return pids


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def all_gone(pids: list[int]) -> None:
    """A killed process closes its files a moment before it is no more; without a kill they would run for minutes."""

    async def gone() -> bool:
        return not any(runs(pid) for pid in pids)

    await poll_until(gone, "the plugin's end", 5)


async def test_one_that_hangs_is_given_up_in_time_and_killed_with_its_children(plugin: Plugin) -> None:
    hang = Hang(plugin)
    async with asyncio.timeout(20):
        pids, problem = await asyncio.gather(hang.begun(), plugin.problem(Bounds(plugin_timeout=2)))
    assert problem == "its credential plugin (or identity provider) did not answer within 2 s; run it by hand"
    await all_gone(pids)


async def test_one_that_hangs_does_not_outlive_whoever_asked(plugin: Plugin) -> None:
    hang = Hang(plugin)
    asking = asyncio.create_task(plugin.load())
    pids = await hang.begun()
    assert [runs(pid) for pid in pids] == [True, True]
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    await all_gone(pids)
