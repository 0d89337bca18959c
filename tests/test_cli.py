"""The command as a user runs it: arguments in; exit code, standard output and standard error out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gotk_exporter import __version__

CONFIG = Path(__file__).parent / "data" / "config"
RULES = Path(__file__).parent / "data" / "rules"
SECRET = "s3cr3t"

KUBECONFIG = f"""
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "https://127.0.0.1:1"}}}}]
users: [{{name: me, user: {{token: {SECRET}}}}}]
contexts: [{{name: mine, context: {{cluster: here, user: me}}}}]
current-context: mine
"""


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """In an environment without a cluster."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "HOME"))}
    return subprocess.run(
        [sys.executable, "-m", "gotk_exporter", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**inherited, "HOME": "/nonexistent", "PYTHONWARNINGS": "error", **(environment or {})},
        timeout=60,
        check=False,
    )


def refusal(*arguments: str | Path, code: int, environment: dict[str, str] | None = None) -> str:
    """What the command says when it ends with this code: one line, on standard error only."""
    done = run(*arguments, environment=environment)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("gotk-exporter: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("gotk-exporter: ").rstrip("\n")


# Usage


def test_the_version_is_told() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"gotk-exporter {__version__}\n", "")


def test_help_lists_the_commands() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    commands = [line.split()[0] for line in done.stdout.partition("commands:")[2].splitlines() if line.strip()]
    assert {"run", "rules", "check-config"} <= set(commands)


def test_help_of_a_command_lists_its_flags_with_their_defaults() -> None:
    done = run("run", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for flag, default in {
        "--config.file": "default: none",
        "--kubeconfig": "default: $KUBECONFIG",
        "--context": "default: its current one",
        "--web.listen-address": "default :8080",
        "--web.telemetry-path": "default /metrics",
        "--log.level": "default info",
        "--log.format": "default logfmt",
    }.items():
        text = " ".join(done.stdout.partition("options:")[2].partition(f"  {flag} ")[2].split())
        assert default in text.partition(" --")[0]


def test_without_a_command_the_user_is_told_to_name_one() -> None:
    assert refusal(code=2) == "the following arguments are required: COMMAND; see gotk-exporter --help"


def test_an_unknown_command_is_refused_with_those_that_exist() -> None:
    text = refusal("rum", code=2)
    assert text.startswith("argument COMMAND: invalid choice: 'rum' (choose from ")
    assert "run" in text
    assert "check-config" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("run", "--nope"), "unrecognized arguments: --nope; see gotk-exporter --help"),
        # Abbreviations would bind us to never adding a flag.
        (("run", "--kube", "x"), "unrecognized arguments: --kube x; see gotk-exporter --help"),
        (("run", "--context"), "argument --context: expected one argument; see gotk-exporter run --help"),
        (("check-config",), "the following arguments are required: FILE; see gotk-exporter check-config --help"),
        (("check-config", "a", "b\nc"), "unrecognized arguments: b c; see gotk-exporter --help"),
        (("rules",), "the following arguments are required: COMMAND; see gotk-exporter rules --help"),
        (
            ("rules", "check", "a", "--rules=b"),
            "name files or a folder with --rules, not both; see gotk-exporter rules check --help",
        ),
        (("rules", "test", "--time=1s"), "unrecognized arguments: --time=1s; see gotk-exporter --help"),
        (
            ("rules", "render", "--format=plain", "--label=a=b"),
            "--label, --annotation, --namespace and --name-prefix name objects: leave out --format plain; "
            "see gotk-exporter rules render --help",
        ),
        (
            ("rules", "render", "a", "--with-classic"),
            "--with-classic is about the rules that come with this: name no files with it; "
            "see gotk-exporter rules render --help",
        ),
    ],
)
def test_bad_usage_is_refused_in_one_line(arguments: tuple[str, ...], text: str) -> None:
    assert refusal(*arguments, code=2) == text


@pytest.mark.parametrize("address", ["8080", "::1:8080", ":65536"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    text = refusal("run", f"--web.listen-address={address}", code=2)
    assert text.startswith(f'argument --web.listen-address: "{address}" is no address; write host:port')


@pytest.mark.parametrize("path", ["metrics", "", "/-/metrics"])
def test_a_telemetry_path_that_cannot_be_served_is_refused(path: str) -> None:
    text = refusal("run", f"--web.telemetry-path={path}", code=2)
    assert text.startswith(f'argument --web.telemetry-path: "{path}" is no path for metrics; it begins with /')


@pytest.mark.parametrize("flag", ["--log.level=loud", "--log.format=xml"])
def test_an_unknown_choice_is_refused(flag: str) -> None:
    assert "invalid choice" in refusal("run", flag, code=2)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--label=release", '"release" is not KEY=VALUE with a key that Kubernetes takes'),
        ("--label=-a=b", '"-a=b" is not KEY=VALUE with a key that Kubernetes takes'),
        ("--label=a=b c", '"b c" can be no label\'s value; write at most 63 letters, digits, "-", "_" and "."'),
        (f"--label=a={'b' * 64}", "can be no label's value"),
        ("--annotation==b", '"=b" is not KEY=VALUE with a key that Kubernetes takes'),
        ("--namespace=Shop", '"Shop" can be no namespace; write small letters, digits and "-"'),
        ("--name-prefix=a_", '"a_" can begin no name; write small letters, digits, "-" and "."'),
    ],
)
def test_what_no_object_can_carry_is_refused(flag: str, text: str) -> None:
    assert text in refusal("rules", "render", flag, code=2)


@pytest.mark.parametrize("command", ["check", "test"])
def test_a_machine_without_promtool_is_told_what_to_install(command: str, tmp_path: Path) -> None:
    text = refusal("rules", command, environment={"PATH": str(tmp_path)}, code=2)
    assert "Debian's package is prometheus" in text


def test_a_folder_without_rules_is_refused(tmp_path: Path, require_peer: Callable[[str], Path]) -> None:
    flag = f"--promtool={require_peer('promtool-2')}"
    assert refusal("rules", "check", flag, f"--rules={tmp_path}", code=2) == (
        f"{tmp_path}: no YAML file in it holds rules; name another folder, or files"
    )
    assert refusal("rules", "check", flag, "--rules=/nonexistent", code=2) == (
        "--rules /nonexistent: is no folder; name one that holds rule files"
    )


def test_rules_are_checked_tested_and_rendered(require_peer: Callable[[str], Path]) -> None:
    flag = f"--promtool={require_peer('promtool-2')}"
    for arguments, code, text in (
        (("check", RULES / "valid.yaml", flag), 0, "2 rules in 1 file: no problem"),
        (("check", RULES / "invalid-field.yaml", flag), 1, 'invalid-field.yaml:7: group "shop", alert "ShopDown"'),
        (("test", RULES / "valid_test.yaml", flag), 0, "3 cases in 1 file: all as expected"),
        (("test", RULES / "invalid_test.yaml", flag), 1, "4 cases in 1 file: 3 failures"),
        (("render", RULES / "valid.yaml"), 0, "kind: PrometheusRule"),
    ):
        done = run("rules", *arguments)
        assert (done.returncode, done.stderr) == (code, "")
        assert text in done.stdout


# Settings


def test_a_valid_file_is_told_with_what_it_means() -> None:
    path = CONFIG / "valid-complete.yaml"
    done = run("check-config", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: valid; 2 kinds in flux-system, 10, no\n"


def test_an_empty_file_means_every_kind_everywhere() -> None:
    path = CONFIG / "valid-empty.yaml"
    done = run("check-config", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: valid; 23 kinds in all namespaces\n", "")


@pytest.mark.parametrize("command", [("check-config",), ("run", "--config.file")])
def test_an_invalid_file_is_refused_with_one_line_for_each_mistake(command: tuple[str, ...]) -> None:
    path = CONFIG / "invalid-several.yaml"
    expected = [line.removeprefix("#! ") for line in path.read_text().splitlines() if line.startswith("#! ")]
    done = run(*command, path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [f"gotk-exporter: {path}: {mistake}" for mistake in expected]


@pytest.mark.parametrize("command", [("check-config",), ("run", "--config.file")])
def test_a_file_that_is_missing_is_named(command: tuple[str, ...]) -> None:
    assert refusal(*command, "/nonexistent.yaml", code=2) == (
        "/nonexistent.yaml: No such file or directory; name a settings file that can be read"
    )


def test_a_directory_is_no_settings_file(tmp_path: Path) -> None:
    assert refusal("check-config", tmp_path, code=2) == (
        f"{tmp_path}: Is a directory; name a settings file that can be read"
    )


def test_a_file_in_another_encoding_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes("watch: # für später\n".encode("latin-1"))
    assert refusal("check-config", path, code=2) == f"{path}: byte 10 is not UTF-8; save the file as UTF-8"


def test_settings_are_checked_before_anything_else_is_tried() -> None:
    text = refusal("run", "--kubeconfig=/nonexistent", "--config.file", CONFIG / "invalid-profile.yaml", code=2)
    assert "metrics.profile" in text


# The way to the API server


def test_a_missing_kubeconfig_is_named_with_the_remedy() -> None:
    text = refusal("run", "--kubeconfig=/nonexistent", code=1)
    assert "/nonexistent" in text
    assert "--kubeconfig" in text


@pytest.mark.parametrize(
    ("environment", "path"), [({"KUBECONFIG": "/absent"}, "/absent"), ({}, "/nonexistent/.kube/config")]
)
def test_the_kubeconfig_that_is_taken_without_a_flag_is_named(environment: dict[str, str], path: str) -> None:
    assert path in refusal("run", environment=environment, code=1)


def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    text = refusal("run", f"--kubeconfig={path}", "--context=theirs", code=1)
    assert str(path) in text
    assert "theirs" in text


@pytest.mark.parametrize(
    "content",
    [b"\0\xff", f"token: [{SECRET}".encode(), f"users: {SECRET}".encode()],
    ids=["bytes", "broken YAML", "wrong shape"],
)
def test_garbage_instead_of_a_kubeconfig_is_refused_without_showing_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    text = refusal("run", f"--kubeconfig={path}", code=1)
    assert str(path) in text
    assert SECRET not in text


# What is not waited for


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["run", "--help"],
        ["check-config", str(CONFIG / "valid-empty.yaml")],
        ["rules", "render", str(RULES / "valid.yaml")],
    ],
)
def test_only_following_a_cluster_loads_the_clients_for_it(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from gotk_exporter.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({'kubernetes', 'aiohttp'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
