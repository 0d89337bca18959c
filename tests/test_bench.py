"""What the bench says can be believed: its objects are as large as they are called, its rows add up, it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.simulator.state.objects import GroupResource
from tests.bench import objects, rendering
from tests.bench.__main__ import main
from tests.bench.figures import Report, Row, Target, significant
from tests.bench.freshness import median_and_p99, shows
from tests.bench.simulated import filled
from tests.peers.admin import AdminClient
from tests.peers.manifests import CRDS, read_objects


def report() -> tuple[Report, list[str]]:
    told: list[str] = []
    return Report("a report", {}, told.append), told


def test_row_is_told_with_its_ratio_and_its_target() -> None:
    rows, told = report()
    rows.add(Row("theirs", 20, "ms"))
    rows.add(Row("ours", 30, "ms", Target(1.2), ratio_of="theirs", note="of ten"))
    assert " ".join(told[-1].split()) == "ours 30.0 ms 1.50 x theirs; target: at most 1.2, MISSED; of ten"


def test_target_bounds_the_ratio_where_there_is_one_and_else_the_value() -> None:
    rows, _ = report()
    rows.add(Row("theirs", 20))
    for row, met in (
        (Row("a", 21, target=Target(1.2), ratio_of="theirs"), True),
        (Row("b", 1.3, target=Target(1.2)), False),
        (Row("c", 12, target=Target(12, at_least=True)), True),
        (Row("d", 11.9, target=Target(12, at_least=True)), False),
        (Row("e", 1), None),
    ):
        rows.add(row)
        assert rows.met(row) is met


def test_document_is_json_with_every_row() -> None:
    rows, _ = report()
    rows.add(Row("theirs", 20, "ms"))
    rows.add(Row("ours", 30, "ms", ratio_of="theirs"))
    rows.note("nothing else ran")
    document = json.loads(json.dumps(rows.document()))
    assert document["notes"] == ["nothing else ran"]
    assert [(row["name"], row["ratio"]) for row in document["rows"]] == [("theirs", None), ("ours", 1.5)]


def test_rows_that_cannot_be_compared_are_refused() -> None:
    rows, _ = report()
    rows.add(Row("theirs", 20, "ms"))
    with pytest.raises(ValueError, match="two rows"):
        rows.add(Row("theirs", 20, "ms"))
    with pytest.raises(ValueError, match="'s'"):
        rows.add(Row("ours", 1, "s", ratio_of="theirs"))
    with pytest.raises(KeyError):
        rows.add(Row("ours", 1, "s", ratio_of="nobody's"))


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (123.4, "123"), (123456, "123456")]
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert significant(value) == text


def test_median_and_p99_are_of_the_values() -> None:
    assert median_and_p99([float(n) for n in range(200, 0, -1)]) == (100.5, 199.0)


def test_status_is_looked_for_in_the_line_of_that_kustomization() -> None:
    body = b"\n".join(
        [
            b'gotk_resource_info{customresource_kind="HelmRelease",name="a",ready="False"} 1',
            b'gotk_resource_condition{kind="Kustomization",name="a",ready="False"} 1',
            b'gotk_resource_info{customresource_kind="Kustomization",name="a",ready="True"} 1',
            b'gotk_resource_info{customresource_kind="Kustomization",name="b",ready="False"} 1',
        ]
    )
    assert shows(body, b'name="a"', b'ready="True"')
    assert not shows(body, b'name="a"', b'ready="False"')
    assert not shows(body, b'name="c"', b'ready="False"')


def test_mixed_fleet_has_as_many_objects_as_it_says() -> None:
    kinds = [obj["kind"] for obj in objects.Fleet(160, mixed=True)]
    assert {kind: kinds.count(kind) for kind in kinds} == {"Kustomization": 100, "HelmRelease": 50, "GitRepository": 10}


def test_simulated_kustomization_is_as_large_as_a_real_one() -> None:
    kind = BY_NAME["Kustomization"]
    storage = filled(objects.Fleet(2))
    stored = storage.get(GroupResource(kind.group, kind.plural), objects.namespace_of(1), objects.name_of(1))
    assert len(stored.json(objects.KUSTOMIZE)) == pytest.approx(9_400, abs=50)


async def test_kustomization_has_9_4_kb_on_a_real_api_server(admin: AdminClient, namespace: str) -> None:
    await admin.install_crds(read_objects(CRDS / "kustomizations.yaml"))
    obj = objects.kustomization(1)
    obj["metadata"]["namespace"] = namespace
    created = await admin.create(obj)
    assert len(json.dumps(created, separators=(",", ":"))) == pytest.approx(9_400, abs=100)


def test_bench_runs_through_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "OBJECTS", 10)
    file = tmp_path / "bench.json"
    assert main(f"--through simulator --objects 32 --changes 4 --freshness 2 --json {file}".split()) == 0
    _, through = json.loads(file.read_text())["reports"]
    rows = {row["name"]: row for row in through["rows"]}
    assert rows["its peak (VmHWM)"]["note"] == (
        "after sync, 10 scrapes in each format with and without gzip, 4 status changes and one forced relist"
    )
    assert rows["its peak (VmHWM)"]["value"] >= rows["resident memory"]["value"] > 20
    assert rows["restart of the API server and relist"]["value"] > 0
    # Targets are stated for another server and another number of objects.
    assert not any(row["target"] for row in through["rows"])
