"""Incidents as Alertmanager sees them: the alerts of this pack, and the events of notification-controller, over time.

The alerts of the two biggest are what promtool made of the exporter's series; the others are written down here. Each
incident has a cluster of its own. Owns no configuration of Alertmanager and judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from tests.flux.clusters import MINUTE
from tests.flux.test_scenarios_shared import END, GONE, WEBHOOK, webhook_is_gone
from tests.rules.routing import ALERTMANAGER, Event
from tests.rules.stories import Span, followed, root_with_forty_dependents, spans
from tests.simulator.fleets import EPOCH

WEBHOOK_CAUSE = f"webhook_unavailable/{WEBHOOK}"
HOST_CAUSE = "unreachable/git.example"
CLUSTERS = 30
EVENT_LABELS = {"reportingcontroller": "kustomize-controller", "reason": "HealthCheckFailed", "revision": "main@sha1:1"}

APP = {"name": "app", "namespace": "apps"}

Alerts = list[Span | Event]


def of(cluster: str, alerts: Sequence[Span | Event]) -> Alerts:
    return [replace(alert, labels={**alert.labels, "cluster": cluster}) for alert in alerts]


def alert(alertname: str, start: float, end: float, severity: str = "error", /, **labels: str) -> Span:
    return Span({"alertname": alertname, "severity": severity, **labels}, start, end)


def fails(name: str, start: float, end: float, kind: str = "Kustomization", /, **labels: str) -> Span:
    which = "FluxReconciliationFailing" if kind in ("Kustomization", "HelmRelease") else "FluxSourceFailing"
    return alert(which, start, end, kind=kind, name=name, namespace="apps", **labels)


def event(name: str, at: float, severity: str = "error", reason: str = "Healthcheckfailed") -> Event:
    """As notification-controller labels it; it does not know its cluster."""
    of_object = {"kind": "Kustomization", "name": name, "namespace": "apps"}
    return Event({**EVENT_LABELS, **of_object, "alertname": f"FluxKustomization{reason}", "severity": severity}, at)


# The stories


def incident(promtool: Path, directory: Path) -> Alerts:
    """The alert of a root with forty dependents, and every event that notification-controller sends meanwhile."""
    told = of("root", root_with_forty_dependents().spans(promtool, directory))
    events: Alerts = [event("root", at) for at in range(7, 58, 8)]
    waiting = [event(f"leaf{number}", at, "info", "Dependencynotready") for number in range(40) for at in (3, 23, 43)]
    return [*told, *events, *waiting]


def webhook(promtool: Path, directory: Path) -> Alerts:
    begin = GONE - 5 * MINUTE
    return of("webhook", [*spans(promtool, directory, followed(webhook_is_gone(), begin, END), EPOCH + begin)])


def git_host() -> Iterator[Span]:
    """Thirty clusters feel an outage within ten minutes, each with a few sources."""
    for number in range(CLUSTERS):
        start, cluster = 10 + number / 3, f"edge{number:02}"
        yield alert("FluxSharedFailure", start, 60, cluster=cluster, shared_cause=HOST_CAUSE)
        for source in range(4):
            of_source = {"cluster": cluster, "shared_cause": HOST_CAUSE}
            yield fails(f"repo{source}", start + 2 + source, 50 + source, "GitRepository", **of_source)


def one_of_each() -> Iterator[Span]:
    """Every alert that is shipped, each in its own cluster."""
    for path in sorted((ALERTMANAGER.parent / "alerts").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                labels = {
                    "kind": "Kustomization",
                    "name": "app",
                    "namespace": "apps",
                    "cluster": f"only-{rule['alert']}",
                }
                yield alert(rule["alert"], 1, 90, rule["labels"]["severity"], **labels)


def gone_exporter() -> Alerts:
    """It is away from minute 20 to 40. What fired is held by its rule, whether it is well again meanwhile or not."""
    absent = alert("FluxMonitoringAbsent", 30, 50, "critical")
    healed = [fails("healed", 12, 50), fails("healed", 75, 90)]
    return of("blind", [fails("app", 12, 65), *healed, absent])


def alone_then_shared() -> Alerts:
    """One fails alone, and is told; then others for the same reason. It is well before they are, and fails again."""
    shared = alert("FluxSharedFailure", 25, 60, shared_cause=WEBHOOK_CAUSE)
    members = [fails(f"m{number}", 27, 58, shared_cause=WEBHOOK_CAUSE) for number in range(3)]
    return of("joined", [fails("first", 12, 40), shared, *members, fails("first", 70, 90)])


def left_behind() -> Alerts:
    """The Lease of a shard that was removed, and what happens while it is told."""
    return of(
        "leftover",
        [
            alert("FluxControllerDown", 10, 95, "critical", controller="kustomize-controller-5d8f7c"),
            alert("FluxReconciliationStopped", 50, 80, kind="Kustomization", **APP),
            alert("FluxControllerDown", 60, 85, "critical", controller="source-controller"),
        ],
    )


def local_hosts() -> Alerts:
    """Two clusters that each lost a Git server of their own, of the same name, and one with a credential."""
    cause, auth = "unreachable/gitea.gitea.svc", "auth/git.example"
    return [
        *of("local-a", [alert("FluxSharedFailure", 10, 60, shared_cause=cause)]),
        *of("local-b", [alert("FluxSharedFailure", 30, 70, shared_cause=cause)]),
        *of("expired", [alert("FluxSharedFailure", 30, 70, shared_cause=auth)]),
    ]


def pruned() -> Alerts:
    """A Kustomization that has lost most of what it had, and with it the cluster."""
    lost = alert("FluxMassDeletion", 5, 25, kind="Kustomization", **APP)
    return of("pruned", [alert("FluxMassDeletion", 5, 25), lost])


def one_cluster() -> Alerts:
    """Prometheus has no name for the only cluster, the Alert in Flux has."""
    told = event("unnamed", 20)
    return [fails("unnamed", 12, 60), replace(told, labels={**told.labels, "cluster": "prod"})]


def gone_controller() -> Alerts:
    """One had stopped before; many are late because of it."""
    gone = alert("FluxControllerDown", 10, 60, "critical", controller="kustomize-controller")
    release = alert("FluxReconciliationStopped", 30, 60, kind="HelmRelease", **APP)
    late = [
        alert("FluxRevisionBehind", 30, 60, "info", kind="Kustomization", name=f"k{number}", namespace="apps")
        for number in range(50)
    ]
    return of("stuck", [gone, release, *late])


def forged_signature() -> Alerts:
    forged = alert("FluxVerificationFailing", 1, 60, "critical", kind="OCIRepository", **APP)
    return of("forged", [forged, alert("FluxSourceFailing", 12, 60, kind="OCIRepository", **APP)])


def owned() -> Alerts:
    return of("owned", [fails("theirs", 12, 60, team="example-team"), fails("ours", 12, 60, team="nobody-routes-this")])


def copied_rules() -> Alerts:
    source = alert("GitRepositoryFailing", 15, 60, kind="GitRepository", name="repo", exported_namespace="apps")
    users = [
        alert("KustomizationFailing", 15.5, 60, kind="Kustomization", name=f"k{number}", exported_namespace="apps")
        for number in range(20)
    ]
    return of("copied", [source, *users])


def information() -> Alerts:
    return of("informs", [alert("FluxRunSlow", 20 + at, 60, "info", name=f"r{at}", namespace="web") for at in range(9)])


def foreign_events() -> Alerts:
    """Of objects that no alert of ours is about: of one that is well again, and of one that goes on failing."""
    return [event("passes", 1), *(event("foreign", at) for at in range(1, 60, 4))]


def all_others(promtool: Path, directory: Path) -> Alerts:
    return [
        *webhook(promtool, directory),
        *git_host(),
        *one_of_each(),
        *gone_exporter(),
        *alone_then_shared(),
        *left_behind(),
        *local_hosts(),
        *pruned(),
        *one_cluster(),
        *gone_controller(),
        *forged_signature(),
        *owned(),
        *copied_rules(),
        *information(),
        *foreign_events(),
    ]


def info_inhibitor(alerts: Sequence[Span | Event]) -> Alerts:
    """What kube-prometheus-stack's rule makes of info alerts: one for each of their namespaces, while they fire."""
    return [
        alert("InfoInhibitor", one.start, one.end, "none", **{k: v for k, v in one.labels.items() if k == "namespace"})
        for one in alerts
        if isinstance(one, Span) and one.labels["severity"] == "info"
    ]
