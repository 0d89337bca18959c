"""What a row of the table of kinds can say: the words, not the table (kinds)."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


class Reconciled(enum.Enum):
    """Whether a controller judges objects of the kind, and so whether they have a verdict."""

    ALWAYS = "always"
    IF_CONDITIONS = "if it carries conditions"
    """Kinds that lost their reconciler (Alert and Provider, in Flux 2.2) or whose conditions are a courtesy (the
    producer of an ExternalArtifact): without conditions they would be Unknown for ever."""
    UNLESS_OCI = "unless it is of type oci and carries no conditions"
    """HelmRepository: those of type oci lost their reconciler in Flux 2.2, and their status was emptied."""
    NEVER = "never"


class Past(enum.Enum):
    """Where objects of the kind keep what became of them before (flux.evidence reads it)."""

    NONE = "only in their conditions"
    RUNS = "status.history, an entry for each result of a run"
    RELEASES = "the condition Released, and status.history with an entry for each release"
    FETCHES = "the condition FetchFailed, and status.artifact"


class Via(enum.Enum):
    """What one object has to do with another: the label via."""

    DEPENDS_ON = "dependsOn"
    SOURCE_REF = "sourceRef"
    CHART_REF = "chartRef"
    IMAGE = "image"
    HEALTH = "health"
    PARENT = "parent"


class Meaning(enum.Enum):
    """What a controller means by taking Ready away."""

    WAITS = "what the object needs is not there, and it has not tried itself"
    RESTS = "nothing about success: a run was cut short, or waits for an approval; the verdict stays what it was"
    RUNS = "a run goes on"
    WELL = "the last run ended well"
    FAILS = "its own run failed"


@dataclass(frozen=True, slots=True)
class Case:
    """A reason of the verdict's condition, while that is not True, and what it means."""

    reason: str
    meaning: Meaning
    via: Via | None = None
    """What it waits for."""
    text: str = ""
    """A pattern that the message must hold, where the reason alone does not tell."""
    retrying: bool | None = None
    """Whether Reconciling=True/ProgressingWithRetry, which is set after a failed run, must stand beside it."""

    def fits(self, reason: str, message: str, retrying: bool) -> bool:
        if reason != self.reason or (self.retrying is not None and retrying is not self.retrying):
            return False
        return not self.text or re.search(self.text, message) is not None


@dataclass(frozen=True, slots=True)
class Refers:
    """Where a kind names other objects: one reference, or a list of them."""

    via: Via
    path: str
    kind: str = ""
    """Of what it names, where the reference does not say."""
    own_namespace: bool = True
    """Whether a reference without a namespace means the object's own."""


@dataclass(frozen=True, slots=True)
class Period:
    """Where a kind states a duration, and what its controller does where it is silent."""

    path: str | None = None
    annotation: str | None = None
    default_seconds: float | None = None
    interval_minus_seconds: float | None = None
    """Where silent: the interval less this much."""
    minimum_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One row."""

    group: str
    name: str
    plural: str
    reconciled: Reconciled = Reconciled.ALWAYS
    condition: str = "Ready"
    """The condition that the verdict follows."""
    suspend_path: str | None = "spec.suspend"
    suspend_annotation: str | None = None
    """Suspended while the annotation has the value "disabled", in any case of letters."""
    interval: Period | None = Period("spec.interval")
    timeout: Period | None = None
    retry: Period | None = None
    """How long its controller waits after a failed run; None where it backs off, for longer after each failure."""
    reconciled_path: str | None = None
    """Where the object says when it was last reconciled, written by every run."""
    written_by_runs: bool = False
    """Every run writes the status, also one that changes nothing, so that the time of the last write tells."""
    info: Mapping[str, str] = field(default_factory=dict)
    """Labels of gotk_resource_info beyond the common ones: name to path, or to paths in order of preference."""
    cases: tuple[Case, ...] = ()
    """Reasons that are not simply the failure of a run; the first that fits. A reason without a case means what the
    condition's status says: False that it failed, Unknown that it runs."""
    phases: Mapping[str, Meaning] = field(default_factory=dict)
    """For a kind whose status.phase says more than its condition."""
    refers: tuple[Refers, ...] = ()
    past: Past = Past.NONE
    success_path: str | None = None
    """Where the object says when it last succeeded, written at no other time."""

    @property
    def resource(self) -> str:
        """As RBAC and kubectl spell it: plural.group."""
        return f"{self.plural}.{self.group}"
