"""What announced a new revision: a webhook, somebody's request, or nothing but the interval."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.flux.clusters import BEGINNING, MINUTE, Cluster, timestamp
from tests.flux.examples import json_bytes, text_of
from tests.flux.test_revisions import CHANGES, SHA, artifact
from tests.flux.test_timelines import moment


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
