"""What pages while an exporter comes and goes as it likes: the rules beside a model of them in a few lines.

Each cluster has an object that fails and heals, a controller that dies and lives, and an exporter that is there, gone,
or has lost its API server, all by chance. promtool is told of forty at once, and says what fires in each minute.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice, repeat
from pathlib import Path

import pytest
import yaml

RULES = Path(__file__).parents[2] / "rules"
FILES = [RULES / "recording/flux.yaml", *(RULES / f"alerts/{topic}.yaml" for topic in ("reconciliation", "progress"))]
GROUPS = ["gotk-exporter-objects", "gotk-exporter-reconciliation", "gotk-exporter-progress"]
PROMTOOL_SECONDS = 240
MINUTES = 240
CLUSTERS = 40
WINDOW, DOWN, KEPT, TOLD_AGAIN, STALE_AFTER, LONG, GRACE = 12, 10, 10, 4, 3, 5, 10
"""Minutes, as README, design and rules have them; of a range of five, Prometheus 3 sees four that are over."""


class Sight(Enum):
    OK = "there"
    GONE = "gone"
    LOST = "without its API server"


@dataclass(frozen=True)
class Cluster:
    """Minute by minute, what is so and what can be seen of it."""

    name: str
    sight: Sequence[Sight]
    fails: Sequence[bool]
    alive: Sequence[bool]

    def __str__(self) -> str:
        def drawn(minutes: Sequence[object]) -> str:
            return " ".join(f"{at}:{value}" for at, value in enumerate(minutes) if at == 0 or minutes[at - 1] != value)

        sight = drawn([sight.value for sight in self.sight])
        return f"{self.name}: exporter {sight}; fails {drawn(self.fails)}; controller lives {drawn(self.alive)}"

    # What is scraped

    def shown_at(self, minute: int) -> int | None:
        """The minute whose truth the page has: an exporter without its API server shows the last that it saw."""
        if self.sight[minute] is Sight.GONE:
            return None
        while self.sight[minute] is not Sight.OK:
            minute -= 1
        return minute

    def lost_for(self, minute: int) -> int:
        return next(back for back in range(minute + 1) if self.sight[minute - back] is not Sight.LOST)

    def stale(self, minute: int) -> bool:
        return self.lost_for(minute) > STALE_AFTER

    def since(self, states: Sequence[bool], state: bool, minute: int) -> int | None:
        """Since when it is so, at that minute, if it is."""
        if states[minute] is not state:
            return None
        while minute and states[minute - 1] is state:
            minute -= 1
        return minute


def made_by(chance: random.Random, name: str) -> Cluster:
    def segments(choices: Sequence[tuple[object, Sequence[int]]]) -> Iterator[object]:
        number = 0
        while True:
            value, lengths = choices[number % len(choices)] if len(choices) == 2 else chance.choice(choices)
            yield from repeat(value, chance.choice(lengths))
            number += 1

    def of_two(first: object, often: Sequence[int], second: object, seldom: Sequence[int]) -> list[object]:
        return list(islice(segments([(first, often), (second, seldom)]), MINUTES))

    sight: list[Sight] = [Sight.OK]
    while len(sight) < MINUTES:
        # An exporter that returns has its API server: what it serves before is no page of that cluster.
        sight += repeat(chance.choice([Sight.GONE, Sight.LOST]), chance.choice([1, 1, 2, 4, 6, 7, 11, 25]))
        sight += repeat(Sight.OK, chance.choice([1, 3, 5, 7, 9, 14, 30, 60]))
    fails = of_two(False, [1, 2, 4, 8, 20, 40], True, [1, 3, 8, 11, 13, 16, 30, 60])
    alive = of_two(True, [1, 5, 20, 60], False, [1, 4, 9, 12, 20, 45])
    return Cluster(name, sight[:MINUTES], [bool(one) for one in fails], [bool(one) for one in alive])


# What is told


def series_of(cluster: Cluster) -> Iterator[dict[str, str]]:
    scraped: dict[str, list[str]] = {
        name: [] for name in ("build", "stale", "synced", "failing", "uncertain", "renewed")
    }
    for minute in range(MINUTES):
        shown = cluster.shown_at(minute)
        since = None if shown is None else cluster.since(cluster.fails, True, shown)
        scraped["build"].append("stale" if shown is None else "1")
        scraped["stale"].append("stale" if shown is None else f"{int(cluster.stale(minute))}")
        scraped["synced"].append("stale" if shown is None else f"{int(not cluster.lost_for(minute))}")
        scraped["failing"].append("stale" if since is None else f"{since * 60}")
        scraped["uncertain"].append("stale" if since is None else "0")
        # Heartbeats that cannot be read are taken away after a minute and a half.
        told = shown is not None and cluster.lost_for(minute) < 2
        scraped["renewed"].append(f"{renewed(cluster, shown) * 60}" if told and shown is not None else "stale")
    of = f'cluster="{cluster.name}",job="e",instance="{cluster.name}"'
    named = f'{of},kind="Kustomization",name="app",namespace="apps"'
    for what, series in (
        ("build", f"gotk_exporter_build_info{{{of}}}"),
        ("stale", f'gotk_exporter_resource_stale{{{of},resource="Kustomization"}}'),
        ("synced", f'gotk_exporter_resource_state{{{of},resource="Kustomization",state="synced"}}'),
        ("failing", f"gotk_resource_failing_since_timestamp_seconds{{{named}}}"),
        ("uncertain", f"gotk_resource_failing_since_uncertainty_seconds{{{named}}}"),
        (
            "renewed",
            f'gotk_controller_lease_renew_timestamp_seconds{{{of},controller="kustomize-controller",namespace="flux"}}',
        ),
    ):
        yield {"series": series, "values": " ".join(scraped[what])}


def renewed(cluster: Cluster, minute: int) -> int:
    """When its Lease was last renewed."""
    since = cluster.since(cluster.alive, False, minute)
    return minute if since is None else since


def fired(promtool: Path, directory: Path, clusters: Sequence[Cluster]) -> dict[tuple[str, str], set[int]]:
    """In which minutes, by alert and cluster."""
    test = {
        "rule_files": [str(path) for path in FILES],
        "evaluation_interval": "1m",
        "group_eval_order": GROUPS,
        "tests": [
            {
                "interval": "1m",
                "input_series": [one for cluster in clusters for one in series_of(cluster)],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname, cluster) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": '{alertname="nothing fires so"}', "value": 1}],
                    }
                    for minute in range(MINUTES)
                ],
            }
        ],
    }
    path = directory / "gaps.yaml"
    path.write_text(yaml.safe_dump(test, width=1_000_000))
    done = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, timeout=PROMTOOL_SECONDS, check=False
    )
    answers = re.findall(r"got:(.*)", done.stdout + done.stderr)
    assert len(answers) == MINUTES, (done.stdout + done.stderr)[:2000]
    found: dict[tuple[str, str], set[int]] = {}
    for minute, answer in enumerate(answers):
        for alert, cluster in re.findall(r'alertname="(\w+)", cluster="(\w+)"', answer):
            found.setdefault((alert, cluster), set()).add(minute)
    return found


# The model


def unseen(cluster: Cluster, minute: int) -> bool:
    return cluster.sight[minute] is Sight.GONE or cluster.stale(minute)


def kept(told: Sequence[bool]) -> list[bool]:
    return [any(told[max(0, minute - KEPT) : minute + 1]) for minute in range(MINUTES)]


def failing(cluster: Cluster) -> list[bool]:
    told: list[bool] = []
    for minute in range(MINUTES):
        if unseen(cluster, minute):
            told.append(bool(told) and told[-1])
            continue
        shown = cluster.shown_at(minute)
        since = None if shown is None else cluster.since(cluster.fails, True, shown)
        again = any(told[-TOLD_AGAIN:])
        told.append(since is not None and (minute - since >= WINDOW or again))
    return kept(told)


def down(cluster: Cluster) -> list[bool]:
    told: list[bool] = []
    silent: list[bool] = []
    long_blind: list[bool] = []
    blind_for = 0
    for minute in range(MINUTES):
        blind_for = blind_for + 1 if unseen(cluster, minute) else 0
        long_blind.append(blind_for > LONG)
        shown = cluster.shown_at(minute)
        readable = shown is not None and cluster.lost_for(minute) < 2
        silent.append(readable and shown is not None and not blind_for and minute - renewed(cluster, shown) > DOWN)
        if blind_for:
            told.append(bool(told) and told[-1])
            continue
        # Seen in an earlier window, and it has not moved since.
        before = any(
            was and renewed(cluster, cluster.shown_at(at) or 0) == renewed(cluster, shown or 0)
            for at, was in enumerate(silent[: max(0, minute - 10)])
            if at > minute - 71
        )
        grace = any(long_blind[max(0, minute - GRACE + 1) :]) and not before and not (told and told[-1])
        told.append(silent[minute] and not grace)
    return kept(told)


@pytest.mark.parametrize("seed", range(3))
def test_an_alert_fires_when_the_model_says_so_give_or_take_a_minute(
    require_peer: Callable[[str], Path], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    clusters = [made_by(chance, f"c{number}") for number in range(CLUSTERS)]
    found = fired(require_peer("promtool-3"), tmp_path, clusters)
    models = {"FluxReconciliationFailing": failing, "FluxControllerDown": down}
    assert {alert for alert, _ in found} == set(models)
    for cluster in clusters:
        for alert, model in models.items():
            expected, got = model(cluster), found.get((alert, cluster.name), set())
            for minute in range(1, MINUTES - 1):
                about = {*expected[minute - 1 : minute + 2]}
                assert len(about) == 2 or expected[minute] is (minute in got), f"{alert} at {minute} of {cluster}"
