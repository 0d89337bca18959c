"""The exporter follows the simulator through any sequence of writes and faults: in the end it serves what is there.

Everything is a hundred times as fast as in production, in proportion, so that an example takes a moment.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import yaml
from hypothesis import example, given, settings

from gotk_exporter.config import MetricsSettings, Settings, WatchSettings
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.metrics.families import Profile
from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.http.faults import Cut, Hang, Slow, internal_error, too_many_requests
from gotk_exporter.simulator.state.objects import GroupResource
from gotk_exporter.simulator.storage import Storage
from tests.kube.conformance.follower import Follower, Key, State
from tests.simulator.talk import eventually

APPS = GroupResource("kustomize.toolkit.fluxcd.io", "kustomizations")
VERSION = f"{APPS.group}/v1"
BOUNDS = Bounds().divided(100)
NAMES = st.sampled_from(["a", "b", "c", "d"])
SETTINGS = Settings(WatchSettings(("Kustomization",), ()), MetricsSettings(Profile.FULL))

Step = tuple[str, str]
"""What happens, and to which object, where it happens to one."""


def _create(server: ApiServer, name: str) -> None:
    if server.storage.find(APPS, "default", name) is None:
        document = {"metadata": {"name": name, "namespace": "default"}, "spec": {"interval": "60s"}}
        server.storage.create(APPS, document)


def _change(server: ApiServer, name: str) -> None:
    if server.storage.find(APPS, "default", name) is not None:
        interval = f"{server.storage.version + 60}s"
        server.storage.patch(APPS, "default", name, {"spec": {"interval": interval}})


def _set_ready(server: ApiServer, name: str) -> None:
    found = server.storage.find(APPS, "default", name)
    if found is not None:
        status = "True" if found.version % 2 else "False"
        ready = {"type": "Ready", "status": status, "reason": "Tested", "message": ""}
        server.storage.patch(APPS, "default", name, {"status": {"conditions": [ready]}}, subresource="status")


def _delete(server: ApiServer, name: str) -> None:
    if server.storage.find(APPS, "default", name) is not None:
        server.storage.delete(APPS, "default", name)


WRITES: dict[str, Callable[[ApiServer, str], None]] = {
    "create": _create,
    "change": _change,
    "set ready": _set_ready,
    "delete": _delete,
}
FAULTS: dict[str, Callable[[ApiServer], object]] = {
    "cut the streams": lambda server: server.cut_streams(),
    "kill": lambda server: server.kill(),
    "freeze": lambda server: server.freeze(),
    "thaw": lambda server: server.thaw(),
    "compact": lambda server: server.compact(),
    "hang one": lambda server: server.faults.add(Hang(), requests=1),
    "refuse three": lambda server: server.faults.add(internal_error(), requests=3),
    "too many": lambda server: server.faults.add(too_many_requests(0), requests=2),
    "cut an answer": lambda server: server.faults.add(Cut(after_bytes=100), requests=1),
    "slow": lambda server: server.faults.add(Slow(0.01, 100_000), requests=2),
    "heal": lambda server: server.faults.clear(),
}

PASS: Step = ("let pass", "")

writes = st.tuples(st.sampled_from(sorted(WRITES)), NAMES)
faults = st.tuples(st.sampled_from([*sorted(FAULTS), "restart", "let pass"]), st.just(""))


@settings(max_examples=50)
@given(st.lists(writes | faults, min_size=3, max_size=25))
@example([("create", "a"), PASS, ("cut the streams", ""), ("delete", "a"), ("compact", ""), ("create", "b")])
@example([("create", "a"), PASS, ("kill", ""), ("delete", "a"), ("create", "a"), ("restart", "")])
def test_what_is_served_in_the_end_is_what_is_there(steps: list[Step]) -> None:
    asyncio.run(follow_through(steps))


async def follow_through(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with ApiServer(new_cluster(time.time)) as server:
            kubeconfig = write_kubeconfig(Path(directory) / "kubeconfig", server.url)
            async with Follower(kubeconfig, SETTINGS, BOUNDS) as follower:
                await follower.synced()
                for what, name in steps:
                    await take(server, what, name)

                server.faults.clear()
                server.thaw()
                if not server.listening:
                    await server.restart()
                held = held_by(server.storage)
                await eventually(lambda: follower.state() == held)


async def take(server: ApiServer, what: str, name: str) -> None:
    if what in WRITES:
        WRITES[what](server, name)
    elif what in FAULTS:
        FAULTS[what](server)
    elif what == "restart":
        await server.restart()
    else:
        # Long enough for the exporter to do something about what happened.
        await asyncio.sleep(0.02)


def held_by(storage: Storage) -> dict[Key, State]:
    held: dict[Key, State] = {}
    for stored in storage.list(APPS).objects:
        document = stored.document()
        conditions = document["status"].get("conditions", [])
        ready = next((condition["status"] for condition in conditions), "Unknown")
        interval = float(document["spec"]["interval"].removesuffix("s"))
        held["Kustomization", stored.namespace, stored.name] = (ready, interval, "v1")
    return held


def write_kubeconfig(path: Path, url: str) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path
