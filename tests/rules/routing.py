"""The shipped configuration of Alertmanager, made fit for a test, and what a real one makes of a story's alerts.

What prometheus-operator makes of an AlertmanagerConfig object is here too, as far as routes and inhibitions go: its own
code (0.93) gave the same for the object that is shipped, with each of its strategies.
"""

from __future__ import annotations

import asyncio
import bisect
import datetime
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tests.peers.alertmanager import Deliveries, Notification, RunningAlertmanager
from tests.rules.stories import Span

ALERTMANAGER = Path(__file__).parents[2] / "rules/alertmanager"
STEP_MINUTES = 0.5
BELIEVED_MINUTES = 20
"""How long Alertmanager believes an alert that is not sent again. With Prometheus it is four minutes, which at sixty
times the speed are four seconds: a busy machine may be late."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATIONS = {"group_wait", "group_interval", "repeat_interval", "resolve_timeout"}

Document = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """What notification-controller's Alertmanager provider sends, once: it never says that it is over."""

    labels: Mapping[str, str]
    at: float
    """Minutes of the story."""


def shipped() -> Document:
    loaded: Document = yaml.safe_load((ALERTMANAGER / "alertmanager.yaml").read_text(encoding="utf-8"))
    return loaded


def on_loopback(document: Document, url: str, speed: float) -> str:
    """The same with every receiver's addresses replaced by ``<url>/<receiver>``, and that many times as fast.

    A receiver without addresses keeps none, and one that prometheus-operator has given a longer name its own.
    """
    fast = _faster(document, speed)
    timeout = {"resolve_timeout": _divided("5m", speed), **fast.get("global", {})}
    receivers = [_redirected(receiver, url) for receiver in fast["receivers"]]
    return yaml.safe_dump({**fast, "global": timeout, "receivers": receivers, "templates": []})


def _redirected(receiver: Document, url: str) -> Document:
    integrations = [one for kind, several in receiver.items() if kind != "name" for one in several]
    if not integrations:
        return {"name": receiver["name"]}
    # As Alertmanager has it by default: true for webhooks and PagerDuty, false for Slack.
    webhook = {
        "url": f"{url}/{receiver['name'].rpartition('/')[2]}",
        "send_resolved": integrations[0].get("send_resolved", True),
    }
    return {"name": receiver["name"], "webhook_configs": [webhook]}


def _faster(value: Any, speed: float) -> Any:
    if isinstance(value, dict):
        return {key: _divided(one, speed) if key in _DURATIONS else _faster(one, speed) for key, one in value.items()}
    return [_faster(one, speed) for one in value] if isinstance(value, list) else value


def _divided(duration: str, speed: float) -> str:
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd])", duration))
    return f"{round(seconds / speed * 1000)}ms"


# prometheus-operator's object


def of_operator(custom: Document, base: Document, *, on_namespace: bool) -> Document:
    """``base`` with an AlertmanagerConfig (v1alpha1) in it. ``on_namespace``: with the operator's default strategy."""
    namespace = custom["metadata"]["namespace"]
    prefix = f"{namespace}/{custom['metadata']['name']}/"
    only = [f'namespace="{namespace}"'] if on_namespace else []
    spec = custom["spec"]
    route = _route(spec["route"], prefix)
    route |= {"matchers": [*route.get("matchers", []), *only], "continue": True}
    inhibitions = [
        {
            "source_matchers": [*map(_matcher, rule["sourceMatch"]), *only],
            "target_matchers": [*map(_matcher, rule["targetMatch"]), *only],
            "equal": rule["equal"],
        }
        for rule in spec["inhibitRules"]
    ]
    receivers = [_snake({**receiver, "name": prefix + receiver["name"]}) for receiver in spec["receivers"]]
    return {
        **base,
        "route": {**base["route"], "routes": [route, *base["route"].get("routes", [])]},
        "inhibit_rules": [*base.get("inhibit_rules", []), *inhibitions],
        "receivers": [*base["receivers"], *receivers],
    }


def _route(route: Document, prefix: str) -> Document:
    made = {_snake_case(key): value for key, value in route.items() if key not in ("matchers", "routes", "receiver")}
    made["receiver"] = prefix + route["receiver"]
    if "matchers" in route:
        made["matchers"] = [_matcher(matcher) for matcher in route["matchers"]]
    if "routes" in route:
        made["routes"] = [_route(one, prefix) for one in route["routes"]]
    return made


def _matcher(matcher: Mapping[str, str]) -> str:
    return f'{matcher["name"]}{matcher["matchType"]}"{matcher["value"]}"'


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake_case(key): _snake(one) for key, one in value.items()}
    return [_snake(one) for one in value] if isinstance(value, list) else value


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda letter: "_" + letter[1].lower(), name)


# Delivery


@dataclass(frozen=True)
class _Step:
    """When an Alertmanager was sent what fires: the story's minute is the number of the step times its length."""

    monotonic: float
    unix: float


@dataclass(frozen=True)
class Told:
    """What was delivered in a story; times are minutes of the story."""

    notifications: Sequence[Notification]
    delivered: Sequence[float]
    """When each was, by the monotonic clock, in seconds."""
    steps: Sequence[_Step]
    speed: float

    def of(self, cluster: str) -> list[Notification]:
        """What was told of a cluster: each notification with the alerts that are of it."""
        return [
            replace(told, firing=_of(told.firing, cluster), resolved=_of(told.resolved, cluster))
            for told in self.notifications
            if _of((*told.firing, *told.resolved), cluster)
        ]

    def waited_minutes(self, number: int, minute: float) -> float:
        """How long Alertmanager's own clock went on from when that minute was sent to it until that notification.

        The story's clock stands still where a busy machine is late, and this one does not.
        """
        began = self.steps[math.ceil(minute / STEP_MINUTES)].monotonic
        return (self.delivered[number] - began) * self.speed / 60


def _of(alerts: Iterable[Mapping[str, str]], cluster: str) -> tuple[Mapping[str, str], ...]:
    return tuple(labels for labels in alerts if labels.get("cluster", "") == cluster)


@dataclass(frozen=True)
class Hearer:
    """One Alertmanager, where it delivers to, and which alerts it is sent."""

    alertmanager: RunningAlertmanager
    deliveries: Deliveries
    alerts: Sequence[Span | Event]


async def tell(hearers: Mapping[str, Hearer], minutes: float, speed: float) -> dict[str, Told]:
    """Send a story's alerts to each Alertmanager, as Prometheus and notification-controller would, as they happen.

    Every half minute Prometheus sends what fires, and for a quarter of an hour what no longer does. On a busy machine
    the story waits, and tells later what happens later: an alert that arrives with a start that is longer ago than
    group_wait is told at once, before Alertmanager knows of what came with it.
    """
    sent: dict[str, list[_Step]] = {name: [] for name in hearers}
    due = time.monotonic()
    for number in range(round(minutes / STEP_MINUTES) + 1):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due = time.monotonic() + STEP_MINUTES * 60 / speed
        for name, hearer in hearers.items():
            steps = sent[name]
            steps.append(_Step(time.monotonic(), time.time()))
            await hearer.alertmanager.post(list(_sent(hearer.alerts, number * STEP_MINUTES, steps, speed)))
    return {
        name: Told(
            [replace(told, at=_minute(told.at, sent[name], speed)) for told in hearer.deliveries.notifications],
            [told.at for told in hearer.deliveries.notifications],
            sent[name],
            speed,
        )
        for name, hearer in hearers.items()
    }


def _minute(monotonic: float, steps: Sequence[_Step], speed: float) -> float:
    number = bisect.bisect_right(steps, monotonic, key=lambda step: step.monotonic) - 1
    return number * STEP_MINUTES + (monotonic - steps[number].monotonic) * speed / 60


def _sent(alerts: Iterable[Span | Event], minute: float, steps: Sequence[_Step], speed: float) -> Iterator[Document]:
    def when(at: float) -> str:
        number = min(math.ceil(at / STEP_MINUTES), len(steps) - 1)
        unix = steps[number].unix + (at - number * STEP_MINUTES) * 60 / speed
        return datetime.datetime.fromtimestamp(unix, datetime.UTC).isoformat(timespec="milliseconds")

    for alert in alerts:
        if isinstance(alert, Event):
            if alert.at <= minute < alert.at + STEP_MINUTES:
                yield {"labels": alert.labels, "startsAt": when(alert.at), "endsAt": "0001-01-01T00:00:00Z"}
        elif alert.start <= minute < alert.end + 15:
            ends = minute + BELIEVED_MINUTES if minute < alert.end else alert.end
            # Each alert has a summary of its own, so that those of a group have none in common.
            summary = {"summary": f"{alert.labels['alertname']} fires"}
            yield {
                "labels": alert.labels,
                "annotations": summary,
                "startsAt": when(alert.start),
                "endsAt": when(ends),
            }
