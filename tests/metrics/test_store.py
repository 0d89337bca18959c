"""The store serves exactly what was last put into it, all of one moment, and its generation says when that changed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gotk_exporter.metrics.exposition import Format, header
from gotk_exporter.metrics.families import RECONCILE_CONDITION, RESOURCE_INFO, SUSPEND_STATUS
from gotk_exporter.metrics.store import Lines, Snapshot, Store
from tests.metrics.pages import end_mark, families_of, series_of

FAMILIES = (RECONCILE_CONDITION, SUSPEND_STATUS)


def lines_of(scope: str, key: str, *values: int | None) -> Lines:
    """One object's lines: a sample with this value in each family, none where it is None."""
    return tuple(
        b"" if value is None else f'{family.name}{{kind="{scope}",name="{key}"}} {value}\n'.encode()
        for family, value in zip(FAMILIES, values, strict=True)
    )


def served(snapshot: Snapshot, fmt: Format = Format.TEXT) -> str:
    return b"".join(snapshot.chunks(fmt)).decode()


def test_page_groups_all_objects_by_family_under_one_header() -> None:
    store = Store(FAMILIES)
    store.put("Kustomization", "a", lines_of("Kustomization", "a", 1, 2))
    store.put("GitRepository", "b", lines_of("GitRepository", "b", 3, None))
    assert [row for row in served(store.snapshot()).splitlines() if not row.startswith("# HELP")] == [
        "# TYPE gotk_reconcile_condition gauge",
        'gotk_reconcile_condition{kind="Kustomization",name="a"} 1',
        'gotk_reconcile_condition{kind="GitRepository",name="b"} 3',
        "# TYPE gotk_suspend_status gauge",
        'gotk_suspend_status{kind="Kustomization",name="a"} 2',
    ]


@pytest.mark.parametrize("fmt", Format, ids=lambda fmt: fmt.name.lower())
def test_empty_store_serves_a_readable_page_without_samples(fmt: Format) -> None:
    text = served(Store(FAMILIES).snapshot(), fmt) + end_mark(fmt)
    assert [(family.name, family.type, family.samples) for family in families_of(text, fmt)] == [
        (family.name, "gauge", []) for family in FAMILIES
    ]


def test_store_without_families_serves_nothing() -> None:
    store = Store(())
    store.put("Kustomization", "a", ())
    assert (served(store.snapshot()), store.generation) == ("", 0)
    assert store.get("Kustomization", "a") is not None


def test_replacement_is_seen_wholly_or_not_at_all() -> None:
    store = Store(FAMILIES)
    old = {key: lines_of("Kustomization", key, 0, 0) for key in "abc"}
    new = {key: lines_of("Kustomization", key, 1, 1) for key in "bcd"}
    store.replace("Kustomization", old)
    before = store.snapshot()
    chunks = before.chunks(Format.TEXT)
    begun = next(chunks)
    store.replace("Kustomization", new)
    # A scrape that has begun goes on with the old listing; one that begins now has nothing but the new.
    assert values_by_name((begun + b"".join(chunks)).decode()) == {("a", 0), ("b", 0), ("c", 0)}
    assert values_by_name(served(store.snapshot())) == {("b", 1), ("c", 1), ("d", 1)}
    assert before.generation != store.generation


def values_by_name(text: str) -> set[tuple[str, float]]:
    return {(labels["name"], value) for _, labels, value in series_of(text, Format.TEXT)}


def test_replacement_leaves_other_scopes_alone() -> None:
    store = Store(FAMILIES)
    store.put("Bucket", "x", lines_of("Bucket", "x", 1, 1))
    store.replace("Kustomization", {"a": lines_of("Kustomization", "a", 1, 1)})
    store.replace("Kustomization", {})
    assert values_by_name(served(store.snapshot())) == {("x", 1)}


def test_caller_may_go_on_using_what_it_handed_over() -> None:
    store = Store(FAMILIES)
    listing = {"a": lines_of("Kustomization", "a", 1, 1)}
    store.replace("Kustomization", listing)
    listing.clear()
    assert values_by_name(served(store.snapshot())) == {("a", 1)}


def test_fleet_larger_than_one_piece_is_served_completely_and_in_order() -> None:
    store = Store((SUSPEND_STATUS,))
    names = [f"object-{number}" for number in range(12_345)]
    store.replace("Kustomization", {n: (f'gotk_suspend_status{{name="{n}"}} 0\n'.encode(),) for n in names})
    rows = [row for row in served(store.snapshot()).splitlines() if not row.startswith("#")]
    assert rows == [f'gotk_suspend_status{{name="{name}"}} 0' for name in names]


def test_store_serves_only_its_own_families() -> None:
    assert RESOURCE_INFO.name not in served(Store(FAMILIES).snapshot())


def page_of(objects: Sequence[Lines]) -> bytes:
    """The page of a store with these objects."""
    store = Store(FAMILIES)
    for number, lines in enumerate(objects):
        store.put("Kustomization", str(number), lines)
    return b"".join(store.snapshot().chunks(Format.TEXT))


def page_by_hand(objects: Sequence[Lines]) -> bytes:
    """What it should be: the objects in the order in which they were put."""
    return b"".join(
        header(family, Format.TEXT) + b"".join(lines[index] for lines in objects)
        for index, family in enumerate(FAMILIES)
    )


NAMED = 'gotk_suspend_status{kind="a",name="b",namespace="c"} 1\n'
UNNAMED = 'gotk_suspend_status{kind="",name="",namespace=""} 1\n'
PIECES = ['kind="', 'name="', 'namespace="', '"', '\\"', ",", "{", "}", " 1\n", "a", "\0", "ÿ", "\U0010ffff"]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


@given(objects=st.lists(st.tuples(texts, texts), max_size=5))
@example(objects=[(NAMED, NAMED), (NAMED, ""), ("", NAMED * 2), (NAMED, NAMED), ("", "")])
@example(objects=[(UNNAMED, "")] * 2)
def test_whatever_lines_are_put_are_served_byte_for_byte(objects: Sequence[tuple[str, str]]) -> None:
    encoded = [tuple(text.encode() for text in texts) for texts in objects]
    assert page_of(encoded) == page_by_hand(encoded)


@pytest.mark.parametrize("exceptions", [0, 1, 300, 600])
def test_objects_that_are_alike_and_those_that_are_not_keep_their_order(exceptions: int) -> None:
    objects = [lines_of("Kustomization", str(number), 0, number // 900) for number in range(1_200)]
    for number in range(exceptions):
        objects[number * 2] = lines_of("Kustomization", str(number * 2), None, number)
    assert page_of(objects) == page_by_hand(objects)


def test_what_is_held_of_objects_that_are_alike_is_little_more_than_their_names() -> None:
    store = Store(FAMILIES)
    for number in range(1_000):
        labels = f'kind="Kustomization",name="object-{number}",namespace="flux-system"'
        lines = "".join([f'{SUSPEND_STATUS.name}{{{labels},status="{status}"}} 0\n' for status in range(4)])
        store.put("Kustomization", str(number), (lines.encode(), lines.encode()))
    entries = store.snapshot().entries
    held = {id(part): sys.getsizeof(part) for entry in entries for part in (entry, *entry)}
    assert sum(held.values()) < len(served(store.snapshot())) / 3


def test_what_is_held_can_be_carried_over_to_a_new_listing() -> None:
    store = Store(FAMILIES)
    store.replace("Kustomization", {key: lines_of("Kustomization", key, 0, None) for key in "ab"})
    page, generation = served(store.snapshot()), store.generation
    held = {key: packed for key in "ab" if (packed := store.get("Kustomization", key)) is not None}
    store.replace("Kustomization", held)
    assert (served(store.snapshot()), store.generation) == (page, generation)
    store.replace("Kustomization", {"a": held["a"], "c": store.pack(lines_of("Kustomization", "c", 1, None))})
    assert values_by_name(served(store.snapshot())) == {("a", 0), ("c", 1)}


def test_objects_that_change_places_without_changing_the_page_do_not_change_its_generation() -> None:
    store = Store(FAMILIES)
    one, other = lines_of("Kustomization", "one", 0, None), lines_of("Kustomization", "other", None, 0)
    silent = lines_of("Kustomization", "silent", None, None)
    store.replace("Kustomization", {"silent": silent, "one": one, "other": other})
    page, generation = served(store.snapshot()), store.generation
    store.replace("Kustomization", {"other": other, "one": one})
    assert (served(store.snapshot()), store.generation) == (page, generation)


scopes = st.sampled_from(["Kustomization", "GitRepository", "GitRepository/team-a"])
keys = st.sampled_from("abcd")
values = st.tuples(*[st.none() | st.integers(0, 2)] * len(FAMILIES))


class StoreAgainstDicts(RuleBasedStateMachine):
    """Any sequence of calls, beside a dict of dicts that is changed in the plainest way."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(FAMILIES)
        self.model: dict[str, dict[str, Lines]] = {}
        self.last = self.store.snapshot()
        self.seen: list[tuple[Snapshot, str]] = []

    @rule(scope=scopes, key=keys, values=values)
    def put(self, scope: str, key: str, values: tuple[int | None, ...]) -> None:
        lines = lines_of(scope, key, *values)
        self.store.put(scope, key, lines)
        self.model.setdefault(scope, {})[key] = lines

    @rule(scope=scopes, key=keys)
    def put_what_is_there(self, scope: str, key: str) -> None:
        lines = self.model.get(scope, {}).get(key)
        if lines is not None:
            generation = self.store.generation
            self.store.put(scope, key, tuple(bytes(bytearray(part)) for part in lines))
            assert self.store.generation == generation

    @rule(scope=scopes, key=keys, other=keys)
    def carry_over_what_is_there(self, scope: str, key: str, other: str) -> None:
        kept = {name: held for name in (key, other) if (held := self.store.get(scope, name)) is not None}
        self.store.replace(scope, kept)
        self.model[scope] = {name: self.model[scope][name] for name in kept}

    @rule(scope=scopes, key=keys)
    def remove(self, scope: str, key: str) -> None:
        self.store.remove(scope, key)
        self.model.get(scope, {}).pop(key, None)

    @rule(scope=scopes, listing=st.dictionaries(keys, values))
    def replace(self, scope: str, listing: Mapping[str, tuple[int | None, ...]]) -> None:
        entries = {key: lines_of(scope, key, *values) for key, values in listing.items()}
        self.store.replace(scope, entries)
        self.model[scope] = entries

    @rule(scope=scopes, data=st.data())
    def replace_by_the_same_in_another_order(self, scope: str, data: st.DataObject) -> None:
        entries = list(self.model.get(scope, {}).items())
        self.store.replace(scope, dict(data.draw(st.permutations(entries))))

    @rule(scope=scopes)
    def drop(self, scope: str) -> None:
        self.store.drop(scope)
        self.model.pop(scope, None)

    @rule()
    def begin_a_scrape(self) -> None:
        snapshot = self.store.snapshot()
        self.seen.append((snapshot, served(snapshot)))

    @invariant()
    def serves_what_the_model_holds(self) -> None:
        held = [lines for entries in self.model.values() for lines in entries.values()]
        for index, part in enumerate(served(self.store.snapshot()).split("# HELP ")[1:]):
            rows = "".join(sorted(part.splitlines(keepends=True)[2:]))
            assert rows.encode() == b"".join(sorted(lines[index] for lines in held))

    @invariant()
    def gives_back_what_the_model_holds(self) -> None:
        for scope in ("Kustomization", "GitRepository", "GitRepository/team-a"):
            for key in "abcd":
                lines = self.model.get(scope, {}).get(key)
                assert self.store.get(scope, key) == (None if lines is None else self.store.pack(lines))

    @invariant()
    def generation_changes_exactly_with_the_page(self) -> None:
        now = self.store.snapshot()
        assert now.generation == self.store.generation
        assert (served(now) != served(self.last)) == (now.generation != self.last.generation)
        self.last = now

    @invariant()
    def earlier_snapshots_stand_still(self) -> None:
        assert all(served(snapshot) == text for snapshot, text in self.seen)


TestStoreAgainstDicts = StoreAgainstDicts.TestCase
TestStoreAgainstDicts.settings = settings(deadline=None)
