"""How old the newest proof of a reconcile is: never too old while controllers live, and soon if they do not.

gotk_resource_last_reconcile_timestamp_seconds beside what was written: in the recordings a, b and d, in hours of
simulated quiet, and in the recorded scenarios c and e to j, lived through by the simulated fleet.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.steps import Step
from tests.flux.clusters import BEGINNING, Cluster, timestamp
from tests.flux.scenarios_follower import Exporter, Story, Write, record
from tests.flux.scenarios_stories import CHARTS, RENDER, STORIES, fast_errors, play, release
from tests.flux.test_scenarios_shared import MINUTE, USUAL_RUN, scrape, scrapes
from tests.flux.test_timelines import DIRECTORY, A, B, D, moment
from tests.simulator.fleets import EPOCH, Stage, config, deployment

LAST = "gotk_resource_last_reconcile_timestamp_seconds"
INTERVAL, TIMEOUT = "gotk_resource_interval_seconds", "gotk_resource_timeout_seconds"
FAMILIES = (LAST, INTERVAL, TIMEOUT, USUAL_RUN)
WHOLE_SECONDS = 1.1
"""Times in objects are cut to whole seconds; the write reaches us a moment later."""
JITTER = 1.05
SLACK = 5.0
LONGEST_BACKOFF = 15 * MINUTE
HOUR = 60 * MINUTE
RUNNERS = ("Kustomization", "HelmRelease")


# What was written


def _state(write: Write) -> str:
    """As the facts say of which kind of write: it runs, waits, rests (nothing will be written), or has ended a run."""
    document = json.loads(write.raw)
    found = {one["type"]: one for one in document.get("status", {}).get("conditions", ())}
    ready, reconciling = found.get("Ready"), found.get("Reconciling", {"status": "False", "reason": ""})
    if "deletionTimestamp" in document["metadata"] or document.get("spec", {}).get("suspend"):
        return "rests"
    if ready is None or found.get("Stalled", {"status": "False"})["status"] == "True":
        return "rests"
    goes_on = reconciling["status"] == "True"
    if ready["reason"] in ("DependencyNotReady", "SourceNotReady") or (
        ready["reason"] == "ArtifactFailed" and not goes_on
    ):
        return "waits"
    if ready["status"] == "Unknown":
        return "runs"
    if write.kind == "HelmRelease" and reconciling["reason"] == "Progressing":
        # A release that has failed leaves it as it was: nobody can tell the end of an attempt from the next one.
        return "runs" if ready["status"] == "True" else "unclear"
    return "ended"


def expected(writes: Sequence[Write]) -> Iterator[tuple[str, float | None, float]]:
    """After each write of a Kustomization or a HelmRelease: its state, and from when to when its last run ended; None
    while there is nothing to say, which is until the end of the first run after a pause."""
    ended: dict[str, float] = {}
    latest: dict[str, float] = {}
    before: dict[str, tuple[str, object]] = {}
    for write in writes:
        if write.kind not in RUNNERS:
            continue
        state, status = ("rests" if write.type == "DELETED" else _state(write)), json.loads(write.raw).get("status")
        last, known = before.get(write.name, ("rests", None))
        if state in ("rests", "waits"):
            ended.pop(write.name, None)
        elif state == "ended" and (last in ("runs", "unclear") or (last == "ended" and status != known)):
            # The second is the other one of the two writes with which a run ends.
            ended[write.name] = latest[write.name] = write.at
        elif state == "unclear":
            latest[write.name] = write.at
        elif state == "ended" and last != "ended":
            # Resumed: nothing has run yet.
            state = "rests"
        before[write.name] = state, status
        yield state, ended.get(write.name), latest.get(write.name, 0.0)


def assert_as_written(writes: Sequence[Write]) -> int:
    """The page after each write, object by object; returns how many values there were."""
    exporter = Exporter()
    exporter.list((), 0.0)
    count = 0
    following = expected(writes)
    for write in writes:
        exporter.receive(write)
        values = scrape(exporter, write.at, LAST).values(LAST)
        assert all(name.startswith(RUNNERS) for name in values)
        if write.kind not in RUNNERS:
            continue
        state, ended, latest = next(following)
        if state == "unclear":
            continue
        where = (write.name, round(write.at, 2), ended)
        assert (ended is None) == (write.name not in values), where
        if ended is not None:
            count += 1
            assert ended - WHOLE_SECONDS <= values[write.name] <= latest + 0.01, where
    return count


# The recordings


@functools.cache
def recorded(trace: str) -> list[Write]:
    first, *records = [json.loads(line) for line in (DIRECTORY / f"{trace}.jsonl").read_text().splitlines()]
    assert moment(first["t"]) > EPOCH
    return [_recorded(record) for record in records]


def _recorded(record: dict[str, Any]) -> Write:
    entries = [{"manager": "flux", "subresource": "status", "time": record["mf"]}] if "mf" in record else []
    metadata = {
        "name": record["name"],
        "namespace": "apps",
        "uid": record["name"],
        "generation": record["gen"],
        "resourceVersion": record["rv"],
        # Of an edit, which is no reconcile.
        "managedFields": [*entries, {"manager": "kubectl", "time": "2026-11-21T23:00:00Z"}],
    }
    conditions = {one["type"]: one["status"] for one in record["status"].get("conditions", ())}
    spec = {"interval": "60s" if record["name"] != "repo" else "30s", "timeout": "20s"}
    raw = json.dumps({"metadata": metadata, "spec": spec, "status": record["status"]}).encode()
    path = f"apps/{record['name']}"
    at = moment(record["t"]) - EPOCH
    return Write(at, record["ev"], record["kind"], path, record["name"], raw, conditions.get("Ready", ""))


@pytest.mark.parametrize(("trace", "least"), [(A, 60), (B, 300), (D, 60)])
def test_what_is_said_of_the_recorded_objects_is_when_their_last_run_ended(trace: str, least: int) -> None:
    assert assert_as_written(recorded(trace)) > least


def ages(writes: Sequence[Write], begin: float, end: float) -> Iterator[tuple[str, float, float, float]]:
    """Name, age, interval and timeout at the end of each second, and just before each write."""
    moments = {begin, *(write.at - 0.001 for write in writes if begin < write.at < end), end}
    exporter = Exporter()
    exporter.list((), 0.0)
    rest = iter(writes)
    pending = next(rest, None)
    for at in sorted(moments):
        while pending is not None and pending.at <= at:
            exporter.receive(pending)
            pending = next(rest, None)
        page = scrape(exporter, at, *FAMILIES)
        for name, value in page.values(LAST).items():
            yield name, at - value, page.values(INTERVAL)[name], page.values(TIMEOUT)[name]


def test_in_recorded_quiet_no_age_exceeds_interval_and_timeout() -> None:
    writes = recorded(A)
    found = list(ages(writes, writes[0].at, writes[-1].at))
    assert {name for name, *_ in found} == {"Kustomization/plain", "Kustomization/waited"}
    assert all(age <= interval + timeout + SLACK for _, age, interval, timeout in found)


# Hours of quiet


@dataclass
class Life:
    stage: Stage
    writes: list[Write]


def a_quiet_fleet() -> Life:
    stage = Stage()
    writes = record(stage.storage, stage.schedule)
    stage.world.rollout = 20.0
    stage.fleet.start()
    stage.world.helm_repository(CHARTS, {"podinfo": ["6.9.0"]})
    stage.create("HelmRepository", "charts", {"interval": "10m", "url": CHARTS})
    stage.repository({f"./k{number}": deployment(f"k{number}") for number in range(6)}, interval="5m")
    for number in range(6):
        interval = f"{5 + number}m"
        depends = [{"name": f"k{number - 1}"}] if number in (2, 3) else None
        stage.kustomization(f"k{number}", interval=interval, timeout="4m", wait=number % 2 == 0, dependsOn=depends)
    for number in range(4):
        release(stage, f"h{number}", interval=f"{5 + number}m", timeout="4m")
    return Life(stage, writes)


QUIET = 4 * HOUR


@functools.cache
def quiet() -> list[Write]:
    life = a_quiet_fleet()
    life.stage.fleet.run(QUIET)
    return life.writes


def test_in_hours_of_quiet_no_age_exceeds_interval_and_timeout_and_sources_have_no_series() -> None:
    oldest: dict[str, float] = {}
    for name, age, interval, timeout in ages(quiet(), 5 * MINUTE, QUIET):
        assert age <= interval + timeout + SLACK, name
        # Closer: the interval's jitter, and the run itself.
        assert age <= JITTER * interval + 30, name
        oldest[name] = max(oldest.get(name, 0.0), age / interval)
    assert oldest.keys() == {f"Kustomization/k{n}" for n in range(6)} | {f"HelmRelease/h{n}" for n in range(4)}
    # Nothing else moves it.
    assert all(share > 0.9 for share in oldest.values())
    assert {write.kind for write in quiet()} == {*RUNNERS, "GitRepository", "HelmRepository", "HelmChart"}


def test_in_hours_of_quiet_it_is_when_the_last_run_ended() -> None:
    assert assert_as_written([write for write in quiet() if write.at < HOUR]) > 200


@pytest.mark.parametrize("begin", [HOUR + 17, 2 * HOUR, 2.5 * HOUR + 101])
def test_one_that_starts_later_says_the_same(begin: float) -> None:
    live = scrapes(quiet(), 0.0, begin, every=begin, families=FAMILIES)
    known = next(page for page in live if page.at >= begin)
    late = next(scrapes(quiet(), begin, begin, families=FAMILIES))
    assert late.values(LAST) == known.values(LAST)
    assert len(late.values(LAST)) == 10


# A controller that is gone


def overdue(writes: Sequence[Write], begin: float, end: float) -> dict[str, float]:
    """Who is older than interval, timeout and slack allow, and since when."""
    found: dict[str, float] = {}
    for page in scrapes(writes, begin, end, families=FAMILIES):
        for name, value in page.values(LAST).items():
            if page.at - value > page.values(INTERVAL)[name] + page.values(TIMEOUT)[name] + SLACK:
                found.setdefault(name, page.at)
            else:
                found.pop(name, None)
    return found


@pytest.mark.parametrize(
    ("process", "kind"), [("kustomize-controller", "Kustomization"), ("helm-controller", "HelmRelease")]
)
def test_when_a_controller_is_gone_the_age_of_its_objects_tells_within_two_intervals(process: str, kind: str) -> None:
    life, killed = a_quiet_fleet(), 40 * MINUTE
    life.stage.fleet.run(killed)
    life.stage.fleet.kill(process)
    life.stage.fleet.run(20 * MINUTE)
    found = overdue(life.writes, killed - 15 * MINUTE, killed + 20 * MINUTE)
    number = {"Kustomization": 6, "HelmRelease": 4}[kind]
    assert found.keys() == {f"{kind}/{kind[0].lower()}{one}" for one in range(number)}
    for name, at in found.items():
        interval = (5 + int(name[-1])) * MINUTE
        assert killed < at <= killed + 2 * interval
    # And it comes back.
    life.stage.fleet.restart(process)
    life.stage.fleet.run(5 * MINUTE)
    assert overdue(life.writes, killed - 15 * MINUTE, life.stage.schedule.now) == {}


def test_of_the_objects_of_a_source_controller_that_is_gone_nothing_is_called_old() -> None:
    life = a_quiet_fleet()
    life.stage.fleet.run(20 * MINUTE)
    life.stage.fleet.kill("source-controller")
    life.stage.fleet.run(40 * MINUTE)
    for page in scrapes(life.writes, 10 * MINUTE, 60 * MINUTE, families=FAMILIES):
        assert {name.partition("/")[0] for name in page.values(LAST)} <= set(RUNNERS)
    assert overdue(life.writes, 10 * MINUTE, 15 * MINUTE) == {}


# Traps


@pytest.mark.parametrize("letter", STORIES)
def test_in_the_recorded_scenarios_it_is_when_the_last_run_ended_or_nothing(letter: str) -> None:
    """Suspended, deleted, stalled, waiting: none; requested while suspended: none; resumed: none before the run."""
    assert assert_as_written(STORIES[letter]().writes) > 5


def at_the_end(story: Story) -> dict[str, float]:
    (page,) = scrapes(story.writes, story.end, story.end, families=(LAST,))
    return page.values(LAST)


@pytest.mark.parametrize(
    ("letter", "silent", "heard"),
    [
        ("c", {"nosource", "badcel"}, {"build", "badapply", "nopath"}),
        ("e", {"user-never"}, {"user"}),
        ("h", {"noremedy", "badinstall", "nochart", "dependent"}, {"idle", "rollback", "retryonfail", "template"}),
        ("j", {"susp"}, {"ok", "stuck", "rel"}),
    ],
)
def test_what_writes_nothing_on_purpose_has_no_series(letter: str, silent: set[str], heard: set[str]) -> None:
    story = STORIES[letter]()
    names = {name.partition("/")[2] for name in at_the_end(story)}
    assert names == heard
    there = {write.name.partition("/")[2] for write in story.writes if write.kind in RUNNERS}
    assert there == heard | silent


def test_a_failing_build_moves_it_though_the_history_stands_still() -> None:
    story = fast_errors()
    at = at_the_end(Story([write for write in story.writes if write.at < 180], 180))
    assert 180 - at["Kustomization/build"] < 25
    build = [write for write in story.writes if write.name == "Kustomization/build" and write.at < 180]
    assert "15:01:4" not in json.dumps(json.loads(build[-1].raw)["status"]["history"])


def a_long_pause(pause: Sequence[Step], over: Sequence[Step], **spec: Any) -> Story:
    """Of three hours, after which the first run takes four minutes."""
    stage = Stage(jitter=lambda key, interval: interval)
    writes = record(stage.storage, stage.schedule)
    stage.world.rollout = 1.0
    stage.fleet.start()
    stage.repository({"./app": deployment("app"), "./base": config("base")}, interval="10m")
    stage.kustomization("base", interval="10m")
    stage.kustomization("app", interval="10m", timeout="5m", wait=True, **spec)
    acts = [(HOUR, step) for step in pause] + [(4 * HOUR, step) for step in over]
    acts.append((4 * HOUR - 1, steps.unready("Deployment/apps/app")))
    acts.append((4 * HOUR + 4 * MINUTE, steps.ready("Deployment/apps/app")))
    return play(stage, writes, 4 * HOUR + 20 * MINUTE, *acts)


BASE, APP = Key("Kustomization", "apps", "base"), Key("Kustomization", "apps", "app")


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(functools.partial(a_long_pause, [steps.suspend(APP)], [steps.resume(APP)]), id="suspended"),
        pytest.param(
            functools.partial(
                a_long_pause,
                [steps.edit(BASE, {"path": "./nowhere"})],
                [steps.edit(BASE, {"path": "./base"})],
                dependsOn=[{"name": "base"}],
            ),
            id="waiting",
        ),
    ],
)
def test_after_a_pause_of_hours_nothing_is_old_while_the_first_run_goes_on(story: Any) -> None:
    told = story()
    assert_as_written([write for write in told.writes if write.name == "Kustomization/app"])
    for name, age, interval, timeout in ages(told.writes, 5 * MINUTE, told.end):
        assert age <= interval + timeout + SLACK, name


@pytest.mark.parametrize(
    ("kind", "pause"), [("ResourceSet", "waits"), ("ResourceSet", "suspended"), ("ImageRepository", "suspended")]
)
def test_what_says_itself_when_it_was_reconciled_is_not_old_after_a_pause_either(kind: str, pause: str) -> None:
    cluster, name, hours = Cluster(), f"{kind}/app", 180.0

    def proof(at: float) -> dict[str, Any]:
        history = {"lastReconciled": timestamp(at), "lastReconciledStatus": "ReconciliationSucceeded"}
        return {"history": [history], "lastScanResult": {"scanTime": timestamp(at)}}

    off: dict[str, Any] = {"spec": {"suspend": True}, "annotations": {"fluxcd.controlplane.io/reconcile": "disabled"}}
    on: dict[str, Any] = {"spec": {"suspend": False}, "annotations": {}}
    cluster.write(kind, "app", "True", "Succeeded", at=0, status=proof(0), spec={"interval": "10m"})
    assert cluster.numbers(LAST) == {name: BEGINNING}
    if pause == "suspended":
        cluster.write(kind, "app", at=1, **off)
        assert cluster.numbers(LAST) == {}
        cluster.write(kind, "app", at=hours, **on)
    else:
        cluster.write(kind, "app", "False", "DependencyNotReady", "dependency is not ready", at=1)
    assert cluster.numbers(LAST) == {}
    cluster.write(kind, "app", "Unknown", "Progressing", at=hours, reconciling="Progressing")
    assert cluster.numbers(LAST) == {}
    cluster.write(kind, "app", "True", "Succeeded", at=hours + 4, status=proof(hours + 4))
    assert cluster.numbers(LAST) == {name: BEGINNING + (hours + 4) * MINUTE}


def test_a_release_that_backs_off_is_older_than_its_interval_but_never_than_the_longest_back_off() -> None:
    """Not stale: a rule must allow for it."""
    life = a_quiet_fleet()
    key = Key("HelmRelease", "apps", "h0")
    life.stage.fleet.at(HOUR, steps.break_templates(key, RENDER))
    life.stage.fleet.at(HOUR, steps.edit(key, {"values": {"fail": True}}))
    life.stage.fleet.run(4 * HOUR)
    oldest = max(age for name, age, _, _ in ages(life.writes, HOUR, 4 * HOUR) if name == "HelmRelease/h0")
    assert LONGEST_BACKOFF - 10 < oldest < LONGEST_BACKOFF + SLACK
