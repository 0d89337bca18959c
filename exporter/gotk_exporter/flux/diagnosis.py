"""What is known of a failure beyond its reason: of what kind it is, and which children a health check waits for.

Found at the end of a failed run, and kept until the next one ends: while that runs, the message is gone. How a message
is read stands in failures and in references.
"""

from __future__ import annotations

from dataclasses import dataclass

from gotk_exporter.flux.evidence import REMEDIES, condition_of
from gotk_exporter.flux.failures import Failure, at_host, classify, host_of, steady
from gotk_exporter.flux.objects import Condition, FluxObject, Inventory
from gotk_exporter.flux.readiness import case_of
from gotk_exporter.flux.references import Key, awaited_names, managed_object
from gotk_exporter.flux.rows import Kind, Meaning
from gotk_exporter.flux.verdicts import Verdict

MAX_CHILDREN = 5
"""Children that are named of one failing object."""

_MEMORIES = (("FetchFailed", "True"), ("Released", "False"), ("Healthy", "False"))
"""Conditions that keep the words of a failure while the next run goes on, and the status with which they do."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    failure: Failure
    children: tuple[Key, ...] = ()
    """What its health check waits for, of any kind, as far as its own inventory has it."""


def diagnose(kind: Kind, obj: FluxObject, verdict: Verdict | None, before: Diagnosis | None) -> Diagnosis | None:
    """What is known after this write; None where no failure has begun that is not over."""
    if verdict is None or verdict.failure is None:
        return None
    said = _words(kind, obj)
    if said is None and before is not None:
        return before
    said = said or _remembered(obj) or Condition("", "", verdict.reason)
    failure = _at_its_source(classify(kind.name, said.reason, said.message), obj)
    return Diagnosis(steady(before.failure if before is not None else None, failure), _children(obj, said.message))


def _words(kind: Kind, obj: FluxObject) -> Condition | None:
    """The condition that says in this write why a run has failed."""
    ready, case = condition_of(obj, kind.condition), case_of(kind, obj)
    if ready is None or ready.status != "False" or (case is not None and case.meaning is not Meaning.FAILS):
        return None
    # That the old release is back is not what went wrong.
    return (_remembered(obj) or ready) if ready.reason in REMEDIES else ready


def _remembered(obj: FluxObject) -> Condition | None:
    for name, status in _MEMORIES:
        condition = condition_of(obj, name)
        if condition is not None and condition.status == status:
            return condition
    return None


def _at_its_source(failure: Failure, obj: FluxObject) -> Failure:
    """A source's own address is what was called, where the message has a bare IP address or nothing."""
    address = obj.spec.url or obj.spec.endpoint
    return at_host(failure, host_of(address)) if address else failure


def _children(obj: FluxObject, message: str) -> tuple[Key, ...]:
    inventory = obj.status.inventory
    names = awaited_names(message)
    if not names or not isinstance(inventory, Inventory):
        return ()
    managed = {managed_object(entry.id) for entry in inventory.entries or ()}
    # A manifest may give a namespace to what has none, and then the message has it too.
    return tuple(key for key in names if key in managed or key._replace(namespace="") in managed)[:MAX_CHILDREN]
