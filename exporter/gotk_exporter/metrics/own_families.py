"""The other half of the catalogue: families of the exporter's own health, which every profile serves."""

from __future__ import annotations

from gotk_exporter.metrics.families import Family

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
