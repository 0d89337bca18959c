"""Runs the credential plugin that a kubeconfig names, to its end, and reads what it gives.

Nothing of what it writes is ever shown: it may be the credential. When to run it belongs to credentials.

Reference: kubernetes.io, "Authenticating", client-go credential plugins (client.authentication.k8s.io).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from subprocess import DEVNULL, PIPE

import msgspec

DRAIN_SECONDS = 1.0
"""For what a killed plugin still had in its pipe; a process that left its group could hold that open for ever."""


class PluginError(Exception):
    """It gave no credential. The text names the command, nothing else of it."""


class Given(msgspec.Struct, frozen=True, rename="camel", repr_omit_defaults=True):
    """The status of an ExecCredential: a token, a client certificate with its key, or both."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None

    @property
    def expiry(self) -> float | None:
        """In Unix seconds."""
        moment = self.expiration_timestamp
        return None if moment is None else (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def __repr__(self) -> str:
        return f"Given(expiration_timestamp={self.expiration_timestamp})"


class _ExecCredential(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    status: Given


async def ask(command: Sequence[str], environment: Mapping[str, str], api_version: str) -> Given:
    """Run ``command`` once.

    It runs in a session of its own, without a terminal, and is gone with all that it started when this returns, raises
    or is cancelled: how long to wait is the caller's to say.

    Raises:
        PluginError: it cannot be started, failed, or gave nothing usable.
    """
    request = {"apiVersion": api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = {**environment, "KUBERNETES_EXEC_INFO": json.dumps(request)}
    name = f"its credential plugin {command[0]!r}"
    try:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise PluginError(f"{name} cannot be started: {error.strerror}") from None
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            await _kill(process)
    if process.returncode != 0:
        raise PluginError(f"{name} failed (exit status {process.returncode}); run it by hand to see why")
    try:
        credential = msgspec.json.decode(output, type=_ExecCredential)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise PluginError(f"{name} wrote no ExecCredential; run it by hand to see what it writes") from None
    if credential.api_version != api_version:
        raise PluginError(f"{name} does not speak {api_version}, which users[].user.exec.apiVersion asks for")
    given = credential.status
    if not given.token and not (given.client_certificate_data and given.client_key_data):
        raise PluginError(f"{name} gave neither a token nor a client certificate with its key")
    return given


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End it with its children: a shell around a program that hangs would leave that behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # To the end of its output: until then its pipe stays open.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            await process.communicate()
