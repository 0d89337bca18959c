"""Loads an API server with realistic objects, runs the exporter on it, and prints what it costs.

Figures are of one run on one machine; where there is something to compare with, they are ratios. Another exporter on
the same API server is measured beside ours: start the server with --hold, start the other one with the kubeconfig that
is printed, then run again with --kubeconfig, --peer and --peer-pid.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.bench import objects
from tests.bench.freshness import freshness, median_and_p99, set_ready
from tests.bench.rendering import rendering
from tests.bench.subject import GZIP, IDENTITY, OPENMETRICS, TEXT, OurExporter, Subject
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import CRDS, read_objects
from tests.peers.presence import REPOSITORY
from tests.peers.processes import free_port, poll_until

LOAD_WORKERS = 16
RELIST_SECONDS = 120.0
Figures = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000, help="Kustomizations to load; default 10000")
    parser.add_argument("--mixed", action="store_true", help="with half as many HelmReleases, and a tenth in sources")
    parser.add_argument("--changes", type=int, default=1_000, help="status changes before memory is read; default 1000")
    parser.add_argument("--freshness", type=int, default=100, help="changes whose visibility is timed; default 100")
    parser.add_argument("--kubeconfig", type=Path, help="an API server that runs already; loaded where it is empty")
    parser.add_argument("--hold", action="store_true", help="load, print the kubeconfig, and wait for Ctrl-C")
    parser.add_argument("--peer", metavar="NAME=URL", help="/metrics of another exporter on the same API server")
    parser.add_argument("--peer-pid", type=int, help="its process id, for its memory")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args(arguments)
    figures = asyncio.run(bench(options))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


async def bench(options: argparse.Namespace) -> Figures:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gotk-bench-")))
        server: RealApiServer | None = None
        kubeconfig = options.kubeconfig
        if kubeconfig is None:
            server = RealApiServer(directory / "server")
            stack.push_async_callback(server.stop)
            await server.start()
            kubeconfig = server.kubeconfig(directory / "kubeconfig")
        admin = await stack.enter_async_context(_admin(kubeconfig))
        await load(admin, options.objects, options.mixed)
        if options.hold:
            print(f"loaded; KUBECONFIG={kubeconfig}; Ctrl-C ends the server", flush=True)
            await asyncio.Event().wait()
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        figures: Figures = {"objects": options.objects}
        _measured_rendering(figures, options.objects)
        await _measured_exporter(figures, options, kubeconfig, admin, server, session)
        await _measured_freshness(figures, options, kubeconfig, admin, session)
        return figures


async def load(admin: AdminClient, count: int, mixed: bool) -> None:
    """Flux's CRDs and ``count`` Kustomizations (``mixed``: and what goes with them), unless they are there."""
    real = REPOSITORY.parent / "shared" / "crds" / "flux"
    await admin.install_crds(read_objects(*sorted((real if real.is_dir() else CRDS).glob("*s.yaml"))))
    present = await admin.list(objects.KUSTOMIZE, "Kustomization", limit=1, parameters={"limit": "1"})
    if present.items:
        print(f"{len(present.items)} objects are there already", flush=True)
        return
    for namespace in objects.namespaces():
        await admin.ensure_namespace(namespace)
    started = time.perf_counter()
    todo = itertools.chain(objects.fleet(count), objects.companions(count) if mixed else ())

    async def create_some(todo: Iterator[objects.Object]) -> None:
        for obj in todo:
            await admin.create(obj)

    await asyncio.gather(*(create_some(todo) for _ in range(LOAD_WORKERS)))
    stored = await admin.get(objects.KUSTOMIZE, "Kustomization", objects.name_of(0), objects.namespace_of(0))
    size = len(json.dumps(stored, separators=(",", ":")))
    _say(f"loaded {count} Kustomizations of {size} bytes", f"{time.perf_counter() - started:.0f} s")


def _measured_rendering(figures: Figures, count: int) -> None:
    found = rendering(objects.fleet(count))
    figures["rendering"] = found
    ratio = found["generate_latest_seconds"] / found["page_seconds"]
    figures["rendering"]["ratio"] = ratio
    _say(f"page of {found['series']:.0f} series", f"{found['page_seconds'] * 1e3:.1f} ms")
    _say("the same by generate_latest", f"{found['generate_latest_seconds'] * 1e3:.0f} ms", f"{ratio:.0f} times ours")
    _say("one object, decoded, judged and rendered", f"{found['object_seconds'] * 1e6:.0f} us")
    _say("series per object, profile full", f"{found['series'] / count:.1f}", "target: at least 12")


async def _measured_exporter(
    figures: Figures,
    options: argparse.Namespace,
    kubeconfig: Path,
    admin: AdminClient,
    server: RealApiServer | None,
    session: aiohttp.ClientSession,
) -> None:
    """Start, ten scrapes of each form, status changes and one forced relist, in the profile default."""
    async with OurExporter(kubeconfig, free_port(), session) as exporter:
        subject = exporter.subject()
        figures["ready_seconds"] = exporter.ready_seconds
        _say("ready after", f"{exporter.ready_seconds:.1f} s", "target: 6 s")
        figures["scrapes"] = {}
        for accept, name in ((TEXT, "text"), (OPENMETRICS, "OpenMetrics")):
            for encoding, form in ((IDENTITY, "plain"), (GZIP, "gzip")):
                scrapes = [await subject.scrape(**accept, **encoding) for _ in range(10)]
                median, size = median_and_p99([seconds for seconds, _ in scrapes])[0], len(scrapes[0][1])
                figures["scrapes"][f"{name} {form}"] = {"median_seconds": median, "bytes": size}
                _say(f"scrape, {name}, {form}", f"{median * 1e3:.1f} ms", f"{size / 1e6:.2f} MB")
        before, started = subject.cpu_seconds() or 0.0, time.perf_counter()
        for change in range(options.changes):
            await set_ready(admin, change % options.objects, "False" if change % 2 == 0 else "True")
        figures["cpu_per_change_seconds"] = ((subject.cpu_seconds() or 0.0) - before) / max(options.changes, 1)
        _say(
            f"{options.changes} status changes",
            f"{time.perf_counter() - started:.0f} s",
            f"{figures['cpu_per_change_seconds'] * 1e6:.0f} us of processor each",
        )
        await _forced_relist(figures, exporter, server)
        memory = subject.memory()
        assert memory is not None
        figures["memory"] = {"resident_mb": memory.resident, "peak_mb": memory.peak}
        _say("resident memory", f"{memory.resident:.0f} MB", "target: 130 MB")
        _say("its peak (VmHWM)", f"{memory.peak:.0f} MB", "target: 160 MB")


async def _forced_relist(figures: Figures, exporter: OurExporter, server: RealApiServer | None) -> None:
    """A restarted kube-apiserver no longer knows our place: every kind is listed anew."""
    if server is None:
        _say("forced relist", "not measured", "the API server is not ours to restart")
        return
    subject = exporter.subject()

    async def lists() -> float:
        _, body = await subject.scrape()
        found = [line for line in body.splitlines() if line.startswith(b'gotk_exporter_lists_total{resource="Kust')]
        return float(found[0].rsplit(b" ", 1)[1])

    before, started = await lists(), time.perf_counter()
    server.kill()
    await server.restart()

    async def listed_again() -> bool:
        return await lists() > before

    await poll_until(listed_again, "the relist after the restart", RELIST_SECONDS)
    figures["relist_seconds"] = time.perf_counter() - started
    _say("restart of the API server and relist", f"{figures['relist_seconds']:.1f} s")


async def _measured_freshness(
    figures: Figures,
    options: argparse.Namespace,
    kubeconfig: Path,
    admin: AdminClient,
    session: aiohttp.ClientSession,
) -> None:
    """With gotk_resource_info alone, which is all that the peer of the targets serves."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as settings:
        settings.write("metrics: {allow: [gotk_resource_info]}\n")
        settings.flush()
        async with OurExporter(kubeconfig, free_port(), session, "--config.file", settings.name) as exporter:
            subjects = [exporter.subject()]
            if options.peer:
                name, _, url = options.peer.partition("=")
                subjects.append(Subject(name, url, options.peer_pid, session))
            seen = await freshness(admin, subjects, options.freshness, options.objects)
            figures["freshness"] = {}
            for subject in subjects:
                unchanged = median_and_p99([(await subject.scrape())[0] for _ in range(20)])[0]
                size, memory = len((await subject.scrape())[1]), subject.memory()
                median, p99 = median_and_p99(seen[subject.name])
                figures["freshness"][subject.name] = {
                    "median_seconds": median,
                    "p99_seconds": p99,
                    "unchanged_scrape_seconds": unchanged,
                    "bytes": size,
                    "memory": memory and {"resident_mb": memory.resident, "peak_mb": memory.peak},
                }
                _say(f"{subject.name}: a change is seen after", f"{median * 1e3:.1f} ms", f"p99 {p99 * 1e3:.1f} ms")
                _say(f"{subject.name}: unchanged scrape", f"{unchanged * 1e3:.1f} ms", f"{size / 1e6:.2f} MB")
                if memory is not None:
                    _say(f"{subject.name}: memory", f"{memory.resident:.0f} MB", f"peak {memory.peak:.0f} MB")
            if options.peer:
                ours, peer = (median_and_p99(seen[subject.name])[0] for subject in subjects)
                figures["freshness"]["ratio"] = ours / peer
                _say("ours to the peer's, medians", f"{ours / peer:.2f}", "target: 1.2")
            else:
                _say("another exporter on the same API server", "not measured", "name one with --peer")


def _admin(kubeconfig: Path) -> AdminClient:
    document = yaml.safe_load(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    authority = cluster.get("certificate-authority")
    context = ssl.create_default_context(cafile=authority) if authority else None
    return AdminClient(cluster["server"], user.get("token"), context)


def _say(what: str, figure: str, more: str = "") -> None:
    print(f"{what:<48} {figure:>14}   {more}".rstrip(), flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
