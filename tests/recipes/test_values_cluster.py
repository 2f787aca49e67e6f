"""Values that several change, on three servers of every kind while leaders are killed."""

from __future__ import annotations

import asyncio
from typing import Any

from backends import Backend, disturb, look_again, use

import zkcore


def test_a_config_is_changed_once_by_each_change_and_keeps_what_it_was(backend: Backend) -> None:
    """An Apache ZooKeeper does not remember what became of a change whose answer was lost."""

    async def test(cluster: Backend) -> None:
        forgotten = 0
        async with cluster.client() as looking:
            config: zkcore.Config[int] = zkcore.Config(looking, "/limits", codec=zkcore.json_codec, history=5)
            await config.set(0)
            seen: list[int] = []
            values: Any = config.watch()

            async def look() -> None:
                while True:
                    now = await anext(values)
                    assert now.value == now.version
                    seen.append(now.value)

            async def change() -> None:
                nonlocal forgotten
                async with cluster.client() as client:
                    mine: zkcore.Config[int] = zkcore.Config(client, "/limits", codec=zkcore.json_codec, history=5)
                    for _ in range(10):
                        try:
                            await mine.update(lambda number: number + 1)
                        except zkcore.OutcomeForgottenError:
                            forgotten += 1

            looking_on = asyncio.create_task(look())
            await asyncio.gather(disturb(cluster), change(), change())
            await look_again(looking)
            now = await config.get()
            assert 20 - forgotten <= now.value <= 20
            assert [each.value for each in await config.history()] == list(range(now.value - 5, now.value + 1))
            while seen[-1] < now.value:
                await asyncio.sleep(0.001)
            assert seen == sorted(set(seen))
            looking_on.cancel()
            await asyncio.wait([looking_on])
        assert not (forgotten and cluster.is_complete)

    use(backend, test)


def test_an_atomic_value_loses_no_change(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        forgotten = 0

        async def change() -> None:
            nonlocal forgotten
            async with cluster.client() as client:
                value: zkcore.AtomicValue[int]
                value = zkcore.AtomicValue(client, "/value", initial=0, codec=zkcore.json_codec)
                for _ in range(10):
                    try:
                        await value.update(lambda number: number + 1)
                    except zkcore.OutcomeForgottenError:
                        forgotten += 1

        await asyncio.gather(disturb(cluster), change(), change())
        async with cluster.client() as client:
            await look_again(client)
            last = await zkcore.AtomicValue(client, "/value", initial=0, codec=zkcore.json_codec).get()
            assert 20 - forgotten <= last <= 20
        assert not (forgotten and cluster.is_complete)

    use(backend, test)


def test_what_is_moved_between_znodes_that_may_be_missing_is_there_once(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as one, cluster.client() as two:
            await one.create("/left")
            here = {True: "/left", False: "/right"}

            async def move(client: Any) -> None:
                @client.atomically
                async def there_and_back(t: zkcore.AtomicTransaction) -> None:
                    is_left = await t.exists("/left")
                    assert await t.exists("/right") is not is_left
                    t.delete(here[is_left])
                    t.create(here[not is_left])

                for _ in range(10):
                    try:
                        await there_and_back()
                    except zkcore.OutcomeForgottenError:
                        assert not cluster.is_complete

            await asyncio.gather(disturb(cluster), move(one), move(two))
            await look_again(one)
            assert len({"/left", "/right"} & {f"/{name}" for name in await one.get_children("/")}) == 1

    use(backend, test)
