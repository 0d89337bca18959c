"""promtool, Prometheus's own tool, as two calls: check a rule file, run a file of unit tests. Prints nothing.

It is given copies of what was read, in a folder of their own: PrometheusRule objects are no files that it knows, and
the names that it repeats in its messages are then ours. Its time and its words are bounded.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gotk_exporter.rules import complaints, files, testfiles
from gotk_exporter.rules.complaints import Complaint, Deviation, DeviationKind
from gotk_exporter.rules.files import Document, Problem, RuleFile
from gotk_exporter.rules.nodes import Unreadable
from gotk_exporter.rules.places import cases, problems, unclear
from gotk_exporter.rules.testfiles import TestFile

TIMEOUT_SECONDS = 300.0
"""For one file: the longest tests of ours take seconds, a rehearsal of hours took 36 s."""
VERSION_SECONDS = 20.0
MAX_WORDS = 2**20
"""Bytes of standard error that are read; more is dropped, and said."""
MAX_EXPECTED = 4_000
"""Characters that are kept of what one case expected, and of what it got."""
MAX_ALONE = 200
"""Tests of one file that are run once more to know which failed."""
LINTS_SINCE = (2, 37)
"""--lint came with 2.35 and worked with --lint-fatal from 2.36.1 on."""
_VERSION = re.compile(r"^promtool, version v?((\d+)\.(\d+)\S*)", re.MULTILINE)


class NoPromtool(Exception):
    """There is none, or what was named is something else."""


@dataclass(frozen=True, slots=True)
class Checked:
    file: Path
    groups: int
    rules: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that did not come out as expected, or, without a subject, a problem of the test file or of its rules."""

    file: Path
    line: int
    problem: str
    test: str = ""
    subject: str = ""
    kind: DeviationKind | Literal[""] = ""
    at: str = ""
    expected: str = ""
    got: str = ""


@dataclass(frozen=True, slots=True)
class Tested:
    file: Path
    cases: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Promtool:
    path: Path
    version: str
    lints: bool
    timeout: float = TIMEOUT_SECONDS

    def check(self, file: RuleFile) -> Checked:
        """Its syntax, its names, its expressions, and rules that write the same series."""
        found = list(file.problems)
        for document in file.documents:
            with tempfile.TemporaryDirectory(prefix="gotk-exporter-") as folder:
                (Path(folder) / "rules.yaml").write_text(document.text, encoding="utf-8")
                lint = ["--lint=all", "--lint-fatal"] if self.lints else []
                said = self._run(["check", "rules", *lint, "rules.yaml"], folder)
            found += [problem for item in said for problem in problems(file.path, document, item)]
        return Checked(file.path, len(file.groups), file.rules, tuple(sorted(found, key=lambda problem: problem.line)))

    def test(self, path: Path) -> Tested:
        """Every case of a test file."""
        try:
            file = testfiles.read(path)
        except Unreadable as error:
            return Tested(path, 0, (Failure(path, error.line, error.problem),))
        failures: list[Failure] = []
        documents: list[tuple[Path, Document]] = []
        for pattern, line in file.patterns:
            paths = file.rule_files(pattern)
            if not paths:
                # promtool only warns, and lets a test without rules pass that expects nothing.
                failures.append(Failure(path, line, f'no rule file matches "{pattern}"'))
            for found in map(files.read, paths):
                failures += [Failure(problem.file, problem.line, problem.problem) for problem in found.problems]
                documents += [(found.path, document) for document in found.documents]
        names = [f"rules-{number}.yaml" for number in range(len(documents))]
        copies = dict(zip(names, documents, strict=True))
        texts = {name: document.text for name, (_, document) in copies.items()}
        for number, item in self._attributed(file, texts):
            if isinstance(item, Deviation):
                failures.append(_deviation(file, item, number))
            elif isinstance(item, Complaint) and item.file in copies:
                failures += [_of_rules(problem) for problem in problems(*copies[item.file], item)]
            elif isinstance(item, Complaint):
                failures.append(Failure(path, item.line, item.text))
        return Tested(path, len(file.cases), tuple(failures))

    def _attributed(self, file: TestFile, rules: Mapping[str, str]) -> list[tuple[int, complaints.Said]]:
        """What promtool says of a test file, and of which test; 0 where that is clear, or cannot be known.

        Where it fails and leaves it open of which of several, as with expressions, each test is run once more, alone.
        """
        with tempfile.TemporaryDirectory(prefix="gotk-exporter-") as folder:
            for name, text in rules.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            test = Path(folder) / "test.yaml"
            test.write_text(file.naming(list(rules)), encoding="utf-8")
            said = self._run(["test", "rules", test.name], folder)
            deviations = [item for item in said if isinstance(item, Deviation)]
            owners: dict[Deviation, list[int]] = {_same(item): [] for item in deviations}
            if any(unclear(file, item) for item in deviations):
                for number in range(1, min(len(file.tests), MAX_ALONE) + 1):
                    test.write_text(file.alone(number, list(rules)), encoding="utf-8")
                    for item in self._run(["test", "rules", test.name], folder):
                        if isinstance(item, Deviation):
                            owners.setdefault(_same(item), []).append(number)
        found: list[tuple[int, complaints.Said]] = []
        for item in said:
            # The same failure of two tests is told in the order of the tests.
            left = owners[_same(item)] if isinstance(item, Deviation) else []
            found.append((left.pop(0) if left else 0, item))
        return found

    def _run(self, arguments: Sequence[str], folder: str) -> list[complaints.Said]:
        """What it complains of; that it ends badly without a word, or not at all, is a complaint as well."""
        try:
            done = _run([str(self.path), *arguments], folder, self.timeout)
        except OSError as error:
            return [Complaint("", 0, f"promtool cannot be run: {error.strerror}")]
        said = complaints.read(done.words)
        if done.cut:
            said.append(Complaint("", 0, f"promtool wrote more than {MAX_WORDS} bytes; the rest is left out"))
        if done.timed_out:
            said.append(Complaint("", 0, f"promtool did not end within {self.timeout:g} s; see --timeout"))
        elif done.code != 0 and not said:
            said.append(Complaint("", 0, f"promtool ended with {done.code} and said nothing"))
        return said


def find(named: str | None = None, timeout: float = TIMEOUT_SECONDS) -> Promtool:
    """The one that is named, else the one on the PATH.

    Raises:
        NoPromtool: with what to do.
    """
    path = shutil.which(named or "promtool")
    if path is None and named is not None:
        path = shutil.which(os.path.join(os.curdir, named))
    if path is None and named is not None:
        raise NoPromtool(f"--promtool {named}: is no program that can be run; name promtool's file")
    if path is None:
        raise NoPromtool(
            "promtool is not on the PATH; install it (Debian's package is prometheus) or name it with --promtool"
        )
    # Found through the PATH or not, it is started in another folder.
    path = os.path.abspath(path)
    try:
        done = _run([path, "--version"], "/", VERSION_SECONDS, all_words=True)
    except OSError as error:
        raise NoPromtool(f"{path}: cannot be run: {error.strerror}; name another with --promtool") from None
    version = _VERSION.search(done.words)
    if version is None:
        raise NoPromtool(f"{path}: is no promtool, since it does not tell its version; name another with --promtool")
    return Promtool(Path(path), version[1], (int(version[2]), int(version[3])) >= LINTS_SINCE, timeout)


# The process


@dataclass(frozen=True, slots=True)
class _Done:
    code: int
    words: str
    cut: bool
    timed_out: bool


def _run(command: Sequence[str], folder: str, timeout: float, *, all_words: bool = False) -> _Done:
    """Standard error, where all complaints are, and with ``all_words`` standard output as well.

    In a session of its own, so that a wrapper script ends with all that it started.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if all_words else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if all_words else subprocess.PIPE,
        start_new_session=True,
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(timeout, end)
    timer.daemon = True
    timer.start()
    stream = process.stdout if all_words else process.stderr
    assert stream is not None
    try:
        with stream:
            words = stream.read(MAX_WORDS)
            cut = False
            while stream.read(65_536):
                cut = True
        code = process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.wait()
    return _Done(code, words.decode("utf-8", "replace"), cut, late.is_set())


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole session; its leader is not reaped before wait(), so that the number is no stranger's."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# Failures


def _of_rules(problem: Problem) -> Failure:
    subject = f'group "{problem.group}": ' if problem.group else ""
    if problem.name:
        subject = f'{problem.kind} "{problem.name}": '
    return Failure(problem.file, problem.line, subject + problem.problem)


def _same(said: Deviation) -> Deviation:
    """As it is told in another run: why a rule cannot be evaluated names series in any order."""
    return replace(said, text="") if said.kind == "rule" else said


def _deviation(file: TestFile, said: Deviation, number: int) -> Failure:
    candidates = [case for case in cases(file, said) if number in (0, case.number)]
    numbers = {case.number for case in candidates} | ({number} if number else set())
    names = dict.fromkeys(file.tests[one - 1].name for one in sorted(numbers))
    line = candidates[0].line if len(candidates) == 1 else 0
    if not line and len(numbers) == 1:
        line = file.tests[min(numbers) - 1].line
    return Failure(
        file.path,
        line,
        said.text,
        said.test or " or ".join(list(names)[:5]),
        said.subject,
        said.kind,
        said.at,
        said.expected[:MAX_EXPECTED],
        said.got[:MAX_EXPECTED],
    )
