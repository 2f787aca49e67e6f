"""The cache on three servers of every kind, while leaders are killed."""

from __future__ import annotations

import asyncio

from backends import Backend, Embedded, disturb, look_again, use

import zkcore
from zkcore.replica.rules import Rules


async def fill_and_change(cluster: Backend) -> int:
    """Twins are changed together while leaders are killed; how often the cache showed something new."""
    async with cluster.client() as writer, cluster.client() as reader:
        for name in ("", "/a", "/b"):
            await writer.create(f"/twins{name}", b"0")
        async with zkcore.Cache(reader, "/twins") as cache:
            seen: list[int] = []

            async def look() -> None:
                async for change in cache.changes():
                    values = [change.view[f"/twins/{name}"].data for name in "ab"]
                    assert values[0] == values[1], "a mixture of states"
                    seen.append(int(values[0]))

            async def write() -> None:
                for number in range(1, 80):
                    while True:
                        try:
                            async with writer.transaction() as t:
                                t.set("/twins/a", b"%d" % number)
                                t.set("/twins/b", b"%d" % number)
                            break
                        except zkcore.OutcomeUnknownError:
                            pass
                    await asyncio.sleep(0.002)

            looking = asyncio.create_task(look())
            await asyncio.gather(disturb(cluster), write())
            await look_again(reader)
            await cache.wait_for(lambda nodes: nodes["/twins/a"].data == b"79")
            await asyncio.sleep(0)
            looking.cancel()
            await asyncio.wait([looking])
            assert looking.cancelled()
            assert seen == sorted(seen)
            return len(seen)


def test_twins_are_shown_alike_while_leaders_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        assert await fill_and_change(cluster) > 10

    use(backend, test)


def test_what_a_replica_no_longer_knows_is_listed_again() -> None:
    """With a history of one change, every move to another replica is a gap."""

    async def test(cluster: Backend) -> None:
        assert await fill_and_change(cluster) > 10

    use(Embedded(rules=Rules(watch_history=1)), test)
