"""Verbs that ZooKeeper has not, or not as one: whole subtrees, whatever is there or not, pages, reads of one state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

import zkcore
import zkcore.sync as blocking
from zkcore import ChildKind, Condition, EmbeddedClient, Relation, StatField, WatcherType
from zkcore.client.cluster import local_cluster
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    MultiError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from zkcore.tree.requests import CreateWithParents, DeleteTree, Request

T = TypeVar("T")


def with_client(use: Callable[[EmbeddedClient], Coroutine[Any, Any, T]]) -> T:
    """What `use` makes of a client of one node, within 60 seconds."""

    async def main() -> T:
        async with asyncio.timeout(60), local_cluster(1) as cluster, cluster.client() as client:
            return await use(client)

    return asyncio.run(main())


def record(client: EmbeddedClient, monkeypatch: pytest.MonkeyPatch) -> list[Request[Any]]:
    """The requests that write, as they are asked from now on."""
    asked: list[Request[Any]] = []
    request = client.port.request

    async def recorded(op: Request[Any], **options: Any) -> Any:
        if op.writes:
            asked.append(op)
        return await request(op, **options)

    monkeypatch.setattr(client.port, "request", recorded)
    return asked


# --- create ----------------------------------------------------------------------------------------------------------


def test_missing_parents_come_in_the_same_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(zk: EmbeddedClient) -> None:
        asked = record(zk, monkeypatch)
        assert await zk.create("/a/b/c", b"x", makepath=True) == "/a/b/c"
        assert await zk.create("/a/b/n-", makepath=True, sequence=True, ephemeral=True) == "/a/b/n-0000000001"
        await zk.ensure_path("/p/q/r")
        assert [type(each) for each in asked] == [CreateWithParents] * 3
        zxids = {stat.czxid for path in ("/a", "/a/b", "/a/b/c") if (stat := await zk.exists(path))}
        assert len(zxids) == 1
        with pytest.raises(NodeExistsError):
            await zk.create("/a/b/c", makepath=True)
        with pytest.raises(NoChildrenForEphemeralsError):
            await zk.create("/a/b/n-0000000001/x", makepath=True)
        await zk.ensure_path("/p/q/r")
        assert len(asked) == 5, "what is there needs no request"

    with_client(use)


def test_missing_parents_are_made_for_containers_and_for_what_has_a_time_to_live() -> None:
    async def main() -> None:
        rules = zkcore.Rules(clean_every_ms=20)
        async with asyncio.timeout(20), local_cluster(1, rules=rules) as cluster, cluster.client() as zk:
            await zk.create("/c/container", container=True, makepath=True)
            await zk.create("/c/container/child", ephemeral=True)
            await zk.delete("/c/container/child")
            await zk.create("/t/short", ttl=0.001, makepath=True)
            while await zk.exists("/c/container") or await zk.exists("/t/short"):
                await asyncio.sleep(0.005)
            assert await zk.get_children("/") == ["c", "t", "zookeeper"]

    asyncio.run(main())


def test_what_is_there_may_stay_as_it_is() -> None:
    async def use(zk: EmbeddedClient) -> None:
        for makepath in (False, True):
            path = f"/a{makepath}"
            made = await zk.create(path, b"one", exist_ok=True, makepath=makepath, include_data=True)
            again = await zk.create(path, b"two", exist_ok=True, makepath=makepath, include_data=True)
            assert made == again == (path, await zk.exists(path))
            assert (await zk.get(path)).data == b"one"
            assert await zk.create(path, exist_ok=True, makepath=makepath) == path
        with pytest.raises(NoNodeError):
            await zk.create("/no/parent", exist_ok=True)
        for options in ({"sequence": True}, {"ttl": 1.0}):
            with pytest.raises(BadArgumentsError, match="leave it out"):
                await zk.create("/a", exist_ok=True, **options)  # type: ignore[call-overload]

    with_client(use)


def test_who_was_faster_and_deleted_it_again_does_not_confuse_a_create(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(zk: EmbeddedClient) -> None:
        await zk.create("/a")
        exists = zk.exists

        async def too_late(path: str) -> Any:
            monkeypatch.setattr(zk, "exists", exists)
            await zk.delete(path)
            return await exists(path)

        monkeypatch.setattr(zk, "exists", too_late)
        made = await zk.create("/a", b"mine", exist_ok=True, makepath=True, include_data=True)
        assert made.stat.czxid == made.stat.mzxid == zk.last_zxid
        assert (await zk.get("/a")).data == b"mine"

    with_client(use)


def test_a_create_gives_its_stat_on_request() -> None:
    async def use(zk: EmbeddedClient) -> None:
        path, stat = await zk.create("/n-", b"xyz", sequence=True, include_data=True)
        assert (path, stat) == ("/n-0000000000", await zk.exists("/n-0000000000"))

    with_client(use)


# --- delete ----------------------------------------------------------------------------------------------------------


def test_a_whole_part_of_the_tree_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(zk: EmbeddedClient) -> None:
        for path in ("/a/b/c", "/a/d"):
            await zk.create(path, makepath=True)
        with pytest.raises(NotEmptyError):
            await zk.delete("/a")
        asked = record(zk, monkeypatch)
        await zk.delete("/a", recursive=True)
        assert asked == [DeleteTree("/a")]
        assert await zk.get_children("/") == ["zookeeper"]
        with pytest.raises(NoNodeError):
            await zk.delete("/a", recursive=True)
        await zk.delete("/a", recursive=True, missing_ok=True)
        with pytest.raises(BadArgumentsError, match="leave it out"):
            await zk.delete("/a", recursive=True, version=0)
        with pytest.raises(BadArgumentsError):
            await zk.delete("/", recursive=True)

    with_client(use)


def test_what_is_too_large_for_one_transaction_goes_in_several() -> None:
    async def use(zk: EmbeddedClient) -> None:
        for parent in ("/big/one", "/big/two"):
            await zk.create(parent, makepath=True)
            for first in range(0, 600, 200):
                async with zk.transaction() as t:
                    for number in range(first, first + 200):
                        t.create(f"{parent}/{number}")
        assert await zk.get_all_children_number("/big") == 1202
        await zk.delete("/big", recursive=True)
        assert await zk.exists("/big") is None

    with_client(use)


def test_what_is_gone_may_be_deleted() -> None:
    async def use(zk: EmbeddedClient) -> None:
        await zk.create("/a/b", makepath=True)
        await zk.delete("/a/b", missing_ok=True)
        await zk.delete("/a/b", missing_ok=True)
        await zk.create("/a/b")
        with pytest.raises(NotEmptyError):
            await zk.delete("/a", missing_ok=True)
        with pytest.raises(BadVersionError):
            await zk.delete("/a/b", missing_ok=True, version=3)

    with_client(use)


# --- reads -----------------------------------------------------------------------------------------------------------


def test_children_come_with_the_stat_of_their_parent() -> None:
    async def use(zk: EmbeddedClient) -> None:
        await zk.create("/a/b", makepath=True)
        told: list[object] = []
        names, stat = await zk.get_children("/a", told.append, include_data=True)
        assert (names, stat) == (("b",), await zk.exists("/a"))
        await zk.create("/a/c")
        assert len(told) == 1
        with pytest.raises(NoNodeError):
            await zk.get_children("/missing", include_data=True)
        with pytest.raises(BadArgumentsError):
            await zk.get_children("missing", include_data=True)

    with_client(use)


def test_children_come_in_pages() -> None:
    async def use(zk: EmbeddedClient) -> None:
        for number in range(7):
            await zk.create(f"/a/n{number}", b"%d" % number, makepath=True)
        await zk.create("/a/mine", ephemeral=True)
        page = await zk.list_children("/a", prefix="n", limit=3, with_data=True)
        assert [(child.name, child.data, child.stat) for child in page.children] == [
            ("n0", b"0", None), ("n1", b"1", None), ("n2", b"2", None)
        ]  # fmt: skip
        assert page.stat == await zk.exists("/a")
        names = [child.name for child in page.children]
        while page.after is not None:
            page = await zk.list_children("/a", prefix="n", limit=3, after=page.after)
            names += [child.name for child in page.children]
        assert names == [f"n{number}" for number in range(7)]
        page = await zk.list_children("/a", kind=ChildKind.EPHEMERAL, with_stat=True)
        assert [(child.name, child.stat) for child in page.children] == [("mine", await zk.exists("/a/mine"))]
        for bad in ({"limit": 0}, {"kind": 7}):
            with pytest.raises(BadArgumentsError):
                await zk.list_children("/a", **bad)  # type: ignore[arg-type]

    with_client(use)


def test_a_session_finds_its_own_ephemerals_and_learns_who_it_is() -> None:
    async def use(zk: EmbeddedClient) -> None:
        for path in ("/a", "/ab", "/b"):
            await zk.create(path, ephemeral=True)
        await zk.create("/c")
        assert await zk.get_ephemerals() == ["/a", "/ab", "/b"]
        assert await zk.get_ephemerals("/a") == ["/a", "/ab"]
        assert await zk.get_all_children_number("/") == 7
        await zk.add_auth("digest", "ada:pw")
        assert [(each.scheme, each.id) for each in await zk.who_am_i()] == [("digest", "ada")]

    with_client(use)


def test_several_reads_show_one_state() -> None:
    async def use(zk: EmbeddedClient) -> None:
        await zk.create("/a/b", b"x", makepath=True)
        async with zk.multi_read(read=zkcore.Read.LINEARIZABLE) as r:
            r.get("/a/b")
            r.exists("/a")
            r.exists("/missing")
            r.get("/missing")
            r.get_children("/a")
            r.get_children("/a", include_data=True)
            r.get_acls("/a")
            r.list_children("/a", with_data=True, limit=1)
            assert str(r) == "<Reads: 8, not fetched>"
            with pytest.raises(BadArgumentsError, match="when they were fetched"):
                _ = r.results
        stat = await zk.exists("/a")
        data, there, missing, error, names, children, acl, page = r.results
        assert data == await zk.get("/a/b")
        assert (there, missing) == (stat, None)
        assert isinstance(error, NoNodeError)
        assert (names, children) == (("b",), (("b",), stat))
        assert acl == await zk.get_acls("/a")
        assert page == await zk.list_children("/a", with_data=True)
        assert str(r) == "<Reads: 8, fetched>"
        for again in (lambda: r.get("/a"), lambda: asyncio.ensure_future(r.fetch())):
            with pytest.raises(BadArgumentsError, match="fetched before"):
                await (again() or asyncio.sleep(0))
        with pytest.raises(BadArgumentsError):
            zk.multi_read().get("a")

    with_client(use)


# --- transactions ----------------------------------------------------------------------------------------------------


def test_a_transaction_can_rest_on_what_is_not_there_and_on_what_a_stat_says() -> None:
    async def use(zk: EmbeddedClient) -> None:
        await zk.create("/a", b"one")
        stat = await zk.set("/a", b"two")
        unchanged = [
            Condition(StatField.MZXID, Relation.AT_MOST, stat.mzxid),
            Condition(StatField.NUM_CHILDREN, Relation.EQUAL, 0),
        ]
        async with zk.transaction() as t:
            t.check_absent("/b")
            t.check_stat("/a", unchanged)
            t.create("/a", b"three", exist_ok=True)
            t.create("/b", exist_ok=True)
            t.delete("/missing", missing_ok=True)
            t.delete("/b", missing_ok=True)
        assert t.results == (None, None, "/a", "/b", False, True)
        await zk.set("/a", b"three")

        for add, error in (
            (lambda t: t.check_absent("/a"), NodeExistsError),
            (lambda t: t.check_stat("/a", unchanged), BadVersionError),
            (lambda t: t.check_stat("/b", unchanged), NoNodeError),
        ):
            t = zk.transaction()
            t.create("/c")
            add(t)
            with pytest.raises(MultiError) as raised:
                await t.commit()
            assert (raised.value.index, type(raised.value.error)) == (1, error)
        assert await zk.exists("/c") is None
        for bad in (
            lambda t: t.check_absent("c"),
            lambda t: t.check_stat("c", []),
            lambda t: t.create("/c", sequence=True, exist_ok=True),
        ):
            with pytest.raises(BadArgumentsError):
                bad(zk.transaction())

    with_client(use)


# --- watches ---------------------------------------------------------------------------------------------------------


def test_watches_can_be_asked_for_and_all_be_given_up() -> None:
    async def use(zk: EmbeddedClient) -> None:
        told: list[object] = []
        await zk.create("/a")
        assert not await zk.has_watch("/a")
        await zk.add_watch("/a", told.append)
        await zk.add_watch("/a", told.append, recursive=True)
        await zk.get("/a", told.append)
        await zk.get_children("/a", told.append)
        for kind in WatcherType:
            assert await zk.has_watch("/a", watcher_type=kind)
        assert not await zk.has_watch("/")
        await zk.remove_all_watches("/a")
        await zk.remove_all_watches("/a")
        assert not await zk.has_watch("/a")
        await zk.create("/a/b")
        await zk.set("/a", b"")
        assert told == []
        for call in (zk.has_watch, zk.remove_all_watches):
            with pytest.raises(BadArgumentsError):
                await call("a")  # type: ignore[operator]

    with_client(use)


# --- blocking code ---------------------------------------------------------------------------------------------------


def test_blocking_code_has_them_all() -> None:
    with blocking.local_cluster(1) as cluster, cluster.client() as zk:
        path, stat = zk.create("/a/b", b"x", makepath=True, include_data=True)
        assert (path, stat) == ("/a/b", zk.exists("/a/b"))
        assert zk.create("/a/b", exist_ok=True) == "/a/b"
        assert zk.get_children("/a", include_data=True) == (("b",), zk.exists("/a"))
        assert [child.name for child in zk.list_children("/a", prefix="b", with_stat=True).children] == ["b"]
        assert zk.get_all_children_number("/a") == 1
        zk.create("/mine", ephemeral=True)
        assert zk.get_ephemerals("/m") == ["/mine"]
        assert zk.who_am_i() == ()
        with zk.multi_read() as r:
            r.get("/a/b")
            r.exists("/a/b")
            r.get_children("/a", include_data=True)
            r.get_acls("/a")
            r.list_children("/a", limit=1)
        assert len(r.results) == 5
        assert str(r) == "<Reads: 5, fetched>"
        assert r.results[1] == stat
        assert len(zk.multi_read().fetch()) == 0
        with zk.transaction() as t:
            t.check_absent("/c")
            t.check_stat("/a", [Condition(StatField.VERSION, Relation.EQUAL, 0)])
            t.create("/a", exist_ok=True)
            t.delete("/c", missing_ok=True)
        assert t.results == (None, None, "/a", False)
        zk.add_watch("/a", print)
        assert zk.has_watch("/a", watcher_type=WatcherType.PERSISTENT)
        zk.remove_all_watches("/a")
        assert not zk.has_watch("/a")
        zk.delete("/a", recursive=True)
        zk.delete("/a", missing_ok=True)
        assert zk.exists("/a") is None
