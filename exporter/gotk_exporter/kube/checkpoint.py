"""Keeps bytes in a ConfigMap across restarts: read once at the start, written at most once a minute and at the end.

What they mean is somebody else's business (flux.memory). One write replaces all of it, so that a reader has the old
content or the new; of two exporters that write, the later one wins. Nothing that goes wrong here stops the exporter.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

import msgspec

from gotk_exporter.clock import Clock
from gotk_exporter.kube.bounds import Backoff, Bounds
from gotk_exporter.kube.failures import ApiError, StatusError
from gotk_exporter.telemetry import Telemetry

log = logging.getLogger(__name__)

DATA_KEY = "state"
LABELS = {"app.kubernetes.io/name": "gotk-exporter", "app.kubernetes.io/component": "checkpoint"}


class ObjectClient(Protocol):
    """The part of ApiClient that is needed here."""

    async def send(self, verb: str, method: str, path: str, body: bytes | None, content_type: str) -> bytes: ...


class Content(Protocol):
    """What is to be kept."""

    @property
    def content(self) -> bytes: ...
    @property
    def objects(self) -> int: ...
    @property
    def left_out(self) -> int: ...


class _ConfigMap(msgspec.Struct, rename="camel"):
    binary_data: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Place:
    """Which ConfigMap."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"ConfigMap {self.namespace}/{self.name}"


class Checkpoint:
    """One ConfigMap and its content."""

    def __init__(
        self,
        client: ObjectClient,
        place: Place,
        bounds: Bounds,
        clock: Clock,
        chance: random.Random,
        telemetry: Telemetry,
    ) -> None:
        self._client = client
        self._place = place
        self._bounds = bounds
        self._clock = clock
        self._chance = chance
        self._telemetry = telemetry
        self._failed = False

    async def load(self) -> bytes | None:
        """What was written last; None where there is nothing, or nothing to be had.

        A cluster that does not answer is asked again for half a minute: without it there is nothing to serve either.
        """
        backoff, until = Backoff(self._bounds, self._chance), self._clock.monotonic() + self._bounds.checkpoint_patience
        while True:
            try:
                body = await self._client.send("get", "GET", self._path(), None, "")
            except ApiError as error:
                if isinstance(error, StatusError) and error.code == 404:
                    log.info("%s does not exist yet; it is made with the first checkpoint", self._place)
                    return None
                wait = backoff.wait_seconds(self._clock.monotonic())
                final = isinstance(error, StatusError) and error.code in (401, 403)
                if final or self._clock.monotonic() + wait > until:
                    log.warning(
                        "%s cannot be read: %s%s; failures may lose their beginning", self._place, error, _remedy(error)
                    )
                    self._telemetry.checkpoint_failures.inc()
                    return None
                await self._clock.sleep(wait)
            else:
                return self._content(body)

    async def keep(self, content: Callable[[], Content | None]) -> NoReturn:
        """Write what there is to write, for ever. ``content`` gives None while it is not worth keeping."""
        while True:
            await self._clock.sleep(self._bounds.checkpoint_interval)
            await self.save(content)

    async def save(self, content: Callable[[], Content | None]) -> None:
        """Write it now. Fails with a warning, once.

        Also where nothing has changed: it says up to when it was current.
        """
        kept = content()
        if kept is None:
            return
        try:
            await self._write(kept.content)
        except ApiError as error:
            self._telemetry.checkpoint_failures.inc()
            if not self._failed:
                log.warning("%s cannot be written: %s%s; trying on", self._place, error, _remedy(error))
            self._failed = True
            return
        if self._failed:
            log.info("%s is written again", self._place)
        self._failed = False
        self._telemetry.checkpoint_last_success.set(self._clock.wall())
        self._telemetry.checkpoint_objects.set(kept.objects)
        self._telemetry.checkpoint_left_out.set(kept.left_out)

    async def _write(self, content: bytes) -> None:
        data = {DATA_KEY: base64.b64encode(content).decode()}
        patch = json.dumps({"metadata": {"labels": LABELS}, "binaryData": data}).encode()
        try:
            await self._client.send("patch", "PATCH", self._path(), patch, "application/merge-patch+json")
        except StatusError as error:
            if error.code != 404:
                raise
            metadata = {"name": self._place.name, "namespace": self._place.namespace, "labels": LABELS}
            whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}
            await self._client.send("create", "POST", self._path(""), json.dumps(whole).encode(), "application/json")

    def _content(self, body: bytes) -> bytes | None:
        try:
            text = msgspec.json.decode(body, type=_ConfigMap).binary_data.get(DATA_KEY)
            return None if text is None else base64.b64decode(text, validate=True)
        except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error):
            # The API server itself refuses binary data that is none; this is a proxy's or nobody's.
            log.warning("%s cannot be read: it is no ConfigMap; it is ignored", self._place)
            return None

    def _path(self, name: str | None = None) -> str:
        name = self._place.name if name is None else name
        return f"/api/v1/namespaces/{self._place.namespace}/configmaps" + (f"/{name}" if name else "")


def _remedy(error: ApiError) -> str:
    if isinstance(error, StatusError) and error.code == 403:
        return "; its Role must allow get, patch and create of configmaps"
    return ""
