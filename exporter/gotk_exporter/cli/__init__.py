"""Arguments become one call; its outcome becomes an exit code. 2: bad usage or settings; 1: a failure at run time."""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gotk_exporter import __version__, logs
from gotk_exporter.cli import rules
from gotk_exporter.cli.output import INTERRUPTED, complain, progress, show
from gotk_exporter.config import ConfigError, Settings, parse
from gotk_exporter.flux.durations import parse_duration

if TYPE_CHECKING:
    from gotk_exporter.web.server import Address

DEFAULT_LISTEN_ADDRESS = ":8080"
DEFAULT_DEMO_ADDRESS = "127.0.0.1:8080"


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except _SettingsError as error:
        for mistake in error.mistakes:
            complain(mistake)
        return 2


class _SettingsError(Exception):
    def __init__(self, path: str, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(f"{path}: {mistake}" for mistake in mistakes)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, where argparse writes its whole usage as well."""
        complain(f"{message}; see {self.prog} --help")
        sys.exit(2)


def _run(arguments: argparse.Namespace) -> int:
    # Until the loop has its own handlers, which takes a second of imports on a busy machine.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = _settings(arguments.config_file)
    # Imported late, here and below: nobody who mistyped something need wait for an HTTP server and a Kubernetes client.
    from gotk_exporter import app
    from gotk_exporter.kube.credentials import CredentialsError
    from gotk_exporter.web.server import ListenError

    logs.configure(arguments.log_level, arguments.log_format)
    options = app.RunOptions(
        arguments.listen_address, arguments.telemetry_path, arguments.kubeconfig, arguments.context
    )
    try:
        asyncio.run(app.run(options, settings))
    except (CredentialsError, ListenError) as error:
        complain(str(error))
        return 1
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from gotk_exporter.demo import DemoOptions, UnknownScenario, demo
    from gotk_exporter.web.server import ListenError

    logs.configure("warn", "logfmt")
    options = DemoOptions(arguments.listen_address, arguments.speed, arguments.scenario, arguments.seconds)
    try:
        asyncio.run(demo(options, lambda line: print(line, flush=True)))
    except UnknownScenario as error:
        complain(str(error))
        return 2
    except ListenError as error:
        complain(str(error))
        return 1
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    words = arguments.object.split("/") + ([arguments.name] if arguments.name is not None else [])
    if len(words) != 2 or not all(words):
        arguments.refuse("name one object as KIND/NAME, e.g. ks/checkout, and its namespace with -n")
    if arguments.exporter and (arguments.kubeconfig or arguments.context or arguments.config_file):
        arguments.refuse("--exporter asks no cluster: --kubeconfig, --context and --config.file do not go with it")
    settings = _settings(arguments.config_file)
    from gotk_exporter.explain import ExplainOptions, explain, shown
    from gotk_exporter.flux.question import BadQuestion, NoAnswer

    logs.configure("error", "logfmt")
    options = ExplainOptions(
        words[0],
        words[1],
        arguments.namespace,
        arguments.timeout,
        arguments.kubeconfig,
        arguments.context,
        arguments.exporter,
    )
    try:
        explained = asyncio.run(explain(options, settings, progress if sys.stderr.isatty() else lambda text: None))
    except NoAnswer as error:
        complain(str(error))
        return 2 if isinstance(error, BadQuestion) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    show(shown(explained, arguments.output, time.time()))
    return 0 if explained.explanation.ready else 1


def _check_config(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments.file)
    where = ", ".join(settings.watch.namespaces) or "all namespaces"
    print(f"{arguments.file}: valid; {len(settings.watch.kinds)} kinds in {where}")
    return 0


def _settings(path: str | None) -> Settings:
    if path is None:
        return Settings()
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise _SettingsError(path, [f"{error.strerror}; name a settings file that can be read"]) from None
    except UnicodeDecodeError as error:
        raise _SettingsError(path, [f"byte {error.start} is not UTF-8; save the file as UTF-8"]) from None
    except ConfigError as error:
        raise _SettingsError(path, error.mistakes) from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gotk-exporter",
        description="The true state of every Flux object, as Prometheus metrics.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gotk-exporter {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="follow a cluster and serve metrics", allow_abbrev=False))
    _add_demo(
        commands.add_parser("demo", help="a living cluster in this process, and its incidents", allow_abbrev=False)
    )
    _add_explain(commands.add_parser("explain", help="why an object is not ready, and since when", allow_abbrev=False))
    about = "check, test, render and audit alert rules"
    rules.add(commands.add_parser("rules", help=about, allow_abbrev=False), _duration)
    check = commands.add_parser("check-config", help="check a settings file", allow_abbrev=False)
    check.add_argument("file", metavar="FILE")
    check.set_defaults(command=_check_config)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    _add_cluster(run)
    run.add_argument(
        "--web.listen-address",
        dest="listen_address",
        metavar="ADDR",
        type=_address,
        default=DEFAULT_LISTEN_ADDRESS,
        help=f"host:port to serve on; default {DEFAULT_LISTEN_ADDRESS}",
    )
    run.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        metavar="PATH",
        type=_path,
        default="/metrics",
        help="path of the metrics; default /metrics",
    )
    run.add_argument("--log.level", dest="log_level", choices=logs.LEVELS, default="info", help="default info")
    run.add_argument("--log.format", dest="log_format", choices=logs.FORMATS, default="logfmt", help="default logfmt")
    run.set_defaults(command=_run)


def _add_cluster(command: argparse.ArgumentParser) -> None:
    """Which cluster, and what of it."""
    command.add_argument("--config.file", dest="config_file", metavar="FILE", help="settings (YAML); default: none")
    command.add_argument(
        "--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, else the pod's service account, else ~/.kube/config"
    )
    command.add_argument("--context", metavar="NAME", help="context in the kubeconfig; default: its current one")


def _add_demo(demo: argparse.ArgumentParser) -> None:
    demo.add_argument(
        "--web.listen-address",
        dest="listen_address",
        metavar="ADDR",
        type=_address,
        default=DEFAULT_DEMO_ADDRESS,
        help=f"host:port to serve on; default {DEFAULT_DEMO_ADDRESS}",
    )
    demo.add_argument(
        "--speed",
        metavar="N",
        type=_speed,
        default="10",
        help="how many times faster than real time, 1 to 60; default 10",
    )
    demo.add_argument("--scenario", metavar="NAME", help="tell this incident only; default: all, one after the other")
    demo.add_argument(
        "--for", dest="seconds", metavar="DURATION", type=_duration, help='end after e.g. "10m"; default: Ctrl-C'
    )
    demo.set_defaults(command=_demo)


def _add_explain(explain: argparse.ArgumentParser) -> None:
    explain.description = (
        "Why is it not ready? Exit code 0: it is well; 1: it is not, or cannot be found; 2: bad usage."
    )
    explain.add_argument("object", metavar="KIND/NAME", help="e.g. ks/checkout; kinds as kubectl takes them")
    explain.add_argument("name", metavar="NAME", nargs="?", help="where they are written as two words")
    explain.add_argument(
        "-n",
        "--namespace",
        metavar="NAMESPACE",
        help="default: the context's, else the only one that has such an object",
    )
    _add_cluster(explain)
    explain.add_argument(
        "--exporter", metavar="URL", type=_url, help="ask a running exporter, which shows no messages, and no cluster"
    )
    explain.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default text")
    explain.add_argument(
        "--timeout", metavar="DURATION", type=_duration, default="30s", help="for all of it; default 30s"
    )
    explain.set_defaults(command=_explain, refuse=explain.error)


def _url(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        raise argparse.ArgumentTypeError("it is no address of an exporter; write e.g. http://127.0.0.1:8080")
    return url


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 1 <= speed <= 60:
        raise argparse.ArgumentTypeError(
            f'"{text}" is no speed; give a number from 1 to 60 (timestamps in objects have whole seconds)'
        )
    return speed


def _duration(text: str) -> float:
    seconds = parse_duration(text)
    if seconds is None or seconds <= 0:
        raise argparse.ArgumentTypeError(f'"{text}" is no duration; write e.g. "90s" or "10m"')
    return seconds


def _address(text: str) -> Address:
    from gotk_exporter.web.server import parse_address

    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _path(text: str) -> str:
    # Nothing that means more than itself in a URL, or to aiohttp's router.
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", text) or text.startswith("/-/"):
        raise argparse.ArgumentTypeError(f'"{text}" is no path for metrics; it begins with / and not with /-/')
    return text
