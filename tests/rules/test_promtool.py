"""``gotk-exporter rules check`` and ``rules test`` with the real promtool, of Debian 12 and of today."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gotk_exporter.cli import main
from gotk_exporter.rules import complaints, files, nodes

DATA = Path(__file__).parents[1] / "data" / "rules"
RULES = sorted(path.name for path in DATA.glob("*.yaml") if not path.name.endswith("_test.yaml"))
SECONDS = 20

Command = Callable[..., tuple[int, list[str]]]


@pytest.fixture(params=["2", "3"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def promtool(version: str, require_peer: Callable[[str], Path]) -> Path:
    return require_peer(f"promtool-{version}")


@pytest.fixture
def rules(promtool: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """``code, lines = rules("check", "a.yaml")``, beside the data, with either promtool."""
    monkeypatch.chdir(DATA)

    def run(*arguments: str | Path) -> tuple[int, list[str]]:
        code = main(["rules", *map(str, arguments), f"--promtool={promtool}"])
        out, err = capsys.readouterr()
        assert err == ""
        return code, out.splitlines()

    return run


def program(path: Path, script: str) -> Path:
    """A promtool of 2.42 that does something else when it is asked to check or test."""
    path.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then echo "promtool, version 2.42.0"; exit; fi\n' + script + "\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# Checking


@pytest.mark.parametrize("name", [name for name in RULES if name.startswith("valid")])
def test_what_is_fine_is_said_to_be(rules: Command, name: str) -> None:
    code, lines = rules("check", name)
    assert code == 0
    assert re.fullmatch(r"\d rules? in 1 file: no problem \(promtool \d+\.\d+\.\d+\S*\)\.", lines[0])
    assert len(lines) == 1


@pytest.mark.parametrize("name", [name for name in RULES if name.startswith("invalid")])
def test_each_mistake_is_told_with_the_users_file_and_line(rules: Command, name: str, version: str) -> None:
    """Each file begins with what is wrong with it; where the versions differ, with either's words."""
    marks = re.findall(rf"^#!(?:{version})? (.*)$", (DATA / name).read_text(), re.MULTILINE)
    code, lines = rules("check", name)
    assert code == 1
    assert marks
    assert lines[:-1] == [f"{name}{':' if re.match('[0-9]', mark) else ': '}{mark}" for mark in marks]
    assert f": {len(marks)} problem" in lines[-1]


def test_a_file_that_cannot_be_read_costs_itself_only(rules: Command, tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("groups: # für später\n".encode("latin-1"))
    (tmp_path / "deep.yaml").write_text("[" * 100_000)
    (tmp_path / "large.yaml").write_bytes(b"#" * (nodes.MAX_BYTES + 1))
    (tmp_path / "zero.yaml").write_bytes(b"groups: []\n\0")
    (tmp_path / "escape.yaml").write_text('"\\UFFFFFFFF"')
    bad = [tmp_path / f"{name}.yaml" for name in ("latin", "deep", "large", "zero", "escape", "absent")]
    code, lines = rules("check", *bad, tmp_path, "valid.yaml")
    assert code == 1
    assert lines[:-1] == [
        f"{tmp_path}/latin.yaml:1: is not UTF-8; save the file as UTF-8",
        f"{tmp_path}/deep.yaml: is no YAML for Prometheus: it is nested too deeply",
        f"{tmp_path}/large.yaml: is larger than 2 MiB; split it",
        f"{tmp_path}/zero.yaml:2: is no YAML: it holds a control character",
        f"{tmp_path}/escape.yaml: is no YAML",
        f"{tmp_path}/absent.yaml: cannot be read: No such file or directory",
        f"{tmp_path}: is a folder; name the files in it, or check it with --rules",
    ]
    assert lines[-1].startswith("2 rules in 8 files: 7 problems in 7 of them (")


def test_aliases_that_multiply_rules_are_refused(rules: Command, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    rule = "  - &rule {record: x, expr: up}\n" + "  - *rule\n" * 1000
    path.write_text("groups:\n- &group\n  name: x\n  rules:\n" + rule + "- *group\n" * 1000)
    code, lines = rules("check", path)
    assert code == 1
    assert lines[0] == f"{path}:2: has more than {files.MAX_RULES} rules; split it"


def test_merged_mappings_that_multiply_cost_no_time(rules: Command, tmp_path: Path) -> None:
    layers = "".join(f"  a{number}: &a{number} {{<<: [*a{number - 1}, *a{number - 1}]}}\n" for number in range(1, 60))
    path = tmp_path / "merge.yaml"
    path.write_text(f"anchors:\n  a0: &a0 {{severity: info}}\n{layers}groups: []\n")
    assert files.read(path).problems == ()
    path.write_text("groups:\n- name: x\n  rules:\n  - &self {<<: *self, record: x, expr: up}\n")
    # Whatever go-yaml thinks of it, it ends.
    assert rules("check", path)[0] in (0, 1)


def test_a_folder_is_searched_and_what_holds_no_rules_is_named(rules: Command, tmp_path: Path) -> None:
    for name, target in {
        "alerts/shop.yaml": "valid.yaml",
        "object.yml": "valid-object.yaml",
        "tests/shop_test.yaml": "valid_test.yaml",
        "map.yaml": "invalid-other-object.yaml",
        ".git/hidden.yaml": "invalid-field.yaml",
        "notes.txt": "invalid-field.yaml",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(DATA / target, tmp_path / name)
    code, lines = rules("check", "--rules", tmp_path)
    assert code == 0
    assert lines[0] == f"No rules in {tmp_path}/map.yaml, {tmp_path}/tests/shop_test.yaml."
    assert lines[1].startswith("3 rules in 2 files: no problem (")


def test_names_that_steer_a_terminal_are_shown_harmless(rules: Command, tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text('groups: [{name: "a\\nb", rules: [{alert: "c\\e[31m", expr: "up("}]}]\n')
    code, lines = rules("check", path)
    assert code == 1
    assert lines[0].startswith(f'{path}:1: group "a?b", alert "c?[31m": could not parse expression')


def test_a_program_gets_each_problem_with_its_place_as_json(rules: Command, promtool: Path) -> None:
    code, lines = rules("check", "invalid-expression.yaml", "valid.yaml", "-o", "json")
    answer = json.loads("\n".join(lines))
    assert code == 1
    assert (answer["promtool"]["path"], answer["promtool"]["lint"]) == (str(promtool), True)
    assert (answer["problems"], answer["left_out"]) == (2, [])
    first, second = answer["files"]
    assert (first["file"], first["groups"], first["rules"]) == ("invalid-expression.yaml", 2, 4)
    assert first["problems"][0] == {
        "line": 11,
        "group": "shop",
        "kind": "alert",
        "name": "Open",
        "problem": "could not parse expression: 1:7: parse error: unclosed left parenthesis",
    }
    assert second == {"file": "valid.yaml", "groups": 1, "rules": 2, "problems": []}


# Testing


def test_tests_that_pass_find_their_rules_in_native_files_and_in_objects(rules: Command) -> None:
    code, lines = rules("test", "valid_test.yaml")
    assert code == 0
    assert lines[0].startswith("3 cases in 1 file: all as expected (")


def test_each_failing_case_is_told_with_its_line_and_what_was_expected_and_came(rules: Command) -> None:
    code, lines = rules("test", "invalid_test.yaml", "valid_test.yaml")
    assert code == 1
    assert lines[:-1] == [
        'invalid_test.yaml:8: test "the shop is down", alert ShopDown at 6m',
        "  expected",
        "    nothing",
        "  got",
        "    0:",
        '      Labels:{alertname="ShopDown", job="shop", severity="error"}',
        '      Annotations:{summary="The shop is down"}',
        'invalid_test.yaml:15: test "the shop is down", expression sum( up) at 4m',
        "  expected",
        "    {} 3E+00",
        "  got",
        "    {} 0E+00",
        'invalid_test.yaml:23: test "number 2", expression up( at 4m: 1:4: parse error: unclosed left parenthesis',
    ]
    assert lines[-1].startswith("7 cases in 2 files: 3 failures in 1 of them (")


def test_of_two_tests_that_ask_the_same_the_one_that_failed_is_named(rules: Command, tmp_path: Path) -> None:
    """promtool does not say of which test an expression is, nor a rule that cannot be evaluated."""
    (tmp_path / "rules.yaml").write_text(
        "groups:\n- name: g\n  rules:\n  - {record: shop, expr: 'one * on () two', labels: {a: b}}\n"
    )
    test = (
        "- {name: %s, interval: 1m, input_series: [%s],\n"
        "   promql_expr_test: [{expr: count(one), eval_time: 1m,\n   %s}]}\n"
    )
    one, two = "{series: 'one', values: 1x5}", "{series: 'two{n=\"%d\"}', values: 1x5}"
    expected = "exp_samples: [{labels: '{}', value: %d}]"
    path = tmp_path / "shop_test.yaml"
    path.write_text(
        "rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n"
        + test % ("well", one, expected % 1)
        + test % ("wrong", one, expected % 2)
        + test % ("ambiguous", ", ".join([one, two % 1, two % 2]), expected % 1)
        + test % ("wrong as well", one, expected % 2)
    )
    code, lines = rules("test", path)
    assert code == 1
    heads = [line.removeprefix(f"{path}:") for line in lines if line.startswith(f"{path}")]
    assert [head for head in heads if "expression" in head] == [
        '8: test "wrong", expression count(one) at 1m',
        '14: test "wrong as well", expression count(one) at 1m',
    ]
    evaluation = [head for head in heads if "rule" in head]
    assert evaluation
    assert all(head.startswith('10: test "ambiguous", rule shop at ') for head in evaluation)


def test_mistakes_of_the_rules_that_a_test_names_are_told_in_their_own_file(rules: Command) -> None:
    code, lines = rules("test", "invalid-rules_test.yaml")
    assert code == 1
    assert lines[:-1] == [
        'invalid-rules_test.yaml:1: no rule file matches "nowhere.yaml"',
        'invalid-field.yaml:7: alert "ShopDown": unknown field "sumary"',
        'invalid-field.yaml:8: group "shop": unknown field "intervall"',
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("invalid-fields_test.yaml", ':4: unknown field "alert_rule_tests"'),
        # promtool would let it pass.
        ("invalid-nothing_test.yaml", ": holds no tests"),
        ("invalid-yaml.yaml", ":4: is no YAML: mapping values are not allowed here"),
        ("absent.yaml", ": cannot be read: No such file or directory"),
    ],
)
def test_a_test_file_that_is_none_is_told_with_its_place(rules: Command, name: str, text: str) -> None:
    code, lines = rules("test", name)
    assert code == 1
    assert lines[0] == name + text
    assert len(lines) == 2


def test_a_program_gets_what_was_expected_and_came_as_json(rules: Command) -> None:
    code, lines = rules("test", "invalid_test.yaml", "-o", "json")
    answer = json.loads("\n".join(lines))
    assert (code, answer["failures"], answer["files"][0]["cases"]) == (1, 3, 4)
    assert answer["files"][0]["failures"][1] == {
        "file": "invalid_test.yaml",
        "line": 15,
        "test": "the shop is down",
        "kind": "expression",
        "subject": "sum(\n  up)\n",
        "at": "4m",
        "expected": "{} 3E+00",
        "got": "{} 0E+00",
        "problem": "",
    }


# Ours


def test_the_rules_that_come_with_it_are_checked_without_naming_them(rules: Command) -> None:
    code, lines = rules("check")
    assert lines[:-1] == []
    assert code == 0


# promtool itself


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What is said when there is no promtool: one line, and exit code 2."""

    def ask(*arguments: str | Path) -> str:
        assert main(["rules", "check", str(DATA / "valid.yaml"), *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err.removeprefix("gotk-exporter: ").rstrip("\n")

    return ask


def test_without_promtool_the_package_that_has_it_is_named(
    complaint: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert complaint() == (
        "promtool is not on the PATH; install it (Debian's package is prometheus) or name it with --promtool"
    )


def test_the_one_on_the_path_is_taken(promtool: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "promtool").symlink_to(promtool)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["rules", "check", str(DATA / "valid.yaml")]) == 0


def test_a_program_that_is_no_promtool_is_refused(complaint: Callable[..., str], tmp_path: Path) -> None:
    assert complaint("--promtool=/bin/true").startswith("/bin/true: is no promtool")
    assert complaint("--promtool=/nonexistent").startswith("--promtool /nonexistent: is no program")
    broken = program(tmp_path / "broken", "")
    broken.write_text("#!/nonexistent\n")
    assert complaint(f"--promtool={broken}").startswith(f"{broken}: cannot be run: No such file or directory")


def test_one_that_never_ends_is_ended_with_what_it_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = tmp_path / "pid"
    hanging = program(tmp_path / "promtool", f"sleep 1000 &\necho $! > {number}\nwait")
    monkeypatch.chdir(DATA)
    assert main(["rules", "check", "valid.yaml", f"--promtool={hanging}", "--timeout=500ms"]) == 1
    assert capsys.readouterr().out.startswith("valid.yaml: promtool did not end within 0.5 s; see --timeout\n")
    status = Path(f"/proc/{number.read_text().strip()}/stat")
    # Gone, or a zombie that nobody has waited for yet.
    assert not status.exists() or status.read_text().rpartition(") ")[2][0] == "Z"


def test_one_that_does_not_stop_talking_is_heard_to_a_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talking = program(tmp_path / "promtool", "head -c 3000000 /dev/zero | tr '\\0' 'x' >&2\nexit 1")
    assert main(["rules", "check", str(DATA / "valid.yaml"), f"--promtool={talking}"]) == 1
    out = capsys.readouterr().out
    assert "promtool wrote more than 1048576 bytes; the rest is left out\n" in out
    assert len(out) < 10_000


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 7", "promtool ended with 7 and said nothing"),
        ("echo 'panic: what is this?' >&2; exit 2", "panic: what is this?"),
    ],
)
def test_what_is_not_understood_is_a_problem_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str, text: str
) -> None:
    strange = program(tmp_path / "promtool", script)
    path = DATA / "valid.yaml"
    for command, file in (("check", path), ("test", DATA / "valid_test.yaml")):
        assert main(["rules", command, str(file), f"--promtool={strange}"]) == 1
        assert f"{os.path.relpath(file)}: {text}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "flags", "note"),
    [("2.42.0", "--lint=all --lint-fatal ", ""), ("2.31.1", "", ", which is too old to look for duplicates")],
)
def test_it_looks_for_duplicates_where_it_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str, flags: str, note: str
) -> None:
    listening = program(tmp_path / "promtool", f'echo "$@" > {tmp_path / "arguments"}')
    listening.write_text(listening.read_text().replace("2.42.0", number))
    assert main(["rules", "check", str(DATA / "valid.yaml"), f"--promtool={listening}"]) == 0
    assert capsys.readouterr().out == f"2 rules in 1 file: no problem (promtool {number}{note}).\n"
    assert (tmp_path / "arguments").read_text() == f"check rules {flags}rules.yaml\n"


def test_a_mistake_that_is_told_twice_is_one() -> None:
    twice = "rules.yaml: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into rulefmt.{}uleGroups"
    assert len(complaints.read(twice.format("R") + "\n" + twice.format("r"))) == 1
