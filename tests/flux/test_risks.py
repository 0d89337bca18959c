"""What a specification alone lets one fear: an object in, its lines out; and the rules about versions beneath."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.risks import CHOICES, HEALTH_CHECKS
from gotk_exporter.flux.versions import is_git_tag_moving, is_image_tag_moving, is_one_version
from gotk_exporter.metrics.exposition import Format
from tests.flux.examples import EXAMPLE, by_family, render
from tests.metrics.hostile import HOSTILE_VALUES
from tests.metrics.pages import series_of

CHECKED = "gotk_resource_health_checked"
PINNED = "gotk_resource_version_pinned"
TARGET = "gotk_resource_target_info"
LAST_RUN = "gotk_image_automation_last_run_timestamp_seconds"
LAST_PUSH = "gotk_image_automation_last_push_timestamp_seconds"
LATEST = "gotk_image_automation_latest_tag_info"


def said(family: str, kind: str, spec: Any = None, status: Any = None, **metadata: Any) -> str:
    """What the page says of an object in one family: labels of the family's own and value, a line each."""
    document = {
        "metadata": {"name": "a", "namespace": "apps", **metadata},
        "spec": {} if spec is None else spec,
        "status": {} if status is None else status,
    }
    text, _ = render(document, kind)
    named = f'kind="{kind}",name="{metadata.get("name", "a")}",namespace="apps"'
    found = by_family(text).get(family, "")
    return "\n".join(
        line.removeprefix(f"{family}{{{named}").removeprefix(",").replace("} ", " ").strip()
        for line in found.splitlines()
    )


# Versions

COMMIT = "0b1f2c3d4e5f60718293a4b5c6d7e8f901234567"
DIGEST = f"sha256:{COMMIT}{COMMIT[:24]}"


def chart_from(kind: str, **chart: Any) -> dict[str, Any]:
    return {"chart": {"spec": {"chart": "app", "sourceRef": {"kind": kind, "name": "charts"}, **chart}}}


def standalone_from(kind: str, **chart: Any) -> dict[str, Any]:
    return {"chart": "app", "sourceRef": {"kind": kind, "name": "charts"}, **chart}


VERSIONS: dict[str, tuple[str, Any, str]] = {
    "git: nothing said": ("GitRepository", {}, "spec.ref 0"),
    "git: an empty reference": ("GitRepository", {"ref": {}}, "spec.ref 0"),
    "git: empty texts": ("GitRepository", {"ref": {"branch": "", "tag": "", "commit": ""}}, "spec.ref 0"),
    "git: a reference that is none": ("GitRepository", {"ref": "main"}, "spec.ref 0"),
    "git: a branch": ("GitRepository", {"ref": {"branch": "main"}}, "spec.ref.branch 0"),
    "git: a branch named like a version": ("GitRepository", {"ref": {"branch": "v1.2.3"}}, "spec.ref.branch 0"),
    "git: a tag": ("GitRepository", {"ref": {"tag": "v1.2.3"}}, "spec.ref.tag 1"),
    "git: a tag of two numbers": ("GitRepository", {"ref": {"tag": "1.2"}}, "spec.ref.tag 1"),
    "git: a tag without a number": ("GitRepository", {"ref": {"tag": "stable"}}, "spec.ref.tag 0"),
    "git: a range": ("GitRepository", {"ref": {"semver": ">=1.0.0"}}, "spec.ref.semver 0"),
    "git: a range that is one version": ("GitRepository", {"ref": {"semver": "1.2.3"}}, "spec.ref.semver 1"),
    "git: a commit": ("GitRepository", {"ref": {"commit": COMMIT}}, "spec.ref.commit 1"),
    "git: a commit on a branch": ("GitRepository", {"ref": {"branch": "main", "commit": COMMIT}}, "spec.ref.commit 1"),
    "git: a commit before a name": (
        "GitRepository",
        {"ref": {"name": "refs/heads/main", "commit": COMMIT}},
        "spec.ref.commit 1",
    ),
    "git: a name before a tag": ("GitRepository", {"ref": {"name": "refs/heads/x", "tag": "1.2.3"}}, "spec.ref.name 0"),
    "git: a tag before a range": ("GitRepository", {"ref": {"tag": "1.2.3", "semver": "1.x"}}, "spec.ref.tag 1"),
    "git: a tag before a branch": ("GitRepository", {"ref": {"tag": "1.2.3", "branch": "main"}}, "spec.ref.tag 1"),
    "git: a range before a branch": ("GitRepository", {"ref": {"semver": "1.x", "branch": "b"}}, "spec.ref.semver 0"),
    "git: the name of a tag": ("GitRepository", {"ref": {"name": "refs/tags/v1.2.3"}}, "spec.ref.name 1"),
    "git: the name of a tag's commit": ("GitRepository", {"ref": {"name": "refs/tags/v1^{}"}}, "spec.ref.name 1"),
    "git: the name of a moving tag": ("GitRepository", {"ref": {"name": "refs/tags/latest"}}, "spec.ref.name 0"),
    "git: the name of a pull request": ("GitRepository", {"ref": {"name": "refs/pull/420/head"}}, "spec.ref.name 0"),
    "oci: nothing said": ("OCIRepository", {}, "spec.ref 0"),
    "oci: a filter alone": ("OCIRepository", {"ref": {"semverFilter": ".*-rc.*"}}, "spec.ref 0"),
    "oci: a digest": ("OCIRepository", {"ref": {"digest": DIGEST, "tag": "latest"}}, "spec.ref.digest 1"),
    "oci: a range before a tag": ("OCIRepository", {"ref": {"semver": "6.x", "tag": "6.9.2"}}, "spec.ref.semver 0"),
    "oci: a range that is one version": ("OCIRepository", {"ref": {"semver": "6.9.2"}}, "spec.ref.semver 1"),
    "oci: a release": ("OCIRepository", {"ref": {"tag": "6.9.2"}}, "spec.ref.tag 1"),
    "oci: a tag of two numbers": ("OCIRepository", {"ref": {"tag": "6.9"}}, "spec.ref.tag 0"),
    "oci: latest": ("OCIRepository", {"ref": {"tag": "latest"}}, "spec.ref.tag 0"),
    "release: no version": ("HelmRelease", chart_from("HelmRepository"), "spec.chart.spec.version 0"),
    "release: any version": ("HelmRelease", chart_from("HelmRepository", version="*"), "spec.chart.spec.version 0"),
    "release: a range": ("HelmRelease", chart_from("HelmRepository", version="7.x"), "spec.chart.spec.version 0"),
    "release: a version": ("HelmRelease", chart_from("HelmRepository", version="7.3.0"), "spec.chart.spec.version 1"),
    "release: a number for a version": (
        "HelmRelease",
        chart_from("HelmRepository", version=7.3),
        "spec.chart.spec.version 0",
    ),
    "release: a chart in Git": ("HelmRelease", chart_from("GitRepository", version="7.3.0"), ""),
    "release: a chart in a bucket": ("HelmRelease", chart_from("Bucket"), ""),
    "release: a chart from nowhere": ("HelmRelease", {"chart": {"spec": {}}}, ""),
    "release: a chart that says it for itself": (
        "HelmRelease",
        {"chartRef": {"kind": "OCIRepository", "name": "app"}},
        "",
    ),
    "release: both ways, of which one counts": (
        "HelmRelease",
        {"chartRef": {"kind": "OCIRepository", "name": "app"}, **chart_from("HelmRepository")},
        "",
    ),
    "release: nothing": ("HelmRelease", {}, ""),
    "chart: no version": ("HelmChart", standalone_from("HelmRepository"), "spec.version 0"),
    "chart: a version": ("HelmChart", standalone_from("HelmRepository", version="7.3.0"), "spec.version 1"),
    "chart: in Git": ("HelmChart", standalone_from("GitRepository", version="7.3.0"), ""),
    "chart: in a bucket": ("HelmChart", standalone_from("Bucket", version="7.3.0"), ""),
    "chart: from nowhere": ("HelmChart", {"chart": "app"}, ""),
    "instance: a range": ("FluxInstance", {"distribution": {"version": "2.x"}}, "spec.distribution.version 0"),
    "instance: a version": ("FluxInstance", {"distribution": {"version": "v2.9.4"}}, "spec.distribution.version 1"),
    "instance: no version": ("FluxInstance", {"distribution": {}}, "spec.distribution.version 0"),
    "instance: nothing": ("FluxInstance", {}, "spec.distribution.version 0"),
    "bucket": ("Bucket", {"bucketName": "b", "version": "1.2.3", "ref": {"tag": "1.2.3"}}, ""),
    "applier": ("Kustomization", {"sourceRef": {"kind": "GitRepository", "name": "a"}, "version": "1.2.3"}, ""),
}


def field_and(choice: str) -> str:
    """ "spec.ref 0" as the page has it."""
    field, _, value = choice.partition(" ")
    return f'field="{field}" {value}' if choice else ""


@pytest.mark.parametrize(("kind", "spec", "choice"), VERSIONS.values(), ids=VERSIONS.keys())
def test_what_decides_about_the_version(kind: str, spec: Any, choice: str) -> None:
    assert said(PINNED, kind, spec) == field_and(choice)


OWNED = {"helm.toolkit.fluxcd.io/name": "app", "helm.toolkit.fluxcd.io/namespace": "web"}


@pytest.mark.parametrize(
    ("name", "labels", "choice"),
    [
        pytest.param("web-app", OWNED, "", id="made for a release"),
        pytest.param("other", OWNED, "spec.version 0", id="installed by a release"),
        pytest.param("web-app", {}, "spec.version 0", id="without an owner"),
        pytest.param("None-app", {"helm.toolkit.fluxcd.io/name": "app"}, "spec.version 0", id="half an owner"),
        pytest.param("web-", {**OWNED, "helm.toolkit.fluxcd.io/name": ""}, "spec.version 0", id="an empty owner"),
    ],
)
def test_a_chart_that_a_release_made_is_said_at_the_release(name: str, labels: dict[str, str], choice: str) -> None:
    spec = standalone_from("HelmRepository", version="1.x")
    assert said(PINNED, "HelmChart", spec, name=name, labels=labels) == field_and(choice)


POLICIES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nothing chosen": ({}, {}, ""),
    "chosen, but no tag": ({}, {"latestRef": {"name": "ghcr.io/a/b"}}, ""),
    "a release": ({}, {"latestRef": {"name": "ghcr.io/a/b", "tag": "6.9.2"}}, "status.latestRef.tag 1"),
    "a moving tag": ({}, {"latestRef": {"name": "ghcr.io/a/b", "tag": "main"}}, "status.latestRef.tag 0"),
    "never its digest": (
        {"digestReflectionPolicy": "Never"},
        {"latestRef": {"name": "ghcr.io/a/b", "tag": "main", "digest": DIGEST}},
        "status.latestRef.tag 0",
    ),
    "a moving tag with its first digest": (
        {"digestReflectionPolicy": "IfNotPresent"},
        {"latestRef": {"name": "ghcr.io/a/b", "tag": "main", "digest": DIGEST}},
        "spec.digestReflectionPolicy 1",
    ),
    "with its digest, and nothing chosen": ({"digestReflectionPolicy": "Always"}, {}, "spec.digestReflectionPolicy 1"),
    "an older one on a release": ({}, {"latestImage": "ghcr.io/a/b:6.9.2"}, "status.latestImage 1"),
    "an older one on a moving tag": ({}, {"latestImage": "ghcr.io/a/b:latest"}, "status.latestImage 0"),
}


@pytest.mark.parametrize(("spec", "status", "choice"), POLICIES.values(), ids=POLICIES.keys())
def test_whether_an_image_policy_chooses_what_stays(spec: Any, status: Any, choice: str) -> None:
    assert said(PINNED, "ImagePolicy", spec, status) == field_and(choice)


# The first column of each, tried with Masterminds/semver 3.5.0: what admits one of 5,832 versions, and what more or is
# no constraint.
ONE_VERSION = [
    *("1.2.3", "v1.2.3", "=1.2.3", "= v1.2.3", " 1.2.3\n", "0.0.0", "01.02.03", "1.2.3-rc.1", "1.2.3-0", "1.2.3--"),
    *("1.2.3+build.5", "v1.2.3-a+b"),
]
NO_ONE_VERSION = [
    *("*", "", "x", "1", "v1", "1.2", "1.x", "1.2.x", "1.2.*", "1.2-rc.1", "~1.2.3", "^1.2.3", ">=1.2.3", "=>1.2.3"),
    *("<1.2.3", "!=1.2.3", "~>1.2", "1.2.3 - 1.4.0", ">1.0.0 <2.0.0", "^1.0.0 || ^2.0.0", "1.2.3.4", "==1.2.3"),
    *("V1.2.3", "v 1.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "\u00a01.2.3", "latest", "１.2.3"),
    # One version at most, but written as ranges.
    *("^0.0.3", "1.2.3 || 1.2.3", "1.2.3, 1.2.3", ">=1.2.3 <=1.2.3"),
]


@pytest.mark.parametrize("constraint", ONE_VERSION)
def test_it_can_only_mean_one_version(constraint: str) -> None:
    assert is_one_version(constraint)


@pytest.mark.parametrize("constraint", NO_ONE_VERSION)
def test_it_can_mean_several_versions_or_none(constraint: str) -> None:
    assert not is_one_version(constraint)


NUMBERS = st.integers(0, 10**9).map(str)
IDENTIFIERS = st.from_regex(r"(0|[1-9][0-9]{0,5}|[0-9]{0,3}[A-Za-z-][0-9A-Za-z-]{0,5})", fullmatch=True)
SUFFIXES = st.lists(IDENTIFIERS, min_size=1, max_size=3).map(".".join)
EXACT = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "=", "v", "=v", "= ", " "]),
    st.tuples(NUMBERS, NUMBERS, NUMBERS).map(".".join),
    st.one_of(st.just(""), SUFFIXES.map("-{}".format)),
    st.one_of(st.just(""), SUFFIXES.map("+{}".format)),
)
RANGES = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["~", "^", ">", "<", ">=", "<=", "!=", "~>", "=>", "=<"]), EXACT),
    st.builds("{}{}{}".format, EXACT, st.sampled_from([" || ", ", ", " ", " - "]), EXACT),
    st.tuples(NUMBERS, NUMBERS).map(".".join),
    st.builds("{}.{}".format, st.tuples(NUMBERS, NUMBERS).map(".".join), st.sampled_from("xX*")),
    NUMBERS,
)


@given(EXACT)
def test_whatever_is_written_as_one_version_is_one(constraint: str) -> None:
    assert is_one_version(constraint)
    spec = chart_from("HelmRepository", version=constraint)
    assert said(PINNED, "HelmRelease", spec) == field_and("spec.chart.spec.version 1")


@given(RANGES)
def test_whatever_is_written_as_a_range_is_none(constraint: str) -> None:
    assert not is_one_version(constraint)
    spec = standalone_from("HelmRepository", version=constraint)
    assert said(PINNED, "HelmChart", spec) == field_and("spec.version 0")


MOVING_TAGS = [
    *("latest", "LATEST", "main", "stable-alpine", "nightly", "production", "bookworm", "feature-login", "dev_arm"),
    *("1", "v1", "22", "1.2", "v1.2", "24.04", "2024.1", "1.x", "1.2.x", "1-alpine", "1.2-alpine3.19", "3.12-slim"),
    *("15-3.4", "3.13-rc", "main-arm64", "latest-alpine3.19", "edge-linux-amd64", "release-1.2", "16-bookworm"),
    *("Main-ARM64", "V1-Alpine"),
]
FIXED_TAGS = [
    *("1.2.3", "v1.2.3", "1.2.3-rc.1", "1.2.3-alpine", "2024.01.15", "20240115", "20240115.3", "20240115T101112Z"),
    *("1234", "57-a1b2c3d", "0b1f2c3", "deadbeef", COMMIT, "sha-0b1f2c3", "main-0b1f2c3", "main-1763700000", "dev-57"),
    *("main-0b1f2c3-1763700000", "nightly-2024-01-15", "edge-20240115t101112z", "1.2-5", "1.2-rc1", "1.2-5-gabc1234"),
    *("release-v1.2.3", "stable_r57", "build57", "0.1234", "bookworm-20240110", "1.2-RC1"),
]


@pytest.mark.parametrize("tag", MOVING_TAGS)
def test_an_image_tag_of_this_sort_moves(tag: str) -> None:
    assert is_image_tag_moving(tag)


@pytest.mark.parametrize("tag", FIXED_TAGS)
def test_an_image_tag_of_this_sort_stays(tag: str) -> None:
    assert not is_image_tag_moving(tag)


@given(EXACT.map(lambda version: version.strip("= ")))
def test_a_version_is_no_moving_tag(version: str) -> None:
    assert not is_image_tag_moving(version)
    assert not is_git_tag_moving(version)


@pytest.mark.parametrize("tag", ["1", "v1", "1.2", "v1.2.3", "release-1", "2024-01-15", COMMIT, "deadbeef"])
def test_in_git_a_tag_with_a_number_stays(tag: str) -> None:
    assert not is_git_tag_moving(tag)


@pytest.mark.parametrize("tag", ["latest", "stable", "production", "final"])
def test_in_git_a_tag_without_a_number_moves(tag: str) -> None:
    assert is_git_tag_moving(tag)


@pytest.mark.parametrize("text", ["1" * 10**6, "1." * 10**6, "-" * 10**6, " " * 10**6, "1.2.3-" + "a-" * 10**6 + "!"])
def test_no_text_keeps_the_rules_busy(text: str) -> None:
    """What takes more than linear time would run for hours."""
    assert not is_one_version(text)
    assert isinstance(is_image_tag_moving(text), bool)
    assert isinstance(is_git_tag_moving(text), bool)


# Health

CHECK = {"kind": "Deployment", "name": "app", "namespace": "apps"}

HEALTH: dict[str, tuple[str, Any, str]] = {
    "kustomization: nothing said": ("Kustomization", {}, "0"),
    "kustomization: wait": ("Kustomization", {"wait": True}, "1"),
    "kustomization: no wait": ("Kustomization", {"wait": False}, "0"),
    "kustomization: health checks": ("Kustomization", {"wait": False, "healthChecks": [CHECK]}, "1"),
    "kustomization: no health check": ("Kustomization", {"healthChecks": []}, "0"),
    "kustomization: expressions alone": ("Kustomization", {"healthCheckExprs": [{"kind": "Cluster"}]}, "0"),
    "kustomization: a wait that is none": ("Kustomization", {"wait": "true"}, "0"),
    "release: nothing said": ("HelmRelease", {}, "1"),
    "release: waits": ("HelmRelease", {"install": {"disableWait": False}, "upgrade": {"disableWait": False}}, "1"),
    "release: install does not": ("HelmRelease", {"install": {"disableWait": True}}, "0"),
    "release: upgrade does not": ("HelmRelease", {"install": {}, "upgrade": {"disableWait": True}}, "0"),
    "release: neither does": ("HelmRelease", {"install": {"disableWait": True}, "upgrade": {"disableWait": True}}, "0"),
    "release: not for jobs": ("HelmRelease", {"upgrade": {"disableWaitForJobs": True}}, "1"),
    "release: rollback does not": ("HelmRelease", {"rollback": {"disableWait": True}}, "1"),
    "release: the old way of waiting": ("HelmRelease", {"waitStrategy": {"name": "legacy"}}, "1"),
    "release: an action that is none": ("HelmRelease", {"install": "disableWait"}, "1"),
    "set: nothing said": ("ResourceSet", {}, "0"),
    "set: wait": ("ResourceSet", {"wait": True}, "1"),
    "set: steps, the last of which nobody waits for": ("ResourceSet", {"steps": [{"name": "a"}]}, "0"),
    "instance: nothing said": ("FluxInstance", {}, "1"),
    "instance: wait": ("FluxInstance", {"wait": True}, "1"),
    "instance: no wait": ("FluxInstance", {"wait": False}, "0"),
}


@pytest.mark.parametrize(("kind", "spec", "value"), HEALTH.values(), ids=HEALTH.keys())
def test_whether_health_is_waited_for(kind: str, spec: Any, value: str) -> None:
    assert said(CHECKED, kind, spec) == value


@pytest.mark.parametrize("kind", sorted(BY_NAME.keys() - HEALTH_CHECKS.keys()))
def test_what_applies_nothing_has_no_health_to_wait_for(kind: str) -> None:
    assert said(CHECKED, kind, {"wait": True, "healthChecks": [CHECK]}) == ""


# Retries


def strategy(**text: str) -> dict[str, Any]:
    return {"strategy": {"name": "RetryOnFailure", **text}}


RETRIES: dict[str, tuple[str, Any, str]] = {
    "kustomization: nothing said": ("Kustomization", {"interval": "24h"}, ""),
    "kustomization: said": ("Kustomization", {"interval": "24h", "retryInterval": "2m30s"}, "150"),
    "kustomization: no duration": ("Kustomization", {"retryInterval": "often"}, ""),
    "kustomization: an empty text": ("Kustomization", {"retryInterval": ""}, ""),
    # Its controller takes 15 seconds.
    "terraform: nothing said": ("Terraform", {"interval": "24h"}, ""),
    "terraform: said": ("Terraform", {"retryInterval": "1m"}, "60"),
    "release: nothing said": ("HelmRelease", {"interval": "24h"}, ""),
    "release: a strategy alone": ("HelmRelease", {"upgrade": strategy()}, ""),
    "release: of the install": ("HelmRelease", {"install": strategy(retryInterval="3m")}, "180"),
    "release: of both": (
        "HelmRelease",
        {"install": strategy(retryInterval="3m"), "upgrade": strategy(retryInterval="5m")},
        "300",
    ),
    "release: where no release has it": ("HelmRelease", {"retryInterval": "2m"}, ""),
    "source: where no source has it": ("GitRepository", {"interval": "24h", "retryInterval": "2m"}, ""),
}


@pytest.mark.parametrize(("kind", "spec", "value"), RETRIES.values(), ids=RETRIES.keys())
def test_a_retry_interval_is_said_where_the_object_says_it(kind: str, spec: Any, value: str) -> None:
    assert said("gotk_resource_retry_interval_seconds", kind, spec) == value


# Targets

TARGETS: dict[str, tuple[Any, str]] = {
    "here": ({}, ""),
    "here, said so": ({"kubeConfig": None}, ""),
    "a secret": ({"kubeConfig": {"secretRef": {"name": "prod", "key": "value"}}}, 'kubeconfig_secret="prod" 1'),
    "a config map": ({"kubeConfig": {"configMapRef": {"name": "edge"}}}, 'kubeconfig_secret="edge" 1'),
    "elsewhere, without access": ({"kubeConfig": {}}, 'kubeconfig_secret="" 1'),
    "a secret without a name": ({"kubeConfig": {"secretRef": {}}}, 'kubeconfig_secret="" 1'),
    "nothing that can be read": ({"kubeConfig": "prod"}, ""),
}


@pytest.mark.parametrize("kind", ["Kustomization", "HelmRelease"])
@pytest.mark.parametrize(("spec", "expected"), TARGETS.values(), ids=TARGETS.keys())
def test_which_cluster_it_is_applied_to(kind: str, spec: Any, expected: str) -> None:
    assert said(TARGET, kind, spec) == expected


# Image automation


def test_an_automation_says_when_it_ran_and_when_it_pushed() -> None:
    status = {"lastAutomationRunTime": "2026-11-20T08:30:00Z", "lastPushTime": "2026-11-19T08:30:00Z"}
    assert said(LAST_RUN, "ImageUpdateAutomation", None, status) == "1795163400"
    assert said(LAST_PUSH, "ImageUpdateAutomation", None, status) == "1795077000"


@pytest.mark.parametrize("time", [None, "", "yesterday", 1795163400, {}])
def test_an_automation_that_has_not_run_says_nothing(time: Any) -> None:
    status = {"lastAutomationRunTime": time, "lastPushTime": time}
    assert said(LAST_RUN, "ImageUpdateAutomation", None, status) == ""
    assert said(LAST_PUSH, "ImageUpdateAutomation", None, status) == ""


CHOSEN: dict[str, tuple[Any, str]] = {
    "nothing": ({}, ""),
    "name and tag": ({"latestRef": {"name": "ghcr.io/a/b", "tag": "6.9.2"}}, 'image="ghcr.io/a/b",tag="6.9.2" 1'),
    "with its digest": (
        {"latestRef": {"name": "ghcr.io/a/b", "tag": "main", "digest": DIGEST}},
        'image="ghcr.io/a/b",tag="main" 1',
    ),
    "no tag": ({"latestRef": {"name": "ghcr.io/a/b"}}, ""),
    "no name": ({"latestRef": {"tag": "6.9.2"}}, 'image="",tag="6.9.2" 1'),
    "the newer field first": (
        {"latestRef": {"name": "a", "tag": "2"}, "latestImage": "a:1"},
        'image="a",tag="2" 1',
    ),
    "in one text": ({"latestImage": "ghcr.io/a/b:6.9.2"}, 'image="ghcr.io/a/b",tag="6.9.2" 1'),
    "in one text with a port": ({"latestImage": "reg:5000/a/b:6.9.2"}, 'image="reg:5000/a/b",tag="6.9.2" 1'),
    "in one text with a digest": ({"latestImage": f"a/b:main@{DIGEST}"}, 'image="a/b",tag="main" 1'),
    "in one text with a port and no tag": ({"latestImage": "reg:5000/a/b"}, ""),
    "in one text with no tag": ({"latestImage": "a/b"}, ""),
    "an empty text": ({"latestImage": ""}, ""),
    "a colon alone": ({"latestImage": ":"}, ""),
}


@pytest.mark.parametrize(("status", "expected"), CHOSEN.values(), ids=CHOSEN.keys())
def test_what_an_image_policy_has_chosen(status: Any, expected: str) -> None:
    assert said(LATEST, "ImagePolicy", None, status) == expected


# Whatever the object is like


@pytest.mark.parametrize("name", ["HelmRelease/suspended", "HelmRelease/terminating", "Kustomization/stalled"])
def test_the_facts_hold_whatever_its_state_is(name: str) -> None:
    example = EXAMPLE[name]
    text, _ = render(example.changed("spec", "kubeConfig", to={"secretRef": {"name": "prod"}}), example.kind)
    assert {CHECKED, TARGET} <= by_family(text).keys()


@pytest.mark.parametrize("value", HOSTILE_VALUES)
def test_anybodys_text_is_escaped(value: str) -> None:
    spec = {"kubeConfig": {"secretRef": {"name": value}}}
    status = {"latestRef": {"name": value, "tag": value}}
    assert label_of(TARGET, "kubeconfig_secret", render({"spec": spec}, "Kustomization")[0]) == value
    chosen, _ = render({"status": status}, "ImagePolicy")
    assert label_of(LATEST, "image", chosen) == label_of(LATEST, "tag", chosen) == value


def label_of(family: str, label: str, text: str) -> str:
    """As an outside reader of the page has it."""
    (labels,) = [labels for name, labels, _ in series_of(text, Format.TEXT) if name == family]
    return labels[label]


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
TEXTS = st.one_of(st.text(max_size=12), EXACT, RANGES, ANYTHING)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "ref": st.one_of(
            ANYTHING,
            st.fixed_dictionaries(
                {}, optional=dict.fromkeys(["branch", "tag", "semver", "name", "commit", "digest"], TEXTS)
            ),
        ),
        "version": TEXTS,
        "wait": ANYTHING,
        "healthChecks": ANYTHING,
        "install": st.one_of(ANYTHING, st.fixed_dictionaries({"disableWait": ANYTHING})),
        "upgrade": st.one_of(ANYTHING, st.fixed_dictionaries({"disableWait": ANYTHING})),
        "kubeConfig": st.one_of(ANYTHING, st.fixed_dictionaries({"secretRef": ANYTHING})),
        "distribution": st.one_of(ANYTHING, st.fixed_dictionaries({"version": TEXTS})),
        "sourceRef": st.one_of(ANYTHING, st.just({"kind": "HelmRepository", "name": "a"})),
        "chart": st.one_of(ANYTHING, TEXTS.map(lambda text: chart_from("HelmRepository", version=text)["chart"])),
        "digestReflectionPolicy": st.one_of(ANYTHING, st.sampled_from(["Never", "Always", "IfNotPresent"])),
    },
)
STATUSES = st.fixed_dictionaries(
    {},
    optional={
        "latestRef": st.one_of(ANYTHING, st.fixed_dictionaries({"name": TEXTS, "tag": TEXTS})),
        "latestImage": TEXTS,
        "lastAutomationRunTime": TEXTS,
        "lastPushTime": TEXTS,
    },
)
FIELDS = {
    *("spec.ref", "spec.ref.branch", "spec.ref.tag", "spec.ref.semver", "spec.ref.name", "spec.ref.commit"),
    *("spec.ref.digest", "spec.version", "spec.chart.spec.version", "spec.distribution.version"),
    *("spec.digestReflectionPolicy", "status.latestRef.tag", "status.latestImage"),
}


@given(st.sampled_from(sorted({*CHOICES, *HEALTH_CHECKS, "ImageUpdateAutomation"})), SPECS, STATUSES)
@example("GitRepository", {"ref": {"tag": '"\n\\'}}, {})
def test_no_object_breaks_the_page_or_makes_it_grow(kind: str, spec: Any, status: Any) -> None:
    text, _ = render({"metadata": {"name": "a"}, "spec": spec, "status": status}, kind)
    series = list(series_of(text, Format.TEXT))
    for family in (CHECKED, PINNED, TARGET, LAST_RUN, LAST_PUSH, LATEST):
        of_family = [(labels, value) for name, labels, value in series if name == family]
        assert len(of_family) <= 1
        if family in (CHECKED, PINNED):
            assert all(value in (0, 1) for _, value in of_family)
        if family == PINNED:
            assert all(labels["field"] in FIELDS for labels, _ in of_family)
