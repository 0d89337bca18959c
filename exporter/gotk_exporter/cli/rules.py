"""``gotk-exporter rules check|test|render``: on the rules that come with it, or on yours. 1: something is wrong."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gotk_exporter.cli import audit
from gotk_exporter.cli.output import INTERRUPTED, complain, printable, progress, show

if TYPE_CHECKING:
    from gotk_exporter.rules.files import RuleFile

DEFAULT_PREFIX = "gotk-exporter-"
"""Of the names of our own objects."""
_LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PREFIX = re.compile(r"([a-z0-9][-a-z0-9.]*)?")

Command = Callable[[argparse.Namespace], int]
Seconds = Callable[[str], float]
Item = TypeVar("Item")


def add(parser: argparse.ArgumentParser, duration: Seconds) -> None:
    """The commands; ``duration`` reads an argument like "90s"."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="what promtool finds wrong with rule files", allow_abbrev=False)
    check.add_argument("files", metavar="FILE", nargs="*", help="rule files or PrometheusRule objects; default: ours")
    check.add_argument("--rules", metavar="DIR", help="every rule file in this folder and its folders")
    _add_promtool(check, duration)
    check.set_defaults(command=_interruptible(_check), refuse=check.error)
    test = commands.add_parser("test", help="run unit tests of rules with promtool", allow_abbrev=False)
    test.add_argument("files", metavar="FILE", nargs="*", help="promtool's test files; default: ours")
    _add_promtool(test, duration)
    test.set_defaults(command=_interruptible(_test), refuse=test.error)
    _add_render(commands.add_parser("render", help="PrometheusRule objects, or one rule file", allow_abbrev=False))
    about = "which rules of a running Prometheus can never fire"
    audit.add(commands.add_parser("audit", help=about, allow_abbrev=False), duration)


def _add_promtool(command: argparse.ArgumentParser, duration: Seconds) -> None:
    command.description = "Exit code 0: nothing is wrong; 1: something is; 2: bad usage, or there is no promtool."
    command.add_argument("--promtool", metavar="PATH", help="default: the one on the PATH")
    command.add_argument(
        "--timeout", metavar="DURATION", type=duration, default="5m", help="of promtool, for each file; default 5m"
    )
    command.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default text")


def _add_render(render: argparse.ArgumentParser) -> None:
    render.description = "Rules for prometheus-operator, or as one file for Prometheus itself, on standard output."
    render.add_argument("files", metavar="FILE", nargs="*", help="rule files or PrometheusRule objects; default: ours")
    render.add_argument(
        "--format", choices=("prometheusrule", "plain"), default="prometheusrule", help="default prometheusrule"
    )
    render.add_argument(
        "--label",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_label,
        help="on each object, e.g. release=kube-prometheus-stack; may be given again",
    )
    render.add_argument(
        "--annotation", metavar="KEY=VALUE", action="append", default=[], type=_annotation, help="on each object"
    )
    render.add_argument("--namespace", metavar="NAMESPACE", type=_namespace, help="of each object; default: none")
    render.add_argument(
        "--name-prefix",
        metavar="PREFIX",
        type=_prefix,
        help=f"of each object's name; default {DEFAULT_PREFIX} before our files' names, nothing before yours",
    )
    render.add_argument("--with-classic", action="store_true", help="with the classic rules, which are off by default")
    render.set_defaults(command=_render, refuse=render.error)


def _interruptible(command: Command) -> Command:
    """Tests may take minutes: Ctrl-C ends them as it ends other programs."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except KeyboardInterrupt:
            return INTERRUPTED

    return run


def _check(arguments: argparse.Namespace) -> int:
    from gotk_exporter.rules import files, promtool, report, shipped

    if arguments.files and arguments.rules:
        arguments.refuse("name files or a folder with --rules, not both")
    try:
        tool = promtool.find(arguments.promtool, arguments.timeout)
        if arguments.rules:
            paths = _below(Path(arguments.rules))
        else:
            paths = [Path(name) for name in arguments.files] or shipped.rule_files()
    except (promtool.NoPromtool, shipped.NotShipped, NotADirectoryError) as error:
        complain(printable(str(error)))
        return 2
    found = [files.read(path) for path in paths]
    # In a folder there is more than rules; who names a file means it.
    left_out = [file.path for file in found if file.foreign and arguments.rules]
    wanted = [file for file in found if file.path not in left_out]
    if not wanted:
        complain(printable(f"{arguments.rules}: no YAML file in it holds rules; name another folder, or files"))
        return 2
    results = [tool.check(file) for file in _shown_progress(wanted)]
    told = report.checked_json if arguments.output == "json" else report.checked_text
    show(told(results, left_out, tool))
    return 1 if any(result.problems for result in results) else 0


def _below(folder: Path) -> list[Path]:
    from gotk_exporter.rules import files

    if not folder.is_dir():
        raise NotADirectoryError(f"--rules {folder}: is no folder; name one that holds rule files")
    return files.below(folder)


def _test(arguments: argparse.Namespace) -> int:
    from gotk_exporter.rules import promtool, report, shipped

    try:
        tool = promtool.find(arguments.promtool, arguments.timeout)
        paths = [Path(name) for name in arguments.files] or shipped.test_files()
    except (promtool.NoPromtool, shipped.NotShipped) as error:
        complain(printable(str(error)))
        return 2
    results = [tool.test(path) for path in _shown_progress(paths)]
    told = report.tested_json if arguments.output == "json" else report.tested_text
    show(told(results, tool))
    return 1 if any(result.failures for result in results) else 0


def _render(arguments: argparse.Namespace) -> int:
    from gotk_exporter.rules import files, render, shipped

    metadata_flags = (arguments.label, arguments.annotation, arguments.namespace, arguments.name_prefix)
    if arguments.format == "plain" and any(metadata_flags):
        arguments.refuse("--label, --annotation, --namespace and --name-prefix name objects: leave out --format plain")
    if arguments.files and arguments.with_classic:
        arguments.refuse("--with-classic is about the rules that come with this: name no files with it")
    prefix = arguments.name_prefix
    try:
        if arguments.files:
            chosen = [(path.stem, files.read(path)) for path in map(Path, arguments.files)]
        else:
            prefix = DEFAULT_PREFIX if prefix is None else prefix
            chosen = [
                (shipped.name_of(path), files.read(path))
                for path in shipped.rule_files()
                if arguments.with_classic or path.name != shipped.CLASSIC
            ]
        _refuse_problems([file for _, file in chosen])
        metadata = render.Metadata(
            dict(arguments.label), dict(arguments.annotation), arguments.namespace or "", prefix or ""
        )
        text = render.plain(chosen) if arguments.format == "plain" else render.prometheus_rules(chosen, metadata)
    except (render.CannotRender, shipped.NotShipped) as error:
        complain(printable(str(error)))
        return 1
    show(text)
    return 0


def _refuse_problems(found: Sequence[RuleFile]) -> None:
    from gotk_exporter.rules.render import CannotRender

    for file in found:
        for problem in file.problems:
            place = f"{file.path}:{problem.line}" if problem.line else str(file.path)
            raise CannotRender(f"{place}: {problem.problem}")


def _shown_progress(items: Sequence[Item]) -> Iterator[Item]:
    """On a terminal, how far it is."""
    if not sys.stderr.isatty():
        yield from items
        return
    try:
        for number, item in enumerate(items):
            progress(f"{number} of {len(items)} files")
            yield item
    finally:
        progress("")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not _LABEL_NAME.fullmatch(key):
        raise argparse.ArgumentTypeError(f'"{text}" is not KEY=VALUE with a key that Kubernetes takes')
    return key, value


def _label(text: str) -> tuple[str, str]:
    key, value = _pair(text)
    if not _LABEL_VALUE.fullmatch(value):
        raise argparse.ArgumentTypeError(
            f'"{value}" can be no label\'s value; write at most 63 letters, digits, "-", "_" and "."'
        )
    return key, value


def _annotation(text: str) -> tuple[str, str]:
    return _pair(text)


def _namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise argparse.ArgumentTypeError(f'"{text}" can be no namespace; write small letters, digits and "-"')
    return text


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise argparse.ArgumentTypeError(f'"{text}" can begin no name; write small letters, digits, "-" and "."')
    return text
