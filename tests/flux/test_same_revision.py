"""When what was applied and what is offered are the same revision, by kind."""

from __future__ import annotations

import json

import pytest

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.revisions import is_same
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from tests.flux.clusters import Cluster, timestamp
from tests.flux.examples import json_bytes
from tests.flux.test_revisions import DIGEST, OTHER_DIGEST, SHA, artifact, behind, releases
from tests.flux.test_timelines import DIRECTORY, moment


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
