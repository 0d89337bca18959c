"""What people are told: a real Alertmanager with the shipped configuration, and with those that others have.

The incidents go on side by side at sixty times the speed. Which alerts fire in them is tested elsewhere.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.peers.alertmanager import Deliveries, Notification, RunningAlertmanager
from tests.rules.incidents import (
    CLUSTERS,
    HOST_CAUSE,
    WEBHOOK_CAUSE,
    Alerts,
    all_others,
    incident,
    info_inhibitor,
    one_of_each,
)
from tests.rules.routing import ALERTMANAGER, Hearer, Told, of_operator, on_loopback, shipped, tell
from tests.rules.stories import Span

pytestmark = pytest.mark.real_time

SPEED = 60.0
MINUTES = 100.0


# The configurations


def kube_prometheus_stack() -> dict[str, Any]:
    """As its chart 88.5 has it, but for the receiver: "null" there, until somebody names another."""
    severities = [("critical", "warning|info"), ("warning", "info")]
    return {
        "route": {
            "receiver": "default",
            "group_by": ["namespace"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "12h",
            "routes": [{"receiver": "null", "matchers": ['alertname = "Watchdog"']}],
        },
        "inhibit_rules": [
            *(
                {
                    "source_matchers": [f"severity = {source}"],
                    "target_matchers": [f"severity =~ {target}"],
                    "equal": ["namespace", "alertname"],
                }
                for source, target in severities
            ),
            {
                "source_matchers": ["alertname = InfoInhibitor"],
                "target_matchers": ["severity = info"],
                "equal": ["namespace"],
            },
            {"target_matchers": ["alertname = InfoInhibitor"]},
        ],
        "receivers": [{"name": "null"}, {"name": "default", "webhook_configs": [{"url": "http://there.example"}]}],
    }


def by_severity_and_revision() -> dict[str, Any]:
    """As Flux's events are often grouped, with a wait of five minutes."""
    route = {"receiver": "default", "group_by": ["severity", "revision"], "group_wait": "5m", "group_interval": "5m"}
    receiver = {"name": "default", "webhook_configs": [{"url": "http://there.example"}]}
    return {"route": {**route, "repeat_interval": "12h"}, "receivers": [receiver]}


def through_operator(*, on_namespace: bool) -> dict[str, Any]:
    custom = yaml.safe_load((ALERTMANAGER / "alertmanagerconfig.yaml").read_text(encoding="utf-8"))
    return of_operator(custom, kube_prometheus_stack(), on_namespace=on_namespace)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(
    require_peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, Told]]:
    """What each Alertmanager delivers in all of the stories."""
    require_peer("alertmanager")
    directory, promtool = tmp_path_factory.mktemp("told"), require_peer("promtool-3")
    root = incident(promtool, directory)
    without_events = [one for one in root if isinstance(one, Span)]
    alerts = [*root, *all_others(promtool, directory)]
    configurations: dict[str, tuple[dict[str, Any], Alerts]] = {
        "shipped": (shipped(), alerts),
        "operator": (through_operator(on_namespace=False), alerts),
        "operator, on namespace": (through_operator(on_namespace=True), alerts),
        "kube-prometheus-stack": (kube_prometheus_stack(), [*alerts, *info_inhibitor(alerts)]),
        "kube-prometheus-stack, one incident": (kube_prometheus_stack(), without_events),
        "kube-prometheus-stack, one incident and its events": (kube_prometheus_stack(), root),
        "by severity and revision": (by_severity_and_revision(), without_events),
    }
    async with contextlib.AsyncExitStack() as stack:
        hearers = {}
        for number, (name, (configuration, sent)) in enumerate(configurations.items()):
            deliveries = await stack.enter_async_context(Deliveries())
            text = on_loopback(configuration, deliveries.url, SPEED)
            alertmanager = RunningAlertmanager(directory / str(number), text)
            stack.push_async_callback(alertmanager.stop)
            await alertmanager.start()
            hearers[name] = Hearer(alertmanager, deliveries, sent)
        yield await tell(hearers, MINUTES, SPEED)


def outline(notifications: Sequence[Notification]) -> list[tuple[str, int, int]]:
    """To whom, how many alerts that fire, and how many that no longer do."""
    return [(told.receiver, len(told.firing), len(told.resolved)) for told in notifications]


def began(notifications: Sequence[Notification]) -> list[tuple[str, float]]:
    """What was told to fire, and in which minute."""
    return sorted((one.get("name", one["alertname"]), told.at) for told in notifications for one in told.firing)


def ended(notifications: Sequence[Notification]) -> list[tuple[str, float]]:
    """What was told to be over, and in which minute."""
    return sorted((one.get("name", one["alertname"]), told.at) for told in notifications for one in told.resolved)


def at(*minutes: tuple[str, float]) -> list[tuple[str, Any]]:
    """The same as it should be: group_wait or group_interval after that minute, on a busy machine."""
    return [(name, pytest.approx(minute + 1, abs=1)) for name, minute in sorted(minutes)]


ONCE = [("flux-page", 1, 0), ("flux-page", 0, 1)]
SHIPPED = pytest.mark.parametrize("configuration", ["shipped", "operator"])


@SHIPPED
def test_a_root_with_forty_dependents_is_one_notification_and_one_resolve(
    told: Mapping[str, Told], configuration: str
) -> None:
    notifications = told[configuration].of("root")
    assert outline(notifications) == ONCE
    # Its run failed at minute 7.
    assert 7 + 12 <= notifications[0].at <= 7 + 15


@SHIPPED
def test_an_hour_in_which_a_webhook_fails_120_is_one_notification_and_one_resolve(
    told: Mapping[str, Told], configuration: str
) -> None:
    notifications = [
        one
        for one in told[configuration].of("webhook")
        if any(labels.get("shared_cause") == WEBHOOK_CAUSE for labels in (*one.firing, *one.resolved))
    ]
    assert outline(notifications) == ONCE
    assert notifications[0].firing[0]["alertname"] == "FluxSharedFailure"


@SHIPPED
def test_an_outage_of_a_git_host_in_thirty_clusters_is_one_thread_of_few_notifications(
    told: Mapping[str, Told], configuration: str
) -> None:
    about = [
        one
        for one in told[configuration].notifications
        if any(labels.get("shared_cause") == HOST_CAUSE for labels in (*one.firing, *one.resolved))
    ]
    assert {labels["alertname"] for one in about for labels in one.firing} == {"FluxSharedFailure"}
    assert [one.receiver for one in about] == ["flux-page"] * len(about)
    # They join within ten minutes, and are told every three.
    assert len(about) <= 6
    # The first waits two minutes for the next ones.
    first = told[configuration].notifications.index(about[0])
    assert 2 <= told[configuration].waited_minutes(first, 10) <= 3
    assert (len(about[-1].firing), len(about[-1].resolved)) == (0, CLUSTERS)


@SHIPPED
def test_each_alert_reaches_the_receiver_of_its_severity_and_no_other(
    told: Mapping[str, Told], configuration: str
) -> None:
    expected = {"critical": {"flux-page"}, "error": {"flux-page"}, "info": {"flux-info"}, "none": set()}
    for one in one_of_each():
        reached = {notification.receiver for notification in told[configuration].of(one.labels["cluster"])}
        if one.labels["alertname"] == "FluxMonitoringWatchdog":
            assert reached == {"flux-dead-mans-switch"}
        else:
            assert reached == expected[one.labels["severity"]], one.labels["alertname"]
    assert "unrouted" not in {notification.receiver for notification in told[configuration].notifications}


@SHIPPED
def test_the_dead_mans_switch_is_called_at_least_every_two_minutes_and_never_told_an_end(
    told: Mapping[str, Told], configuration: str
) -> None:
    calls = told[configuration].of("only-FluxMonitoringWatchdog")
    assert {(len(call.firing), len(call.resolved)) for call in calls} == {(1, 0)}
    # Less than an external watcher's usual five minutes, on a busy machine, too.
    assert max(after.at - before.at for before, after in itertools.pairwise(calls)) < 3


@SHIPPED
def test_while_the_exporter_is_gone_only_that_is_told_and_every_end_and_beginning_afterwards(
    told: Mapping[str, Told], configuration: str
) -> None:
    notifications = told[configuration].of("blind")
    assert sorted(outline(notifications)) == sorted(ONCE * 4)
    assert began(notifications) == at(("app", 12), ("healed", 12), ("FluxMonitoringAbsent", 30), ("healed", 75))
    assert ended(notifications) == at(("FluxMonitoringAbsent", 50), ("healed", 50), ("app", 65), ("healed", 90))


@SHIPPED
def test_one_that_failed_alone_is_told_to_be_well_while_others_fail_for_the_same_and_told_again_when_it_fails_anew(
    told: Mapping[str, Told], configuration: str
) -> None:
    notifications = told[configuration].of("joined")
    assert began(notifications) == at(("first", 12), ("FluxSharedFailure", 25), ("first", 70))
    assert ended(notifications) == at(("first", 40), ("FluxSharedFailure", 60), ("first", 90))


@SHIPPED
def test_the_lease_of_a_shard_that_was_removed_hides_nothing(told: Mapping[str, Told], configuration: str) -> None:
    notifications = told[configuration].of("leftover")
    assert began(notifications) == at(("FluxControllerDown", 10), ("app", 50), ("FluxControllerDown", 60))
    assert outline(notifications)[:3] == ONCE[:1] * 3


@SHIPPED
def test_hosts_and_credentials_of_one_cluster_are_no_matter_of_another(
    told: Mapping[str, Told], configuration: str
) -> None:
    for cluster, minute in (("local-a", 10), ("local-b", 30), ("expired", 30)):
        assert outline(told[configuration].of(cluster)) == ONCE
        assert began(told[configuration].of(cluster)) == at(("FluxSharedFailure", minute))


@SHIPPED
def test_a_mass_deletion_is_told_once_and_by_the_larger_name(told: Mapping[str, Told], configuration: str) -> None:
    notifications = told[configuration].of("pruned")
    assert [len(one.firing) for one in notifications] == [1, 0]
    assert "name" not in notifications[0].firing[0]


@SHIPPED
def test_an_event_that_names_the_cluster_is_inhibited_where_prometheus_has_no_name_for_it(
    told: Mapping[str, Told], configuration: str
) -> None:
    assert told[configuration].of("prod") == []
    assert "unnamed" in {name for name, _ in began(told[configuration].of(""))}


@SHIPPED
def test_a_controller_that_is_gone_is_told_and_not_each_object_that_is_late_because_of_it(
    told: Mapping[str, Told], configuration: str
) -> None:
    notifications = told[configuration].of("stuck")
    assert outline(notifications) == [*ONCE[:1], *ONCE[:1], *ONCE[1:], *ONCE[1:]]
    told_of = {(one["alertname"], one.get("kind", "")) for notification in notifications for one in notification.firing}
    assert told_of == {("FluxControllerDown", ""), ("FluxReconciliationStopped", "HelmRelease")}


@SHIPPED
def test_a_signature_that_does_not_verify_is_told_once(told: Mapping[str, Told], configuration: str) -> None:
    notifications = told[configuration].of("forged")
    assert [(one.receiver, len(one.firing)) for one in notifications] == [("flux-page", 1), ("flux-page", 0)]
    assert notifications[0].firing[0]["alertname"] == "FluxVerificationFailing"


@SHIPPED
def test_a_team_that_has_a_route_gets_its_alerts_and_all_others_go_where_everything_goes(
    told: Mapping[str, Told], configuration: str
) -> None:
    reached = {(one.receiver, *(labels["name"] for labels in one.firing)) for one in told[configuration].of("owned")}
    assert {pair for pair in reached if len(pair) > 1} == {
        ("flux-page-example-team", "theirs"),
        ("flux-page", "ours"),
    }


@SHIPPED
def test_of_the_copied_rules_a_source_is_told_and_not_its_users(told: Mapping[str, Told], configuration: str) -> None:
    notifications = told[configuration].of("copied")
    assert outline(notifications) == ONCE
    assert notifications[0].firing[0]["alertname"] == "GitRepositoryFailing"


@SHIPPED
def test_what_only_informs_is_one_notification_for_many_objects(told: Mapping[str, Told], configuration: str) -> None:
    notifications = told[configuration].of("informs")
    assert {one.receiver for one in notifications} == {"flux-info"}
    # One after the other within nine minutes: the first wait for the next ones, and those for an hour.
    assert len(notifications) <= 2
    assert len(notifications[0].firing) >= 5


@SHIPPED
def test_of_events_only_what_goes_on_and_has_no_alert_of_ours_is_told_and_it_is_told_once(
    told: Mapping[str, Told], configuration: str
) -> None:
    events = [one for one in told[configuration].notifications if one.receiver == "flux-events"]
    assert [{labels["name"] for labels in one.firing} for one in events] == [{"foreign"}]


# What others have


def test_with_the_operators_default_strategy_hardly_anything_arrives_and_the_dead_mans_switch_is_not_called(
    told: Mapping[str, Told],
) -> None:
    reached = {notification.receiver for notification in told["operator, on namespace"].notifications}
    # What the chart's own configuration sends everything to.
    assert reached == {"default"}


def test_under_kube_prometheus_stacks_own_configuration_members_are_told_and_information_is_not(
    told: Mapping[str, Told],
) -> None:
    there = told["kube-prometheus-stack"]
    # All of a namespace is one group, in all clusters: it is told again whenever something is added.
    assert {labels["alertname"] for one in there.of("webhook") for labels in one.firing} == {
        "FluxSharedFailure",
        "FluxReconciliationFailing",
    }
    assert len(there.of("webhook")) > 10
    assert there.of("informs") == []
    # Theirs is named Watchdog, and only that one is kept from people.
    assert there.of("only-FluxMonitoringWatchdog")


def test_under_kube_prometheus_stacks_own_configuration_an_incident_is_told_in_time(told: Mapping[str, Told]) -> None:
    pages = told["kube-prometheus-stack, one incident"].of("root")
    assert [(len(page.firing), len(page.resolved)) for page in pages] == [(1, 0), (0, 1)]
    assert 7 + 12 <= pages[0].at <= 7 + 15
    # What notification-controller sends of the same namespace has opened the group, which is told every five minutes.
    assert 7 + 12 <= told["kube-prometheus-stack, one incident and its events"].of("root")[0].at <= 7 + 12 + 1 + 5.5


def test_grouped_by_severity_and_revision_with_five_minutes_of_waiting_an_incident_is_told_too_late(
    told: Mapping[str, Told],
) -> None:
    pages = told["by severity and revision"].of("root")
    assert [(len(page.firing), len(page.resolved)) for page in pages] == [(1, 0), (0, 1)]
    assert pages[0].at > 7 + 15
