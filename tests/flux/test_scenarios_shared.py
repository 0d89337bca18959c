"""One admission webhook that cannot be called fails 120 Kustomizations one by one, and comes back: what a scrape shows.

What is expected is taken from what was written in the simulated fleet, run by run, and not from what the exporter
makes of it. Times are seconds since the story began.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest

from gotk_exporter.flux.failures import FailureClass
from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.fleet import Fleet
from gotk_exporter.simulator.fleet.world import Manifests
from tests.flux.examples import text_of
from tests.flux.scenarios_follower import Exporter, Write, record, shuffled
from tests.simulator.fleets import EPOCH, Stage

MINUTE = 60.0
WINDOW = 12 * MINUTE
LONGEST = 30 * MINUTE

FAILING = "gotk_resource_failing_since_timestamp_seconds"
UNCERTAINTY = "gotk_resource_failing_since_uncertainty_seconds"
AWAITING = "gotk_resource_awaiting_retry_until_timestamp_seconds"
FAILURE = "gotk_resource_failure_info"
USUAL_RUN = "gotk_resource_usual_run_seconds"

# What a scrape shows, and when


_LINE = re.compile(r"(gotk_\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Scrape:
    """Samples by family and Kind/name: the labels, and the value; times are seconds since the story began."""

    at: float
    samples: Mapping[str, Mapping[str, tuple[Mapping[str, str], float]]]

    def values(self, family: str) -> dict[str, float]:
        return {name: value for name, (_, value) in self.samples.get(family, {}).items()}

    def labels(self, family: str, *names: str) -> dict[str, tuple[str, ...]]:
        return {name: tuple(labels[one] for one in names) for name, (labels, _) in self.samples.get(family, {}).items()}

    def excused(self) -> dict[str, float]:
        """Who is awaiting retry now, and until when."""
        return {name: until for name, until in self.values(AWAITING).items() if until > self.at}

    def pages(self) -> set[str]:
        """Who would page: failing for twelve minutes of certain time, and not excused."""
        uncertain, excused = self.values(UNCERTAINTY), self.excused()
        return {
            name
            for name, start in self.values(FAILING).items()
            if self.at - start - uncertain[name] >= WINDOW and name not in excused
        }


def scrape(exporter: Exporter, at: float, *families: str) -> Scrape:
    found: dict[str, dict[str, tuple[Mapping[str, str], float]]] = {}
    for line in text_of(exporter.store).splitlines():
        if not line.startswith(families):
            continue
        match = _LINE.fullmatch(line)
        assert match is not None
        labels, value = dict(_LABEL.findall(match[2])), float(match[3])
        if "_timestamp_" in match[1]:
            value = round(value - EPOCH, 3)
        found.setdefault(match[1], {})[f"{labels['kind']}/{labels['name']}"] = labels, value
    return Scrape(at, found)


ALL = (FAILING, UNCERTAINTY, AWAITING, FAILURE, USUAL_RUN)


def scrapes(
    writes: Sequence[Write],
    begin: float,
    end: float,
    every: float = 15.0,
    exporter: Exporter | None = None,
    told: Callable[[Sequence[Write]], Iterator[tuple[float, Write]]] | None = None,
    families: Sequence[str] = ALL,
) -> Iterator[Scrape]:
    """What is scraped of one that sees what was there at ``begin``, and from then on every write; or, with ``told``,
    all of them in another order."""
    follower = Exporter() if exporter is None else exporter
    before = [write for write in writes if write.at <= begin]
    follower.list(before, begin)
    rest = writes[len(before) :]
    arrivals = list(told(rest)) if told is not None else [(write.at, write) for write in rest]
    number, at = 0, begin
    while at <= end:
        while number < len(arrivals) and arrivals[number][0] <= at:
            follower.receive(arrivals[number][1], arrivals[number][0])
            number += 1
        follower.relations.advance(EPOCH + at)
        yield scrape(follower, at, *families)
        at += every


# The story

COUNT = 120
WEBHOOK, OTHER = "validate.policy.test", "mutate.mesh.test"
CALL = 'Post "https://policy.policy.svc:443/validate?timeout=10s": '
TEXTS = (
    f"{CALL}context deadline exceeded",
    f"{CALL}net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
)
SPREAD = 30.0
"""Seconds between the creation of one and the next: an hour for all of them."""
GONE, BACK = 65 * MINUTE, 126 * MINUTE + 10
AGAIN, ENDED = BACK + 4 * MINUTE, BACK + 6 * MINUTE
"""It goes once more, for two minutes."""
END = BACK + 25 * MINUTE
RETRY = 607.0
"""So that nobody's twelve minutes are over in the second in which another one succeeds."""
QUOTA = (
    'Deployment/apps/quota dry-run failed (Forbidden): deployments.apps "quota" is forbidden: '
    'exceeded quota: compute, requested: cpu=4, used: cpu=38, limited: cpu=40 in namespace "apps"'
)
BUILD = "kustomize build failed: accumulating resources: open /tmp/k/missing.yaml: no such file or directory"
SHARED = (FailureClass.WEBHOOK_UNAVAILABLE.value, f"webhook_unavailable/{WEBHOOK}")
MESHED = (FailureClass.WEBHOOK_UNAVAILABLE.value, f"webhook_unavailable/{OTHER}")
OTHERS = {
    "Kustomization/meshed": MESHED,
    "Kustomization/built": (FailureClass.BUILD.value, ""),
    "Kustomization/quota": (FailureClass.QUOTA.value, "quota/apps"),
}
UNLUCKY = tuple(f"k{number}" for number in range(3, COUNT, 10))
"""When the webhook is back, another one that they need is not."""


def _alternating(fleet: Fleet) -> None:
    """Each seventh minute it is the other text."""
    if WEBHOOK in fleet.world.admissions:
        text = TEXTS[int(fleet.schedule.now // (7 * MINUTE)) % 2]
        steps.block_admission(WEBHOOK, ["Ingress"], text)(fleet)


@functools.cache
def webhook_is_gone() -> list[Write]:
    stage = Stage(jitter=lambda key, interval: interval)
    writes = record(stage.storage, stage.schedule)
    stage.fleet.start()
    tree = {f"./k{number}": Manifests({f"Ingress/apps/k{number}": "1"}) for number in range(COUNT)}
    tree |= {f"./{name}": Manifests({f"Ingress/apps/{name}": "1", f"Secret/apps/{name}": "1"}) for name in UNLUCKY}
    tree |= {
        "./meshed": Manifests({"NetworkPolicy/apps/meshed": "1"}),
        "./built": Manifests(build_error=BUILD),
        "./quota": Manifests({"Deployment/apps/quota": "1"}, rejection=QUOTA),
    }
    stage.repository(tree, interval="1h")
    steps.block_admission(OTHER, ["NetworkPolicy"])(stage.fleet)
    for name in ("meshed", "built", "quota"):
        stage.kustomization(name, interval="1h", retryInterval="10m7s", timeout="5m")
    for number in range(COUNT):
        stage.fleet.at(1 + number * SPREAD, functools.partial(_create, stage, f"k{number}"))
    for at in range(int(GONE) + 30, int(ENDED), 60):
        stage.fleet.at(at, _alternating)
    for start, stop in ((GONE, BACK), (AGAIN, ENDED)):
        stage.fleet.at(start, steps.block_admission(WEBHOOK, ["Ingress"], TEXTS[0]))
        stage.fleet.at(stop, steps.unblock_admission(WEBHOOK))
    stage.fleet.at(BACK, steps.block_admission(OTHER, ["NetworkPolicy", "Secret"]))
    stage.fleet.run(END)
    return writes


def _create(stage: Stage, name: str, fleet: Fleet) -> None:
    stage.kustomization(name, interval="1h", retryInterval="10m7s", timeout="5m")


@dataclass(frozen=True)
class Run:
    """One that has ended, as it was written."""

    began: float
    ended: float
    message: str
    """Why it failed; empty where it did not."""

    @property
    def by_webhook(self) -> bool:
        return f'"{WEBHOOK}"' in self.message


@functools.cache
def runs() -> Mapping[str, Sequence[Run]]:
    """All runs of each Kustomization, by Kind/name."""
    found: dict[str, list[Run]] = {}
    begun: dict[str, float] = {}
    for write in webhook_is_gone():
        ready = _ready(write)
        if ready.get("status") == "Unknown":
            begun.setdefault(write.name, write.at)
        elif ready and write.name in begun:
            message = "" if ready["status"] == "True" else ready["message"]
            found.setdefault(write.name, []).append(Run(begun.pop(write.name), write.at, message))
    return found


def _ready(write: Write) -> dict[str, str]:
    if write.kind != "Kustomization":
        return {}
    conditions = json.loads(write.raw).get("status", {}).get("conditions", ())
    return next((one for one in conditions if one["type"] == "Ready"), {})


def excused_at(at: float) -> dict[str, float]:
    """Whom the definition excuses at this time, and until when at the most: its last run failed by the webhook, and
    began before another one of those succeeded, twelve minutes after its failure's start at the latest; nobody whose
    run began after that success has failed by it since."""
    known = {name: [run for run in all_ if run.ended <= at] for name, all_ in runs().items()}
    fallen = [run for all_ in known.values() for run in all_ if run.by_webhook]
    recovered = sorted(
        run.ended
        for all_ in known.values()
        for before, run in itertools.pairwise(all_)
        if before.by_webhook and not run.message
    )
    ends = [end for end in recovered if not any(run.began > end for run in fallen)]
    found = {}
    for name, all_ in known.items():
        if not all_ or not all_[-1].by_webhook:
            continue
        since = next(run.ended for run, later in _pairs(all_) if all(one.message for one in later))
        first = next((end for end in ends if all_[-1].began < end < since + WINDOW), None)
        if first is not None:
            found[name] = min(first + RETRY, since + WINDOW + LONGEST)
    return found


def _pairs(all_: Sequence[Run]) -> Iterator[tuple[Run, Sequence[Run]]]:
    """Each run, with itself and all after it."""
    for number, run in enumerate(all_):
        yield run, all_[number:]


@functools.cache
def followed() -> list[Scrape]:
    return list(scrapes(webhook_is_gone(), 0.0, END, every=30.0))


def test_they_fail_one_by_one_for_an_hour() -> None:
    counts = [
        len([name for name in scrape.values(FAILING) if name not in OTHERS])
        for scrape in followed()
        if scrape.at > GONE
    ]
    assert max(counts) == COUNT
    until_back = counts[: int((BACK - GONE) / 30)]
    assert until_back == sorted(until_back)
    assert all(after - before <= 2 for before, after in itertools.pairwise(until_back))


def test_all_of_them_have_one_class_and_one_shared_cause_whichever_text_the_timeout_has() -> None:
    said = {run.message.rpartition(CALL)[2] for all_ in runs().values() for run in all_ if run.by_webhook}
    assert {f"{CALL}{text}" for text in said} == set(TEXTS)
    seen = {
        what
        for scrape in followed()
        if scrape.at <= BACK
        for name, what in scrape.labels(FAILURE, "failure_class", "shared_cause", "upstream_host").items()
        if name not in OTHERS
    }
    assert seen == {(*SHARED, "policy.policy.svc")}


def test_other_failures_keep_their_own_class_and_cause() -> None:
    for scrape in followed():
        if scrape.at < MINUTE:
            continue
        what = scrape.labels(FAILURE, "failure_class", "shared_cause")
        assert {name: what[name] for name in OTHERS} == OTHERS
        assert not OTHERS.keys() & scrape.values(AWAITING).keys()


def test_nobody_is_excused_while_the_webhook_is_gone() -> None:
    assert not [scrape.at for scrape in followed() if scrape.at <= BACK and scrape.values(AWAITING)]


def test_when_it_is_back_those_are_excused_that_have_not_tried_and_would_not_have_paged_by_then() -> None:
    seen: set[str] = set()
    for scrape in followed():
        expected = excused_at(scrape.at)
        assert scrape.values(AWAITING).keys() == expected.keys(), scrape.at
        usual = scrape.values(USUAL_RUN)
        for name, until in scrape.values(AWAITING).items():
            # A run of which we know how long it takes, and the fractions of a second of when it was seen.
            assert expected[name] <= until <= expected[name] + usual[name] + 0.1, (scrape.at, name)
            assert scrape.labels(AWAITING, "cause")[name] == ("shared_cause",)
        seen |= expected.keys()
    # The story has enough of both kinds, and each of them has tried again.
    assert 15 <= len(seen) <= COUNT / 3
    assert all(runs()[name][-1].ended > BACK for name in seen)


def test_whoever_is_excused_does_not_page_and_all_others_do_at_their_time() -> None:
    for scrape in followed():
        failing = scrape.values(FAILING)
        overdue = {name for name, since in failing.items() if scrape.at - since >= WINDOW}
        assert scrape.pages() == overdue - {
            name for name, until in scrape.values(AWAITING).items() if until > scrape.at
        }
    before = [scrape for scrape in followed() if scrape.at <= AGAIN]
    excused = {name for scrape in before for name in scrape.excused()}
    paged = {name for scrape in before for name in scrape.pages()}
    assert len(excused) > len(paged & excused) > 0
    # Those that have tried since, and found the other webhook gone.
    assert all(any(run.message and not run.by_webhook for run in runs()[name]) for name in paged & excused)


def test_nobody_is_excused_whose_own_attempt_failed_after_the_return() -> None:
    tried = 0
    for scrape in followed():
        for name, all_ in runs().items():
            last = [run for run in all_ if run.ended <= scrape.at][-1:]
            if last and last[0].began > ENDED and last[0].message:
                tried += name not in OTHERS
                assert name not in scrape.values(AWAITING)
    assert tried
    what = followed()[-1].labels(FAILURE, "failure_class", "shared_cause")
    assert {name: what[name] for name in what if name not in OTHERS} == dict.fromkeys(
        (f"Kustomization/{name}" for name in UNLUCKY), MESHED
    )


def test_that_it_goes_again_takes_the_excuse_until_it_is_back_again() -> None:
    sizes = {scrape.at: len(scrape.values(AWAITING)) for scrape in followed()}
    assert sizes[BACK + 110] > 0
    assert sizes[AGAIN + 80] == 0
    assert sizes[ENDED + 80] > 0


@pytest.mark.parametrize("begin", [GONE + 30 * MINUTE, BACK - 10])
def test_one_that_starts_in_the_middle_excuses_the_same(begin: float) -> None:
    by_time = {scrape.at: scrape for scrape in followed()}
    for scrape in scrapes(webhook_is_gone(), begin, END, every=30.0):
        known, said = by_time[scrape.at].values(AWAITING), scrape.values(AWAITING)
        # It takes the times of the objects, which are whole seconds.
        assert said == pytest.approx(known, abs=3), scrape.at


@pytest.mark.parametrize("seed", range(3))
def test_watches_out_of_step_excuse_the_same_two_seconds_later(seed: int) -> None:
    told = functools.partial(shuffled, seed=seed)
    for scrape in scrapes(webhook_is_gone(), GONE, END, every=30.0, told=told):
        moment = [run for all_ in runs().values() for run in all_ if scrape.at - 2 <= run.ended <= scrape.at]
        if not moment:
            assert scrape.values(AWAITING).keys() == excused_at(scrape.at).keys(), scrape.at
