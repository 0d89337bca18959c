"""What every command writes in the same way: answers, complaints, and progress on a terminal."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
"""What a shell says of a process that Ctrl-C ended."""


def complain(text: str) -> None:
    """One line on standard error."""
    print("gotk-exporter:", *text.splitlines(), file=sys.stderr)


def progress(text: str) -> None:
    """One line that replaces itself; empty at the end."""
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """The answer, on standard output."""
    try:
        # A terminal that knows no UTF-8 gets what it can show.
        print(text.encode(sys.stdout.encoding, "replace").decode(sys.stdout.encoding), end="", flush=True)
    except BrokenPipeError:
        # The reader has seen enough, and Python would complain of it once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: str) -> str:
    """Names that anybody may have written move no terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)
