"""What the page says while the recorded scenarios c and e to j happen again, in a simulated fleet.

What is expected was written down from the tables in facts/flux-timelines.md: when an operator would have said what, and
who is to blame. Times are seconds since the story began, and true within 0.3 s.
"""

from __future__ import annotations

import pytest

from tests.flux.scenarios_follower import Story, check, long_runs
from tests.flux.scenarios_stories import (
    STORIES,
    deleted,
    fast_errors,
    killed,
    releases,
    requested,
    source_down,
    storage_lost,
    suspended,
)

AT_FIRST = [(0.0, "Unknown"), (0.8, "False")]
"""Created with its source, an object waits for that for a moment."""
STARTUP_WAIT = [(0.8, 0.8), (0.9, None)]
NEVER: list[tuple[float, object]] = []


def nobody_else_is_a_cause(story: Story, *roots: str) -> None:
    """Beyond the first second, in which everything is new."""
    seen = {
        name for at, page in story.pages if at > 1.5 for name, said in page.items() if said.root and name not in roots
    }
    assert not seen


# c, errors that are over in no time


def test_a_broken_build_is_one_failure_from_its_commit_to_its_repair() -> None:
    story = fast_errors()
    check(
        story,
        "Kustomization/build",
        status=[*AT_FIRST, (1.0, "True"), (61.3, "False"), (183.2, "True")],
        failing=[(61.3, 61.3), (183.2, None)],
        uncertainty=[(61.3, 0.0), (183.2, None)],
        waiting=STARTUP_WAIT,
        root=[(61.3, "BuildFailed"), (183.2, None)],
        held=[(61.3, 0), (183.2, None)],
    )
    assert long_runs(story, "Kustomization/build") == []


def test_what_the_api_server_rejects_fails_without_a_break() -> None:
    check(
        fast_errors(),
        "Kustomization/badapply",
        status=AT_FIRST,
        failing=[(1.0, 1.0)],
        waiting=STARTUP_WAIT,
        root=[(1.0, "ReconciliationFailed")],
    )


def test_a_path_that_is_not_there_is_a_failure_of_its_own() -> None:
    check(
        fast_errors(),
        "Kustomization/nopath",
        status=AT_FIRST,
        failing=[(0.9, 0.9)],
        waiting=STARTUP_WAIT,
        root=[(0.9, "ArtifactFailed")],
    )


def test_a_source_that_is_not_there_is_waited_for_and_is_the_cause() -> None:
    story = fast_errors()
    check(
        story,
        "Kustomization/nosource",
        status=AT_FIRST,
        failing=NEVER,
        waiting=[(0.8, 0.8)],
        blocked=[(0.8, "GitRepository/nowhere")],
        root=NEVER,
    )
    check(story, "GitRepository/nowhere", root=[(0.8, "NotFound")], status=NEVER)


def test_an_invalid_expression_fails_once_and_for_all() -> None:
    story = fast_errors()
    check(
        story,
        "Kustomization/badcel",
        status=AT_FIRST,
        failing=[(0.8, 0.8)],
        progressing=[(0.0, 0.0), (0.8, None)],
        root=[(0.8, "InvalidCELExpression")],
    )
    nobody_else_is_a_cause(
        story,
        *(f"Kustomization/{name}" for name in ("build", "badapply", "nopath", "badcel")),
        "GitRepository/nowhere",
    )


# e, sources that are not to be reached


def test_a_source_with_an_artifact_fails_for_as_long_as_it_has_not_tried_again() -> None:
    story = source_down()
    failing = [(60.9, 60.9), (252.2, None), (332.3, 332.3)]
    check(
        story,
        "GitRepository/repo",
        status=[(0.0, "Unknown"), (0.8, "True"), (60.9, "False"), (252.2, "True"), (332.3, "False")],
        failing=failing,
        waiting=NEVER,
        held=[(60.9, 1), (252.2, None), (332.3, 1)],
    )
    assert [at for at, said in story.spans("GitRepository/repo", "root") if said == "GitOperationFailed"] == [
        pytest.approx(60.9, abs=0.3),
        pytest.approx(332.3, abs=0.3),
    ]


def test_what_uses_a_failing_source_with_its_artifact_is_well_and_not_blocked() -> None:
    check(
        source_down(),
        "Kustomization/user",
        status=[*AT_FIRST, (1.0, "True")],
        failing=NEVER,
        waiting=STARTUP_WAIT,
        blocked=[(0.8, "GitRepository/repo"), (0.8, None)],
        root=NEVER,
    )


def test_a_source_without_an_artifact_fails_on_and_on_also_while_it_hangs() -> None:
    story = source_down()
    check(story, "GitRepository/never", status=AT_FIRST, failing=[(0.8, 0.8)], held=[(0.8, 0)])
    # Its retry at 384 s is Unknown for the whole timeout.
    assert long_runs(story, "GitRepository/never") == [(383, 403)]
    check(
        story,
        "Kustomization/user-never",
        status=AT_FIRST,
        failing=NEVER,
        waiting=[(0.8, 0.8)],
        blocked=[(0.8, "GitRepository/never")],
        root=NEVER,
    )
    nobody_else_is_a_cause(story, "GitRepository/repo", "GitRepository/never")


# f, suspended


def test_suspended_between_two_runs_nothing_moves_and_resuming_does_not_restart_the_failure() -> None:
    story = suspended()
    check(
        story,
        "Kustomization/between",
        status=AT_FIRST,
        failing=[(31.0, 31.0)],
        root=[(31.0, "HealthCheckFailed"), (40, "Suspended"), (140, "HealthCheckFailed")],
    )
    assert long_runs(story, "Kustomization/between") == [(1, 31), (140, 170), (190, 220)]


def test_suspended_in_a_run_the_run_ends_and_counts() -> None:
    story = suspended()
    check(
        story,
        "Kustomization/midrun",
        status=AT_FIRST,
        failing=[(31.0, 31.0)],
        root=[(31.0, "Suspended"), (150, "HealthCheckFailed")],
    )
    assert long_runs(story, "Kustomization/midrun") == [(1, 31), (150, 180), (200, 230)]


def test_a_suspended_source_without_an_artifact_is_why_others_wait() -> None:
    story = suspended()
    check(story, "GitRepository/badsrc", status=[*AT_FIRST, (200.1, "True")], failing=[(0.8, 0.8), (200.1, None)])
    reasons = [said for _, said in story.spans("GitRepository/badsrc", "root")]
    assert reasons[:4] == ["Progressing", "GitOperationFailed", "Suspended", "GitOperationFailed"]
    check(
        story,
        "Kustomization/user",
        waiting=[(0.8, 0.8), (200.1, None)],
        blocked=[(0.8, "GitRepository/badsrc"), (200.1, None)],
        # There is no such path in it.
        failing=[(200.1, 200.1)],
    )


# g, deleted


def test_what_is_deleted_is_neither_failing_nor_a_cause_and_goes_with_the_object() -> None:
    story = deleted()
    for name, at, gone in ("between", 40.0, 40.0), ("waitterm", 41.0, 71.0):
        check(
            story,
            f"Kustomization/{name}",
            status=[*AT_FIRST, (at, "Deleted"), (gone, None)],
            failing=[(31.0, 31.0), (at, None)],
            root=[(31.0, "HealthCheckFailed"), (at, None)],
            held=[(31.0, 0), (at, None)],
        )


def test_deleted_in_a_run_it_never_failed() -> None:
    check(
        deleted(),
        "Kustomization/midrun",
        status=[*AT_FIRST, (8.0, "Deleted"), (31.0, None)],
        failing=NEVER,
        root=NEVER,
        progressing=[(0.0, 0.0), (0.8, None), (0.9, 0.9), (8.0, None)],
    )


def test_held_by_a_foreign_finalizer_it_is_a_cause_for_those_who_wait_and_afterwards_missing() -> None:
    story = deleted()
    check(
        story,
        "Kustomization/held",
        status=[*AT_FIRST, (40.0, "Deleted"), (123.0, None)],
        failing=[(31.0, 31.0), (40.0, None)],
        root=[(0.9, "Progressing"), (31.0, "HealthCheckFailed"), (40.0, "Terminating"), (123.0, "NotFound")],
    )
    check(
        story,
        "Kustomization/dependent",
        status=AT_FIRST,
        failing=NEVER,
        waiting=[(0.8, 0.8)],
        blocked=[(0.8, "GitRepository/repo"), (0.8, None), (0.9, "Kustomization/held")],
        root=NEVER,
    )


# h, Helm releases


def test_a_release_in_sync_is_well_whatever_reconciling_does() -> None:
    story = releases()
    check(
        story,
        "HelmRelease/idle",
        status=[*AT_FIRST, (1.2, "True")],
        failing=NEVER,
        waiting=[(0.8, 0.8), (1.0, None)],
        root=NEVER,
    )
    assert long_runs(story, "HelmRelease/idle") == []


def test_three_upgrades_that_are_rolled_back_are_one_failure_until_the_spec_changes() -> None:
    story = releases()
    check(
        story,
        "HelmRelease/rollback",
        status=[*AT_FIRST, (1.2, "True"), (84.3, "False"), (284.3, "True")],
        failing=[(84.3, 84.3), (284.3, None)],
        held=[(84.3, 0), (284.3, None)],
    )
    assert long_runs(story, "HelmRelease/rollback") == [(69, 84), (95, 111), (122, 138)]
    reasons = [said for at, said in story.spans("HelmRelease/rollback", "root") if at > 2]
    # That the old release is back is not why.
    assert set(reasons) == {"UpgradeFailed", None}


def test_a_release_without_remediation_fails_and_is_silent() -> None:
    story = releases()
    check(
        story,
        "HelmRelease/noremedy",
        status=[*AT_FIRST, (1.2, "True"), (84.3, "False")],
        failing=[(84.3, 84.3)],
    )
    assert long_runs(story, "HelmRelease/noremedy") == [(69, 84)]


def test_a_release_that_retries_for_ever_fails_until_its_workload_is_ready() -> None:
    story = releases()
    check(
        story,
        "HelmRelease/retryonfail",
        status=[*AT_FIRST, (1.2, "True"), (84.4, "False"), (284.2, "True")],
        failing=[(84.4, 84.4), (284.2, None)],
        root=[(84.4, "UpgradeFailed"), (284.2, None)],
    )
    runs = long_runs(story, "HelmRelease/retryonfail")
    assert [(start, end - start in (3, 15, 16)) for start, end in runs] == [
        (start, True) for start in (69, 104, 140, 175, 210, 246, 281)
    ]


def test_a_template_that_does_not_render_fails_from_its_first_error_and_runs_only_while_it_renders() -> None:
    story = releases()
    check(
        story,
        "HelmRelease/template",
        status=[*AT_FIRST, (1.2, "True"), (69.1, "False")],
        failing=[(69.1, 69.1)],
        root=[(69.1, "UpgradeFailed")],
    )
    # Between its attempts helm-controller backs off, at last for minutes, and leaves Reconciling as it was.
    assert long_runs(story, "HelmRelease/template") == []


def test_an_install_that_fails_is_what_its_dependent_waits_for() -> None:
    story = releases()
    check(story, "HelmRelease/badinstall", status=AT_FIRST, failing=[(16.2, 16.2)], waiting=STARTUP_WAIT)
    check(
        story,
        "HelmRelease/dependent",
        status=AT_FIRST,
        failing=NEVER,
        waiting=[(0.8, 0.8)],
        blocked=[(0.8, "HelmChart/apps-badinstall"), (0.9, None), (0.9, "HelmRelease/badinstall")],
        root=NEVER,
    )
    assert story.spans("HelmRelease/badinstall", "root")[-1][1] == "InstallFailed"


def test_a_chart_that_is_not_there_is_the_cause_and_the_release_waits_for_it() -> None:
    story = releases()
    check(
        story,
        "HelmRelease/nochart",
        status=AT_FIRST,
        failing=NEVER,
        waiting=[(0.8, 0.8)],
        blocked=[(0.8, "HelmChart/apps-nochart")],
        root=NEVER,
    )
    check(story, "HelmChart/apps-nochart", failing=[(0.9, 0.9)], held=[(0.9, 0)])
    assert story.spans("HelmChart/apps-nochart", "root")[-1][1] == "InvalidChartReference"
    names = ("rollback", "noremedy", "retryonfail", "template", "badinstall")
    nobody_else_is_a_cause(story, "HelmChart/apps-nochart", *(f"HelmRelease/{name}" for name in names))


# i, controllers killed


def test_a_run_that_nobody_ends_goes_on_and_the_verdict_stays() -> None:
    story = killed()
    check(
        story,
        "Kustomization/was-true",
        status=[*AT_FIRST, (1.0, "True"), (230.2, "False")],
        failing=[(230.2, 230.2)],
        root=[(230.2, "HealthCheckFailed")],
    )
    assert long_runs(story, "Kustomization/was-true")[0] == (110, 230)
    check(
        story,
        "Kustomization/was-false",
        status=AT_FIRST,
        failing=[(41.0, 41.0)],
        root=[(41.0, "HealthCheckFailed")],
    )
    check(story, "Kustomization/quiet", status=[*AT_FIRST, (1.0, "True")], failing=NEVER, root=NEVER)


def test_a_source_whose_controller_died_while_it_fetched_is_well_and_runs_until_it_is_back() -> None:
    story = killed()
    check(story, "GitRepository/src", status=[(0.0, "Unknown"), (0.8, "True")], failing=NEVER)
    assert long_runs(story, "GitRepository/src") == [(130, 190)]


def test_an_unlocked_release_is_neither_well_nor_failed_by_that() -> None:
    story = killed()
    check(
        story,
        "HelmRelease/rel",
        status=[*AT_FIRST, (1.2, "True"), (230.4, "False")],
        failing=[(230.4, 230.4)],
        root=[(230.4, "UpgradeFailed")],
    )
    assert long_runs(story, "HelmRelease/rel") == [(120, 190), (190, 230)]
    nobody_else_is_a_cause(story, "HelmRelease/rel", "Kustomization/was-true", "Kustomization/was-false")


def test_a_source_whose_artifact_was_lost_is_why_its_users_wait() -> None:
    story = storage_lost()
    check(story, "GitRepository/repo", status=[(0.0, "Unknown"), (0.8, "True")], failing=NEVER)
    check(
        story,
        "GitRepository/other",
        failing=[(61.0, 61.0), (156.5, None)],
        # Its user is ready until it looks.
        held=[(61.0, 1), (81.1, 0), (156.5, None)],
    )
    check(
        story,
        "Kustomization/far",
        status=[*AT_FIRST, (1.0, "True"), (81.1, "False"), (156.6, "True")],
        failing=NEVER,
        waiting=[*STARTUP_WAIT, (81.1, 81.1), (156.5, None)],
        blocked=[
            (0.8, "GitRepository/other"),
            (0.8, None),
            (81.1, "GitRepository/other"),
            (156.5, None),
        ],
    )
    check(story, "Kustomization/near", status=[*AT_FIRST, (1.0, "True")], failing=NEVER)


# j, reconciles that somebody asked for


def test_a_request_moves_nothing_but_the_run_that_it_begins() -> None:
    story = requested()
    for name in "Kustomization/ok", "Kustomization/susp", "HelmRelease/rel":
        check(story, name, failing=NEVER, root=NEVER)
        assert story.spans(name, "status")[-1][1] == "True"
        assert long_runs(story, name) == []
    check(story, "Kustomization/stuck", status=AT_FIRST, failing=[(31.0, 31.0)], root=[(31.0, "HealthCheckFailed")])
    # The second request came in the run that the first began.
    assert long_runs(story, "Kustomization/stuck") == [(1, 31), (60, 90), (90, 120)]
    assert [at for at, _ in story.spans("Kustomization/susp", "progressing") if at > 2] == []


@pytest.mark.parametrize("letter", STORIES)
def test_nothing_blocks_that_is_well_and_whoever_waits_has_a_cause(letter: str) -> None:
    for at, page in STORIES[letter]().pages:
        for name, said in page.items():
            assert said.failing is None or said.status == "False", (at, name)
            assert said.failing is None or said.root or said.blocked, (at, name)
            for cause in said.blocked:
                root = page[cause]
                assert root.root, (at, name, cause)
                assert root.status != "True" or root.root == "Progressing", (at, name, cause)
