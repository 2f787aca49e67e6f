"""What the garbage collector has to walk: not the znodes, nor what is remembered of them. A full collection of a large
tree would stop everything for as long as that takes."""

from __future__ import annotations

import gc

import pytest
from alone import Alone

from zkcore.tree.requests import Create, SetData
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.tree import Tree
from zkcore.tree.watches import Watches


def walked(generation: int = 2) -> int:
    """How many references a full collection follows, after some of the young or of all."""
    gc.collect(generation)
    gc.collect(generation)  # what the first finds out counts for the next
    return sum(len(gc.get_referents(each)) for each in gc.get_objects())


def grown(znodes: int, family: int) -> Alone:
    alone = Alone()
    for number in range(0, znodes, family):
        alone.do(Create(f"/{number}"))
        for child in range(number, number + family):
            alone.do(Create(f"/{number}/{child:05}", b"data"))
    alone.payloads.clear()
    return alone


@pytest.mark.parametrize(("family", "share"), [(4, 0.01), (100, 0.01), (1000, 0.05)])
@pytest.mark.parametrize("restored", [False, True], ids=["grown", "restored"])
def test_a_larger_tree_is_hardly_more_to_walk(family: int, share: float, restored: bool) -> None:
    """What else this process has comes and goes meanwhile, a little; a tree that is more to walk is so every time."""
    assert any(more_to_walk(family, restored) < 4000 * share for _ in range(5))


def more_to_walk(family: int, restored: bool) -> int:
    """How much more a tree of 5,000 znodes is than one of 1,000."""
    kept: list[Tree] = []
    counts = []
    for znodes in (1000, 5000):
        before = walked()
        tree = grown(znodes, family).tree
        kept.append(restore(dump(tree)) if restored else tree)
        del tree
        counts.append(walked() - before)
    return counts[1] - counts[0]


@pytest.mark.parametrize("family", [1, 4, 100])
def test_what_came_since_the_last_full_collection_is_hardly_more_to_walk_in_the_next(family: int) -> None:
    alone = grown(2000, family)
    before = walked()
    for number in range(0, 2000, family):
        alone.do(Create(f"/{number}/one-more", b"data"))
    alone.payloads.clear()
    assert walked(generation=1) - before < 20


def test_what_is_remembered_of_changes_is_nothing_to_walk() -> None:
    alone, watches = grown(1000, 100), Watches()
    before = walked()
    for number in range(1000):
        alone.propose(SetData(f"/{number // 100 * 100}/{number:05}", b"changed"))
        _, applied = alone.commit_quietly()
        watches.trigger(applied)
    del applied
    alone.payloads.clear()
    held = 1000  # by the history itself
    assert walked() - before < held + 100
