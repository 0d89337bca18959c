"""The store serves exactly what was last put into it, all of one moment, and its generation says when that changed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gotk_exporter.metrics.exposition import Format
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
    assert (served(store.snapshot()), store.generation, store.get("Kustomization", "a")) == ("", 0, ())


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
    assert store.get("Kustomization", "a") == lines_of("Kustomization", "a", 1, 1)


def test_fleet_larger_than_one_piece_is_served_completely_and_in_order() -> None:
    store = Store((SUSPEND_STATUS,))
    names = [f"object-{number}" for number in range(12_345)]
    store.replace("Kustomization", {n: (f'gotk_suspend_status{{name="{n}"}} 0\n'.encode(),) for n in names})
    rows = [row for row in served(store.snapshot()).splitlines() if not row.startswith("#")]
    assert rows == [f'gotk_suspend_status{{name="{name}"}} 0' for name in names]


def test_store_serves_only_its_own_families() -> None:
    assert RESOURCE_INFO.name not in served(Store(FAMILIES).snapshot())


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
        lines = self.store.get(scope, key)
        if lines is not None:
            generation = self.store.generation
            self.store.put(scope, key, tuple(bytes(bytearray(part)) for part in lines))
            assert self.store.generation == generation

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
                assert self.store.get(scope, key) == self.model.get(scope, {}).get(key)

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
