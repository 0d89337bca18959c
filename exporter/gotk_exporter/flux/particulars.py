"""What an explanation tells of one object beside its state and causes: how it fails, what excuses it, how fresh it is.

Values that go over the wire as they are: field names are a contract, times are Unix seconds. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gotk_exporter.flux.diagnosis import Diagnosis
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.relation_samples import NO_FACTS, Facts
from gotk_exporter.flux.risks import NO_RISKS, Risks
from gotk_exporter.flux.runs import UNKNOWN, Runs


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Fields without a default are there in every answer; those that a later version adds must have one."""


class Named(msgspec.Struct, frozen=True):
    kind: str
    namespace: str
    name: str


def named(key: Key) -> Named:
    return Named(key.kind, key.namespace, key.name)


class Failed(Part, frozen=True):
    """What kind of failure it is."""

    failure_class: str
    upstream_host: str
    shared_cause: str
    children: list[Named]
    """What its health check waits for; of any kind."""


class AwaitingRetry(Part, frozen=True):
    """What made it fail is over, and it has not tried since."""

    cause: str
    ended_at: float
    until: float
    """From then on that is no excuse any more."""


class Freshness(Part, frozen=True):
    """None where nothing tells, or where it is nothing of this object's kind."""

    last_reconcile: float | None
    usual_run_seconds: float | None
    revision_behind_since: float | None
    receivers: int | None
    unserved: bool
    touched: bool = True
    """Whether a controller has ever said anything about it."""


class Risk(Part, frozen=True):
    """Facts about its specification."""

    unpinned: str
    """The field that decides what is deployed, where it does not name one version; else empty."""
    health_unchecked: bool
    kubeconfig: str | None
    """Of the other cluster that it is applied to."""
    push_followed: bool | None
    """Of an image automation: whether its source follows the branch that it pushes to."""


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of one object, in the words of those who know it."""

    diagnosis: Diagnosis | None = None
    runs: Runs = UNKNOWN
    risks: Risks = NO_RISKS
    facts: Facts = NO_FACTS
    touched: bool = True


def failed_of(details: Details) -> Failed | None:
    """None where it does not fail."""
    diagnosis = details.diagnosis
    if diagnosis is None:
        return None
    failure = diagnosis.failure
    return Failed(
        failure_class=failure.failure_class.value,
        upstream_host=failure.upstream_host,
        shared_cause=failure.shared_cause,
        children=[named(child) for child in diagnosis.children],
    )


def awaiting_of(details: Details) -> AwaitingRetry | None:
    """None where nothing excuses it."""
    awaiting = details.facts.awaiting
    if awaiting is None:
        return None
    return AwaitingRetry(cause=awaiting.cause.value, ended_at=awaiting.ended_at, until=awaiting.until)


def freshness_of(details: Details) -> Freshness:
    """What tells whether its controller still looks at it."""
    facts, runs = details.facts, details.runs
    return Freshness(
        last_reconcile=runs.ended_at,
        usual_run_seconds=runs.longest_seconds,
        revision_behind_since=facts.behind_since,
        receivers=facts.receivers,
        unserved=facts.unserved,
        touched=details.touched,
    )


def risk_of(details: Details) -> Risk:
    """What may go wrong without anything failing."""
    risks = details.risks
    return Risk(
        unpinned=risks.unpinned,
        health_unchecked=risks.unchecked,
        kubeconfig=risks.kubeconfig,
        push_followed=details.facts.push_followed,
    )
