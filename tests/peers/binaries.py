"""Which binaries the test-suite needs and where they are. Gets and builds nothing: provision.py does.

Standard library only: provision.py imports it before there is a virtual environment.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parent
VERSION_TIMEOUT_SECONDS = 20


def cache_directory() -> Path:
    """Where provisioned peers are kept: outside the repository, so that a fresh clone finds them."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gotk-exporter" / "peers"


@dataclass(frozen=True)
class DebianPackage:
    """A package of Debian 12, of which only the binaries are used."""

    name: str
    version: str
    """Major and minor version that the tests are written for."""

    @property
    def directory(self) -> Path:
        return cache_directory() / f"{self.name}-{self.version}"


@dataclass(frozen=True)
class GoModule:
    """A Go tool module in tests/peers/<name>: go.mod and go.sum say exactly what is built."""

    name: str
    main_module: str
    """The required module that the binaries come from; its version is stamped into them."""
    commands: tuple[str, ...]
    """Import paths of the main packages."""
    build_flags: tuple[str, ...] = ()
    version_variables: tuple[tuple[str, str, str], ...] = ()
    """(variable, pattern, template): ``template`` filled from ``pattern``'s match with ``v<version>`` is linked in."""

    @property
    def source(self) -> Path:
        return MODULES / self.name

    @property
    def directory(self) -> Path:
        return cache_directory() / f"{self.name}-{self._digest()}"

    def go_version(self) -> str:
        """The oldest Go that builds it, from go.mod."""
        return self._in_go_mod(r"^go (\S+)$")

    def version(self) -> str:
        return self._in_go_mod(rf"^require {re.escape(self.main_module)} v(\S+)$")

    def flags(self) -> list[str]:
        """The flags of ``go build``, apart from where it writes."""
        link = ["-s", "-w"]
        for variable, pattern, template in self.version_variables:
            found = re.fullmatch(pattern, f"v{self.version()}")
            if found is not None:
                link.append(f"-X={variable}={found.expand(template)}")
        return ["-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags={' '.join(link)}", *self.build_flags]

    def _in_go_mod(self, pattern: str) -> str:
        found = re.search(pattern, (self.source / "go.mod").read_text(), re.MULTILINE)
        if found is None:
            raise ValueError(f"{self.source / 'go.mod'}: nothing matches {pattern}; correct it or binaries.py")
        return found[1]

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for part in (self.source / "go.mod").read_bytes(), (self.source / "go.sum").read_bytes():
            digest.update(part + b"\0")
        digest.update("\0".join([*self.flags(), *self.commands]).encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Binary:
    """One program: the file's name and where it comes from."""

    file_name: str
    source: DebianPackage | GoModule


ETCD = DebianPackage("etcd-server", "3.4")
PROMETHEUS_2 = DebianPackage("prometheus", "2.42")
ALERTMANAGER = DebianPackage("prometheus-alertmanager", "0.25")
KUBERNETES = GoModule(
    "kubernetes",
    main_module="k8s.io/kubernetes",
    commands=("k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kubectl"),
    version_variables=(
        ("k8s.io/component-base/version.gitVersion", r".+", r"\g<0>"),
        ("k8s.io/component-base/version.gitMajor", r"v(\d+)\..+", r"\1"),
        ("k8s.io/component-base/version.gitMinor", r"v\d+\.(\d+)\..+", r"\1"),
    ),
)
PROMETHEUS_3 = GoModule(
    "prometheus",
    main_module="github.com/prometheus/prometheus",
    commands=("github.com/prometheus/prometheus/cmd/prometheus", "github.com/prometheus/prometheus/cmd/promtool"),
    build_flags=("-tags=remove_all_sd",),
    # As a Go module, Prometheus 3.14.0 is v0.314.0.
    version_variables=(("github.com/prometheus/common/version.Version", r"v0\.30?(\d+)\.(\d+)", r"3.\1.\2"),),
)

BINARIES = {
    "etcd": Binary("etcd", ETCD),
    "prometheus-2": Binary("prometheus", PROMETHEUS_2),
    "promtool-2": Binary("promtool", PROMETHEUS_2),
    "alertmanager": Binary("prometheus-alertmanager", ALERTMANAGER),
    "amtool": Binary("amtool", ALERTMANAGER),
    "kube-apiserver": Binary("kube-apiserver", KUBERNETES),
    "kubectl": Binary("kubectl", KUBERNETES),
    "prometheus-3": Binary("prometheus", PROMETHEUS_3),
    "promtool-3": Binary("promtool", PROMETHEUS_3),
}


def find(name: str) -> Path | None:
    """The binary ``name`` (a key of BINARIES): from the cache, or, if Debian's, from PATH at the wanted version."""
    binary = BINARIES[name]
    cached = binary.source.directory / binary.file_name
    if cached.is_file():
        return cached
    if isinstance(binary.source, DebianPackage):
        installed = shutil.which(binary.file_name)
        if installed is not None and has_version(Path(installed), binary.source.version):
            return Path(installed)
    return None


@functools.cache
def has_version(binary: Path, version: str) -> bool:
    """Whether ``binary --version`` runs and names ``version`` or a patch release of it."""
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return re.search(rf"(?<![\d.]){re.escape(version)}(?!\d)", answer.stdout + answer.stderr) is not None
