"""Loads an API server with realistic objects, runs the exporter on it, and says what it costs.

Figures are of one run on one machine; where there is something to compare with, they are ratios within that run.
Another exporter is measured beside ours on the same API server with --peer NAME=COMMAND; in COMMAND, {kubeconfig} and
{port} (of its /metrics) are filled in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.causes import events
from tests.bench.costs import costs
from tests.bench.figures import Report
from tests.bench.freshness import freshness
from tests.bench.objects import Fleet
from tests.bench.rendering import rendering
from tests.bench.revisions import revisions
from tests.bench.run import TARGETS_OBJECTS, Options, Run
from tests.bench.servers import KUBE_APISERVER, SERVERS, SIMULATOR
from tests.peers.admin import AdminClient

FLEETS = {KUBE_APISERVER: Fleet(TARGETS_OBJECTS), SIMULATOR: Fleet(50_000, mixed=True)}
"""Through what, and, unless told otherwise, with how much in it."""

IN_PROCESS: Sequence[Callable[[Report], None]] = (rendering, events, revisions)
"""What is measured here, without any server. A new one adds rows to the report and its name to this line."""

MEASUREMENTS: Sequence[Callable[[Run], Awaitable[None]]] = (freshness, costs)
"""What is measured through each server, one after the other; costs last, since they end with a restart of it."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--through", action="append", choices=SERVERS, help=f"may be given twice; default {KUBE_APISERVER}"
    )
    parser.add_argument("--objects", type=int, help=f"default {', '.join(f'{n}: {f}' for n, f in FLEETS.items())}")
    parser.add_argument(
        "--mixed", action=argparse.BooleanOptionalAction, help="of them 5/16 HelmReleases and 1/16 GitRepositories"
    )
    parser.add_argument("--changes", type=int, default=1_000, help="status changes before memory is read; default 1000")
    parser.add_argument("--freshness", type=int, default=200, help="changes whose visibility is timed; default 200")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=COMMAND", help="another exporter, started beside ours"
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--hold", action="store_true", help="only load, print the kubeconfig, and wait for Ctrl-C")
    given = parser.parse_args(arguments)
    peers = tuple((name, command) for name, _, command in (peer.partition("=") for peer in given.peer))
    options = Options(given.changes, given.freshness, peers)
    measurements = (hold,) if given.hold else MEASUREMENTS
    started = time.monotonic()
    reports = [] if given.hold else [in_process()]
    for through in given.through or [KUBE_APISERVER]:
        usual = FLEETS[through]
        fleet = Fleet(given.objects or usual.count, usual.mixed if given.mixed is None else given.mixed)
        reports.append(asyncio.run(through_server(through, fleet, options, measurements)))
    say(f"\ntook {time.monotonic() - started:.0f} s")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"reports": [report.document() for report in reports]}, indent=2) + "\n")
        say(f"as JSON: {given.json}")
    return 0


def in_process() -> Report:
    report = Report("in one process, without a server", machine(), say)
    for measure in IN_PROCESS:
        measure(report)
    return report


async def through_server(
    through: str,
    fleet: Fleet,
    options: Options,
    measurements: Sequence[Callable[[Run], Awaitable[None]]] = MEASUREMENTS,
) -> Report:
    report = Report(f"through {through}, with {fleet}", {**machine(), "through": through, "fleet": str(fleet)}, say)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gotk-bench-")))
        server = SERVERS[through](directory)
        stack.push_async_callback(server.stop)
        started = time.perf_counter()
        await server.start(fleet)
        report.condition("seconds to load", round(time.perf_counter() - started))
        admin = await stack.enter_async_context(AdminClient(server.url, server.token, server.authority))
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        run = Run(through, fleet, options, server, admin, session, report)
        for measure in measurements:
            await measure(run)
    return report


async def hold(run: Run) -> None:
    run.report.condition("KUBECONFIG", str(run.server.kubeconfig))
    await asyncio.Event().wait()


def machine() -> dict[str, Any]:
    """What figures depend on; the load says whether anything else was going on."""
    return {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load average before": round(os.getloadavg()[0], 2),
    }


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
