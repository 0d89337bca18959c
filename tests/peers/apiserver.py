"""A real kube-apiserver beside a real etcd, on loopback, for the time of a test. Runs no controllers and no nodes.

Without controllers a namespace never finishes deleting, a ServiceAccount gets no token, an owner takes nothing with it.
Objects and accounts are made through admin.py and access.py.
"""

from __future__ import annotations

import json
import secrets
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.peers import binaries, tokens
from tests.peers.certificates import CertificateAuthority, write_private_key
from tests.peers.processes import PeerFailed, Process, free_port

ISSUER = "https://kubernetes.default.svc"
ETCD_READY_SECONDS = 15.0
READY_SECONDS = 40.0
"""Both are bounds for a loaded machine; on an idle one it takes about 3 s."""
STOP_GRACE_SECONDS = 2.0


class RealApiServer:
    """An etcd and a kube-apiserver; usable from any event loop, one loop after the other.

    ``watch_cache`` and ``flags`` say what a client gets to see of the past; see compact().
    """

    def __init__(self, directory: Path, *, watch_cache: bool = True, flags: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.admin_token = secrets.token_urlsafe(24)
        self._port = free_port()
        self._etcd_port = free_port()
        authority = CertificateAuthority(directory)
        self.ca_file = authority.ca_file
        self._certificate = authority.server(
            "kube-apiserver", "127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"
        )
        self._signing_key = ec.generate_private_key(ec.SECP256R1())
        write_private_key(self._signing_key, directory / "service-accounts.key")
        (directory / "service-accounts.pub").write_bytes(
            self._signing_key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        (directory / "tokens.csv").write_text(f'{self.admin_token},admin,admin,"system:masters"\n')
        self._etcd = Process("etcd", self._etcd_command(), directory / "etcd.log")
        cache_flags = [] if watch_cache else ["--watch-cache=false"]
        self._apiserver = Process(
            "kube-apiserver", [*self._apiserver_command(), *cache_flags, *flags], directory / "kube-apiserver.log"
        )

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def ssl_context(self) -> ssl.SSLContext:
        """A client's context that trusts this server only."""
        return ssl.create_default_context(cafile=self.ca_file)

    async def start(self) -> None:
        """Start both and wait until /readyz says ok.

        Raises:
            PeerFailed: one of them ended or was not ready in time; the message ends with its log.
        """
        self._etcd.start()
        try:
            await self._etcd.ready(self._etcd_is_healthy, ETCD_READY_SECONDS)
            await self._start_apiserver()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End both at once, frozen or not; everything stored stays in the directory."""
        # SIGKILL: a polite end of kube-apiserver takes a second, and etcd has every write on disk.
        self._apiserver.kill()
        self._etcd.kill()

    def kill(self) -> None:
        """SIGKILL kube-apiserver: clients see resets, then refused connections. etcd goes on, so nothing is lost."""
        self._apiserver.kill()

    async def restart(self) -> None:
        """Start kube-apiserver again at the same address, after a polite end if it runs; wait until it is ready.

        Its watch cache starts empty: see compact() for what this does to resource versions.
        """
        await self._apiserver.stop(STOP_GRACE_SECONDS)
        await self._start_apiserver()

    def freeze(self) -> None:
        """SIGSTOP kube-apiserver: connections are accepted by the kernel, nothing is answered, watches hang open."""
        self._apiserver.freeze()

    def thaw(self) -> None:
        """SIGCONT kube-apiserver: it answers what arrived while it was frozen."""
        self._apiserver.thaw()

    @property
    def running(self) -> bool:
        """Whether both processes run (a frozen one does)."""
        return self._etcd.running and self._apiserver.running

    @property
    def pids(self) -> tuple[int, int]:
        """Process ids of etcd and kube-apiserver."""
        return self._etcd.pid, self._apiserver.pid

    def log(self) -> str:
        """What kube-apiserver has logged, over all its starts."""
        return self._apiserver.log()

    async def compact(self) -> int:
        """Drop etcd's history before its current revision, which is returned.

        What a client gets for a resource version (rv) from before it, or a continue token, measured with 1.34:

        ====================  ===========================  ================================
        server                watch from an old rv         next page of an old listing
        ====================  ===========================  ================================
        watch_cache=False     410 from compact() on        410 from compact() on
        watch_cache=True      410 from restart() on, with  410 from compact() and restart()
                              or without compact(); until  on; until then the watch cache
                              then the watch cache serves  serves it from a snapshot, unless
                              it from memory               flags turn ListFromCacheSnapshot
                                                           off: then from compact() on
        ====================  ===========================  ================================

        A watch's 410 comes in the stream, as an ERROR event after HTTP status 200; a listing's as an HTTP status. A
        watch from the current revision goes on in every case. After restart() with a watch cache, the first watches of
        custom resources may get HTTP 429 with Retry-After ("storage is (re)initializing") before they get their 410.
        """
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            revision = int((await self._etcd_call(session, "range", {"key": "AA=="}))["header"]["revision"])
            await self._etcd_call(session, "compaction", {"revision": str(revision), "physical": True})
        return revision

    def service_account_token(self, namespace: str, name: str, uid: str, lifetime_seconds: float) -> str:
        """A token of an existing ServiceAccount, like one that the kubelet mounts, that ends in ``lifetime_seconds``.

        kube-apiserver allows a leeway of one minute after ``exp``, which is taken off here: the claim itself may lie in
        the past. It also remembers a successful authentication for up to 10 s, so a token that was in use is refused
        between ``lifetime_seconds`` and 10 s later. Requests that were accepted, watches included, are not cut.
        """
        return tokens.service_account_token(
            self._signing_key, ISSUER, namespace, name, uid, expires=time.time() + lifetime_seconds
        )

    def kubeconfig(self, path: Path, token: str | None = None, namespace: str | None = None) -> Path:
        """Write a kubeconfig with one context, ``test``, for ``token`` (the admin's when None); returns ``path``."""
        context = {"cluster": "test", "user": "test", **({"namespace": namespace} if namespace else {})}
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token or self.admin_token}}],
            "contexts": [{"name": "test", "context": context}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    async def _start_apiserver(self) -> None:
        self._apiserver.start()
        await self._apiserver.ready(self._apiserver_is_ready, READY_SECONDS)

    async def _apiserver_is_ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(
                    f"{self.url}/readyz",
                    ssl=self.ssl_context(),
                    headers={"Authorization": f"Bearer {self.admin_token}"},
                ) as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _etcd_is_healthy(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(f"http://127.0.0.1:{self._etcd_port}/health") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _etcd_call(self, session: aiohttp.ClientSession, call: str, body: dict[str, Any]) -> dict[str, Any]:
        async with session.post(f"http://127.0.0.1:{self._etcd_port}/v3/kv/{call}", json=body) as response:
            text = await response.text()
        if response.status != 200:
            raise PeerFailed(f"etcd: {call} answered {response.status} {text}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _etcd_command(self) -> list[str | Path]:
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{free_port()}"
        return [
            _binary("etcd"),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--logger=zap",
            "--log-level=warn",
        ]

    def _apiserver_command(self) -> list[str | Path]:
        return [
            _binary("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--etcd-compaction-interval=0",  # history ends when a test says so, not after five minutes
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self._port}",
            f"--tls-cert-file={self._certificate.certificate_file}",
            f"--tls-private-key-file={self._certificate.key_file}",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={self.directory / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={self.directory / 'service-accounts.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # Pods need no default ServiceAccount here: no controller would make it.
            "--disable-admission-plugins=ServiceAccount",
            "--shutdown-delay-duration=0s",
            "--profiling=false",
        ]


def _binary(name: str) -> Path:
    found = binaries.find(name)
    if found is None:
        raise PeerFailed(f"{name}: is missing; run 'make peers'")
    return found
