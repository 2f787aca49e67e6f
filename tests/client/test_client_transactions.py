"""Several changes in one, over replicas in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

import zkcore
import zkcore.sync
from zkcore import BadArgumentsError, BadVersionError, MultiError, Stat, Transaction

T = TypeVar("T")


def with_client(use: Callable[[zkcore.Client, zkcore.LocalCluster], Coroutine[Any, Any, T]]) -> T:
    """What `use` makes of a client of a follower of three, which must come within 20 seconds."""

    async def main() -> T:
        async with asyncio.timeout(20), zkcore.local_cluster(3) as cluster:
            follower = next(me for me in cluster.nodes if me != cluster.leader)
            async with cluster.nodes[follower].client() as client:
                return await use(client, cluster)

    return asyncio.run(main())


def test_all_changes_happen_together_and_each_meets_what_those_before_it_leave() -> None:
    async def use(zk: zkcore.Client, cluster: zkcore.LocalCluster) -> None:
        await zk.create("/old", b"0")
        async with zk.transaction() as t:
            t.check("/old", version=0)
            t.create("/new", b"1")
            t.create("/new/n-", sequence=True, ephemeral=True)
            t.set("/new", b"2", version=0)
            t.delete("/old")
            assert await zk.exists("/new") is None, "nothing yet"
        _, path, numbered, stat, _ = t.results
        assert (path, numbered) == ("/new", "/new/n-0000000000")
        assert isinstance(stat, Stat)
        assert stat.version == 1
        assert await zk.exists("/old") is None
        zxids = {(await zk.get(each)).stat.czxid for each in ("/new", "/new/n-0000000000")}
        assert zxids == {stat.mzxid}
        assert str(t) == "<Transaction of 5 operations, committed>"

    with_client(use)


def test_where_one_change_fails_none_happens_and_it_is_said_which() -> None:
    async def use(zk: zkcore.Client, cluster: zkcore.LocalCluster) -> None:
        await zk.create("/a")
        t = zk.transaction()
        t.create("/b")
        t.set("/a", b"1", version=7)
        with pytest.raises(MultiError) as raised:
            await t.commit()
        assert (raised.value.index, raised.value.path) == (1, "/a")
        assert isinstance(raised.value.error, BadVersionError)
        assert await zk.exists("/b") is None
        with pytest.raises(BadArgumentsError):
            _ = t.results
        assert str(t) == "<Transaction of 2 operations, failed>"

    with_client(use)


def test_what_is_raised_inside_leaves_everything_as_it_was() -> None:
    async def use(zk: zkcore.Client, cluster: zkcore.LocalCluster) -> None:
        async def fails() -> None:
            async with zk.transaction() as t:
                t.create("/a")
                raise LookupError

        with pytest.raises(LookupError):
            await fails()
        assert await zk.exists("/a") is None

    with_client(use)


@pytest.mark.parametrize(
    "add",
    [
        lambda t: t.create("relative"),
        lambda t: t.create("/a", container=True, ttl=1.0),
        lambda t: t.set("/a/", b""),
        lambda t: t.set("/a", bytes(1 << 21)),
        lambda t: t.delete(""),
        lambda t: t.check("/a//b"),
    ],
)
def test_a_bad_argument_is_told_where_it_is_given(add: Callable[[Transaction], None]) -> None:
    async def use(zk: zkcore.Client, cluster: zkcore.LocalCluster) -> None:
        t = zk.transaction()
        with pytest.raises(BadArgumentsError):
            add(t)
        assert await t.commit() == (), "there is nothing in it"

    with_client(use)


def test_a_transaction_that_is_too_large_is_refused_and_the_client_goes_on() -> None:
    async def use(zk: zkcore.Client, cluster: zkcore.LocalCluster) -> None:
        t = zk.transaction()
        for number in range(4):
            t.create(f"/n{number}", bytes(1 << 19))
        with pytest.raises(BadArgumentsError, match="over the limit"):
            await t.commit()
        await zk.create("/a")

    with_client(use)


def test_a_transaction_is_committed_once() -> None:
    async def use(zk: zkcore.Client, cluster: zkcore.LocalCluster) -> None:
        async with zk.transaction() as t:
            t.create("/a")
            await t.commit()
        with pytest.raises(BadArgumentsError):
            await t.commit()
        with pytest.raises(BadArgumentsError):
            t.create("/b")

    with_client(use)


def test_transactions_in_blocking_code() -> None:
    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk:
        with zk.transaction() as t:
            t.create("/a", b"1")
            t.set("/a", b"2")
            t.check("/a", version=1)
            t.delete("/a")
        assert t.results[0] == "/a"
        with pytest.raises(MultiError), zk.transaction() as t:
            t.delete("/missing")
        assert str(t) == "<Transaction of 1 operations, failed>"
        assert zk.transaction().commit() == ()
