"""The checkpoint: made, read back, and in the way of nothing when it cannot be had."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass

import pytest

from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.checkpoint import Checkpoint, Place
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from gotk_exporter.telemetry import Telemetry
from tests.kube.scripted_clock import EPOCH, ScriptedClock
from tests.kube.test_reflector import NoChance

PATH = "/api/v1/namespaces/flux-system/configmaps"
NOT_FOUND = StatusError(404, "NotFound", 'configmaps "state" not found')
FORBIDDEN = StatusError(403, "Forbidden", "no")
REFUSED = Unreachable("refused", "no connection to the API server")


@dataclass(frozen=True)
class Kept:
    content: bytes
    objects: int = 2
    left_out: int = 1


class Finished(Exception):
    """The script is at its end."""


class ScriptedClient:
    """Gives one scripted answer per request, and remembers what was asked."""

    def __init__(self, *answers: bytes | ApiError) -> None:
        self._answers = list(answers)
        self.requests: list[str] = []
        self.bodies: list[dict[str, object]] = []

    async def send(self, verb: str, method: str, path: str, body: bytes | None, content_type: str) -> bytes:
        if not self._answers:
            raise Finished
        self.requests.append(f"{verb} {method} {path} {content_type}".rstrip())
        if body is not None:
            self.bodies.append(json.loads(body))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Run:
    def __init__(self, *answers: bytes | ApiError) -> None:
        self.client = ScriptedClient(*answers)
        self.clock = ScriptedClock()
        self.telemetry = Telemetry()
        self.checkpoint = Checkpoint(
            self.client, Place("flux-system", "state"), Bounds(), self.clock, NoChance(), self.telemetry
        )

    async def saves(self, *kept: Kept | None) -> Run:
        for content in kept:
            await self.checkpoint.save(lambda content=content: content)  # type: ignore[misc]
        return self

    def counted(self, name: str) -> float | None:
        return self.telemetry.registry.get_sample_value(f"gotk_exporter_checkpoint_{name}")


def config_map(content: bytes) -> bytes:
    return json.dumps({"binaryData": {"state": base64.b64encode(content).decode()}}).encode()


async def test_what_was_written_is_read_at_the_start() -> None:
    run = Run(config_map(b"\x00what\xff"))
    assert await run.checkpoint.load() == b"\x00what\xff"
    assert run.client.requests == [f"get GET {PATH}/state"]


async def test_the_first_start_finds_nothing_and_says_so_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert await Run(NOT_FOUND).checkpoint.load() is None
    assert [(record.levelname, "does not exist yet" in record.message) for record in caplog.records] == [("INFO", True)]


async def test_a_cluster_that_does_not_answer_is_asked_again_for_half_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run(REFUSED, REFUSED, config_map(b"x"))
    assert await run.checkpoint.load() == b"x"
    lost = Run(*[REFUSED] * 20)
    assert await lost.checkpoint.load() is None
    assert 15 <= sum(lost.clock.slept) <= 30
    assert lost.counted("failures_total") == 1
    assert "failures may lose their beginning" in caplog.text


async def test_a_checkpoint_that_may_not_be_read_is_not_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(FORBIDDEN)
    assert await run.checkpoint.load() is None
    assert run.clock.slept == []
    assert "its Role must allow get, patch and create of configmaps" in caplog.text


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"binaryData": "no"}', b'{"binaryData": {"state": "%%%"}}', b'{"binaryData": {"state": 5}}'],
)
async def test_a_config_map_that_is_none_is_ignored_with_a_warning(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert await Run(body).checkpoint.load() is None
    assert "is ignored" in caplog.text


@pytest.mark.parametrize("body", [b"{}", b'{"binaryData": {"other": "eA=="}}'])
async def test_a_config_map_without_our_key_holds_nothing(body: bytes) -> None:
    assert await Run(body).checkpoint.load() is None


async def test_it_is_written_in_one_request_and_made_where_it_does_not_exist() -> None:
    run = await Run(NOT_FOUND, b"{}", b"{}").saves(Kept(b"one"), Kept(b"two"))
    assert run.client.requests == [
        f"patch PATCH {PATH}/state application/merge-patch+json",
        f"create POST {PATH} application/json",
        f"patch PATCH {PATH}/state application/merge-patch+json",
    ]
    assert [body["binaryData"] for body in run.client.bodies] == [{"state": text} for text in ("b25l", "b25l", "dHdv")]
    assert run.counted("last_success_timestamp_seconds") == EPOCH
    assert (run.counted("objects"), run.counted("left_out_objects")) == (2, 1)


async def test_a_write_that_fails_is_told_once_and_again_when_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = await Run(REFUSED, FORBIDDEN, b"{}", b"{}").saves(*[Kept(b"x")] * 4)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "ConfigMap flux-system/state cannot be written",
        "ConfigMap flux-system/state is written again",
    ]
    assert run.counted("failures_total") == 2


async def test_nothing_is_written_before_there_is_anything_to_keep() -> None:
    run = await Run().saves(None, None)
    assert run.client.requests == []


async def test_it_is_written_once_a_minute() -> None:
    run = Run(b"{}", b"{}", b"{}")
    with pytest.raises(Finished):
        await run.checkpoint.keep(lambda: Kept(b"x"))
    assert run.clock.slept == [60.0] * 4
