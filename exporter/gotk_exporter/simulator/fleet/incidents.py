"""What happens to a platform: incidents by name, each a few steps at their times, with what is to be learnt from it.

Times are seconds of the story, from the incident's beginning; the platform's speed divides them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.names import workload
from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.platform import FLUX, OTHER_HOST, PLATFORM_URL, Platform
from gotk_exporter.simulator.fleet.steps import Step
from gotk_exporter.simulator.fleet.world import Manifests

_INGRESS_WEBHOOK = "validate.nginx.ingress.kubernetes.io"


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happens, and passes."""

    name: str
    lesson: str
    """What it shows, in one sentence."""
    cause: Key | None
    """The object that is to blame; None where none is."""
    steps: tuple[tuple[float, Step], ...]


def begin(platform: Platform, incident: Incident, tell: Callable[[str], None] = lambda line: None) -> None:
    """Let it begin now. ``tell`` gets a line for each step that can be seen, as it happens."""
    fleet = platform.fleet
    for after, step in incident.steps:
        fleet.schedule.after(platform.seconds(after), _telling(platform, step, tell))


STORY = (
    (1.0, "failing-root"),
    (3.0, "long-rollout"),
    (6.0, "build-error"),
    (9.0, "source-outage"),
    (12.0, "failing-upgrade"),
    (20.0, "admission-webhook"),
    (30.0, "suspension"),
    (38.0, "deletion"),
    (48.0, "killed-controller"),
)
"""All incidents, each at its minute: those that take long begin early, and the loud ones do not drown the others."""


def begin_story(
    platform: Platform,
    tell: Callable[[str], None] = lambda line: None,
    story: Iterable[tuple[float, str]] = STORY,
) -> None:
    """Let it happen from now on, each incident at its minute; a little more than an hour, at speed 1.

    ``tell`` also gets each incident's name and lesson as it begins.
    """
    found = incidents(platform)
    for minute, name in story:
        platform.fleet.schedule.after(platform.seconds(60 * minute), _beginning(platform, found[name], tell))


def _beginning(platform: Platform, incident: Incident, tell: Callable[[str], None]) -> Callable[[], None]:
    def act() -> None:
        tell(f"── {incident.name}: {incident.lesson}")
        begin(platform, incident, tell)

    return act


def _telling(platform: Platform, step: Step, tell: Callable[[str], None]) -> Callable[[], None]:
    def act() -> None:
        if step.seen:
            tell(step.title)
        step(platform.fleet)

    return act


def _change(platform: Platform, key: Key, message: str, manifests: Callable[[Manifests], Manifests]) -> Step:
    """A commit to what the Kustomization builds, of which a webhook tells Flux."""
    url, path, present = platform.services[key]
    return steps.commit(url, message, {path: manifests(present)}, notify=Key("GitRepository", key.namespace, "deploy"))


def _with(content: str) -> Callable[[Manifests], Manifests]:
    return lambda present: Manifests(dict.fromkeys(present.objects, content))


def _kustomization(namespace: str, name: str) -> Key:
    return Key("Kustomization", namespace, name)


def _failing_root(platform: Platform) -> Incident:
    database = _kustomization("payments", "database")
    id = workload("payments", "database")
    return Incident(
        "failing-root",
        "The root of a chain flips between Unknown and False, and everything behind it waits without a break.",
        database,
        (
            (0, steps.roll_out_in(id, None)),
            (0, _change(platform, database, "payments/database: bump PostgreSQL to 18", _with("postgres:18"))),
            (25 * 60, steps.roll_out_in(id, platform.seconds(15))),
            (25 * 60, _change(platform, database, "Revert 'bump PostgreSQL to 18'", _with("1"))),
        ),
    )


def _build_error(platform: Platform) -> Incident:
    web = _kustomization("catalog", "web")
    error = (
        "kustomize build failed: accumulating resources: accumulation err='accumulating resources from "
        "'ingress-canary.yaml': open /tmp/kustomization/web/ingress-canary.yaml: no such file or directory'"
    )

    def broken(present: Manifests) -> Manifests:
        return Manifests(present.objects, build_error=error)

    return Incident(
        "build-error",
        "A commit that does not build fails in a fraction of a second, at every retry, and leaves no history.",
        web,
        (
            (0, _change(platform, web, "catalog/web: try a canary", broken)),
            (12 * 60, _change(platform, web, "catalog/web: add the missing file", _with("1"))),
        ),
    )


def _admission_webhook(platform: Platform) -> Incident:
    return Incident(
        "admission-webhook",
        "One dead admission webhook fails, one by one, everything that has an Ingress.",
        None,
        (
            (0, steps.block_admission(_INGRESS_WEBHOOK, ["Ingress"], "no endpoints available for service")),
            (15 * 60, steps.unblock_admission(_INGRESS_WEBHOOK)),
        ),
    )


def _long_rollout(platform: Platform) -> Incident:
    cache = _kustomization("checkout", "cache")
    id = workload("checkout", "cache")
    return Incident(
        "long-rollout",
        "Unknown for four minutes, and nothing is wrong.",
        None,
        (
            (0, steps.roll_out_in(id, platform.seconds(4 * 60))),
            (0, _change(platform, cache, "checkout/cache: fill before serving", _with("2"))),
            (10 * 60, steps.roll_out_in(id, platform.seconds(15))),
        ),
    )


def _source_outage(platform: Platform) -> Incident:
    return Incident(
        "source-outage",
        "A Git host is gone; what comes from there stays as it is, and comes back minutes after the host does.",
        Key("GitRepository", "catalog", "deploy"),
        ((0, steps.refuse(OTHER_HOST)), (14 * 60, steps.restore(OTHER_HOST))),
    )


def _suspension(platform: Platform) -> Incident:
    key = _kustomization("catalog", "api")
    return Incident(
        "suspension",
        "Suspended by hand: its dependents live on, until a commit makes them wait for it.",
        key,
        (
            (0, steps.suspend(key)),
            (3 * 60, _change(platform, _kustomization("catalog", "web"), "catalog/web: new banner", _with("3"))),
            (15 * 60, steps.resume(key)),
        ),
    )


def _deletion(platform: Platform) -> Incident:
    key = _kustomization("monitoring", "old-dashboards")

    def without(fleet_url: str) -> Manifests:
        upstream = platform.fleet.world.upstreams[fleet_url]
        present = upstream.trees[upstream.head]["./clusters/production"]
        return Manifests({id: content for id, content in present.objects.items() if id != str(key)})

    removal = steps.commit(
        PLATFORM_URL,
        "Remove the old dashboards",
        {"./clusters/production": without(PLATFORM_URL)},
        notify=Key("GitRepository", FLUX, FLUX),
    )
    audit = "audit.acme.example/export"
    hold = Step(
        f"{key} carries the finalizer {audit}",
        lambda fleet: fleet.edit(key, {"metadata": {"finalizers": ["finalizers.fluxcd.io", audit]}}),
    )
    return Incident(
        "deletion",
        "Pruned, and held by somebody else's finalizer: it terminates for minutes with its last status.",
        key,
        ((0, hold), (30, removal), (8 * 60, steps.remove_finalizer(key, audit))),
    )


def _killed_controller(platform: Platform) -> Incident:
    key = _kustomization("identity", "api")
    id = workload("identity", "api")
    return Incident(
        "killed-controller",
        "kustomize-controller dies in the middle of a run: Unknown stays, the Lease is no longer renewed.",
        key,
        (
            (0, steps.roll_out_in(id, platform.seconds(2 * 60))),
            (0, _change(platform, key, "identity/api: rotate keys", _with("2"))),
            (60, steps.kill("kustomize-controller")),
            # Longer than the ten minutes after which a Lease that is not renewed is told.
            (14 * 60, steps.restart("kustomize-controller")),
            (18 * 60, steps.roll_out_in(id, platform.seconds(15))),
        ),
    )


def _failing_upgrade(platform: Platform) -> Incident:
    key = Key("HelmRelease", "edge", "external-dns")
    id = "Deployment/edge/external-dns"
    return Incident(
        "failing-upgrade",
        "A Helm upgrade fails, is rolled back and retried until it stalls; then it is silent.",
        key,
        (
            (0, steps.roll_out_in(id, None)),
            (
                0,
                steps.edit(key, {"values": {"replicas": 2, "provider": "clouddns"}}, "edge/external-dns: new provider"),
            ),
            (30 * 60, steps.roll_out_in(id, platform.seconds(15))),
            (
                30 * 60,
                steps.edit(key, {"values": {"replicas": 3, "provider": None}}, "edge/external-dns: old provider"),
            ),
        ),
    )


_MAKERS = (
    _failing_root,
    _build_error,
    _long_rollout,
    _admission_webhook,
    _source_outage,
    _suspension,
    _deletion,
    _killed_controller,
    _failing_upgrade,
)


def incidents(platform: Platform) -> Mapping[str, Incident]:
    """All that can happen, by name, in an order in which they can be told."""
    made = [make(platform) for make in _MAKERS]
    return {incident.name: incident for incident in made}
