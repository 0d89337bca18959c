"""A platform to look at: teams with their repositories, chains of Kustomizations, Helm releases, and what goes with it.

All of it is well from the start, but for one suspended object; incidents.py says what can happen to it. Durations are
those of production (interval 10m, retry 2m, timeout 5m), divided by the speed also in the objects, so that whoever
reads them there is as fast as the fleet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.fleet import names
from gotk_exporter.simulator.fleet.cluster import Flags
from gotk_exporter.simulator.fleet.fleet import Fleet
from gotk_exporter.simulator.fleet.objects import Json, Key, api_version, duration, key_of, timestamp
from gotk_exporter.simulator.fleet.schedule import Schedule
from gotk_exporter.simulator.fleet.stored import StoredObjects
from gotk_exporter.simulator.fleet.world import Manifests
from gotk_exporter.simulator.storage import Storage

FLUX = "flux-system"
PLATFORM_URL = "https://github.com/acme/platform"
OTHER_HOST = "gitlab.acme.example"
"""Where every third team has its repository."""

SMALLEST = 35
"""Kustomizations below which the incidents would not find what they are about: six teams with five services each."""
_FEWEST_TEAMS = 6

_MINUTE = 60.0
SETTLED_MINUTES = 40.0
"""After which every object has had three or four intervals."""


@dataclass
class Platform:
    """What was built, and what in it is called what."""

    fleet: Fleet
    speed: float
    keys: list[Key] = field(default_factory=list)
    """All objects, in the order in which they came."""
    services: dict[Key, tuple[str, str, Manifests]] = field(default_factory=dict)
    """Of teams' Kustomizations: repository, path, and what is there."""

    def seconds(self, story: float) -> float:
        """What ``story`` seconds are at this speed."""
        return story / self.speed

    def duration(self, story: float) -> str:
        return duration(self.seconds(story))


def repository_url(team: str) -> str:
    host = OTHER_HOST if names.TEAMS.index(team.partition("-")[0]) % 3 == 2 else "github.com/acme"
    return f"https://{host}/{team}-deploy"


def build_fleet(
    fleet: Fleet, kustomizations: int = 60, *, speed: float = 1.0, inventory: int = 6, spread: bool = True
) -> Platform:
    """Build a platform with that many Kustomizations; everything else grows with them.

    ``inventory``: objects that each Kustomization of a team applies. ``spread``: objects come one by one over ten
    minutes (of the story), as if each were made on a day of its own, so that not all of them run at once.
    """
    if kustomizations < SMALLEST:
        raise ValueError(f"{kustomizations} Kustomizations are too few for the incidents; at least {SMALLEST}")
    platform = Platform(fleet, speed)
    fleet.world.rollout = platform.seconds(15)
    objects = _Builder(platform, inventory).objects(kustomizations)
    chance = fleet.cluster.chance(Key("", FLUX, "platform"))
    for obj in objects:
        platform.keys.append(key_of(obj))
        delay = platform.seconds(chance.uniform(0, 10 * _MINUTE)) if spread and obj["kind"] in _SPREAD else 0.0
        fleet.schedule.after(delay, _creation(fleet, obj))
    _suspend_one(platform)
    return platform


_SPREAD = frozenset({"Kustomization", "HelmRelease"})


def _creation(fleet: Fleet, obj: Json) -> Callable[[], object]:
    return lambda: fleet.create(obj, "kustomize-controller")


def _suspend_one(platform: Platform) -> None:
    """Somebody's experiment, long forgotten."""
    key = Key("Kustomization", "search", "cache")
    platform.fleet.at(
        platform.fleet.schedule.now + platform.seconds(20 * _MINUTE),
        lambda fleet: fleet.edit(key, {"spec": {"suspend": True}}),
    )


@dataclass
class Living:
    """A platform in a cluster of its own."""

    storage: Storage
    fleet: Fleet
    platform: Platform


def new_platform(
    now: float,
    kustomizations: int = 60,
    *,
    speed: float = 1.0,
    seed: int = 1,
    inventory: int = 6,
    past_minutes: float = SETTLED_MINUTES,
) -> Living:
    """A platform that, at ``now`` (Unix time), has been at work for long enough to have a past.

    From there on it lives on real time (``await living.fleet.live()``) or on virtual time (``living.fleet.run(...)``).
    ``past_minutes`` (of the story) cost real time: 0.3 ms for each write, of which an object has about seven in ten
    minutes. With fewer than twenty nothing is suspended yet, and with fewer than twelve not all objects are there.
    """
    past = past_minutes * _MINUTE / speed
    schedule = Schedule(now - past)
    storage = new_cluster(lambda: schedule.wall)
    writer = StoredObjects(storage)
    fleet = Fleet(writer, schedule, flags=Flags(leader_election=True).divided_by(speed), seed=seed)
    writer.follow(fleet.observe)
    fleet.start()
    platform = build_fleet(fleet, kustomizations, speed=speed, inventory=inventory)
    fleet.run(past)
    return Living(storage, fleet, platform)


class _Builder:
    """Makes the objects, and the world that they speak of."""

    def __init__(self, platform: Platform, inventory: int) -> None:
        self._platform = platform
        self._world = platform.fleet.world
        self._inventory = inventory

    def objects(self, count: int) -> list[Json]:
        infrastructure = [
            self._kustomization(FLUX, "infra-crds", "./infra/crds", "platform"),
            self._kustomization(FLUX, "infra-controllers", "./infra/controllers", "platform", ["infra-crds"]),
            self._kustomization(FLUX, "infra-configs", "./infra/configs", "platform", ["infra-controllers"]),
            self._kustomization("monitoring", "old-dashboards", "./infra/old-dashboards", "platform"),
        ]
        releases = self._releases(count)
        teams: list[Json] = []
        for team, size in _teams(count - len(infrastructure) - 1):
            teams += self._team(team, names.SERVICES[:size])
        others = [*infrastructure, *releases, *teams, *self._notifications()]
        return [self._git("flux-system", FLUX, PLATFORM_URL), *self._root(infrastructure, others), *others]

    def _root(self, infrastructure: list[Json], others: list[Json]) -> list[Json]:
        """The Kustomization that everything hangs from."""
        applied = {str(key_of(obj)): "1" for obj in others}
        tree = {
            "./clusters/production": Manifests(applied),
            "./infra/crds": Manifests(
                {f"CustomResourceDefinition//{name}": "1" for name in ("certificates.cert-manager.io", "issuers")}
            ),
            "./infra/controllers": Manifests(
                {f"Deployment/{FLUX}/{name}": "1" for name in ("kyverno", "external-secrets")}
            ),
            "./infra/configs": Manifests({f"ConfigMap/{FLUX}/cluster-vars": "1", "ClusterIssuer//letsencrypt": "1"}),
            "./infra/old-dashboards": Manifests({f"ConfigMap/monitoring/dashboard-{number}": "1" for number in "abc"}),
        }
        self._world.repository(PLATFORM_URL, tree, "Add the production cluster")
        for obj in others:
            labels = obj["metadata"].setdefault("labels", {})
            labels["kustomize.toolkit.fluxcd.io/name"] = FLUX
            labels["kustomize.toolkit.fluxcd.io/namespace"] = FLUX
        for obj in infrastructure:
            if obj["metadata"]["namespace"] != FLUX:
                obj["spec"]["sourceRef"]["namespace"] = FLUX
            obj["spec"]["sourceRef"]["name"] = FLUX
        return [self._kustomization(FLUX, FLUX, "./clusters/production", FLUX, wait=False)]

    def _team(self, team: str, services: tuple[str, ...]) -> list[Json]:
        url = repository_url(team)
        tree = {
            f"./{service}": Manifests(dict.fromkeys(names.objects(team, service, self._inventory), "1"))
            for service in services
        }
        self._world.repository(url, tree, f"Deploy {team}")
        found = [self._git("deploy", team, url)]
        for index, service in enumerate(services):
            # A chain of four, and the rest beside it.
            on = [services[index - 1]] if 0 < index < 4 else []
            obj = self._kustomization(team, service, f"./{service}", "deploy", on)
            if not on:
                obj["spec"]["dependsOn"] = [{"name": "infra-configs", "namespace": FLUX}]
            self._platform.services[key_of(obj)] = (url, f"./{service}", tree[f"./{service}"])
            found.append(obj)
        return found

    def _kustomization(
        self, namespace: str, name: str, path: str, source: str, on: list[str] | None = None, wait: bool = True
    ) -> Json:
        spec: Json = {
            "interval": self._platform.duration(10 * _MINUTE),
            "path": path,
            "prune": True,
            "retryInterval": self._platform.duration(2 * _MINUTE),
            "sourceRef": {"kind": "GitRepository", "name": source},
            "timeout": self._platform.duration(5 * _MINUTE),
            "wait": wait,
        }
        if on:
            spec["dependsOn"] = [{"name": other} for other in on]
        return _object("Kustomization", namespace, name, spec)

    def _git(self, name: str, namespace: str, url: str) -> Json:
        spec = {
            "interval": self._platform.duration(_MINUTE),
            "ref": {"branch": "main"},
            "timeout": self._platform.duration(_MINUTE),
            "url": url,
        }
        return _object("GitRepository", namespace, name, spec)

    def _releases(self, count: int) -> list[Json]:
        """Helm releases: the usual ones of a platform, and a database for each further ten Kustomizations."""
        found: list[Json] = []
        for repository, url, charts in _HELM:
            self._world.helm_repository(url, {chart: [version] for _, chart, version in charts})
            interval = {"interval": self._platform.duration(30 * _MINUTE), "url": url}
            found.append(_object("HelmRepository", FLUX, repository, interval))
            for namespace, chart, version in charts:
                source = {"kind": "HelmRepository", "name": repository, "namespace": FLUX}
                template = {"chart": chart, "version": version, "sourceRef": source}
                found.append(self._release(namespace, chart, {"chart": {"spec": template}}))
        url = "oci://ghcr.io/acme/charts/loki"
        self._world.oci(url, "6.30.1")
        found.append(
            _object(
                "OCIRepository",
                "monitoring",
                "loki",
                {"interval": self._platform.duration(10 * _MINUTE), "ref": {"tag": "6.30.1"}, "url": url},
            )
        )
        found.append(self._release("monitoring", "loki", {"chartRef": {"kind": "OCIRepository", "name": "loki"}}))
        postgres = {"chart": "postgres-operator", "version": "1.14.0"}
        source = {"kind": "HelmRepository", "name": "zalando", "namespace": FLUX}
        for team in itertools.islice(names.teams(), max(0, count // 20 - 1)):
            spec = {"chart": {"spec": {**postgres, "sourceRef": source}}, "dependsOn": [_POSTGRES]}
            found.append(self._release(team, "orders-db", spec))
        return found

    def _release(self, namespace: str, name: str, spec: Json) -> Json:
        whole = {
            "install": {"remediation": {"retries": 3}},
            "interval": self._platform.duration(15 * _MINUTE),
            "timeout": self._platform.duration(5 * _MINUTE),
            "upgrade": {"remediation": {"retries": 2}},
            "values": {"replicas": 2},
            **spec,
        }
        return _object("HelmRelease", namespace, name, whole)

    def _notifications(self) -> list[Json]:
        sources = [{"kind": kind, "name": "*"} for kind in ("Kustomization", "HelmRelease", "GitRepository")]
        slack = {"type": "slack", "channel": "platform-alerts", "secretRef": {"name": "slack-url"}}
        alert = {"eventSeverity": "error", "eventSources": sources, "providerRef": {"name": "slack"}}
        receiver = {
            "events": ["ping", "push"],
            "interval": self._platform.duration(10 * _MINUTE),
            "resources": [{"kind": "GitRepository", "name": FLUX}],
            "secretRef": {"name": "github-webhook"},
            "type": "github",
        }
        return [
            _object("Provider", FLUX, "slack", slack),
            _object("Alert", FLUX, "on-call", alert),
            {**_object("Receiver", FLUX, "github", receiver), "status": self._receiver_status()},
        ]

    def _receiver_status(self) -> Json:
        path = f"/hook/{'0123456789abcdef' * 4}"
        ready = {
            "lastTransitionTime": timestamp(self._platform.fleet.schedule.wall),
            "message": f"Receiver initialized for path: {path}",
            "observedGeneration": 1,
            "reason": "Succeeded",
            "status": "True",
            "type": "Ready",
        }
        return {"conditions": [ready], "observedGeneration": 1, "webhookPath": path}


def _teams(services: int) -> Iterator[tuple[str, int]]:
    """Names of teams, and how many of the ``services`` each has."""
    count = max(_FEWEST_TEAMS, math.ceil(services / len(names.SERVICES)))
    for index, team in enumerate(itertools.islice(names.teams(), count)):
        yield team, services * (index + 1) // count - services * index // count


_POSTGRES = {"name": "postgres-operator", "namespace": "databases"}
_HELM = (
    ("jetstack", "https://charts.jetstack.io", [("cert-manager", "cert-manager", "v1.19.1")]),
    ("ingress-nginx", "https://kubernetes.github.io/ingress-nginx", [("ingress", "ingress-nginx", "4.14.0")]),
    ("external-dns", "https://kubernetes-sigs.github.io/external-dns", [("edge", "external-dns", "1.19.0")]),
    ("prometheus", "https://prometheus-community.github.io/helm-charts", [("monitoring", "prometheus", "27.45.0")]),
    ("zalando", "https://opensource.zalando.com/postgres-operator", [("databases", "postgres-operator", "1.14.0")]),
)
"""Helm repositories, and what is released from them: namespace, chart, version."""


def _object(kind: str, namespace: str, name: str, spec: Json) -> Json:
    metadata: Json = {"name": name, "namespace": namespace}
    return {"apiVersion": api_version(kind), "kind": kind, "metadata": metadata, "spec": spec}
