"""What comes from outside: commits, outages, edits, deaths. Each step is one act with one line that tells of it.

fleet.at(60, refuse("github.com"))
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gotk_exporter.simulator.fleet.fleet import Fleet
from gotk_exporter.simulator.fleet.objects import Json, Key
from gotk_exporter.simulator.fleet.world import Admission, Manifests, Reach


class _Act(Protocol):
    def __call__(self, fleet: Fleet, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens."""

    title: str
    _act: _Act
    seen: bool = True
    """Whether somebody who watches the cluster would know that it happened. What is to come is not seen."""

    def __call__(self, fleet: Fleet) -> None:
        self._act(fleet)


# Upstreams.


def commit(
    url: str, message: str, changes: Mapping[str, Manifests | None] | None = None, notify: Key | None = None
) -> Step:
    """A commit; ``notify`` is the GitRepository that a webhook tells of it, and else it is found at the interval."""

    def act(fleet: Fleet) -> None:
        fleet.world.push(url, message, changes)
        if notify is not None:
            fleet.request(notify, _now(fleet))

    return Step(f"commit pushed: {message}", act)


def publish_tag(url: str, tag: str) -> Step:
    return Step(f"{url} has a new tag {tag}", lambda fleet: fleet.world.tag(url, tag))


def publish_chart(url: str, chart: str, version: str) -> Step:
    return Step(f"chart {chart} {version} published", lambda fleet: fleet.world.release_chart(url, chart, version))


def refuse(host: str) -> Step:
    return _reach(host, Reach.REFUSING, "refuses connections")


def hang(host: str) -> Step:
    return _reach(host, Reach.HANGING, "does not answer")


def restore(host: str) -> Step:
    return _reach(host, Reach.UP, "is back")


def _reach(host: str, reach: Reach, what: str) -> Step:
    return Step(f"{host} {what}", lambda fleet: fleet.world.hosts.__setitem__(host, reach))


# The cluster.


def ready(workload: str) -> Step:
    return Step(f"{workload} is healthy", lambda fleet: fleet.world.make_ready(workload))


def unready(workload: str) -> Step:
    return Step(f"{workload} is unhealthy", lambda fleet: fleet.world.make_unready(workload))


def fail(workload: str) -> Step:
    return Step(f"{workload} reports ProgressDeadlineExceeded", lambda fleet: fleet.world.make_failed(workload))


def roll_out_in(workload: str, seconds: float | None) -> Step:
    """From its next change on, the workload takes this long to become ready; None: it never does."""
    how = "never become" if seconds is None else f"take {seconds:g} s to become"
    title = f"changes of {workload} {how} ready"
    return Step(title, lambda fleet: fleet.world.rollouts.__setitem__(workload, seconds), seen=False)


def hold(workload: str) -> Step:
    """Deleting it will not make it go."""

    def act(fleet: Fleet) -> None:
        fleet.world.objects[workload].held = True

    return Step(f"{workload} has a finalizer that nobody removes", act)


def block_admission(webhook: str, kinds: Iterable[str], error: str = "connect: connection refused") -> Step:
    admission = Admission(webhook, frozenset(kinds), error)
    return Step(
        f"admission webhook {webhook} cannot be called",
        lambda fleet: fleet.world.admissions.__setitem__(webhook, admission),
    )


def unblock_admission(webhook: str) -> Step:
    return Step(f"admission webhook {webhook} is back", lambda fleet: fleet.world.admissions.pop(webhook, None))


def empty_storage() -> Step:
    """What a source-controller has after its pod was replaced."""
    return Step("source-controller's storage is emptied", lambda fleet: fleet.world.artifacts.clear())


# Objects.


def edit(key: Key, spec: Json, title: str = "") -> Step:
    return Step(title or f"{key} edited", lambda fleet: fleet.edit(key, {"spec": spec}))


def suspend(key: Key) -> Step:
    return edit(key, {"suspend": True}, f"{key} suspended")


def resume(key: Key) -> Step:
    return edit(key, {"suspend": False}, f"{key} resumed")


def request(key: Key) -> Step:
    return Step(f"reconcile of {key} requested", lambda fleet: fleet.request(key, _now(fleet)))


def delete(key: Key) -> Step:
    return Step(f"{key} deleted", lambda fleet: fleet.delete(key))


def remove_finalizer(key: Key, finalizer: str) -> Step:
    """What the finalizer's owner, or somebody who lost patience, does."""

    def act(fleet: Fleet) -> None:
        obj = fleet.get(key)
        if obj is not None:
            rest = [one for one in obj["metadata"].get("finalizers", ()) if one != finalizer]
            fleet.edit(key, {"metadata": {"finalizers": rest or None}})

    return Step(f"finalizer {finalizer} removed from {key}", act)


def break_templates(release: Key, error: str) -> Step:
    """The chart with these values can no longer be rendered."""
    return Step(
        f"templates of {release} cannot be rendered",
        lambda fleet: fleet.helm.render_errors.__setitem__(release, error),
    )


def mend_templates(release: Key) -> Step:
    return Step(
        f"templates of {release} can be rendered again", lambda fleet: fleet.helm.render_errors.pop(release, None)
    )


# Controllers.


def kill(process: str) -> Step:
    return Step(f"{process} killed", lambda fleet: fleet.kill(process))


def restart(process: str) -> Step:
    return Step(f"{process} restarted", lambda fleet: fleet.restart(process))


def _now(fleet: Fleet) -> str:
    """A token that flux and the web hooks make: the time, to the nanosecond."""
    moment = datetime.datetime.fromtimestamp(fleet.schedule.wall, datetime.UTC)
    return moment.isoformat().replace("+00:00", "Z")
