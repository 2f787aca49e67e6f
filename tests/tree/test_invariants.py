"""The full check of a tree refuses each kind of damage: one that cannot fail would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest
from alone import Alone

from zkcore.errors import InvariantViolation
from zkcore.tree.requests import Create
from zkcore.tree.tree import Tree
from zkcore.tree.znode import CreateMode, Persisted, data_of, make_record, persisted_of


def lived_in() -> Tree:
    alone = Alone(1, 2)
    for path, data in (("/a", b"x"), ("/a/b", b""), ("/a/c", None)):
        alone.do(Create(path, data))
    alone.do(Create("/a/e", mode=CreateMode.EPHEMERAL), session=2)
    return alone.tree


def shard(tree: Tree, path: str) -> dict[str, bytes]:
    return own_shard(tree, crc32(path.encode()) & 255)


def own_shard(tree: Tree, index: int) -> dict[str, bytes]:
    """A shard as it can be written to: one that is empty may be several at once."""
    if tree.state.borrowed[index]:
        tree.state._take_back(index)
    return tree.state.shards[index]


def change(tree: Tree, path: str, **fields: int) -> None:
    record = shard(tree, path)[path]
    shard(tree, path)[path] = make_record(data_of(record), persisted_of(record)._replace(**fields))


def add(tree: Tree, path: str, **fields: int) -> None:
    """A znode that is in the map and in no list."""
    shard(tree, path)[path] = make_record(b"", Persisted(*([0] * 9))._replace(**fields))


def in_the_wrong_shard(tree: Tree) -> None:
    own_shard(tree, crc32(b"/a/b") + 1 & 255)["/a/b"] = shard(tree, "/a/b").pop("/a/b")


def no_path(tree: Tree) -> None:
    add(tree, "/a/")
    tree.state.families.add("/a", "/a/")
    change(tree, "/a", cversion=9)


def orphan(tree: Tree) -> None:
    add(tree, "/x/y")
    tree.state.families.add("/x", "/x/y")


def child_of_an_ephemeral(tree: Tree) -> None:
    add(tree, "/a/e/f")
    tree.state.families.add("/a/e", "/a/e/f")
    change(tree, "/a/e", cversion=1)


def unlisted(tree: Tree) -> None:
    add(tree, "/b")
    change(tree, "/", cversion=9)


def large_family(tree: Tree) -> Any:
    for number in range(200):
        add(tree, f"/a/n{number:03}")
        tree.state.families.add("/a", f"/a/n{number:03}")
    change(tree, "/a", cversion=300)
    return tree.state.families.of("/a")


DAMAGE: list[tuple[str, Callable[[Tree], object]]] = [
    ("is in the wrong shard", in_the_wrong_shard),
    ("has a record of 59 bytes", lambda tree: shard(tree, "/a").update({"/a": bytes(59)})),
    ("/zookeeper/quota is missing", lambda tree: shard(tree, "/zookeeper/quota").pop("/zookeeper/quota")),
    ("is not a path", no_path),
    ("changed before it was created", lambda tree: change(tree, "/a", mzxid=1)),
    ("changed before it was created, or later", lambda tree: change(tree, "/a", mzxid=1 << 40)),
    ("had children before", lambda tree: change(tree, "/a", pzxid=1)),
    ("had children before it was created, or later", lambda tree: change(tree, "/a", pzxid=1 << 40)),
    ("/x has children and does not exist", orphan),
    ("/a/e is ephemeral and has children", child_of_an_ephemeral),
    ("/a has more children than", lambda tree: change(tree, "/a", cversion=2)),
    ("the lists of children", unlisted),
    ("the lists of children", lambda tree: shard(tree, "/a/b").pop("/a/b")),
    ("the lists of children", lambda tree: tree.state.families.add("/a/b", "/a/b/c")),
    ("the lists of children", lambda tree: large_family(tree)._runs.reverse()),
    ("the runs of the children of /a", lambda tree: large_family(tree)._lasts.pop()),
    ("the runs of the children of /a", lambda tree: setattr(large_family(tree), "_count", 1)),
    ("the sets of ephemerals", lambda tree: change(tree, "/a/e", owner=0)),
    ("the sets of ephemerals", lambda tree: tree.state.ephemerals.pop(2)),
    ("the sets of ephemerals", lambda tree: tree.state.ephemerals.update({1: set()})),
    ("does not live", lambda tree: tree.state.sessions.pop(2)),
    ("has null data", lambda tree: tree.state.nulls[crc32(b"/a") & 255].add("/a")),
    ("has null data", lambda tree: tree.state.nulls[crc32(b"/gone") & 255].add("/gone")),
]


def test_an_undamaged_tree_passes() -> None:
    lived_in().check()


@pytest.mark.parametrize(("why", "damage"), DAMAGE)
def test_damage_is_found(why: str, damage: Callable[[Tree], object]) -> None:
    tree = lived_in()
    damage(tree)
    with pytest.raises(InvariantViolation, match=why):
        tree.check()
