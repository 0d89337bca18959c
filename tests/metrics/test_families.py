"""Which families a profile, an allow list and a deny list leave."""

from __future__ import annotations

import itertools

import pytest

from gotk_exporter.metrics import families as f
from gotk_exporter.metrics.families import OBJECT_FAMILIES, Profile, matches_any, select

MINIMAL = (
    f.RECONCILE_CONDITION,
    f.SUSPEND_STATUS,
    f.RESOURCE_INFO,
    f.OWNER_INFO,
    f.FAILING_SINCE,
    f.FAILING_SINCE_UNCERTAINTY,
    f.FAILURE_INFO,
    f.FAILING_CHILD_INFO,
    f.WAITING_SINCE,
    f.PROGRESSING_SINCE,
    f.BLOCKED,
    f.ROOT_CAUSE_INFO,
    f.BLOCKED_DEPENDENTS,
    f.HELD_BACK,
    f.AWAITING_RETRY,
    f.LAST_RECONCILE,
    f.UNSERVED,
    f.CONTROLLER_LEASE_RENEW,
    f.RESOURCE_INTERVAL,
    f.RESOURCE_TIMEOUT,
)
"""Of these only six have series of an object that is well and at rest, and one more where its owners are configured."""


def test_each_profile_holds_all_of_the_one_before_it_and_full_holds_everything() -> None:
    chosen = [select(profile) for profile in sorted(Profile)]
    assert chosen[0] == MINIMAL
    for smaller, larger in itertools.pairwise(chosen):
        assert set(smaller) < set(larger)
    assert chosen[-1] == OBJECT_FAMILIES


@pytest.mark.parametrize(
    ("allow", "deny", "chosen"),
    [
        ((), ("gotk_suspend_status",), tuple(family for family in MINIMAL if family is not f.SUSPEND_STATUS)),
        (
            (),
            ("gotk_resource_*",),
            (f.RECONCILE_CONDITION, f.SUSPEND_STATUS, f.ROOT_CAUSE_INFO, f.CONTROLLER_LEASE_RENEW),
        ),
        ((), ("*",), ()),
        # An allow list replaces the profile's choice, also with what the profile would leave out.
        (("gotk_resource_condition",), (), (f.RESOURCE_CONDITION,)),
        (
            ("gotk_*_seconds",),
            ("*_since_*", "*_timestamp_*"),
            (f.RESOURCE_INTERVAL, f.RESOURCE_TIMEOUT, f.USUAL_RUN, f.RESOURCE_RETRY_INTERVAL),
        ),
        (("gotk_resource_i*",), ("*_info",), (f.RESOURCE_INTERVAL, f.RESOURCE_INVENTORY_ENTRIES)),
        (("gotk_suspend_status",), ("gotk_suspend_status",), ()),
        # In the catalogue's order, not in the list's.
        (("gotk_suspend_status", "gotk_reconcile_condition"), (), (f.RECONCILE_CONDITION, f.SUSPEND_STATUS)),
        (("GOTK_SUSPEND_STATUS",), (), ()),
    ],
)
def test_allow_chooses_and_deny_takes_away(
    allow: tuple[str, ...], deny: tuple[str, ...], chosen: tuple[f.Family, ...]
) -> None:
    assert select(Profile.MINIMAL, allow, deny) == chosen


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("gotk_suspend_status", True), ("gotk_suspend", False), ("gotk_s?spend_*", True), ("*", True), ("", False)],
)
def test_pattern_has_to_match_the_whole_name(pattern: str, matches: bool) -> None:
    assert matches_any(f.SUSPEND_STATUS, [pattern]) is matches
