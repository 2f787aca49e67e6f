"""Who is there and who leads, on three servers of every kind, while leaders are killed and sessions end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from backends import Backend, disturb, until, use

import zkcore
from zkcore.errors import MultiError, NoNodeError
from zkcore.tree.requests import Create, SetData


def test_members_come_and_go_while_leaders_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as looking:
            seen: set[frozenset[Any]] = set()
            changes = zkcore.Membership(looking, "/group").changes()

            all_there = asyncio.Event()

            async def look() -> None:
                while {member.data for member in await anext(changes)} != {b"a2", b"b2", b"c2"}:
                    pass
                await disturbed  # nobody leaves before
                all_there.set()
                while members := await anext(changes):
                    seen.add(members)

            async def be(name: str) -> None:
                async with cluster.client() as client:
                    group = zkcore.Membership(client, "/group", name=name, data=b"1")
                    await group.join()
                    await group.update(f"{name}2".encode())
                    await all_there.wait()
                    await group.leave()

            disturbed = asyncio.create_task(disturb(cluster))
            looking_on = asyncio.create_task(look())
            await asyncio.gather(*map(be, "abc"))
            await looking_on
            await changes.aclose()

    use(backend, test)


def test_leaders_follow_each_other_while_servers_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        leading = 0
        terms: list[int] = []
        stop = asyncio.Event()

        async def stand(name: str) -> None:
            nonlocal leading
            async with cluster.client() as client:
                while not stop.is_set():
                    async with zkcore.Election(client, "/election", identifier=name).lead() as term:
                        leading += 1
                        assert leading == 1, "two lead"
                        terms.append(term.fencing_token)
                        await asyncio.sleep(0.001)
                        leading -= 1

        async def end() -> None:
            await disturb(cluster)
            before = len(terms)
            await until(lambda: len(terms) > before + 6)
            stop.set()

        await asyncio.gather(end(), *map(stand, "abc"))
        assert terms == sorted(set(terms))

    use(backend, test)


def test_a_persistent_ephemeral_comes_back_with_a_new_session(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as looking, cluster.client() as client:
            there = zkcore.PersistentEphemeral(client, "/services/one", data=b"1", reconnect=cluster.client)
            tokens: list[int] = []

            async def note() -> None:
                async for lease in there.changes():
                    if lease is not None and lease.fencing_token not in tokens:
                        tokens.append(lease.fencing_token)

            async with there:
                noting = asyncio.create_task(note())
                await until(lambda: tokens)
                await cluster.expire(client)
                await until(lambda: len(tokens) == 2)
                node = await cluster.kill_leader()
                stat = await looking.exists("/services/one", read=zkcore.Read.at_least(tokens[1]))
                assert stat is not None
                assert stat.czxid == tokens[1]
                await cluster.restart(node)
                noting.cancel()
                await asyncio.wait([noting])
            assert tokens == sorted(tokens)
            # Its session may have been without a server when it was closed: then its end removes the znode.
            while await looking.exists("/services/one", read=zkcore.Read.LINEARIZABLE) is not None:
                await asyncio.sleep(0.01)

    use(backend, test)


def test_a_write_that_is_fenced_happens_only_while_the_lock_is_held(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as holder, cluster.client() as writer:
            await writer.create("/account", b"0")
            async with zkcore.Lock(holder, "/lock") as lease:
                paid = zkcore.FenceGuard.transaction(lease, [SetData("/account", b"1"), Create("/receipt", b"1")])
                await writer.port.request(paid)
            late = zkcore.FenceGuard.transaction(lease, [SetData("/account", b"2")])
            with pytest.raises(MultiError) as refused:
                await writer.port.request(late)
            assert isinstance(refused.value.error, NoNodeError)
            assert (await writer.get("/account")).data == b"1"

    use(backend, test)


def test_a_lock_that_is_held_twice_is_given_back_twice_while_leaders_are_killed(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        inside = 0
        done = [0] * 3
        stop = asyncio.Event()

        async def work(number: int) -> None:
            nonlocal inside
            async with cluster.client() as client:
                lock = zkcore.RLock(client, "/r")
                while not stop.is_set():
                    async with lock:
                        inside += 1
                        async with lock:
                            await asyncio.sleep(0)
                        assert inside == 1, "two hold the lock"
                        inside -= 1
                        done[number] += 1

        async def end() -> None:
            await disturb(cluster)
            before = list(done)
            await until(lambda: all(now > then for now, then in zip(done, before, strict=True)))
            stop.set()

        await asyncio.gather(end(), *(work(number) for number in range(len(done))))

    use(backend, test)
