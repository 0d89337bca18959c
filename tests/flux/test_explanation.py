"""Why is it not ready? Situations in a cluster, and what a person is told of them: texts are compared whole."""

from __future__ import annotations

import textwrap

import msgspec
import pytest

from gotk_exporter.flux.explanation import Explanation, NotKnown, decode, encode, with_messages
from gotk_exporter.flux.question import Known, answer, question
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.telling import WIDTH, tell
from tests.flux.clusters import BEGINNING, MINUTE, Cluster, on
from tests.flux.test_causes import DEPLOYMENT, a_chain, a_parent


def explained(
    cluster: Cluster, name: str, at: float, kind: str = "Kustomization", not_known: tuple[NotKnown, ...] = ()
) -> Explanation:
    """Of an object in the namespace apps, that many minutes after the story's beginning."""
    known = Known(cluster.relations, list(cluster._collectors.values()), not_known)
    explanation = answer(question(kind, name, "apps"), known, BEGINNING + at * MINUTE)
    assert decode(encode(explanation)) == explanation
    return explanation


def told(cluster: Cluster, name: str, at: float, kind: str = "Kustomization") -> str:
    text = tell(explained(cluster, name, at, kind), BEGINNING + at * MINUTE)
    assert all(len(line) <= WIDTH for line in text.splitlines())
    return text


def text(block: str) -> str:
    return textwrap.dedent(block).lstrip("\n")


def a_failing_root_of_three() -> Cluster:
    cluster = Cluster()
    a_chain(cluster, "root", "mid", "leaf")
    cluster.kustomization_fails("root", at=1)
    cluster.kustomization_waits("mid", at=1, on="root")
    cluster.kustomization_waits("leaf", at=1, on="mid")
    return cluster


# Texts


def test_the_way_to_a_failing_root_is_told_step_by_step() -> None:
    assert told(a_failing_root_of_three(), "leaf", at=135) == text(
        """
        Kustomization apps/leaf is not ready: it waits for something else (DependencyNotReady).
          since       2025-11-21 04:41:00 UTC, 2 h 14 min ago
          last good   main@sha1:1

        The cause is Kustomization apps/root: its last run failed (BuildFailed).
          Kustomization apps/leaf
            depends on Kustomization apps/mid, which waits too
              depends on Kustomization apps/root, whose last run failed
          since       2025-11-21 04:41:00 UTC, 2 h 14 min ago
          failure     build: its manifests cannot be built
          blocks      2 objects wait because of it, this one among them

        Look at next:
          kubectl -n apps describe kustomization/root  # the whole message: which file, which field
          flux build kustomization root -n apps --path ./PATH  # in a clone, at the failing commit
        """
    )


def test_one_that_fails_by_itself_is_told_with_what_it_blocks() -> None:
    assert told(a_failing_root_of_three(), "root", at=1.5) == text(
        """
        Kustomization apps/root is not ready: its last run failed (BuildFailed).
          since       2025-11-21 04:41:00 UTC, 30 s ago
          failure     build: its manifests cannot be built
          last good   main@sha1:1
          blocks      2 objects wait because of it: Kustomization apps/leaf, Kustomization apps/mid

        Nothing that it waits for is to blame: it is its own cause.

        Look at next:
          kubectl -n apps describe kustomization/root  # the whole message: which file, which field
          flux build kustomization root -n apps --path ./PATH  # in a clone, at the failing commit
        """
    )


def test_a_source_that_is_missing_is_told_with_where_its_name_was_written() -> None:
    cluster = Cluster()
    cluster.source_is_missed("app", at=1, spec=on())
    assert told(cluster, "app", at=3) == text(
        """
        Kustomization apps/app is not ready: it waits for something else (ArtifactFailed).
          since       2025-11-21 04:41:00 UTC, 2 min ago

        The cause is GitRepository apps/repo: it does not exist.
          Kustomization apps/app takes its source from GitRepository apps/repo, which does not exist

        Look at next:
          kubectl -n apps get gitrepository  # is it there under another name?
          # is spec.sourceRef of Kustomization apps/app right?
          kubectl -n apps get kustomization/app -o yaml
        """
    )


def test_a_circle_is_told_with_its_members_in_the_order_in_which_they_wait() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    for name, dependency in (("a", "c"), ("b", "a"), ("c", "b")):
        cluster.kustomization_waits(name, at=1, on=dependency, spec=on(dependency))
    cluster.kustomization_waits("outside", at=1, on="b", spec=on("b"))
    assert told(cluster, "outside", at=3) == text(
        """
        Kustomization apps/outside is not ready: it waits for something else (DependencyNotReady).
          since       2025-11-21 04:41:00 UTC, 2 min ago

        The cause is Kustomization apps/a: it is one of a circle whose members wait for each other.
          Kustomization apps/outside
            depends on Kustomization apps/b, which waits too
              depends on Kustomization apps/a, which waits too
          since       2025-11-21 04:41:00 UTC, 2 min ago
          blocks      3 objects wait because of it, this one among them

        Look at next:
          They wait for each other, and none will ever start: Kustomization apps/a -> Kustomization apps/c
          -> Kustomization apps/b -> Kustomization apps/a.
          kubectl -n apps get kustomization/a -o yaml  # take one dependency out of the circle, in Git
        """
    )
    assert [member.name for member in explained(cluster, "c", at=3).causes[0].cycle] == ["a", "c", "b"]


def test_a_parent_with_two_causes_is_told_both_its_own_first() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_fails("child", at=1)
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child", DEPLOYMENT)
    assert told(cluster, "parent", at=9) == text(
        """
        Kustomization apps/parent is not ready: its last run failed (HealthCheckFailed).
          since       2025-11-21 04:46:00 UTC, 3 min ago
          failure     workload_unhealthy: what it applied does not become healthy
          unhealthy   Deployment apps/web, Kustomization apps/child
          last good   main@sha1:1

        Cause 1 of 2 is its own: its last run failed (HealthCheckFailed).

        Cause 2 of 2 is Kustomization apps/child: its last run failed (BuildFailed).
          Kustomization apps/parent waits for the health of Kustomization apps/child, whose last run
          failed
          since       2025-11-21 04:41:00 UTC, 8 min ago
          failure     build: its manifests cannot be built

        Look at next:
          flux tree kustomization parent -n apps  # what it applied; the message names what is not ready
          kubectl -n apps describe kustomization/parent  # the whole message
          kubectl -n apps get events --sort-by=.lastTimestamp  # and in the namespace of what is not ready
          kubectl -n apps describe kustomization/child  # the whole message: which file, which field
          flux build kustomization child -n apps --path ./PATH  # in a clone, at the failing commit
        """
    )


def test_a_parent_whose_child_is_well_again_waits_for_its_own_next_run() -> None:
    cluster = Cluster()
    a_parent(cluster, "child")
    cluster.kustomization_fails("child", at=1)
    cluster.health_check_fails("parent", 6, "Kustomization/apps/child")
    cluster.kustomization_is_ready("child", at=7)
    assert told(cluster, "parent", at=9).partition("\n\n")[2] == text(
        """
        The cause is Kustomization apps/child: it failed and is well again; what waits for it has not run
          since.
          Kustomization apps/parent waits for the health of Kustomization apps/child, which is well

        Look at next:
          Kustomization apps/child is well again; Kustomization apps/parent has not run since, and its
          next run will tell.
          flux reconcile kustomization parent -n apps  # if you cannot wait
        """
    )


def a_suspended_root() -> Cluster:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.write("Kustomization", "root", at=2, spec={"suspend": True})
    cluster.source_is_ready(at=3, revision="main@sha1:2")
    cluster.kustomization_waits("leaf", at=3, on="root", why="revision is not up to date")
    return cluster


def test_a_suspended_dependency_is_told_with_how_to_resume_it() -> None:
    assert told(a_suspended_root(), "leaf", at=9).partition("\n\n")[2] == text(
        """
        The cause is Kustomization apps/root: it is suspended.
          Kustomization apps/leaf depends on Kustomization apps/root, which is suspended

        Look at next:
          # somebody suspended it: its annotations may say who, and why
          kubectl -n apps describe kustomization/root
          flux resume kustomization root -n apps  # once you know that it may run
        """
    )


def test_one_that_is_well_and_suspended_says_whom_that_blocks() -> None:
    cluster = a_suspended_root()
    assert explained(cluster, "root", at=9).ready
    assert told(cluster, "root", at=9).startswith(
        text(
            """
            Kustomization apps/root is well.
              suspended   no run will start before it is resumed
              last good   main@sha1:1
              behind      its source has another revision, since 2025-11-21 04:43:00 UTC, 6 min ago
              blocks      1 object waits because of it: Kustomization apps/leaf
              health      not checked: it is ready as soon as it is applied

            Look at next:
            """
        )
    )


def test_one_that_is_well_needs_no_more_than_a_few_lines() -> None:
    cluster = Cluster()
    a_chain(cluster, "root")
    assert told(cluster, "root", at=9) == text(
        """
        Kustomization apps/root is well.
          last good   main@sha1:1
          health      not checked: it is ready as soon as it is applied
        """
    )


def test_a_failing_source_says_how_many_receive_nothing_new() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "mid", "leaf")
    cluster.write("GitRepository", "repo", "False", "AuthenticationFailed", at=1)
    assert told(cluster, "repo", at=2, kind="gitrepo") == text(
        """
        GitRepository apps/repo is not ready: its last run failed (AuthenticationFailed).
          since       2025-11-21 04:41:00 UTC, 1 min ago
          failure     auth: its credentials are refused
          last good   main@sha1:1
          receivers   none that is ready: what is new is found by polling alone
          holds back  3 objects downstream are ready and receive nothing new
          version     not pinned: spec.ref decides what is deployed

        Nothing that it waits for is to blame: it is its own cause.

        Look at next:
          # has this Secret's token or key run out?
          kubectl -n apps get gitrepository/repo -o jsonpath='{.spec.secretRef.name}'
          flux reconcile source git repo -n apps  # try again, once it is mended
        """
    )


def test_the_way_through_charts_names_each_field() -> None:
    cluster = Cluster()
    cluster.write("HelmRepository", "charts", "False", "IndexationFailed", at=1)
    chart = {"chart": "redis", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}
    none = "no artifact available for HelmRepository source 'charts'"
    cluster.write("HelmChart", "apps-redis", "False", "NoSourceArtifact", none, at=1, spec=chart)
    message = "HelmChart 'apps/apps-redis' is not ready: does not have an artifact"
    cluster.write("HelmRelease", "redis", "False", "SourceNotReady", message, at=1, spec={"chart": {"spec": chart}})
    found = told(cluster, "redis", at=2, kind="hr")
    assert "    takes its chart from HelmChart apps/apps-redis, which waits too\n" in found
    assert "      takes its source from HelmRepository apps/charts, whose last run failed\n" in found


# What else it may be


def test_what_is_being_deleted_says_how_to_see_what_that_waits_for() -> None:
    cluster = Cluster()
    a_chain(cluster, "root")
    cluster.write("Kustomization", "root", at=2, deletionTimestamp="2025-11-21T04:42:00Z")
    found = explained(cluster, "root", at=3)
    assert (found.state, found.ready) == ("terminating", False)
    assert any("finalizers" in line for line in found.next)


def test_an_object_without_a_controller_is_unjudged_and_counts_as_well() -> None:
    cluster = Cluster()
    cluster.write("Alert", "chat")
    found = explained(cluster, "chat", at=1, kind="Alert")
    assert (found.state, found.ready, found.next) == ("unjudged", True, [])


def test_a_first_run_that_goes_on_is_no_failure_and_not_ready() -> None:
    cluster = Cluster()
    cluster.kustomization_runs("new", at=1, spec=on())
    found = explained(cluster, "new", at=2)
    assert (found.state, found.ready, found.running_since) == ("running", False, BEGINNING + MINUTE)


def test_one_that_fails_and_runs_again_says_both() -> None:
    cluster = a_failing_root_of_three()
    cluster.kustomization_runs("root", at=4)
    assert "  a run goes on since 2025-11-21 04:44:00 UTC, 1 min ago\n" in told(cluster, "root", at=5)


@pytest.mark.parametrize(("at", "words"), [(1.5, "its next attempt"), (4, "it is its own cause")])
def test_one_that_waits_for_what_is_ready_is_told_to_wait_and_then_to_look_at_itself(at: float, words: str) -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.kustomization_waits("leaf", at=1, on="root", why="is not ready according to readyExpr eval")
    found = explained(cluster, "leaf", at)
    assert found.causes == []
    assert words in found.next[0]


def test_a_readyexpr_that_never_holds_is_named_as_such() -> None:
    cluster = Cluster()
    a_chain(cluster, "root", "leaf")
    cluster.kustomization_waits("leaf", at=1, on="root", why="is not ready according to readyExpr eval")
    cluster.wait(until=4)
    assert "its own: what it depends on is ready, but not as it demands" in told(cluster, "leaf", at=4)


def test_what_is_not_known_is_said_and_never_called_missing() -> None:
    cluster = Cluster(without=["GitRepository"])
    cluster.source_is_missed("app", at=1, spec=on())
    gap = NotKnown(kind="GitRepository", namespace="", why="forbidden")
    found = explained(cluster, "app", at=2, not_known=(gap,))
    cause = found.causes[0]
    assert (cause.reason, cause.state, cause.exists) == ("NotWatched", "unknown", None)
    assert tell(found, BEGINNING).endswith("Not known (may not be listed): GitRepository.\n")


def test_a_start_that_is_not_known_exactly_is_told_as_a_range() -> None:
    found = msgspec.json.decode(encode(explained(a_failing_root_of_three(), "root", at=2)))
    found["since"] = {"timestamp": BEGINNING, "uncertainty_seconds": 600.0}
    said = tell(decode(msgspec.json.encode(found)), BEGINNING + 11 * MINUTE)
    assert "  since       some time between 2025-11-21 04:40:00 and 04:50:00 UTC, at least 1 min ago\n" in said


# Bounds


def test_a_cause_of_forty_names_the_first_twenty_and_counts_all() -> None:
    cluster = Cluster()
    cluster.kustomization_fails("root", at=1, spec=on())
    for number in range(40):
        cluster.kustomization_waits(f"app-{number:02}", at=1, on="root", spec=on("root"))
    blocks = explained(cluster, "root", at=2).blocks
    assert (blocks.count, [named.name for named in blocks.objects]) == (40, [f"app-{n:02}" for n in range(20)])
    assert "apps/app-04 and 35 more" in " ".join(told(cluster, "root", at=2).split())


def test_one_with_thirty_causes_names_twenty_and_says_so() -> None:
    cluster = Cluster()
    names = [f"root-{number:02}" for number in range(30)]
    for name in names:
        cluster.kustomization_fails(name, at=1, spec=on())
    cluster.kustomization_waits("app", at=1, on=names[0], spec=on(*names))
    found = explained(cluster, "app", at=2)
    assert (len(found.causes), found.causes_left_out) == (20, 10)
    assert "Cause 20 of 30 is Kustomization apps/root-19" in told(cluster, "app", at=2)


def test_the_longest_chain_is_walked_in_time_and_told() -> None:
    cluster = Cluster()
    cluster.kustomization_fails("app-0", at=1, spec=on())
    for number in range(1, 300):
        cluster.kustomization_waits(f"app-{number}", at=1, on=f"app-{number - 1}", spec=on(f"app-{number - 1}"))
    assert len(explained(cluster, "app-299", at=2).causes[0].path) == 299
    said = told(cluster, "app-299", at=2)
    assert "                and so on, 291 steps more; then\n" in said
    assert "depends on Kustomization apps/app-0, whose last run failed\n" in said


# Messages


def test_messages_are_no_part_of_an_explanation_until_somebody_adds_them() -> None:
    found = explained(a_failing_root_of_three(), "leaf", at=2)
    assert b'"message"' not in encode(found)
    messages = {Key("Kustomization", "apps", "root"): "kustomize build failed"}
    with_them = with_messages(found, messages)
    assert with_them.causes[0].message == "kustomize build failed"
    assert encode(with_them).count(b'"message"') == 1
    assert "  it says     kustomize build failed\n" in tell(with_them, BEGINNING)


def test_names_that_a_shell_or_a_terminal_would_obey_do_no_harm() -> None:
    cluster = Cluster()
    evil = "x; rm -rf ~ #\x1b[2J"
    cluster.source_is_missed("app", at=1, spec={**on(evil), "sourceRef": {"kind": "GitRepository", "name": evil}})
    cluster.kustomization_waits("app", at=1, on=evil)
    said = told(cluster, "app", at=2)
    assert "\x1b" not in said
    commands = [line for line in said.splitlines() if line.lstrip().startswith(("kubectl", "flux"))]
    assert all("; rm" not in command or f"'{evil[:10]}" in command for command in commands)
