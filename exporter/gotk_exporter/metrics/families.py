"""The catalogue: every family that the exporter can serve, and which of them a profile selects.

README's metric table, the rules and the dashboards are held against this file by contract tests. It does not know how
a family's samples come about (flux.samples) or how they are written (exposition).
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
    Profile.DEFAULT,
)
RESOURCE_TIMEOUT = Family(
    "gotk_resource_timeout_seconds",
    "gauge",
    "How long one run of the object may take before the controller gives it up; the controller's default where the "
    "object is silent.",
    _OBJECT,
    Profile.DEFAULT,
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

OBJECT_FAMILIES: tuple[Family, ...] = (
    RECONCILE_CONDITION,
    SUSPEND_STATUS,
    RESOURCE_INFO,
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
    DEPENDENCY_INFO,
    RESOURCE_INTERVAL,
    RESOURCE_TIMEOUT,
    RESOURCE_GENERATION_LAG,
    RESOURCE_INVENTORY_ENTRIES,
)
"""Families with series per watched object, in the order in which they are served."""

_RESOURCE = ("resource", "watched_namespace")

BUILD_INFO = Family(
    "gotk_exporter_build_info", "gauge", "The exporter's version, always 1.", ("version", "python_version")
)
RESOURCE_STATE = Family(
    "gotk_exporter_resource_state",
    "gauge",
    "1 for the state in which following this kind is: syncing (not listed yet), synced, unreachable (requests fail) or "
    "relisting (the API server forgot our place), both served from memory, forbidden (RBAC), absent (the cluster has "
    "no such kind).",
    (*_RESOURCE, "state"),
)
RESOURCE_OBJECTS = Family(
    "gotk_exporter_resource_objects", "gauge", "Objects of this kind that the exporter holds.", _RESOURCE
)
RESOURCE_LAST_CONTACT = Family(
    "gotk_exporter_resource_last_contact_timestamp_seconds",
    "gauge",
    "When the API server last sent anything about this kind (a page, an event, a bookmark, the start of a watch): what "
    "is served cannot be newer than that.",
    _RESOURCE,
)
RESOURCE_STALE = Family(
    "gotk_exporter_resource_stale",
    "gauge",
    "1 while what is served of this kind may be out of date: for more than 180 s no complete listing and no watch has "
    "confirmed it, and it stays served as it was last known. 0 otherwise, also before the first listing.",
    _RESOURCE,
)
LISTS = Family(
    "gotk_exporter_lists_total",
    "counter",
    "Complete listings of this kind; one at the start, more only after the API server forgot our place (410) or "
    "refused a watch, or the kind's version changed.",
    _RESOURCE,
)
WATCHES = Family("gotk_exporter_watches_total", "counter", "Watches of this kind that were opened.", _RESOURCE)
WATCH_EVENTS = Family(
    "gotk_exporter_watch_events_total", "counter", "Watch events received, by type.", (*_RESOURCE, "type")
)
API_REQUESTS = Family(
    "gotk_exporter_api_requests_total",
    "counter",
    "Requests to the API server, by the HTTP status that it gave, or by the reason why none came.",
    ("verb", "resource", "outcome"),
)
DECODE_FAILURES = Family(
    "gotk_exporter_decode_failures_total",
    "counter",
    "Fields of objects that could not be read and were left out; the log names each object once.",
    ("resource", "field"),
)
DISCOVERY_LAST_SUCCESS = Family(
    "gotk_exporter_discovery_last_success_timestamp_seconds",
    "gauge",
    "When the API server last said which kinds it serves.",
    (),
)
DISCOVERY_FAILURES = Family(
    "gotk_exporter_discovery_failures_total",
    "counter",
    "Attempts to learn which kinds the API server serves that failed, wholly or for one group.",
    (),
)
CREDENTIALS_LOADS = Family(
    "gotk_exporter_credentials_loads_total",
    "counter",
    "Times that the credentials for the API server were read anew, by result (changed, unchanged, failed).",
    ("result",),
)
CHECKPOINT_LAST_SUCCESS = Family(
    "gotk_exporter_checkpoint_last_success_timestamp_seconds",
    "gauge",
    "When the checkpoint (what a restart would forget) was last found up to date or written; 0 where none is kept.",
    (),
)
CHECKPOINT_OBJECTS = Family(
    "gotk_exporter_checkpoint_objects", "gauge", "Objects in the checkpoint: those that are not plainly well.", ()
)
CHECKPOINT_LEFT_OUT = Family(
    "gotk_exporter_checkpoint_left_out_objects",
    "gauge",
    "Objects that found no room in the checkpoint; after a restart their failures may have an uncertain beginning.",
    (),
)
CHECKPOINT_FAILURES = Family(
    "gotk_exporter_checkpoint_failures_total",
    "counter",
    "Attempts to read or write the checkpoint that failed.",
    (),
)
SCRAPE_RENDER = Family(
    "gotk_exporter_scrape_render_seconds", "gauge", "How long it took to prepare the body of the previous scrape.", ()
)
SCRAPE_BODY = Family(
    "gotk_exporter_scrape_body_bytes",
    "gauge",
    "Size of the previous scrape's body as it was sent, after compression.",
    (),
)

EXPORTER_FAMILIES: tuple[Family, ...] = (
    BUILD_INFO,
    RESOURCE_STATE,
    RESOURCE_OBJECTS,
    RESOURCE_LAST_CONTACT,
    RESOURCE_STALE,
    LISTS,
    WATCHES,
    WATCH_EVENTS,
    API_REQUESTS,
    DECODE_FAILURES,
    DISCOVERY_LAST_SUCCESS,
    DISCOVERY_FAILURES,
    CREDENTIALS_LOADS,
    CHECKPOINT_LAST_SUCCESS,
    CHECKPOINT_OBJECTS,
    CHECKPOINT_LEFT_OUT,
    CHECKPOINT_FAILURES,
    SCRAPE_RENDER,
    SCRAPE_BODY,
)
"""The exporter's own health: always served, whatever the profile."""


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
