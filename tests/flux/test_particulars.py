"""What explain tells of an object beside its causes: how it fails, what excuses it, how fresh it is."""

from __future__ import annotations

import re

import msgspec
import pytest

from gotk_exporter.flux.attempts import Cause
from gotk_exporter.flux.failures import FailureClass
from gotk_exporter.flux.telling import _ENDED, _FAILURES
from tests.flux.clusters import Cluster, entry, on, timestamp
from tests.flux.test_explanation import explained, told
from tests.flux.test_retries import a_parent, source_fails, webhook_fails


def lines_of(text: str, label: str) -> list[str]:
    """What is told under this label, without line breaks."""
    joined = re.sub(r"\n {14,15}", " ", text)
    return re.findall(rf"^  {label} +(.*)$", joined, re.MULTILINE)


def test_what_kind_of_failure_it_is_is_told_with_the_host_and_what_others_share() -> None:
    cluster = Cluster()
    source_fails(cluster, "repo", at=1)
    text = told(cluster, "repo", at=2, kind="GitRepository")
    assert lines_of(text, "failure") == ["dns: a name cannot be resolved (git.test)"]
    assert lines_of(text, "shared") == ["unreachable/git.test, and others may fail for it too"]


def test_every_failure_class_has_words_but_the_one_of_which_nothing_can_be_said() -> None:
    assert _FAILURES.keys() == {each.value for each in FailureClass} - {"other"}
    assert _ENDED.keys() == {cause.value for cause in Cause}


def test_what_a_health_check_waits_for_is_named() -> None:
    cluster = Cluster()
    inventory = ["apps_web_apps_Deployment", entry("HelmRelease", "child")]
    cluster.health_check_fails(
        "app", 1, "Deployment/apps/web", "HelmRelease/apps/child", spec=on(), inventory=inventory
    )
    assert lines_of(told(cluster, "app", at=2), "unhealthy") == ["Deployment apps/web, HelmRelease apps/child"]


def test_an_excuse_is_told_until_its_bound_and_after_it() -> None:
    cluster = Cluster()
    for name in ("a", "b"):
        webhook_fails(cluster, name, at=1, spec=on())
    cluster.kustomization_is_ready("a", at=4)
    before, after = (lines_of(told(cluster, "b", at=minutes), "next attempt") for minutes in (5, 12))
    ended = "another one that failed for the same cause has succeeded, since 2025-11-21 04:44:00 UTC"
    assert before == [f"{ended}, 1 min ago; its next attempt should have ended by 2025-11-21 04:51:00 UTC"]
    assert after == [
        f"{ended}, 8 min ago; nothing has tried since, and its next attempt was due by 2025-11-21 04:51:00 UTC"
    ]


def test_a_child_that_has_recovered_is_told_as_the_excuse() -> None:
    cluster = Cluster()
    a_parent(cluster)
    cluster.write("HelmRelease", "child", "True", "UpgradeSucceeded", at=9)
    assert lines_of(told(cluster, "parent", at=10), "next attempt") == [
        "what it waited for was not well, and is again, since 2025-11-21 04:49:00 UTC, 1 min ago; its next attempt "
        "should have ended by 2025-11-21 04:56:00 UTC"
    ]


def test_a_run_is_told_with_the_longest_one_that_went_well() -> None:
    cluster = Cluster()
    history = [{"lastReconciledStatus": "ReconciliationSucceeded", "lastReconciledDuration": "4m10s"}]
    cluster.kustomization_is_ready("app", spec=on(), status={"history": history})
    cluster.kustomization_runs("app", at=1)
    text = told(cluster, "app", at=3)
    assert lines_of(text, "a run goes on") == ["since 2025-11-21 04:41:00 UTC, 2 min ago"]
    assert lines_of(text, "longest run") == ["4 min 10 s, of those that went well"]


def test_the_last_reconcile_is_told_and_what_is_behind() -> None:
    cluster = Cluster()
    cluster.source_is_ready(revision="main@sha1:2", at=2)
    managed = [{"manager": "kustomize-controller", "subresource": "status", "time": timestamp(1)}]
    cluster.kustomization_is_ready("app", at=1, spec=on(), managedFields=managed)
    text = told(cluster, "app", at=9)
    assert lines_of(text, "reconciled") == ["2025-11-21 04:41:00 UTC, 8 min ago"]
    assert lines_of(text, "behind") == ["its source has another revision, since 2025-11-21 04:42:00 UTC, 7 min ago"]


@pytest.mark.parametrize(("state", "words"), [("failing", 1), ("well", 0)])
def test_a_failure_that_is_over_is_told_no_more(state: str, words: int) -> None:
    cluster = Cluster()
    cluster.kustomization_fails("app", at=1, spec=on())
    if state == "well":
        cluster.kustomization_is_ready("app", at=2)
    explanation = explained(cluster, "app", at=3)
    assert (explanation.failure is None) is (state == "well")
    assert len(lines_of(told(cluster, "app", at=3), "failure")) == words


def test_one_that_no_controller_ever_touched_is_no_run_that_goes_on() -> None:
    cluster = Cluster()
    cluster.write("Kustomization", "app", spec=on())
    assert told(cluster, "app", at=9).startswith(
        "Kustomization apps/app is not ready: no controller has ever said anything about it.\n"
        "  created     2025-11-21 04:40:00 UTC, 9 min ago\n"
    )


def test_an_answer_of_an_older_exporter_is_understood() -> None:
    cluster = Cluster()
    cluster.kustomization_is_ready("app", spec=on())
    document = msgspec.to_builtins(explained(cluster, "app", at=3))
    for field in ("failure", "awaiting_retry", "freshness"):
        del document[field]
    assert msgspec.convert(document, type(explained(cluster, "app", at=3))).freshness is None
