"""The simulated API server with a fleet in it, as a process: what it takes must not count as the exporter's.

It fills its storage first and listens afterwards, so that who can connect finds everything. SIGUSR1: restart, with all
objects and no history. ``python -m tests.bench.simulated --port 8001 --objects 50000``
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import signal
import sys
import time
from collections.abc import Sequence

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.state.objects import GroupResource
from gotk_exporter.simulator.storage import Storage
from tests.bench.objects import Fleet, namespaces


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.simulated", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--mixed", action="store_true")
    options = parser.parse_args(arguments)
    storage = filled(Fleet(options.objects, options.mixed))
    # It is all there for good: looking through it for garbage would only hold up who is measured.
    gc.collect()
    gc.freeze()
    asyncio.run(serve(storage, options.port))


def filled(fleet: Fleet) -> Storage:
    """A fresh cluster with the fleet in it, each object written twice: as it is applied, and its status."""
    storage = new_cluster(time.time)
    for namespace in namespaces():
        storage.ensure_namespace(namespace)
    for obj in fleet:
        kind, metadata = BY_NAME[obj["kind"]], obj["metadata"]
        resource = GroupResource(kind.group, kind.plural)
        storage.create(resource, obj, manager="kustomize-controller")
        status = {"status": obj["status"]}
        namespace, name = metadata["namespace"], metadata["name"]
        storage.patch(resource, namespace, name, status, subresource="status", manager="kustomize-controller")
    storage.compact()
    return storage


async def serve(storage: Storage, port: int) -> None:
    """Until SIGTERM."""
    stop, forget = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, forget.set)
    async with ApiServer(storage, port=port) as server, asyncio.TaskGroup() as group:

        async def restart() -> None:
            for number in itertools.count(1):
                await forget.wait()
                forget.clear()
                server.kill()
                # Something must have happened meanwhile, or who was up to date has missed nothing.
                storage.ensure_namespace(f"written-before-restart-{number}")
                await server.restart()

        restarting = group.create_task(restart())
        await stop.wait()
        restarting.cancel()


if __name__ == "__main__":
    main(sys.argv[1:])
