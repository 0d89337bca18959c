"""YAML as nodes that know their lines, read without trust: bounded in size, in depth, and in what aliases multiply.

Values stay the text that was written: for Prometheus a label ``1`` is a string. Nothing here knows what a rule is.
"""

from __future__ import annotations

from pathlib import Path

import yaml

MAX_BYTES = 2 * 2**20
"""An object in a cluster has at most 1.5 MB; the pure parser reads a megabyte in a second or two."""
_MERGE = "tag:yaml.org,2002:merge"
_NULL = "tag:yaml.org,2002:null"


class Unreadable(Exception):
    """A file that cannot be read, or is no YAML."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def read_text(path: Path) -> str:
    """Raises Unreadable."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise Unreadable("is a folder; name the files in it, or check it with --rules") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except ValueError:
        # A NUL in its name.
        raise Unreadable("cannot be read: this can be no file's name") from None
    if len(content) > MAX_BYTES:
        raise Unreadable(f"is larger than {MAX_BYTES // 2**20} MiB; split it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable("is not UTF-8; save the file as UTF-8", line) from None


def documents(text: str) -> list[yaml.Node]:
    """The documents that hold anything, as nodes.

    The pure Python parser, since libyaml's ends the process where the nesting is deep.

    Raises:
        Unreadable: it is no YAML.
    """
    try:
        found = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(f"is no YAML: {error.problem or error.context}", mark.line + 1 if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable("is no YAML: it holds a control character", line) from None
    except RecursionError:
        raise Unreadable("is no YAML for Prometheus: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # The last two: an escape sequence beyond Unicode.
        raise Unreadable("is no YAML") from None
    return [node for node in found if node is not None and not is_null(node)]


def is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def first_line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def last_line(node: yaml.Node) -> int:
    """A block ends where the next thing begins."""
    block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    return max(int(node.end_mark.line) + (0 if block else 1), first_line(node))


Entry = tuple[yaml.Node, yaml.Node]
"""A key and its value."""


class Reading:
    """Access to the nodes of one file: each mapping is merged once, however often an alias names it."""

    def __init__(self) -> None:
        self._entries: dict[int, dict[str, Entry]] = {}
        self._nodes: list[yaml.Node] = []

    def entries(self, node: yaml.Node | None) -> dict[str, Entry]:
        """By key, with what ``<<`` merges in; empty where it is no mapping."""
        if not isinstance(node, yaml.MappingNode):
            return {}
        known = self._entries.get(id(node))
        if known is not None:
            return known
        # For a mapping that merges itself. And kept, so that no other node gets its id.
        self._entries[id(node)] = {}
        self._nodes.append(node)
        merged: dict[str, Entry] = {}
        own: dict[str, Entry] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    merged = {**self.entries(source), **merged}
            elif isinstance(key, yaml.ScalarNode):
                own[key.value] = (key, value)
        self._entries[id(node)] = {**merged, **own}
        return self._entries[id(node)]

    def value(self, node: yaml.Node | None, key: str) -> yaml.Node | None:
        entry = self.entries(node).get(key)
        return entry[1] if entry else None

    def text(self, node: yaml.Node | None, key: str) -> str:
        """The scalar at ``key`` as it was written; empty where there is none."""
        value = self.value(node, key)
        return str(value.value) if isinstance(value, yaml.ScalarNode) and not is_null(value) else ""

    def items(self, node: yaml.Node | None, key: str) -> list[yaml.Node]:
        value = self.value(node, key)
        return list(value.value) if isinstance(value, yaml.SequenceNode) else []
