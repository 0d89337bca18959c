"""A living cluster in this process, the exporter beside it, and a story of incidents told line by line.

It composes what the other rooms offer (a simulated API server, a fleet upon it, the exporter) and adds the telling. The
exporter is the real one: it reaches the simulated API server over HTTP, through a kubeconfig that kubectl takes too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from gotk_exporter.app import Exporter
from gotk_exporter.clock import SystemClock
from gotk_exporter.config import Settings
from gotk_exporter.flux.blame import PASSING
from gotk_exporter.flux.references import Key
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Kubeconfig
from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.fleet.incidents import STORY, begin_story, incidents
from gotk_exporter.simulator.fleet.platform import Living, Platform, new_platform
from gotk_exporter.web.server import Address

SLOWEST, FASTEST = 1.0, 60.0
"""Timestamps in objects are wall-clock and have whole seconds: beyond a minute per second they say nothing any more."""
FIRST_MINUTE = 1.0
STORY_MINUTES = 80.0
"""After which it is told again; every incident has passed by then. Both are minutes of the story."""
LOOK_SECONDS = 1.0
"""How often what the exporter serves is looked at, to tell what changed."""
LINES_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class DemoOptions:
    listen_address: Address
    speed: float
    """How many times faster than real everything goes, SLOWEST to FASTEST."""
    scenario: str | None
    """The incident to tell; None: all of them, one after the other."""
    seconds: float | None
    """How long, in real seconds; None: until Ctrl-C."""


class UnknownScenario(Exception):
    """There is no incident of that name."""


async def demo(options: DemoOptions, tell: Callable[[str], None] = print) -> None:
    """Run until SIGINT, SIGTERM or the end of ``options.seconds``.

    Raises:
        UnknownScenario: names the known ones.
        ListenError: the address cannot be listened on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    living = new_platform(time.time(), speed=options.speed)
    _check(living.platform, options.scenario)
    bounds, clock = Bounds().divided(options.speed), SystemClock()
    with tempfile.TemporaryDirectory(prefix="gotk-exporter-demo-") as directory:
        async with ApiServer(living.storage) as server:
            kubeconfig = _kubeconfig(Path(directory), server.url)
            exporter = Exporter(Settings(), Kubeconfig(bounds, clock, str(kubeconfig)), bounds, clock)

            def told(title: str) -> None:
                tell(f"{_now()} {title}")

            def on_listening(address: Address) -> None:
                _introduce(living, options, address, kubeconfig, tell)
                _begin(living.platform, options.scenario, told)
                if options.seconds is not None:
                    loop.call_later(options.seconds, stop.set)

            async with _together(living.fleet.live(), _tell_of_changes(exporter, tell)):
                await exporter.run(options.listen_address, stop, on_listening)


@contextlib.asynccontextmanager
async def _together(*companions: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run these beside the body, until it ends. A companion that fails ends the body and everything else."""
    body = asyncio.current_task()
    tasks = [asyncio.create_task(companion) for companion in companions]
    for task in tasks:
        task.add_done_callback(lambda done: None if done.cancelled() or body is None else body.cancel())
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def _check(platform: Platform, scenario: str | None) -> None:
    known = incidents(platform)
    if scenario is not None and scenario not in known:
        raise UnknownScenario(f'"{scenario}" is no scenario; known: {", ".join(known)}')


def _begin(platform: Platform, scenario: str | None, tell: Callable[[str], None]) -> None:
    """The story, or the one incident; and again when it has passed."""
    begin_story(platform, tell, STORY if scenario is None else [(FIRST_MINUTE, scenario)])
    platform.fleet.schedule.after(platform.seconds(60 * STORY_MINUTES), lambda: _begin(platform, scenario, tell))


async def _tell_of_changes(exporter: Exporter, tell: Callable[[str], None]) -> None:
    """A line when the exporter finds a root cause, or that one is none any more."""
    before: dict[Key, str] = {}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        causes = _root_causes(exporter)
        found = [f"root cause: {_named(key)}, {causes[key]}" for key in sorted(causes.keys() - before.keys())]
        gone = [f"no longer one: {_named(key)}" for key in sorted(before.keys() - causes.keys())]
        for lines in (found, gone):
            for line in lines[:LINES_AT_ONCE]:
                tell(f"{_now()}    {line}")
            if len(lines) > LINES_AT_ONCE:
                tell(f"{_now()}    and {len(lines) - LINES_AT_ONCE} more")
        before = causes


def _root_causes(exporter: Exporter) -> dict[Key, str]:
    """Why each object is a root cause, and how many it blocks; what is only on its way is none to tell of."""
    graph = exporter.relations.graph
    answers = {key: graph.answer(key) for key in graph.roots()}
    return {
        key: answer.root_reason + _waiting(answer.blocked)
        for key, answer in answers.items()
        if answer.root_reason not in PASSING
    }


def _waiting(count: int) -> str:
    return f"; {count} more {'waits' if count == 1 else 'wait'} for it" if count else ""


def _named(key: Key) -> str:
    return f"{key.kind} {key.namespace}/{key.name}"


def _introduce(
    living: Living, options: DemoOptions, address: Address, kubeconfig: Path, tell: Callable[[str], None]
) -> None:
    base = f"http://{address}"
    tell(f"A cluster with {len(living.platform.keys)} Flux objects, {options.speed:g} times as fast as a real one.")
    tell(f"  metrics      {base}/metrics")
    tell(f"  ready?       {base}/-/ready")
    tell(f"  the cluster  kubectl --kubeconfig {kubeconfig} get kustomizations -A --watch")
    # An address and not the command: nothing is installed here.
    tell(f"  why?         {base}/api/v1/explain?kind=ks&name=api&namespace=payments")
    tell("Ctrl-C ends it. What happens:")


def _kubeconfig(directory: Path, url: str) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "demo",
        "clusters": [{"name": "demo", "cluster": {"server": url}}],
        "users": [{"name": "demo", "user": {}}],
        "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo"}}],
    }
    path = directory / "kubeconfig"
    # JSON is YAML.
    path.write_text(json.dumps(document))
    return path


def _now() -> str:
    return time.strftime("%H:%M:%S")
