"""``gotk-exporter rules render``: objects that a real API server takes, with expressions that nobody touched."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gotk_exporter.cli import main
from gotk_exporter.rules import files, render, shipped
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.peers.manifests import read_objects
from tests.peers.presence import REPOSITORY

DATA = Path(__file__).parents[1] / "data" / "rules"
CRD = "crds/prometheus-operator/monitoring.coreos.com_prometheusrules.yaml"
SECONDS = 60
HOSTILE = (
    "1e3",
    "0o17",
    "0x1f",
    "1_000",
    "12:30",
    "yes",
    "n",
    "y",
    "~",
    "null",
    "=",
    "<<",
    ".inf",
    "1.",
    "+1",
    "2026-01-01",
)
"""Texts that one parser of YAML or the other takes for something else."""

Rendered = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def rendered(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Rendered:
    """The documents on standard output, beside the data."""
    monkeypatch.chdir(DATA)

    def run(*arguments: str | Path) -> list[dict[str, Any]]:
        code = main(["rules", "render", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return list(yaml.safe_load_all(out))

    return run


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Why nothing is rendered: one line, and exit code 1."""
    monkeypatch.chdir(DATA)

    def run(*arguments: str | Path) -> str:
        code = main(["rules", "render", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n")) == (1, "", 1)
        return err.removeprefix("gotk-exporter: ").rstrip("\n")

    return run


def rules_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in document.get("spec", document)["groups"]:
        yield from group["rules"]


def with_labels(tmp_path: Path, values: list[str]) -> Path:
    labels = {f"label_{number}": value for number, value in enumerate(values)}
    path = tmp_path / "labels.yaml"
    path.write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up", "labels": labels}]}]})
    )
    return path


# Objects


def test_a_file_becomes_an_object_with_the_labels_that_an_operator_selects_by(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(DATA)
    flags = ("--label=release=kube-prometheus-stack", "--namespace=monitoring", "--annotation=a.test/b=c: d")
    assert main(["rules", "render", "valid.yaml", *flags, "--name-prefix=flux-"]) == 0
    assert (
        capsys.readouterr().out
        == """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: flux-valid
  namespace: monitoring
  labels:
    release: kube-prometheus-stack
  annotations:
    a.test/b: 'c: d'
spec:
  groups:
    - name: shop
      interval: 30s
      limit: 10
      rules:
        - record: job:up:sum
          expr: sum by (job) (up)
        - alert: ShopDown
          expr: |
            job:up:sum{job="shop"}  # a comment of PromQL
              == 0
          for: 5m
          labels:
            severity: error
          annotations:
            summary: The shop is down
"""
    )


def test_each_file_becomes_an_object_of_its_own(rendered: Rendered) -> None:
    objects = rendered("valid.yaml", "valid-object.yaml")
    assert [found["metadata"] for found in objects] == [{"name": "valid"}, {"name": "valid-object"}]


def test_ours_are_rendered_without_naming_them_and_without_classic(rendered: Rendered) -> None:
    objects = rendered("--label=release=x")
    names = [found["metadata"]["name"] for found in objects]
    expected = [f"gotk-exporter-{shipped.name_of(path)}" for path in shipped.rule_files()]
    assert names == [name for name in expected if name != "gotk-exporter-alerts-classic"]
    assert "gotk-exporter-alerts-reconciliation" in names
    assert all(found["metadata"]["labels"] == {"release": "x"} for found in objects)


def test_classic_is_there_when_it_is_asked_for(
    rendered: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules" / "alerts").mkdir(parents=True)
    for name in ("classic", "shop"):
        (tmp_path / "rules" / "alerts" / f"{name}.yaml").write_text(
            f"groups: [{{name: {name}, rules: [{{record: 'a:b', expr: up}}]}}]\n"
        )
    monkeypatch.setattr(shipped, "root", lambda: tmp_path)
    names = ["gotk-exporter-alerts-classic", "gotk-exporter-alerts-shop"]
    assert [found["metadata"]["name"] for found in rendered()] == names[1:]
    assert [found["metadata"]["name"] for found in rendered("--with-classic")] == names
    named = rendered(tmp_path / "rules" / "alerts" / "classic.yaml")
    assert [found["metadata"]["name"] for found in named] == ["classic"]


def test_names_become_what_kubernetes_takes_and_collisions_are_told(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    for number, name in enumerate(("My_Rules", "my rules", "__")):
        (tmp_path / f"{name}.yaml").write_text(f"groups: [{{name: g{number}, rules: []}}]\n")
    first, second, third = (tmp_path / f"{name}.yaml" for name in ("My_Rules", "my rules", "__"))
    assert refusal(first, second) == f"{second}: would be named my-rules, as {first}; rename one of them"
    assert refusal(third) == f'{third}: "" can name no object; rename the file, or see --name-prefix'


def test_one_group_in_two_files_is_told_with_both_places(refusal: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("# a comment\ngroups:\n  - name: shop\n    rules: []\n")
    for form in ("prometheusrule", "plain"):
        assert refusal("valid.yaml", path, f"--format={form}") == (
            f'{path}:3: the group "shop" is also at valid.yaml:2; rename one'
        )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("absent.yaml", "absent.yaml: cannot be read: No such file or directory"),
        ("invalid-yaml.yaml", "invalid-yaml.yaml:4: is no YAML: mapping values are not allowed here"),
        (
            "invalid-documents.yaml",
            "invalid-documents.yaml:6: Prometheus reads the first document of a file only; move this to another file",
        ),
        ("invalid-scalar.yaml", "invalid-scalar.yaml: holds no rule groups"),
        (
            "invalid-field.yaml",
            "invalid-field.yaml:4: group has a field that Prometheus does not know: intervall; see rules check",
        ),
        (
            "invalid-rule.yaml",
            "invalid-rule.yaml:12: rule has no expr, or not exactly one of alert and record; see rules check",
        ),
        ("invalid-shape.yaml", "invalid-shape.yaml:5: rule: labels are no mapping; see rules check"),
    ],
)
def test_what_cannot_be_an_object_is_told_with_its_place(refusal: Callable[..., str], name: str, text: str) -> None:
    assert refusal(name) == text


# A plain file


def test_a_plain_file_holds_all_groups_and_promtool_takes_it(
    rendered: Rendered, require_peer: Callable[[str], Path], tmp_path: Path
) -> None:
    [document] = rendered("valid.yaml", "valid-object.yaml", "--format=plain")
    assert [group["name"] for group in document["groups"]] == ["shop", "shop-object"]
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(document))
    subprocess.run([require_peer("promtool-2"), "check", "rules", path], check=True, timeout=SECONDS)


# Values


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example("\x85")
@example("a\u2028\nb")
@example("\n  up \n\n")
@example("up == 1  # a: b\n# c\n")
@example("😀 > 1e3")
def test_an_expression_comes_out_as_it_went_in(expression: str) -> None:
    """Whatever is in it: the text that is read from what was rendered from what was read is the same."""
    written = yaml.safe_dump(expression, default_style='"', allow_unicode=False)
    node = yaml.compose(written, Loader=yaml.SafeLoader)
    key = yaml.compose("expr", Loader=yaml.SafeLoader)
    record = (yaml.compose("record"), yaml.compose("a:b"))
    rule = files.Rule("record", "a:b", 1, 1, {"record": record, "expr": (key, node)})
    group = files.Group("g", 1, 1, {"name": (key, yaml.compose("g"))}, (rule,))
    text = render.plain([("g", files.RuleFile(Path("g"), (files.Document((group,), ""),)))])
    assert yaml.safe_load(text)["groups"][0]["rules"][0]["expr"] == node.value == expression


def test_ours_come_out_with_the_expressions_that_they_have(rendered: Rendered) -> None:
    written = [rule for path in shipped.rule_files() for rule in rules_of(yaml.safe_load(path.read_text()))]
    again = [rule for found in rendered("--with-classic") for rule in rules_of(found)]
    assert [rule["expr"] for rule in again] == [rule["expr"] for rule in written]
    assert [rule.get("annotations") for rule in again] == [rule.get("annotations") for rule in written]


def test_what_aliases_and_merges_say_is_written_out(rendered: Rendered, tmp_path: Path) -> None:
    """The operator's own copy has no anchors, and no fields in common."""
    path = tmp_path / "merged.yaml"
    path.write_text(
        "groups:\n- name: g\n  rules:\n"
        "  - &first {alert: A, expr: up, labels: &labels {severity: info}}\n"
        "  - {<<: *first, alert: B, for: 0}\n"
        "  - {alert: C, expr: 1e3, labels: *labels, annotations: ~}\n"
    )
    labels = {"severity": "info"}
    assert list(rules_of(rendered(path)[0])) == [
        {"alert": "A", "expr": "up", "labels": labels},
        {"alert": "B", "expr": "up", "for": "0", "labels": labels},
        {"alert": "C", "expr": "1e3", "labels": labels},
    ]


# The API server


async def test_a_real_api_server_takes_the_objects_as_they_are_written(
    api_server: RealApiServer,
    admin: AdminClient,
    namespace: str,
    shared_data: Callable[[str], Path],
    require_peer: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Through kubectl, whose YAML is Go's, and which refuses fields that the CRD does not have."""
    await admin.install_crds(read_objects(shared_data(CRD)))
    hostile = with_labels(tmp_path, list(HOSTILE))
    written = tmp_path / "objects"
    for flags in (["--with-classic"], [str(hostile)], [str(DATA / "valid.yaml"), str(DATA / "valid-object.yaml")]):
        assert main(["rules", "render", *flags, f"--namespace={namespace}", "--label=release=kps"]) == 0
        written.write_text(capsys.readouterr().out)
        kubeconfig = api_server.kubeconfig(tmp_path / "kubeconfig")
        process = await asyncio.create_subprocess_exec(
            *(require_peer("kubectl"), f"--kubeconfig={kubeconfig}", f"--cache-dir={tmp_path}"),
            *("apply", "--server-side", "--validate=strict", f"--filename={written}"),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(SECONDS):
            _, errors = await process.communicate()
        assert (process.returncode, errors.decode()) == (0, "")
        for document in yaml.safe_load_all(written.read_text()):
            path = document["apiVersion"], document["kind"], document["metadata"]["name"], namespace
            assert (await admin.get(*path))["spec"] == document["spec"]
    kept = await admin.get("monitoring.coreos.com/v1", "PrometheusRule", "labels", namespace)
    assert set(next(rules_of(kept))["labels"].values()) == set(HOSTILE)


# The wheel


def test_a_wheel_brings_the_rules_and_they_are_found_in_it(tmp_path: Path) -> None:
    build = "import sys; from hatchling.builders.wheel import WheelBuilder as W; "
    build += f"print(*W({str(REPOSITORY)!r}).build(directory=sys.argv[1], versions=['standard']))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    installed = tmp_path / "installed"
    with zipfile.ZipFile(done.stdout.strip()) as wheel:
        wheel.extractall(installed)
    found = subprocess.run(
        [sys.executable, "-c", "from gotk_exporter.rules import shipped; print(*shipped.rule_files(), sep='\\n')"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
    )
    expected = [path.relative_to(shipped.root()) for path in shipped.rule_files()]
    assert found.stdout.splitlines() == [str(installed / "gotk_exporter" / "_shipped" / path) for path in expected]
    inside = installed / "gotk_exporter" / "_shipped"
    tests = [path.name for path in sorted((REPOSITORY / "tests" / "rules").glob("*_test.yaml"))]
    assert sorted(path.name for path in (inside / "tests" / "rules").glob("*")) == tests
    assert not list(inside.rglob("*.py"))
