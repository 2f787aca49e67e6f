"""What is counted, and what is carried out atomically, on three servers of every kind while leaders are killed."""

from __future__ import annotations

import asyncio

from backends import Backend, certainly, disturb, look_again, use

import zkcore
from zkcore.client.cluster import local_cluster


def test_nothing_is_added_twice_and_no_id_given_out_twice_while_leaders_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        ids: list[int] = []
        forgotten: list[int] = []
        times: list[int] = []

        async def work() -> None:
            async with cluster.client() as client, zkcore.TimeIdGenerator(client, "/times") as generator:
                counter = zkcore.Counter(client, "/counter")
                blocks = zkcore.IdGenerator(client, "/ids", block=3)
                for _ in range(25):
                    try:
                        await counter.add(2)
                    except zkcore.OutcomeForgottenError:  # an Apache ZooKeeper does not remember how it ended
                        forgotten.append(2)
                    ids.append(await certainly(cluster, blocks.next))
                    times.append(await generator.next())

        await asyncio.gather(disturb(cluster), *(work() for _ in range(4)))
        async with cluster.client() as client:
            await look_again(client)
            assert 200 - sum(forgotten) <= await zkcore.Counter(client, "/counter").get() <= 200
        assert not (forgotten and cluster.is_complete)
        assert len(set(ids)) == len(set(times)) == 100

    use(backend, test)


def test_money_is_moved_once_while_leaders_are_killed_and_others_see_it_from_its_zxid_on(
    backend: Backend,
) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as client, cluster.client() as far:
            for name in ("/ada", "/bob"):
                await client.create(name, b"100")

            @client.atomically
            async def move(t: zkcore.AtomicTransaction, giver: str, taker: str) -> None:
                t.set(giver, b"%d" % (int(await t.get(giver)) - 1))
                t.set(taker, b"%d" % (int(await t.get(taker)) + 1))

            async def work(giver: str, taker: str) -> None:
                for _ in range(20):
                    done = await move(giver, taker)
                    seen = await far.exists(giver, read=zkcore.Read.at_least(done.zxid))
                    assert seen is not None
                    assert seen.mzxid >= done.zxid

            async def again_and_again(giver: str, taker: str) -> None:
                while True:
                    try:
                        return await work(giver, taker)
                    except zkcore.OutcomeUnknownError:
                        pass  # only the read of the other client is not asked again

            await asyncio.gather(disturb(cluster), again_and_again("/ada", "/bob"), again_and_again("/bob", "/ada"))
            total = int((await client.get("/ada")).data) + int((await client.get("/bob")).data)
            assert total == 200

    use(backend, test)


def test_a_transaction_tells_the_zxid_from_which_on_everybody_sees_it() -> None:
    async def main() -> None:
        async with (
            local_cluster(3, observers=1) as cluster,
            cluster.client() as client,
            cluster.nodes[4].client() as far,
        ):
            for number in range(30):
                async with client.transaction() as creating:
                    creating.create(f"/n{number}")
                assert await far.exists(f"/n{number}", read=zkcore.Read.at_least(creating.zxid)) is not None
                async with client.transaction() as deleting:  # no answer of it holds a zxid
                    deleting.delete(f"/n{number}")
                assert await far.exists(f"/n{number}", read=zkcore.Read.at_least(deleting.zxid)) is None
                counter = zkcore.Counter(client, "/counter")
                await counter.add()
                read = zkcore.Read.at_least(client.last_zxid)
                assert (await far.get("/counter", read=read)).data == b"%d" % (number + 1)

    asyncio.run(main())
