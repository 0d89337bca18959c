"""Who is behind its source and since when, and what is said to have announced a new revision."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.offers import Available, Polled, Taken
from gotk_exporter.flux.references import Edge, Key
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.revisions import Revisions, is_same
from gotk_exporter.flux.rows import Via
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics import families as f
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.flux.clusters import BEGINNING, MINUTE, Cluster, on, timestamp
from tests.flux.examples import json_bytes, text_of
from tests.flux.test_timelines import DIRECTORY, moment

BEHIND = "gotk_resource_revision_behind_since_timestamp_seconds"
CHANGES = "gotk_source_revision_changes_total"
DIGEST = "sha256:" + "0a1b2c3d4e5f" * 5 + "0a1b"
OTHER_DIGEST = "sha256:" + "ffff2c3d4e5f" * 5 + "0a1b"
SHA = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"


def behind(cluster: Cluster) -> dict[str, float]:
    """Kind/name, and since which minute."""
    return {name: (value - BEGINNING) / MINUTE for name, value in cluster.numbers(BEHIND).items()}


def two(first: str = "main@sha1:1") -> Cluster:
    """A source and a Kustomization that has applied what it offers."""
    cluster = Cluster()
    cluster.source_is_ready(at=0, revision=first)
    cluster.kustomization_is_ready("app", at=1, revision=first, spec=on())
    return cluster


# Since when


def test_what_has_applied_what_its_source_offers_is_not_behind() -> None:
    assert behind(two()) == {}


def test_it_is_behind_since_the_source_stored_what_it_has_not_applied() -> None:
    cluster = two()
    cluster.write("GitRepository", "repo", at=12, status=artifact("main@sha1:2", 10))
    assert behind(cluster) == {"Kustomization/app": 10}


def test_a_source_that_moves_again_does_not_hide_since_when_it_is_stuck() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.source_is_ready(at=20, revision="main@sha1:3")
    assert behind(cluster) == {"Kustomization/app": 10}


def test_applying_another_revision_begins_it_anew_though_the_source_is_further_already() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.source_is_ready(at=20, revision="main@sha1:3")
    cluster.kustomization_is_ready("app", at=22, revision="main@sha1:2")
    assert behind(cluster) == {"Kustomization/app": 22}


def test_applying_what_is_offered_ends_it() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.kustomization_is_ready("app", at=12, revision="main@sha1:2")
    assert behind(cluster) == {}


def test_a_source_that_goes_back_ends_it() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.source_is_ready(at=20, revision="main@sha1:1")
    assert behind(cluster) == {}


def test_a_failed_run_in_between_changes_nothing() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.kustomization_runs("app", at=11)
    cluster.kustomization_fails("app", at=12)
    assert behind(cluster) == {"Kustomization/app": 10}


def test_what_has_never_applied_anything_is_not_behind() -> None:
    cluster = Cluster()
    cluster.source_is_ready(at=0)
    cluster.kustomization_fails("app", at=1, spec=on())
    assert behind(cluster) == {}


def test_what_applies_an_old_revision_first_is_behind_since_then() -> None:
    cluster = Cluster()
    cluster.kustomization_runs("app", at=0, spec=on())
    cluster.source_is_ready(at=1, revision="main@sha1:2")
    cluster.kustomization_is_ready("app", at=3, revision="main@sha1:1")
    assert behind(cluster) == {"Kustomization/app": 3}


def test_nothing_is_behind_a_source_without_an_artifact_and_its_return_is_no_new_beginning() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.write("GitRepository", "repo", "False", "GitOperationFailed", at=20, status={"artifact": None})
    assert behind(cluster) == {}
    cluster.source_is_ready(at=30, revision="main@sha1:3")
    assert behind(cluster) == {"Kustomization/app": 10}


def test_nothing_is_behind_a_source_that_is_gone() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.delete("GitRepository", "repo")
    assert behind(cluster) == {}
    cluster.source_is_ready(at=30, revision="main@sha1:2")
    assert behind(cluster) == {"Kustomization/app": 30}


def test_what_is_suspended_is_behind_and_what_terminates_is_not() -> None:
    cluster = two()
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.write("Kustomization", "app", at=11, spec={"suspend": True})
    assert behind(cluster) == {"Kustomization/app": 10}
    cluster.write("Kustomization", "app", at=12, deletionTimestamp=timestamp(12))
    assert behind(cluster) == {}


def test_another_source_is_a_new_beginning() -> None:
    cluster = two()
    cluster.source_is_ready("other", at=5, revision="main@sha1:8")
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    cluster.write("Kustomization", "app", at=20, spec={"sourceRef": {"kind": "GitRepository", "name": "other"}})
    assert behind(cluster) == {"Kustomization/app": 20}


def test_the_source_may_be_in_another_namespace_and_one_of_the_same_name_is_not_meant() -> None:
    cluster = two()
    cluster.source_is_ready(at=1, namespace="flux-system")
    there = {"sourceRef": {"kind": "GitRepository", "name": "repo", "namespace": "flux-system"}}
    cluster.kustomization_is_ready("far", at=2, spec=there)
    cluster.source_is_ready(at=10, revision="main@sha1:2", namespace="flux-system")
    assert behind(cluster) == {"Kustomization/far": 10}


@pytest.mark.parametrize("first", ["source", "applier"])
def test_after_a_restart_only_the_sources_last_move_tells(first: str) -> None:
    cluster = Cluster()
    if first == "applier":
        cluster.kustomization_is_ready("app", at=60, revision="main@sha1:1", spec=on())
    cluster.write("GitRepository", "repo", "True", "Succeeded", at=60, status=artifact("main@sha1:3", 20))
    if first == "source":
        cluster.kustomization_is_ready("app", at=60, revision="main@sha1:1", spec=on())
    assert behind(cluster) == {"Kustomization/app": 20}


def test_after_a_restart_a_run_that_ended_after_the_move_is_not_forgotten() -> None:
    """Times of an object are rounded up to the minute: late is allowed, early is not."""
    cluster = Cluster()
    cluster.write("GitRepository", "repo", "True", "Succeeded", at=60, status=artifact("main@sha1:2", 20))
    runs = [
        {"lastReconciledStatus": "HealthCheckFailed", "lastReconciled": timestamp(40)},
        {"lastReconciledStatus": "ReconciliationSucceeded", "lastReconciled": timestamp(24.3)},
    ]
    cluster.kustomization_is_ready("app", at=60, spec=on(), status={"history": runs})
    assert behind(cluster) == {"Kustomization/app": 25}


def test_a_time_that_stood_there_before_and_one_that_is_ahead_prove_nothing() -> None:
    cluster = two()
    cluster.write("GitRepository", "repo", at=10, status=artifact("main@sha1:2", 0))
    assert behind(cluster) == {"Kustomization/app": 10}
    ahead = two()
    ahead.write("GitRepository", "repo", at=10, status=artifact("main@sha1:2", 99))
    assert behind(ahead) == {"Kustomization/app": 10}


def test_a_fleet_is_behind_at_once_and_gets_well_one_by_one_whatever_else_is_said_of_it() -> None:
    cluster = two()
    cluster.kustomization_is_ready("sane", at=1, spec=on())
    cluster.kustomization_waits("app", at=2, on="gone", spec=on("gone"))
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    assert behind(cluster) == {"Kustomization/app": 10, "Kustomization/sane": 10}
    assert cluster.blocked() == {"Kustomization/app": {"Kustomization/gone"}}
    cluster.kustomization_is_ready("sane", at=12, revision="main@sha1:2")
    cluster.source_is_ready(at=20, revision="main@sha1:1")
    assert behind(cluster) == {"Kustomization/sane": 20}
    assert cluster.blocked() == {"Kustomization/app": {"Kustomization/gone"}}


def test_nothing_is_rendered_where_the_family_is_not_wanted() -> None:
    store = Store([f.BLOCKED])
    relations = Relations(store)
    source, app = Key("GitRepository", "apps", "repo"), Key("Kustomization", "apps", "app")
    relations.update({app: applier(app, source, "1")}, 1.0)
    relations.update({source: offering(source, "1", 1.0)}, 1.0)
    relations.update({source: offering(source, "2", 2.0)}, 2.0)
    assert relations.revisions.behind_since(app) == 2.0
    assert text_of(store) == ""


def test_what_is_remembered_holds_while_nothing_has_been_applied_since() -> None:
    source, app = Key("GitRepository", "apps", "repo"), Key("Kustomization", "apps", "app")
    for well_at, since in ((900.0, 1000.0), (0.0, 5000.0), (1800.0, 5000.0), (6000.0, 6000.0)):
        revisions = Revisions()
        revisions.remember(app, 1000.0)
        revisions.update({app: applier(app, source, "1", well_at=well_at)}, 7000.0)
        revisions.update({source: offering(source, "3", 5000.0)}, 7000.0)
        assert revisions.behind_since(app) == since


def test_what_is_remembered_of_one_that_is_up_to_date_is_forgotten() -> None:
    source, app = Key("GitRepository", "apps", "repo"), Key("Kustomization", "apps", "app")
    revisions = Revisions()
    revisions.remember(app, 1000.0)
    revisions.update({app: applier(app, source, "3", well_at=900.0)}, 7000.0)
    revisions.update({source: offering(source, "3", 5000.0)}, 7000.0)
    revisions.update({source: offering(source, "4", 8000.0)}, 8000.0)
    assert revisions.behind_since(app) == 8000.0


# The same revision


@pytest.mark.parametrize(
    ("kind", "revision", "proof", "offered", "same"),
    [
        ("Kustomization", f"main@sha1:{SHA}", "", f"main@sha1:{SHA}", True),
        ("Kustomization", f"main/{SHA}", "", f"main@sha1:{SHA}", True),
        ("Kustomization", f"feature/x/{SHA}", "", f"feature/x@sha1:{SHA}", True),
        ("Kustomization", f"HEAD/{SHA}", "", f"sha1:{SHA}", True),
        ("Kustomization", SHA + SHA[:24], "", f"sha256:{SHA}{SHA[:24]}", True),
        ("Kustomization", f"main/{SHA}", "", f"other@sha1:{SHA}", False),
        ("Kustomization", f"latest@{DIGEST}", "", f"latest@{OTHER_DIGEST}", False),
        ("Kustomization", "v1/notahash", "", "v1@sha1:notahash", False),
        # Of a HelmChart, also of one with reconcileStrategy Revision.
        ("HelmRelease", "6.5.4", "", "6.5.4", True),
        ("HelmRelease", "6.5.4", "", "6.5.5", False),
        ("HelmRelease", "1.0.0+5394cb7f4833", "", "1.0.0+5394cb7f4833", True),
        ("HelmRelease", "1.0.0+5394cb7f4833", "", "1.0.0+0000cb7f4833", False),
        ("HelmRelease", "1.0.0+5394cb7f4833.2", "", "1.0.0+5394cb7f4833.3", False),
        ("HelmRelease", "6.5.4", "", "v6.5.4", True),
        # Of an OCIRepository or an ExternalArtifact, with the digest noted.
        ("HelmRelease", "6.5.4+0a1b2c3d4e5f", DIGEST, f"6.5.4@{DIGEST}", True),
        ("HelmRelease", "6.5.4+0a1b2c3d4e5f", DIGEST, f"6.5.4@{OTHER_DIGEST}", False),
        ("HelmRelease", "6.5.4+0a1b2c3d4e5f", DIGEST, f"6.5.5@{OTHER_DIGEST}", False),
        ("HelmRelease", "6.5.4+0a1b2c3d4e5f", f"latest@{DIGEST}", f"latest@{DIGEST}", True),
        ("HelmRelease", "6.5.4+0a1b2c3d4e5f", DIGEST, DIGEST, True),
        ("HelmRelease", "6.5.4+0a1b2c3d4e5f", DIGEST, OTHER_DIGEST, False),
        # And where it is not.
        ("HelmRelease", "6.5.4+0a1b2c3d4e5f", "", f"6.5.4@{DIGEST}", True),
        ("HelmRelease", "6.5.4+0a1b2c3d4e5f", "", f"6.5.4@{OTHER_DIGEST}", False),
        # Without the tracking of digests, the version alone decides what is deployed.
        ("HelmRelease", "6.5.4", DIGEST, f"6.5.4@{OTHER_DIGEST}", True),
        ("HelmRelease", "6.5.4+build.7", DIGEST, f"v6.5.4_build.7@{OTHER_DIGEST}", True),
        ("HelmRelease", "6.5.4", DIGEST, f"6.5.5@{OTHER_DIGEST}", False),
        ("HelmRelease", "6.5.4", DIGEST, f"latest@{OTHER_DIGEST}", False),
        ("HelmRelease", "6.5.4", DIGEST, f"latest@{DIGEST}", True),
        ("Terraform", "main@sha1:1", "main@sha1:2", "main@sha1:2", True),
        ("Terraform", "main@sha1:1", "main@sha1:2", "main@sha1:3", False),
        ("Terraform", "main@sha1:1", "", "main@sha1:2", False),
    ],
)
def test_what_is_the_same_revision_depends_on_the_kind(
    kind: str, revision: str, proof: str, offered: str, same: bool
) -> None:
    assert is_same(kind, revision, proof, offered) is same


def test_a_release_that_was_rolled_back_is_behind_its_chart() -> None:
    cluster = Cluster()
    cluster.write("HelmChart", "apps-shop", "True", "ChartPullSucceeded", at=0, status=artifact("1.1.0", 0))
    spec = {"chart": {"spec": {"chart": "shop", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}}
    cluster.write("HelmRelease", "shop", "True", "UpgradeSucceeded", at=1, spec=spec, status=releases("deployed 1.1.0"))
    cluster.write("HelmChart", "apps-shop", at=10, status=artifact("1.2.0", 10))
    cluster.write("HelmRelease", "shop", at=11, status=releases("failed 1.2.0", "deployed 1.1.0"))
    assert behind(cluster) == {"HelmRelease/shop": 10}
    rolled_back = releases("deployed 1.1.0", "failed 1.2.0", "superseded 1.1.0")
    cluster.write("HelmRelease", "shop", "False", "RollbackSucceeded", at=12, status=rolled_back)
    assert behind(cluster) == {"HelmRelease/shop": 10}
    cluster.write("HelmRelease", "shop", "True", "UpgradeSucceeded", at=30, status=releases("deployed 1.2.0"))
    assert behind(cluster) == {}


def test_a_release_of_an_oci_repository_is_behind_when_its_tag_moves() -> None:
    cluster = Cluster()
    cluster.write("OCIRepository", "chart", "True", "Succeeded", at=0, status=artifact(f"6.5.4@{DIGEST}", 0))
    deployed = releases("deployed 6.5.4+0a1b2c3d4e5f", digest=DIGEST)
    spec = {"chartRef": {"kind": "OCIRepository", "name": "chart"}}
    cluster.write("HelmRelease", "shop", "True", "UpgradeSucceeded", at=1, spec=spec, status=deployed)
    assert behind(cluster) == {}
    cluster.write("OCIRepository", "chart", at=10, status=artifact(f"6.5.4@{OTHER_DIGEST}", 10))
    assert behind(cluster) == {"HelmRelease/shop": 10}
    failed = releases("failed 6.5.4+ffff2c3d4e5f", digest=OTHER_DIGEST)["history"]
    cluster.write("HelmRelease", "shop", at=12, status={"history": failed + deployed["history"]})
    assert behind(cluster) == {"HelmRelease/shop": 10}


def test_after_a_restart_a_release_is_behind_since_its_deployment_had_ended() -> None:
    cluster = Cluster()
    cluster.write("HelmChart", "chart", "True", "ChartPullSucceeded", at=60, status=artifact("1.2.0", 20))
    status = releases("deployed 1.1.0", at=18)
    status["conditions"] = [
        {"type": "Ready", "status": "Unknown", "reason": "Progressing", "lastTransitionTime": timestamp(50)},
        {"type": "Released", "status": "True", "reason": "UpgradeSucceeded", "lastTransitionTime": timestamp(25)},
    ]
    cluster.write(
        "HelmRelease", "shop", at=60, spec={"chartRef": {"kind": "HelmChart", "name": "chart"}}, status=status
    )
    assert behind(cluster) == {"HelmRelease/shop": 25}


def test_a_terraform_whose_plan_had_no_changes_is_where_its_message_says_also_while_it_runs() -> None:
    cluster = Cluster()
    cluster.source_is_ready(at=0)
    spec = {"sourceRef": {"kind": "GitRepository", "name": "repo"}}
    applied = {"lastAppliedRevision": "main@sha1:1"}
    cluster.write("Terraform", "net", "True", "X", "Outputs written: main@sha1:1", at=1, spec=spec, status=applied)
    cluster.source_is_ready(at=10, revision="main@sha1:2")
    assert behind(cluster) == {"Terraform/net": 10}
    cluster.write("Terraform", "net", "True", "TerraformPlannedNoChanges", "Plan no changes: main@sha1:2", at=11)
    assert behind(cluster) == {}
    cluster.write("Terraform", "net", "Unknown", "Progressing", "Initializing", at=20)
    assert behind(cluster) == {}
    cluster.source_is_ready(at=30, revision="main@sha1:3")
    assert behind(cluster) == {"Terraform/net": 30}


def test_the_recorded_chain_is_behind_from_each_commit_until_it_has_been_applied() -> None:
    """Recording d: root is broken from 191.3 to 392.2 by one commit and healed by the next, and the others wait."""
    store = Store(select(Profile.FULL))
    relations = Relations(store)
    collectors = {kind: Collector(BY_NAME[kind], None, store, relations) for kind in ("GitRepository", "Kustomization")}
    spec = {"sourceRef": {"kind": "GitRepository", "name": "repo"}}
    start, *records = [json.loads(line) for line in (DIRECTORY / "d-depends-on.jsonl").read_text().splitlines()]
    told: dict[str, list[tuple[float, float | None]]] = {"root": [], "mid": [], "leaf": []}
    for record in records:
        at = moment(record["t"])
        metadata = {"name": record["name"], "namespace": "apps", "uid": record["name"], "generation": record["gen"]}
        document = {"metadata": metadata, "spec": spec, "status": record["status"]}
        collectors[record["kind"]].upsert(f"apps/{record['name']}", json_bytes(document), Seen.live(at))
        for name, changes in told.items():
            since = relations.revisions.behind_since(Key("Kustomization", "apps", name))
            if (changes or [(0.0, None)])[-1][1] != since:
                changes.append((at - moment(start["t"]), since))
    beginnings = {name: [round(at) for at, since in changes if since is not None] for name, changes in told.items()}
    ends = {name: [round(at) for at, since in changes if since is None] for name, changes in told.items()}
    assert beginnings == {"root": [91, 191], "mid": [91, 191], "leaf": [91, 191]}
    assert ends == {"root": [92, 392], "mid": [121, 402], "leaf": [151, 432]}


# What announced it


class Conversation:
    """A GitRepository, written as source-controller writes it. Times are seconds."""

    def __init__(self, kind: str = "GitRepository") -> None:
        self.cluster, self.kind, self.now = Cluster(), kind, 0.0
        self.annotations: dict[str, str] = {}
        self.status: dict[str, Any] = {"observedGeneration": 1}
        self.generation = 1
        self.number = itertools.count(1)
        self.uid = "1"
        self.well(revision="main@sha1:0")

    def write(self, ready: str | None = None, reason: str = "") -> None:
        self.now += 0.01
        self.cluster.write(
            self.kind,
            "repo",
            ready,
            reason,
            at=self.now / MINUTE,
            status=self.status,
            annotations=self.annotations,
            generation=self.generation,
            uid=self.uid,
        )

    def later(self, seconds: float = 600) -> Conversation:
        self.now += seconds
        return self

    def request(self, text: str) -> Conversation:
        self.annotations = {"reconcile.fluxcd.io/requestedAt": text}
        self.write()
        return self

    def webhook(self) -> Conversation:
        return self.request(f"2026-11-20 09:00:{next(self.number):02}.123456789 +0000 UTC m=+12.345678901")

    def person(self) -> Conversation:
        return self.request(f"2026-11-20T09:00:{next(self.number):02}.123456789Z")

    def well(self, revision: str = "", handled: str | None = None) -> Conversation:
        """The two writes at the end of a run, which has handled what was asked when it began."""
        self.write("True", "Succeeded")
        if revision:
            self.status["artifact"] = {"revision": revision, "lastUpdateTime": timestamp(self.now / MINUTE)}
        self._handle(handled)
        self.status["observedGeneration"] = self.generation
        self.write()
        return self

    def fails(self) -> Conversation:
        self.write("False", "GitOperationFailed")
        self._handle(None)
        self.write()
        return self

    def _handle(self, handled: str | None) -> None:
        text = self.annotations.get("reconcile.fluxcd.io/requestedAt", "") if handled is None else handled
        if text:
            self.status["lastHandledReconcileAt"] = text

    @property
    def counts(self) -> tuple[int, int, int]:
        """webhook, manual, poll."""
        found = {sample["trigger"]: int(sample["value"]) for sample in self.cluster.samples(CHANGES)}
        return found["webhook"], found["manual"], found["poll"]


def test_all_triggers_are_there_with_nothing_from_the_first_sight_and_the_first_revision_is_nobodys() -> None:
    cluster = Cluster()
    cluster.write("GitRepository", "repo", "Unknown", "Progressing", at=0)
    zero = {(trigger, "0") for trigger in ("webhook", "manual", "poll")}
    assert {(s["trigger"], s["value"]) for s in cluster.samples(CHANGES)} == zero
    cluster.source_is_ready(at=1)
    assert {(s["trigger"], s["value"]) for s in cluster.samples(CHANGES)} == zero


def test_without_a_request_a_new_revision_was_found_by_polling() -> None:
    assert Conversation().later().well("main@sha1:1").counts == (0, 0, 1)


def test_a_receivers_request_is_a_webhook_and_any_other_is_somebodys() -> None:
    assert Conversation().later().webhook().well("main@sha1:1").counts == (1, 0, 0)
    assert Conversation().later().person().well("main@sha1:1").counts == (0, 1, 0)
    assert Conversation().later().request("please").well("main@sha1:1").counts == (0, 1, 0)
    assert Conversation().later().request("1763700000").well("main@sha1:1").counts == (0, 1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20 09:00:00 +0000 UTC m=+0.5",
        "2026-11-20 10:00:00.1 +0100 CET m=+12.3",
        "2026-11-20 09:00:00 +0000 UTC",
    ],
)
def test_a_receivers_request_is_known_by_gos_form_in_any_time_zone(text: str) -> None:
    assert Conversation().later().request(text).well("main@sha1:1").counts == (1, 0, 0)


def test_a_webhook_that_found_nothing_is_not_credited_with_what_polling_finds_later() -> None:
    assert Conversation().later().webhook().well().later().well("main@sha1:1").counts == (0, 0, 1)
    assert Conversation().later(1).webhook().well().later(1).well("main@sha1:1").counts == (0, 0, 1)


def test_the_artifact_may_come_a_write_before_the_request_is_said_to_be_handled() -> None:
    talk = Conversation().later().webhook().well("main@sha1:1", handled="").well()
    assert talk.counts == (1, 0, 0)
    assert talk.later().well("main@sha1:2").counts == (1, 0, 1)


def test_a_request_that_comes_during_a_run_came_before_what_that_run_and_the_next_one_find() -> None:
    talk = Conversation().later().webhook().well("main@sha1:1", handled="")
    assert talk.counts == (1, 0, 0)
    assert talk.well("main@sha1:2").counts == (2, 0, 0)
    assert talk.later().well("main@sha1:3").counts == (2, 0, 1)


def test_a_run_that_handled_one_request_while_another_came_is_put_down_to_the_former() -> None:
    talk = Conversation().later().person()
    handled = talk.annotations["reconcile.fluxcd.io/requestedAt"]
    assert talk.webhook().well("main@sha1:1", handled=handled).counts == (0, 1, 0)
    assert talk.well("main@sha1:2").counts == (1, 1, 0)


def test_a_webhook_whose_run_failed_is_credited_with_what_the_retries_find() -> None:
    assert Conversation().later().webhook().fails().later(3).fails().later(6).well("main@sha1:1").counts == (1, 0, 0)


def test_a_webhook_whose_retries_found_nothing_is_not_credited_with_what_polling_finds_later() -> None:
    talk = Conversation().later().webhook().fails().later(3).well().later()
    assert talk.well("main@sha1:1").counts == (0, 0, 1)
    again = Conversation().later().webhook().fails().later(3).well().later().fails().later(3)
    assert again.well("main@sha1:1").counts == (0, 0, 1)
    missed = Conversation().later().webhook().fails().later(3).well().later()
    missed.status.update(artifact("main@sha1:1", missed.now / MINUTE))
    missed.write()
    assert missed.counts == (0, 0, 1)


def test_a_request_that_a_suspended_source_passes_over_is_not_credited_later() -> None:
    talk = Conversation().later().webhook()
    talk.status["lastHandledReconcileAt"] = talk.annotations["reconcile.fluxcd.io/requestedAt"]
    talk.write()
    assert talk.later().well("main@sha1:1").counts == (0, 0, 1)


def test_a_new_revision_that_a_changed_spec_brings_is_somebodys() -> None:
    talk = Conversation().later()
    talk.generation = 2
    talk.write()
    assert talk.well("main@sha1:1").counts == (0, 1, 0)
    assert talk.later().well("main@sha1:2").counts == (0, 1, 1)


def test_the_same_revision_stored_again_is_none_and_another_one_after_a_loss_is() -> None:
    talk = Conversation().later()
    talk.status["artifact"] = None
    talk.write("Unknown", "Progressing")
    assert talk.well("main@sha1:0").counts == (0, 0, 0)
    talk.status["artifact"] = None
    talk.write("Unknown", "Progressing")
    assert talk.well("main@sha1:1").counts == (0, 0, 1)


def test_the_same_revision_in_a_newer_form_is_none() -> None:
    assert Conversation().later().well(f"main/{SHA}").later().well(f"main@sha1:{SHA}").counts == (0, 0, 1)


@pytest.mark.parametrize("seen", [True, False])
def test_an_object_of_the_same_name_starts_anew_whether_its_deletion_was_seen_or_not(seen: bool) -> None:
    talk = Conversation().later().webhook().well("main@sha1:1")
    if seen:
        talk.cluster._collectors["GitRepository"].delete("apps/repo", "1")
        assert talk.cluster.samples(CHANGES) == []
    talk.uid = "2"
    talk.status["artifact"] = None
    assert talk.well("main@sha1:2").counts == (0, 0, 0)
    assert talk.later().webhook().well("main@sha1:3").counts == (1, 0, 0)


def test_after_a_gap_the_object_still_says_which_request_was_the_last() -> None:
    store = Store(select(Profile.FULL))
    collector = Collector(BY_NAME["GitRepository"], None, store)

    def list_anew(version: str, requested: str, status: dict[str, Any]) -> None:
        metadata = {"name": "repo", "namespace": "apps", "uid": "1", "resourceVersion": version}
        metadata["annotations"] = {"reconcile.fluxcd.io/requestedAt": requested}  # type: ignore[assignment]
        listing = collector.begin_replacement("v1")
        raw = json_bytes({"metadata": metadata, "status": status})
        listing.add("apps/repo", "1", version, raw, Seen(BEGINNING + 60 * int(version)))
        listing.commit()

    hook = "2026-11-20 09:00:00.1 +0000 UTC m=+12.3"
    list_anew("1", "before", {"lastHandledReconcileAt": "before", **artifact("main@sha1:1", 0)})
    list_anew("2", hook, {"lastHandledReconcileAt": hook, **artifact("main@sha1:2", 1)})
    list_anew("3", hook, {"lastHandledReconcileAt": hook, **artifact("main@sha1:3", 2)})
    counts = [line.rpartition(" ")[2] for line in text_of(store).splitlines() if line.startswith(CHANGES)]
    assert counts == ["1", "0", "1"]


def test_only_what_looks_at_the_outside_and_has_an_artifact_is_counted() -> None:
    cluster = Cluster()
    for kind in ("OCIRepository", "Bucket", "HelmRepository"):
        cluster.write(kind, "repo", "True", "Succeeded", at=0, status=artifact("1", 0))
    for kind in ("HelmChart", "ExternalArtifact", "ImageRepository", "ArtifactGenerator"):
        cluster.write(kind, "repo", "True", "Succeeded", at=0, status=artifact("1", 0))
    cluster.write("HelmRepository", "oci", at=0, spec={"type": "oci"})
    assert {s["kind"] + "/" + s["name"] for s in cluster.samples(CHANGES)} == {
        "OCIRepository/repo",
        "Bucket/repo",
        "HelmRepository/repo",
    }


def test_the_recorded_requests_are_credited_to_whom_they_came_from() -> None:
    """The GitRepository of recording d, whose two commits were each followed by a request in the form of the command
    flux: what differs from write to write."""
    cluster = Cluster()
    handled: dict[str, Any] = {}
    for line in RECORDED.splitlines():
        at, requested, handled_at, revision, stored, ready = line.split()
        if handled_at != "-":
            handled = {"lastHandledReconcileAt": handled_at}
        status = {"artifact": {"revision": revision, "lastUpdateTime": stored}, "observedGeneration": 1, **handled}
        annotations = {} if requested == "-" else {"reconcile.fluxcd.io/requestedAt": requested}
        minutes = (moment(at) - BEGINNING) / MINUTE
        reason = "Succeeded" if ready == "True" else "Progressing"
        cluster.write(
            "GitRepository", "repo", ready, reason, at=minutes, status=status, annotations=annotations, generation=1
        )
    assert {s["trigger"]: s["value"] for s in cluster.samples(CHANGES)} == {"webhook": "0", "manual": "2", "poll": "0"}


RECORDED = """\
2026-11-21T15:16:31.485Z - - main@sha1:fcda7b41 2026-11-21T15:16:31Z True
2026-11-21T15:18:01.765Z 2026-11-21T15:18:01.756Z - main@sha1:fcda7b41 2026-11-21T15:16:31Z True
2026-11-21T15:18:01.819Z 2026-11-21T15:18:01.756Z - main@sha1:fcda7b41 2026-11-21T15:16:31Z -
2026-11-21T15:18:01.840Z 2026-11-21T15:18:01.756Z - main@sha1:fcda7b41 2026-11-21T15:16:31Z True
2026-11-21T15:18:01.849Z 2026-11-21T15:18:01.756Z 2026-11-21T15:18:01.756Z main@sha1:805c6788 2026-11-21T15:18:01Z True
2026-11-21T15:19:41.811Z 2026-11-21T15:19:41.802Z 2026-11-21T15:18:01.756Z main@sha1:805c6788 2026-11-21T15:18:01Z True
2026-11-21T15:19:41.864Z 2026-11-21T15:19:41.802Z 2026-11-21T15:18:01.756Z main@sha1:805c6788 2026-11-21T15:18:01Z -
2026-11-21T15:19:41.884Z 2026-11-21T15:19:41.802Z 2026-11-21T15:18:01.756Z main@sha1:805c6788 2026-11-21T15:18:01Z True
2026-11-21T15:19:41.888Z 2026-11-21T15:19:41.802Z 2026-11-21T15:19:41.802Z main@sha1:d280f198 2026-11-21T15:19:41Z True
"""


# In any order


SOURCES = [Key("GitRepository", "apps", name) for name in ("one", "two")]
APPLIERS = [Key("Kustomization", "apps", name) for name in "abc"]
REVISIONS = st.sampled_from(["", "1", "2", "3"])
UIDS = st.sampled_from(["x", "y"])


def offering(key: Key, revision: str, stored_at: float | None, uid: str = "x", requested: str = "") -> Node:
    polled = Polled(uid, requested, "", 1, 1, ())
    return Node(key, revision=revision, offer=Available(stored_at if revision else None, polled))


def applier(key: Key, source: Key, revision: str, well_at: float = 0.0, terminating: bool = False) -> Node:
    edge = Edge(Via.SOURCE_REF, source)
    return Node(key, (edge,), terminating=terminating, revision=revision, offer=Taken("", well_at))


@dataclass
class Model:
    """Object by object, as the docstring of revisions says it. Of a source: what it offers and since when, also while
    it offers nothing; of an applier: its source, what it has, and since when it is behind."""

    offers: dict[Key, tuple[str, float]] = field(default_factory=dict)
    latest: dict[Key, float] = field(default_factory=dict)
    there: dict[Key, str] = field(default_factory=dict)
    has: dict[Key, tuple[Key, str, float] | None] = field(default_factory=dict)
    since: dict[Key, float] = field(default_factory=dict)

    def write(self, key: Key, node: Node | None, now: float) -> None:
        if key in SOURCES:
            self._offer(key, node, now)
        else:
            self._take(key, node, now)

    def behind(self) -> dict[Key, float]:
        return {key: since for key, since in self.since.items() if (has := self.has[key]) and self.there.get(has[0])}

    def _offer(self, key: Key, node: Node | None, now: float) -> None:
        mine = {name: has for name, has in self.has.items() if has and has[0] == key}
        if node is None:
            for known in (self.offers, self.latest, self.there):
                known.pop(key, None)
            for name in mine:
                self.since.pop(name, None)
            return
        assert isinstance(node.offer, Available)
        stored_at = node.offer.updated_at
        at = now if stored_at is None or stored_at <= self.latest.get(key, -1.0) else min(now, stored_at)
        if stored_at is not None:
            self.latest[key] = stored_at
        moved = self.there.get(key, "") != node.revision
        self.there[key] = node.revision
        if node.revision and self.offers.get(key, ("", 0.0))[0] != node.revision:
            self.offers[key] = node.revision, at
        if moved and node.revision:
            for name, (_, revision, well_at) in mine.items():
                if revision == node.revision:
                    self.since.pop(name, None)
                else:
                    self.since.setdefault(name, min(now, max(self.offers[key][1], well_at)))

    def _take(self, key: Key, node: Node | None, now: float) -> None:
        first, before = key not in self.has, self.has.pop(key, None)
        if node is None:
            self.since.pop(key, None)
            return
        assert isinstance(node.offer, Taken)
        has = (node.edges[0].target, node.revision, node.offer.well_at) if node.revision else None
        has = None if node.terminating else has
        self.has[key] = has
        if has is not None and before is not None and has[:2] == before[:2]:
            return
        self.since.pop(key, None)
        if has is not None and self.there.get(has[0]) not in (None, "", has[1]):
            offered_since = self.offers[has[0]][1]
            self.since[key] = min(now, max(offered_since, has[2])) if first else now


@st.composite
def writes(draw: st.DrawFn) -> tuple[Key, Node | None]:
    key = draw(st.sampled_from([*SOURCES, *APPLIERS]))
    if draw(st.integers(0, 9)) == 0:
        return key, None
    revision, at = draw(REVISIONS), float(draw(st.integers(0, 60)))
    if key in SOURCES:
        return key, offering(key, revision, at if draw(st.booleans()) else None)
    return key, applier(key, draw(st.sampled_from(SOURCES)), revision, at, draw(st.integers(0, 9)) == 0)


@settings(max_examples=400)
@given(st.lists(st.lists(writes(), min_size=1, max_size=3, unique_by=lambda write: write[0].kind), max_size=25))
def test_in_any_order_of_writes_each_is_behind_since_when_the_rules_say(
    rounds: list[list[tuple[Key, Node | None]]],
) -> None:
    revisions, model = Revisions(), Model()
    current: dict[Key, Node | None] = {}
    known: dict[Key, float | None] = {}
    for now, changes in enumerate(rounds):
        touched = revisions.update(dict(changes), float(now))
        for key, node in changes:
            model.write(key, node, float(now))
            current[key] = node
        answers = {key: revisions.behind_since(key) for key in APPLIERS}
        assert {key: since for key, since in answers.items() if since is not None} == model.behind()
        assert {key for key in APPLIERS if answers[key] != known.get(key)} <= touched
        known = dict(answers)
    anew = Revisions()
    anew.update(current, float(len(rounds)))
    assert {key for key in APPLIERS if anew.behind_since(key) is not None} == set(model.behind())
    for key in [*SOURCES, *APPLIERS]:
        revisions.update({key: None}, 99.0)
    assert not any(value for name, value in vars(revisions).items())


@settings(max_examples=200)
@given(st.lists(st.tuples(REVISIONS, UIDS, st.sampled_from(["", "x", "2026-11-20 09:00:00 +0000 UTC"])), max_size=20))
def test_counters_never_go_down_for_one_uid_and_count_each_new_revision_once(steps: list[tuple[str, str, str]]) -> None:
    revisions, key = Revisions(), SOURCES[0]
    uid, last, expected, before = "", "", 0, {"webhook": 0, "manual": 0, "poll": 0}
    for now, (revision, new_uid, requested) in enumerate(steps):
        revisions.update({key: offering(key, revision, float(now), new_uid, requested)}, float(now))
        counts = dict(revisions.changes(key) or {})
        if new_uid != uid:
            uid, last, expected, before = new_uid, "", 0, dict.fromkeys(counts, 0)
        expected += bool(last and revision and revision != last)
        last = revision or last
        assert all(counts[trigger] >= before[trigger] for trigger in before)
        assert sum(counts.values()) == expected
        before = counts


def artifact(revision: str, minutes: float) -> dict[str, Any]:
    """A status."""
    return {"artifact": {"revision": revision, "lastUpdateTime": timestamp(minutes)}}


def releases(*entries: str, digest: str = "", at: float = 0) -> dict[str, Any]:
    """A status, from "status version"."""
    history = []
    for entry in entries:
        status, version = entry.split()
        history.append({"status": status, "chartVersion": version, "lastDeployed": timestamp(at), "ociDigest": digest})
    return {"history": history}
