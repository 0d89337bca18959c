"""The catalogue: every family about Flux that the exporter can serve, and which of them a profile selects.

Those of its own health stand in own_families. The rules, the dashboards and README's metric tables are held against
both by contract tests. It does not know how a family's samples come about (flux.samples) or how they are written
(exposition).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

FamilyType = Literal["gauge", "counter"]


class Profile(enum.IntEnum):
    """How much a user pays for: each profile contains the one before it."""

    MINIMAL = 1
    """What the error and critical rules need: at most 10 series per healthy object."""
    DEFAULT = 2
    FULL = 3
    """With one series per live condition."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family."""

    name: str
    type: FamilyType
    help: str
    """What the metric means for an operator. Unique in the catalogue: kube-state-metrics dropped families that shared
    one, and users lost series (kube-state-metrics#2366)."""
    labels: tuple[str, ...]
    profile: Profile = Profile.MINIMAL


_OBJECT = ("kind", "name", "namespace")

RECONCILE_CONDITION = Family(
    "gotk_reconcile_condition",
    "gauge",
    "Whether the object is well, as it was when its last run ended: 1 for the status that holds, 0 for the others. "
    "Deleted=1 while it terminates. Absent for kinds that nothing reconciles.",
    (*_OBJECT, "type", "status"),
)
SUSPEND_STATUS = Family(
    "gotk_suspend_status",
    "gauge",
    "1 while somebody has suspended the object (spec.suspend, or the annotation that its kind uses), 0 otherwise.",
    _OBJECT,
)
RESOURCE_INFO = Family(
    "gotk_resource_info",
    "gauge",
    "One series per object, always 1, for joins and tables; its ready label is the verdict of gotk_reconcile_condition "
    "and each kind adds the labels that Flux's monitoring example gives it.",
    (
        "customresource_group",
        "customresource_kind",
        "customresource_version",
        "exported_namespace",
        "name",
        "ready",
        "suspended",
    ),
)
OWNER_INFO = Family(
    "gotk_resource_owner_info",
    "gauge",
    "Whose the object is, always 1: with those of the labels named by the setting metrics.ownerLabels that the "
    "Kubernetes object carries. Absent for an object that carries none; without the setting there is no such metric.",
    _OBJECT,
)
"""It has a label more for each that is configured."""
RESOURCE_CONDITION = Family(
    "gotk_resource_condition",
    "gauge",
    "Each condition that the object carries right now, of every type, always 1. It flips during a run: do not alert "
    "on it, look at it.",
    (*_OBJECT, "type", "status", "reason"),
    Profile.FULL,
)
FAILING_SINCE = Family(
    "gotk_resource_failing_since_timestamp_seconds",
    "gauge",
    "When the object's own failure began: the first run that failed after the last one that went well. Retries, new "
    "revisions and other words for it do not move it. Absent while it is well or only waits.",
    _OBJECT,
)
FAILING_SINCE_UNCERTAINTY = Family(
    "gotk_resource_failing_since_uncertainty_seconds",
    "gauge",
    "How much later than its failing-since the failure may have begun: 0 where the exporter saw it begin, more where "
    "it was not there and the object cannot tell. Only the time after that is certain.",
    _OBJECT,
)
FAILURE_INFO = Family(
    "gotk_resource_failure_info",
    "gauge",
    "What kind of failure it is, always 1: its class from a bounded list, the upstream host that it was about, and a "
    "name that all objects share that fail because of the same thing outside of them (empty where it is their own).",
    (*_OBJECT, "reason", "failure_class", "upstream_host", "shared_cause"),
)
FAILING_CHILD_INFO = Family(
    "gotk_resource_failing_child_info",
    "gauge",
    "Which of the objects that it manages its health check waits for in vain, always 1, at most five.",
    (*_OBJECT, "child_kind", "child_name", "child_namespace"),
)
WAITING_SINCE = Family(
    "gotk_resource_waiting_since_timestamp_seconds",
    "gauge",
    "Since when the object does not try, because something that it needs is not there; gotk_resource_blocked says "
    "what.",
    _OBJECT,
)
PROGRESSING_SINCE = Family(
    "gotk_resource_progressing_since_timestamp_seconds",
    "gauge",
    "When the run began that is going on; the object's creation where no controller has ever touched it. Absent "
    "between runs.",
    _OBJECT,
)
BLOCKED = Family(
    "gotk_resource_blocked",
    "gauge",
    "The object waits, or fails, because of that root cause; always 1, at most five per object, and via is how it "
    "hangs from it.",
    (*_OBJECT, "by_kind", "by_name", "by_namespace", "via"),
)
ROOT_CAUSE_INFO = Family(
    "gotk_root_cause_info",
    "gauge",
    "Each object at which a search for the cause ends, always 1: its own failure, or what it is that others wait for "
    "in vain. It may be missing and have no other series (reason NotFound).",
    (*_OBJECT, "reason"),
)
BLOCKED_DEPENDENTS = Family(
    "gotk_resource_blocked_dependents",
    "gauge",
    "How many objects wait or fail because of this root cause.",
    _OBJECT,
)
HELD_BACK = Family(
    "gotk_resource_held_back",
    "gauge",
    "How many objects downstream of this failing one are ready all the same, but can receive nothing new.",
    _OBJECT,
)
AWAITING_RETRY = Family(
    "gotk_resource_awaiting_retry_until_timestamp_seconds",
    "gauge",
    "It fails, but what made it fail is known to be over since its last attempt (cause says what); until this time "
    "that excuses it. A time that has passed means that nothing has tried since.",
    (*_OBJECT, "cause"),
)
LAST_RECONCILE = Family(
    "gotk_resource_last_reconcile_timestamp_seconds",
    "gauge",
    "When a reconcile of the object last ended, as far as the object proves it. Absent for kinds whose objects do not "
    "show it (sources), and while a controller has no reason to write: suspended, stalled, waiting.",
    _OBJECT,
)
REVISION_BEHIND = Family(
    "gotk_resource_revision_behind_since_timestamp_seconds",
    "gauge",
    "Since when the object has applied another revision than its source offers, or since it last applied another one "
    "of them. Absent while both are the same.",
    _OBJECT,
    Profile.DEFAULT,
)
UNSERVED = Family(
    "gotk_resource_unserved",
    "gauge",
    "1 for an object whose sharding label no living controller serves: nobody reconciles it.",
    _OBJECT,
)
CONTROLLER_LEASE_RENEW = Family(
    "gotk_controller_lease_renew_timestamp_seconds",
    "gauge",
    "Heartbeat of a Flux controller: when its leader last renewed its Lease, every five seconds while it lives.",
    ("controller", "namespace"),
)
DEPENDENCY_INFO = Family(
    "gotk_resource_dependency_info",
    "gauge",
    "What the object needs: dependsOn, its source or chart, its image repository, children whose health it waits for, "
    "and the parent that applied it; always 1.",
    (*_OBJECT, "on_kind", "on_name", "on_namespace", "via"),
    Profile.DEFAULT,
)
RESOURCE_INTERVAL = Family(
    "gotk_resource_interval_seconds",
    "gauge",
    "How often the controller reconciles the object when nothing changes; the controller's default where the object is "
    "silent.",
    _OBJECT,
)
RESOURCE_TIMEOUT = Family(
    "gotk_resource_timeout_seconds",
    "gauge",
    "How long one run of the object may take before the controller gives it up; the controller's default where the "
    "object is silent.",
    _OBJECT,
)
RESOURCE_GENERATION_LAG = Family(
    "gotk_resource_generation_lag",
    "gauge",
    "Edits of the object's spec that its controller has not confirmed yet. A failing Kustomization never confirms one, "
    "so this is no proof of work in progress.",
    _OBJECT,
    Profile.DEFAULT,
)
RESOURCE_INVENTORY_ENTRIES = Family(
    "gotk_resource_inventory_entries",
    "gauge",
    "How many objects it manages, from its inventory.",
    _OBJECT,
    Profile.DEFAULT,
)

USUAL_RUN = Family(
    "gotk_resource_usual_run_seconds",
    "gauge",
    "Longest successful run of the object that is known: seen by the exporter, or told by its status.history. Absent "
    "where none is.",
    _OBJECT,
    Profile.DEFAULT,
)
RESOURCE_RETRY_INTERVAL = Family(
    "gotk_resource_retry_interval_seconds",
    "gauge",
    "How long the controller waits after a failed run before it tries again, where the object says so (Kustomization, "
    "Terraform, HelmRelease with RetryOnFailure). A Kustomization that does not is tried again after its interval.",
    _OBJECT,
    Profile.DEFAULT,
)
HEALTH_CHECKED = Family(
    "gotk_resource_health_checked",
    "gauge",
    "0 where the object is ready as soon as it is applied, so that a pod that crashes would never show here; 1 where "
    "its health is waited for.",
    _OBJECT,
    Profile.DEFAULT,
)
VERSION_PINNED = Family(
    "gotk_resource_version_pinned",
    "gauge",
    "1 where the spec names exactly one version, commit or digest; 0 where a range, a branch, a moving tag or nothing "
    "at all decides what is deployed. The label field names the place.",
    (*_OBJECT, "field"),
    Profile.DEFAULT,
)
TARGET_INFO = Family(
    "gotk_resource_target_info",
    "gauge",
    "The object is applied to another cluster, always 1, with the access of this Secret or ConfigMap.",
    (*_OBJECT, "kubeconfig_secret"),
    Profile.DEFAULT,
)
SOURCE_RECEIVERS = Family(
    "gotk_source_receivers",
    "gauge",
    "How many ready Receivers would refresh this source when they are called; 0 means that polling alone finds what is "
    "new.",
    _OBJECT,
    Profile.DEFAULT,
)
SOURCE_REVISION_CHANGES = Family(
    "gotk_source_revision_changes_total",
    "counter",
    "New revisions of a source, by what made its controller look: a Receiver's webhook, somebody's request (manual), "
    "or its interval alone (poll).",
    (*_OBJECT, "trigger"),
    Profile.DEFAULT,
)
IMAGE_AUTOMATION_LAST_RUN = Family(
    "gotk_image_automation_last_run_timestamp_seconds",
    "gauge",
    "When the image automation last ran, whether there was anything to change or not.",
    _OBJECT,
    Profile.DEFAULT,
)
IMAGE_AUTOMATION_LAST_PUSH = Family(
    "gotk_image_automation_last_push_timestamp_seconds",
    "gauge",
    "When the image automation last pushed a commit.",
    _OBJECT,
    Profile.DEFAULT,
)
IMAGE_AUTOMATION_PUSH_FOLLOWED = Family(
    "gotk_image_automation_push_branch_followed",
    "gauge",
    "0 where the image automation pushes to a branch that its GitRepository does not follow, so that somebody has to "
    "merge; 1 where it pushes to the branch that is deployed.",
    _OBJECT,
    Profile.DEFAULT,
)
IMAGE_POLICY_LATEST = Family(
    "gotk_image_automation_latest_tag_info",
    "gauge",
    "The image and tag that the policy has chosen, always 1.",
    (*_OBJECT, "image", "tag"),
    Profile.DEFAULT,
)

OBJECT_FAMILIES: tuple[Family, ...] = (
    RECONCILE_CONDITION,
    SUSPEND_STATUS,
    RESOURCE_INFO,
    OWNER_INFO,
    RESOURCE_CONDITION,
    FAILING_SINCE,
    FAILING_SINCE_UNCERTAINTY,
    FAILURE_INFO,
    FAILING_CHILD_INFO,
    WAITING_SINCE,
    PROGRESSING_SINCE,
    BLOCKED,
    ROOT_CAUSE_INFO,
    BLOCKED_DEPENDENTS,
    HELD_BACK,
    AWAITING_RETRY,
    LAST_RECONCILE,
    UNSERVED,
    CONTROLLER_LEASE_RENEW,
    RESOURCE_INTERVAL,
    RESOURCE_TIMEOUT,
    DEPENDENCY_INFO,
    REVISION_BEHIND,
    USUAL_RUN,
    RESOURCE_GENERATION_LAG,
    RESOURCE_INVENTORY_ENTRIES,
    RESOURCE_RETRY_INTERVAL,
    HEALTH_CHECKED,
    VERSION_PINNED,
    TARGET_INFO,
    SOURCE_RECEIVERS,
    SOURCE_REVISION_CHANGES,
    IMAGE_AUTOMATION_LAST_RUN,
    IMAGE_AUTOMATION_LAST_PUSH,
    IMAGE_AUTOMATION_PUSH_FOLLOWED,
    IMAGE_POLICY_LATEST,
)
"""Families with series per watched object, in the order in which they are served."""


def select(profile: Profile, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> tuple[Family, ...]:
    """The object families to serve.

    ``allow`` and ``deny`` hold family names or shell patterns (``gotk_resource_*``). ``allow``, where given, replaces
    the profile's choice; ``deny`` takes away from whichever choice was made.
    """
    chosen: Iterable[Family] = (family for family in OBJECT_FAMILIES if family.profile <= profile)
    if allow:
        chosen = (family for family in OBJECT_FAMILIES if matches_any(family, allow))
    return tuple(family for family in chosen if not matches_any(family, deny))


def matches_any(family: Family, patterns: Iterable[str]) -> bool:
    """Whether one of the names or shell patterns names this family."""
    return any(fnmatchcase(family.name, pattern) for pattern in patterns)
