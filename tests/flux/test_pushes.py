"""Whether what an image automation pushes is deployed without anybody's doing: its branch against its source's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.offers import Follows, PushesTo
from gotk_exporter.flux.pushes import Pushes
from gotk_exporter.flux.references import Key
from tests.flux.clusters import Cluster

FAMILY = "gotk_image_automation_push_branch_followed"
REPO = {"kind": "GitRepository", "name": "repo"}


def followed(cluster: Cluster) -> dict[str, float]:
    """By namespace/name of the automation."""
    return {f"{s['namespace']}/{s['name']}": float(s["value"]) for s in cluster.samples(FAMILY)}


def automation(source: Any = REPO, **git: Any) -> dict[str, Any]:
    return {"interval": "30m", "sourceRef": source, "git": {"commit": {"author": {"email": "bot@example.com"}}, **git}}


def push(branch: str | None = None, refspec: str | None = None) -> dict[str, Any]:
    return {"branch": branch, "refspec": refspec}


def checkout(**ref: Any) -> dict[str, Any]:
    return {"ref": ref}


# The source's ref, what the automation says of Git, and whether the one follows the other.
TABLE: dict[str, tuple[Any, dict[str, Any], bool | None]] = {
    "the branch that is deployed": ({"branch": "main"}, {"push": push("main")}, True),
    "another branch": ({"branch": "main"}, {"push": push("auto")}, False),
    "another branch than master": (None, {"push": push("main")}, False),
    "master, which a source follows that says nothing": (None, {"push": push("master")}, True),
    "master, by an empty reference": ({}, {"push": push("master")}, True),
    "a branch, but the source is at a tag": ({"tag": "v1.2.3"}, {"push": push("main")}, False),
    "a branch, but the source is at a tag and a branch": (
        {"tag": "v1", "branch": "main"},
        {"push": push("main")},
        False,
    ),
    "a branch, but the source is at a range": ({"semver": "1.x"}, {"push": push("master")}, False),
    "a branch, but the source is at a commit of it": (
        {"branch": "main", "commit": "0b1f2c3"},
        {"push": push("main")},
        False,
    ),
    "the branch that the source names in full": ({"name": "refs/heads/main"}, {"push": push("main")}, True),
    "another branch than is named in full": ({"name": "refs/heads/main"}, {"push": push("auto")}, False),
    "a branch, but the source is at a pull request": ({"name": "refs/pull/1/head"}, {"push": push("main")}, False),
    "a branch, but the source is at a tag by name": ({"name": "refs/tags/main"}, {"push": push("main")}, False),
    "nothing said, so the source's branch": ({"branch": "main"}, {}, True),
    "nothing said, with options alone": ({"branch": "main"}, {"push": {"options": {"a": "b"}}}, True),
    "nothing said, and the source says nothing": (None, {}, None),
    "nothing said, and the source is at a tag": ({"tag": "v1"}, {}, None),
    "nothing said, and the source is at a tag of a branch": ({"tag": "v1", "branch": "main"}, {}, False),
    "nothing said, and the source names it in full": ({"name": "refs/heads/main"}, {}, None),
    "what it checks out": ({"branch": "main"}, {"checkout": checkout(branch="main")}, True),
    "another branch that it checks out": ({"branch": "main"}, {"checkout": checkout(branch="dev")}, False),
    "what it checks out, and not what it is": ({"branch": "main"}, {"checkout": checkout(tag="v1")}, None),
    "nothing to check out": ({"branch": "main"}, {"checkout": {}}, None),
    "not what it checks out": (
        {"branch": "main"},
        {"checkout": checkout(branch="dev"), "push": push("main")},
        True,
    ),
    "by refspec besides": ({"branch": "main"}, {"push": push("auto", "refs/heads/auto:refs/heads/main")}, True),
    "by forced refspec besides": ({"branch": "main"}, {"push": push("auto", "+HEAD:refs/heads/main")}, True),
    "by refspec to another besides": ({"branch": "main"}, {"push": push("auto", "HEAD:refs/heads/dev")}, False),
    "by refspec, and to the source's in any case": (
        {"branch": "main"},
        {"push": push(None, "refs/heads/main:refs/heads/auto")},
        True,
    ),
    "by refspec for review": ({"branch": "main"}, {"push": push("auto", "refs/heads/auto:refs/for/main")}, False),
    "by refspec that deletes": ({"branch": "main"}, {"push": push("auto", ":refs/heads/main")}, False),
    "by refspec that is a pattern": ({"branch": "main"}, {"push": push("auto", "refs/heads/*:refs/heads/*")}, False),
    "by refspec that is none": ({"branch": "main"}, {"push": push("auto", "refs/heads/main")}, False),
    "by refspec to a branch without a name": ({"tag": "v1"}, {"push": push("auto", "HEAD:refs/heads/")}, False),
    "by refspec to what only sounds like a branch": ({"branch": "main"}, {"push": push("auto", "HEAD:main")}, False),
    "a branch with slashes": ({"branch": "env/prod"}, {"push": push("env/prod")}, True),
    "a branch in other letters": ({"branch": "main"}, {"push": push("Main")}, False),
}

ORDERS = ["source first", "automation first"]


def in_order(order: str, *steps: Callable[[], None]) -> None:
    """In this order, or the other way round."""
    for step in steps if order == "source first" else reversed(steps):
        step()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("ref", "git", "answer"), TABLE.values(), ids=TABLE.keys())
def test_what_it_pushes_to_is_followed_or_not(ref: Any, git: dict[str, Any], answer: bool | None, order: str) -> None:
    cluster = Cluster()
    in_order(
        order,
        lambda: cluster.write("GitRepository", "repo", spec={"interval": "1m", "ref": ref}),
        lambda: cluster.write("ImageUpdateAutomation", "bot", spec=automation(**git)),
    )
    assert followed(cluster) == ({} if answer is None else {"apps/bot": answer})


SOURCES: dict[str, tuple[Any, float | None]] = {
    "in its own namespace": ({"name": "repo", "kind": "GitRepository"}, 1),
    "without its kind": ({"name": "repo"}, 1),
    "in its own namespace, said so": ({"name": "repo", "kind": "GitRepository", "namespace": "apps"}, 1),
    "in another namespace": ({"name": "repo", "kind": "GitRepository", "namespace": "flux-system"}, 0),
    "missing": ({"name": "none", "kind": "GitRepository"}, None),
    "of another kind": ({"name": "repo", "kind": "OCIRepository"}, None),
    "without a name": ({"kind": "GitRepository"}, None),
    "absent": (None, None),
    "none at all": ("repo", None),
}


@pytest.mark.parametrize(("source", "answer"), SOURCES.values(), ids=SOURCES.keys())
def test_the_source_is_the_one_that_it_names(source: Any, answer: float | None) -> None:
    cluster = Cluster()
    cluster.write("GitRepository", "repo", spec={"ref": {"branch": "main"}})
    cluster.write("GitRepository", "repo", spec={"ref": {"branch": "dev"}}, namespace="flux-system")
    cluster.write("OCIRepository", "repo", spec={"ref": {"branch": "main"}})
    cluster.write("ImageUpdateAutomation", "bot", spec=automation(source, push=push("main")))
    assert followed(cluster) == ({} if answer is None else {"apps/bot": answer})


@pytest.mark.parametrize("spec", [{"sourceRef": REPO}, {"sourceRef": REPO, "git": None}, {"sourceRef": REPO, "git": 1}])
def test_an_automation_without_git_pushes_nothing(spec: dict[str, Any]) -> None:
    cluster = Cluster()
    cluster.write("GitRepository", "repo", spec={"ref": {"branch": "main"}})
    cluster.write("ImageUpdateAutomation", "bot", spec=spec)
    assert followed(cluster) == {}


def test_where_sources_are_not_watched_nobody_knows() -> None:
    cluster = Cluster(without=["GitRepository"])
    cluster.write("ImageUpdateAutomation", "bot", spec=automation(push=push("main")))
    assert followed(cluster) == {}


def test_each_change_at_either_end_is_seen() -> None:
    cluster = Cluster()
    cluster.write("GitRepository", "repo", spec={"ref": {"branch": "main"}})
    cluster.write("ImageUpdateAutomation", "bot", spec=automation(push=push("main")))
    cluster.write("ImageUpdateAutomation", "silent", spec=automation())
    assert followed(cluster) == {"apps/bot": 1, "apps/silent": 1}
    cluster.write("GitRepository", "repo", spec={"ref": {"branch": "release"}})
    assert followed(cluster) == {"apps/bot": 0, "apps/silent": 1}
    cluster.write("ImageUpdateAutomation", "bot", spec=automation(push=push("release")))
    assert followed(cluster) == {"apps/bot": 1, "apps/silent": 1}
    cluster.delete("GitRepository", "repo")
    assert followed(cluster) == {}
    cluster.write("GitRepository", "repo", spec={"ref": {"tag": "v1"}})
    assert followed(cluster) == {"apps/bot": 0}
    cluster.delete("ImageUpdateAutomation", "bot")
    assert followed(cluster) == {}
    cluster.write("GitRepository", "repo", spec={"ref": {"branch": "main"}})
    assert followed(cluster) == {"apps/silent": 1}
    cluster.write("ImageUpdateAutomation", "silent", spec={"git": None})
    assert followed(cluster) == {}


def test_the_tracker_names_whom_a_change_may_concern() -> None:
    """Whoever renders asks for these, and for no others."""
    repo, bot = Key("GitRepository", "apps", "repo"), Key("ImageUpdateAutomation", "apps", "bot")
    follows, pushes_to = Node(repo, push=Follows("main", "main")), Node(bot, push=PushesTo(repo, "main"))
    pushes = Pushes()
    assert pushes.update({bot: pushes_to}) == {bot}
    assert pushes.update({repo: follows}) == {bot}
    assert pushes.update({repo: follows, bot: pushes_to}) == set()
    assert pushes.update({bot: Node(bot)}) == {bot}
    assert pushes.update({repo: None}) == set()
    assert pushes.update({repo: follows, bot: pushes_to}) == {bot}
    assert pushes.update({repo: None}) == {bot}
    assert pushes.update({bot: None}) == {bot}


def test_an_automation_that_turns_to_another_source_is_compared_with_that() -> None:
    cluster = Cluster()
    cluster.write("GitRepository", "repo", spec={"ref": {"branch": "main"}})
    cluster.write("GitRepository", "other", spec={"ref": {"branch": "dev"}})
    cluster.write("ImageUpdateAutomation", "bot", spec=automation(push=push("main")))
    cluster.write("ImageUpdateAutomation", "bot", spec=automation({**REPO, "name": "other"}, push=push("main")))
    assert followed(cluster) == {"apps/bot": 0}
    cluster.delete("GitRepository", "repo")
    assert followed(cluster) == {"apps/bot": 0}
    cluster.delete("GitRepository", "other")
    assert followed(cluster) == {}


def test_suspended_and_terminating_ends_say_the_same() -> None:
    cluster = Cluster()
    gone = {"deletionTimestamp": "2025-11-21T04:40:00Z"}
    cluster.write("GitRepository", "repo", spec={"suspend": True, "ref": {"branch": "main"}}, **gone)
    cluster.write("ImageUpdateAutomation", "bot", spec={"suspend": True, **automation(push=push("auto"))}, **gone)
    assert followed(cluster) == {"apps/bot": 0}


# Any story ends as if only its end had been told

NAMES = st.sampled_from(["a", "b"])
BRANCHES = st.sampled_from([None, "", "main", "dev", "master"])
REFS = st.one_of(
    st.none(),
    st.fixed_dictionaries({"branch": BRANCHES}, optional={"tag": st.just("v1"), "name": st.just("refs/heads/dev")}),
)
GITS = st.fixed_dictionaries(
    {},
    optional={
        "push": st.builds(push, BRANCHES, st.sampled_from([None, "HEAD:refs/heads/main"])),
        "checkout": st.builds(checkout, branch=BRANCHES),
    },
)
STEPS = st.one_of(
    st.tuples(st.just("GitRepository"), NAMES, st.builds(lambda ref: {"ref": ref}, REFS)),
    st.tuples(
        st.just("ImageUpdateAutomation"),
        NAMES,
        st.builds(lambda name, git: automation({**REPO, "name": name}, **git), NAMES, GITS),
    ),
    st.tuples(st.sampled_from(["GitRepository", "ImageUpdateAutomation"]), NAMES, st.none()),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=12), st.randoms(use_true_random=False))
def test_how_it_came_about_does_not_matter(steps: list[tuple[str, str, Any]], random: Any) -> None:
    cluster = Cluster()
    present: dict[tuple[str, str], Any] = {}
    for kind, name, spec in steps:
        if spec is not None:
            cluster.write(kind, name, spec=spec)
            present[kind, name] = spec
        elif present.pop((kind, name), None) is not None:
            cluster.delete(kind, name)
    told = list(present.items())
    random.shuffle(told)
    again = Cluster()
    for (kind, name), spec in told:
        again.write(kind, name, spec=spec)
    assert followed(cluster) == followed(again)


def test_nothing_is_kept_of_what_is_gone() -> None:
    cluster = Cluster()
    for order in itertools.permutations(["GitRepository", "ImageUpdateAutomation"]):
        cluster.write("GitRepository", "repo", spec={"ref": {"branch": "main"}})
        cluster.write("ImageUpdateAutomation", "bot", spec=automation(push=push("main")))
        for kind in order:
            cluster.delete(kind, "repo" if kind == "GitRepository" else "bot")
        pushes = cluster.relations.pushes
        assert (pushes._ends, pushes._pushers) == ({}, {})
