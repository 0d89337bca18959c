"""The settings file: YAML text in, frozen settings out, or every mistake in it with its place and its remedy.

Core: reading the file is the caller's business. Settings that a flag gives (addresses, kubeconfig, logging) are not
here, so that one file serves every place where the exporter runs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

import yaml

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.owner_labels import MAX_OWNER_LABELS, OwnerLabel, key_refusal, name_refusal
from gotk_exporter.metrics.families import OBJECT_FAMILIES, OWNER_INFO, Family, Profile, matches_any, select
from gotk_exporter.metrics.own_families import EXPORTER_FAMILIES

_T = TypeVar("_T")

_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


FLUX_NAMESPACE = "flux-system"
"""Where Flux's own installers put it."""
NODE_LEASES = "kube-node-lease"
"""The namespace with a Lease for each node, renewed every ten seconds."""


class ConfigError(Exception):
    """The text is no valid settings file. ``mistakes`` has one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    kinds: tuple[str, ...] = tuple(BY_NAME)
    """Kinds to follow. Default: every kind that we know; those that the cluster lacks cost one line in discovery."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to look into. Default: none named, which is all of them, in cluster-wide calls. With names, no
    cluster-wide call is made, so that a Role in each of them is enough."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    profile: Profile = Profile.DEFAULT
    """Which families to serve: minimal, default or full."""
    allow: tuple[str, ...] = ()
    """Family names or patterns: exactly these instead of the profile's. Default: the profile decides."""
    deny: tuple[str, ...] = ()
    """Family names or patterns to leave out. Default: none."""
    owner_labels: tuple[OwnerLabel, ...] = ()
    """Labels of the Kubernetes objects that say whose they are, for gotk_resource_owner_info. Default: none, and then
    there is no such family."""

    @property
    def families(self) -> tuple[Family, ...]:
        """What is served of objects."""
        chosen = select(self.profile, self.allow, self.deny)
        return chosen if self.owner_labels else tuple(family for family in chosen if family is not OWNER_INFO)


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """Both or none: without them nothing is kept across a restart that the objects cannot tell themselves."""

    namespace: str = ""
    """Namespace of the ConfigMap. Default: no checkpoint is kept."""
    config_map: str = ""
    """Name of the ConfigMap; it is made where it does not exist. Default: no checkpoint is kept."""

    @property
    def kept(self) -> bool:
        return bool(self.config_map)


@dataclass(frozen=True, slots=True)
class ControllersSettings:
    leases: bool = True
    """Whether to read the Leases of Flux's controllers. Default: true."""
    namespaces: tuple[str, ...] = ()
    """Namespaces in which Flux's controllers run; all of them, where shards have their own. Default: flux-system; with
    watch.namespaces only if it is one of them, so that nothing is asked for elsewhere that nobody has named."""


@dataclass(frozen=True, slots=True)
class Settings:
    watch: WatchSettings = field(default_factory=WatchSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    controllers: ControllersSettings = field(default_factory=ControllersSettings)

    @property
    def lease_namespaces(self) -> tuple[str, ...]:
        """Where to read Leases; empty: nowhere."""
        if not self.controllers.leases:
            return ()
        looked_into = self.watch.namespaces or (FLUX_NAMESPACE,)
        return self.controllers.namespaces or tuple(name for name in looked_into if name == FLUX_NAMESPACE)


def parse(text: str) -> Settings:
    """The settings in a YAML text; an empty one means every default.

    Raises:
        ConfigError: with every mistake that was found, not only the first.
    """
    try:
        # Nodes, not values: they know their lines, keep what was written ("no" is not yet False), and an alias to a
        # large thing stays an alias.
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
        raise ConfigError([f"{place}: {', '.join(filter(None, [error.context, error.problem]))}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"the text is not YAML: {str(error).partition(chr(10))[0]}"]) from None
    except RecursionError:
        raise ConfigError(["the text is nested too deeply for a settings file"]) from None
    except (ValueError, OverflowError):
        raise ConfigError(["the text is not YAML: an escape or a directive holds an impossible number"]) from None
    reader = _Reader()
    settings = reader.settings(document)
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    return settings


class _Reader:
    """Reads the document section by section and collects mistakes instead of stopping at the first."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def settings(self, document: yaml.Node | None) -> Settings:
        top = self._mapping("", document, {"watch", "metrics", "checkpoint", "controllers"})
        return Settings(
            self._watch(top.get("watch")),
            self._metrics(top.get("metrics")),
            self._checkpoint(top.get("checkpoint")),
            self._controllers(top.get("controllers")),
        )

    def _watch(self, section: yaml.Node | None) -> WatchSettings:
        values = self._mapping("watch", section, {"kinds", "namespaces"})
        return WatchSettings(
            self._list("watch.kinds", values.get("kinds"), self._kind) or WatchSettings().kinds,
            self._list("watch.namespaces", values.get("namespaces"), self._namespace),
        )

    def _metrics(self, section: yaml.Node | None) -> MetricsSettings:
        values = self._mapping("metrics", section, {"profile", "allow", "deny", "ownerLabels"})
        settings = MetricsSettings(
            self._profile("metrics.profile", values.get("profile")),
            self._list("metrics.allow", values.get("allow"), self._family),
            self._list("metrics.deny", values.get("deny"), self._family),
            self._owner_labels("metrics.ownerLabels", values.get("ownerLabels")),
        )
        if settings.owner_labels and OWNER_INFO not in settings.families:
            key = "deny" if matches_any(OWNER_INFO, settings.deny) else "allow"
            remedy = f"metrics.{key} leaves {OWNER_INFO.name} out; serve it, or take the labels out"
            self._mistake("metrics.ownerLabels", f"nobody would see them: {remedy}")
        return settings

    def _owner_labels(self, path: str, node: yaml.Node | None) -> tuple[OwnerLabel, ...]:
        """A mapping whose keys are the user's own."""
        if node is None or _is_absent(node):
            return ()
        if not isinstance(node, yaml.MappingNode):
            self._mistake(path, f"must be a mapping like {{team: example.com/team}}, not {_shown(node)}")
            return ()
        if len(node.value) > MAX_OWNER_LABELS:
            remedy = "keep those by which you route alerts"
            self._mistake(path, f"at most {MAX_OWNER_LABELS} labels, not {len(node.value)}; {remedy}")
            return ()
        names = {key.value if isinstance(key, yaml.ScalarNode) else _shown(key) for key, _ in node.value}
        name_of: dict[str, str] = {}
        for name, value in self._mapping(path, node, names).items():
            place = f"{path}.{_word(name)}"
            refusal, key = name_refusal(name), self._label_key(place, value)
            if refusal is not None:
                self._mistake(place, f"{_quoted(name)} {refusal}")
            elif key is not None and name_of.setdefault(key, name) != name:
                self._mistake(place, f"{_quoted(key)} is there already, as {name_of[key]}; take one of them out")
        return tuple(OwnerLabel(name, key) for key, name in name_of.items())

    def _label_key(self, place: str, node: yaml.Node) -> str | None:
        if _is_absent(node):
            self._mistake(place, "is missing; name a label of your Kubernetes objects, such as example.com/team")
            return None
        text = self._string(place, node)
        if text is not None and (refusal := key_refusal(text)) is not None:
            self._mistake(place, f"{_quoted(text)} {refusal}")
            return None
        return text

    def _checkpoint(self, section: yaml.Node | None) -> CheckpointSettings:
        values = self._mapping("checkpoint", section, {"namespace", "configMap"})
        namespace = self._one("checkpoint.namespace", values.get("namespace"), self._namespace)
        config_map = self._one("checkpoint.configMap", values.get("configMap"), self._config_map)
        for key, other in (("namespace", "configMap"), ("configMap", "namespace")):
            if _is_absent(values.get(key)) and not _is_absent(values.get(other)):
                self._mistake(f"checkpoint.{key}", f"is missing; a checkpoint needs it beside {other}")
        return CheckpointSettings(namespace, config_map)

    def _controllers(self, section: yaml.Node | None) -> ControllersSettings:
        values = self._mapping("controllers", section, {"leases", "namespaces"})
        return ControllersSettings(
            self._boolean("controllers.leases", values.get("leases"), ControllersSettings().leases),
            self._list("controllers.namespaces", values.get("namespaces"), self._controllers_namespace),
        )

    def _boolean(self, path: str, node: yaml.Node | None, default: bool) -> bool:
        if node is None or _is_absent(node):
            return default
        value = _BOOLEANS.get(node.value.lower()) if isinstance(node, yaml.ScalarNode) and node.tag == _BOOL else None
        if value is None:
            self._mistake(path, f"must be true or false, not {_shown(node)}")
        return default if value is None else value

    def _one(self, path: str, node: yaml.Node | None, read: Callable[[str, str], str | None]) -> str:
        if node is None or _is_absent(node):
            return ""
        text = self._string(path, node)
        return (read(path, text) if text is not None else None) or ""

    def _mapping(self, path: str, node: yaml.Node | None, known: Collection[str]) -> dict[str, yaml.Node]:
        if _is_absent(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._mistake(
                path or "the settings", f"must be a mapping with the keys {_names(known)}, not {_shown(node)}"
            )
            return {}
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else _shown(key_node)
            place = f"{path}.{_word(key)}" if path else _word(key)
            if key not in known:
                self._mistake(place, f"unknown key; {_suggestion(key, known)}")
            elif key in found:
                # YAML would let the last one win in silence.
                self._mistake(place, f"given twice, again in line {key_node.start_mark.line + 1}; keep one of them")
            else:
                found[key] = value
        return found

    def _list(self, path: str, node: yaml.Node | None, read: Callable[[str, str], _T | None]) -> tuple[_T, ...]:
        if _is_absent(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            remedy = f"; write [{_word(node.value)}]" if isinstance(node, yaml.ScalarNode) else ""
            self._mistake(path, f"must be a list, not {_shown(node)}{remedy}")
            return ()
        if not node.value:
            self._mistake(path, "the list is empty; name something, or leave the key out for the default")
        found: dict[_T, None] = {}
        for index, item in enumerate(node.value):
            place = f"{path}[{index}]"
            text = self._string(place, item)
            if text is None:
                continue
            result = read(place, text)
            if result is not None and result in found:
                self._mistake(place, f"{_quoted(text)} is there already; take one of them out")
            elif result is not None:
                found[result] = None
        return tuple(found)

    def _string(self, place: str, node: yaml.Node) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._mistake(place, f"must be a name, not {_shown(node)}")
        elif node.tag != _STRING:
            what = _SCALARS.get(node.tag, "no string")
            self._mistake(place, f"{_shown(node)} is {what} in YAML; write {_quoted(node.value)} if you mean the name")
        else:
            return str(node.value)
        return None

    def _kind(self, place: str, text: str) -> str | None:
        if text in BY_NAME:
            return text
        self._mistake(place, f"{_quoted(text)} is not a known kind; {_suggestion(text, BY_NAME)}")
        return None

    def _namespace(self, place: str, text: str) -> str | None:
        if _NAMESPACE.fullmatch(text):
            return text
        self._mistake(
            place,
            f"{_quoted(text)} cannot be a namespace; names have at most 63 lower-case letters, digits and hyphens",
        )
        return None

    def _controllers_namespace(self, place: str, text: str) -> str | None:
        if text == NODE_LEASES:
            self._mistake(place, f"{_quoted(text)} holds the Leases of nodes, and no controller; take it out")
            return None
        return self._namespace(place, text)

    def _config_map(self, place: str, text: str) -> str | None:
        if _OBJECT_NAME.fullmatch(text) and len(text) <= 253:
            return text
        self._mistake(
            place,
            f"{_quoted(text)} cannot be the name of a ConfigMap; "
            "names have at most 253 lower-case letters, digits, hyphens and dots",
        )
        return None

    def _family(self, place: str, text: str) -> str | None:
        if any(matches_any(family, [text]) for family in OBJECT_FAMILIES):
            return text
        if any(matches_any(family, [text]) for family in EXPORTER_FAMILIES):
            self._mistake(place, f"{_quoted(text)} is the exporter's own health and always served; take it out")
        else:
            names = [family.name for family in OBJECT_FAMILIES]
            remedy = _suggestion(text, names, f"README.md lists all {len(names)}")
            self._mistake(place, f"{_quoted(text)} names no metric family; {remedy}")
        return None

    def _profile(self, place: str, node: yaml.Node | None) -> Profile:
        if _is_absent(node):
            return MetricsSettings().profile
        names = [profile.name.lower() for profile in Profile]
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        if text in names:
            return Profile[text.upper()]
        self._mistake(place, f"{_shown(node)} is no profile; {_suggestion(text, names)}")
        return MetricsSettings().profile

    def _mistake(self, place: str, what: str) -> None:
        self.mistakes.append(f"{place}: {what}")


_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""YAML 1.1's, in any case."""
_SCALARS = {
    _BOOL: "a boolean",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
    _NULL: "nothing",
}


def _is_absent(node: yaml.Node | None) -> bool:
    """A key without a value is as good as no key."""
    return node is None or node.tag == _NULL


def _suggestion(text: str, known: Collection[str], otherwise: str | None = None) -> str:
    """The nearest known word; where none is near ``otherwise``, or all of them."""
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(text[:_SHOWN_CHARS].lower(), lower, n=1)
    return f'did you mean "{lower[near[0]]}"?' if near else otherwise or f"known: {_names(known)}"


def _names(known: Collection[str]) -> str:
    return ", ".join(sorted(known))


_SHOWN_CHARS = 60


def _shown(node: yaml.Node | None) -> str:
    """What was written, in one line."""
    if isinstance(node, yaml.ScalarNode):
        return _quoted(node.value) if node.tag == _STRING else _word(node.value)
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"


def _quoted(text: str) -> str:
    return f'"{_word(text)}"'


def _word(text: str) -> str:
    short = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
    return json.dumps(short)[1:-1] if not short.isprintable() else short
