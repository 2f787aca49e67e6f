"""Who owns what and who is there, from local memory, on three servers of every kind while leaders are killed, members
die, and who looks on loses its session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve
from backends import Backend, disturb, until, use

import zkcore
from zkcore.errors import LeaseLostError

PARTITIONS = 16


class Owners:
    """All members of a sharding, and what each of them was told."""

    def __init__(self, cluster: Backend) -> None:
        self._cluster = cluster
        self.members: dict[str, zkcore.Sharding] = {}
        self.clients: dict[str, Any] = {}
        self.undrained: dict[int, str] = {}
        self.tokens: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
        self.wrong: list[str] = []

    async def start(self, name: str) -> None:
        async def load(partition: int, token: int) -> None:
            if partition in self.undrained:
                self.wrong.append(f"{name} got {partition} before {self.undrained[partition]} had drained it")
            if token <= max(self.tokens[partition], default=0):
                self.wrong.append(f"{name} got {partition} out of turn")
            self.tokens[partition].append(token)
            self.undrained[partition] = name

        async def drain(partition: int) -> None:
            await asyncio.sleep(0.002)
            if self.undrained.get(partition) == name:
                del self.undrained[partition]

        client = self.clients[name] = await self._cluster.client().start()
        member = self.members[name] = zkcore.Sharding(
            client, "/shards", name=name, partitions=PARTITIONS, address=f"at {name}", on_acquire=load, on_release=drain
        )
        await member.start()

    @property
    def taken(self) -> int:
        """How often a partition was taken over."""
        return sum(map(len, self.tokens.values()))

    async def settled(self, shards: zkcore.ShardMap) -> zkcore.ShardState:
        """What `shards` and all members show, once these own all, and nothing is to move any more."""
        await until(lambda: self.are_settled(shards.state))
        assert self.wrong == []
        return shards.state

    def are_settled(self, state: zkcore.ShardState) -> bool:
        owned = sum(len(member.owned) for member in self.members.values())
        return (
            owned == PARTITIONS
            and state.is_whole
            and state.members.keys() == self.members.keys()
            and all(evolve(member.map.state, zxid=state.zxid) == state for member in self.members.values())
            and not any(member.plan().moves for member in self.members.values())
        )


def moved(before: zkcore.ShardState, after: zkcore.ShardState) -> dict[int, tuple[str, str]]:
    """By partition who owned it and who owns it, of those that have another owner, or the same with another token."""
    found = {}
    for old, new in zip(before.routes, after.routes, strict=True):
        assert old is not None
        assert new is not None
        assert new.fencing_token >= old.fencing_token
        if old.fencing_token != new.fencing_token:
            found[old.partition] = old.owner, new.owner
    return found


def test_each_partition_has_one_owner_and_moves_only_where_it_must(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        owners = Owners(cluster)
        async with cluster.client() as looking, zkcore.ShardMap(looking, "/shards") as shards:
            disturbing = asyncio.create_task(disturb(cluster))
            for name in "abc":
                await owners.start(name)
            before = await owners.settled(shards)
            await disturbing

            taken = owners.taken
            await asyncio.gather(disturb(cluster), owners.start("d"))
            after = await owners.settled(shards)
            came = moved(before, after)
            assert {new for _, new in came.values()} == {"d"}
            assert owners.taken == taken + len(came), "something was moved twice"

            for route in after.routes:
                assert route is not None
                lease = owners.members[route.owner].owned[route.partition]
                assert (route.fencing_token, route.address) == (lease.fencing_token, f"at {route.owner}")
            for key in map(str, range(50)):
                routes = {member.route(key) for member in owners.members.values()}
                assert routes == {shards.route(key)}

            await owners.members.pop("d").close()
            assert moved(before, await owners.settled(shards)).keys() == came.keys(), "it gives back what it took"

            before, taken = await owners.settled(shards), owners.taken
            dead = owners.members.pop("b")
            owned = set(dead.owned)
            for partition in owned:
                owners.undrained.pop(partition)  # with its session goes what it had
            await cluster.expire(owners.clients["b"])
            after = await owners.settled(shards)
            assert moved(before, after).keys() == owned
            assert owners.taken == taken + len(owned), "something was moved twice"
            assert dead.lease is None
            assert dead.owned == {}
            for member in owners.members.values():
                await member.close()
            assert owners.wrong == []

    use(backend, test)


def test_instances_are_found_until_they_drain_or_die_and_in_the_next_session(backend: Backend) -> None:
    async def test(cluster: Backend) -> None:
        async with cluster.client() as one, cluster.client() as other, cluster.client() as looking:
            web = await zkcore.Discovery(looking, "/web", reconnect=cluster.client).start()
            seen: list[tuple[zkcore.Instance, ...]] = []

            async def look() -> None:
                async for instances in web.changes():
                    seen.append(instances)

            def shown() -> dict[str, zkcore.Status]:
                return {instance.name: instance.status for instance in web.instances}

            looking_on = asyncio.create_task(look())
            a = zkcore.Registration(one, "/web", name="a", address="at a", drain_seconds=0)
            b = zkcore.Registration(other, "/web", name="b", address="at b", drain_seconds=0)
            with pytest.raises(zkcore.NoInstancesError):
                web.choose()
            lease = (await asyncio.gather(disturb(cluster), a.start(), b.start()))[1]
            assert await web.wait_for(2)
            assert [web.choose().address for _ in range(4)] in (["at a", "at b"] * 2, ["at b", "at a"] * 2)
            assert web.instances[0].fencing_token == lease.fencing_token

            node = await cluster.kill_leader()
            await a.update(load=3)
            await until(lambda: web.instances[0].load == 3)
            await cluster.restart(node)
            await b.drain()
            await until(lambda: shown() == {"a": "up", "b": "draining"})
            assert {web.choose().name for _ in range(3)} == {"a"}
            await cluster.expire(one)
            await until(lambda: shown() == {"b": "draining"})
            with pytest.raises(zkcore.NoInstancesError, match="b is draining"):
                web.choose()

            await cluster.expire(looking)
            assert web.is_live
            assert shown() == {"b": "draining"}
            await b.update(status=zkcore.Status.UP)
            await until(lambda: shown() == {"b": "up"})
            await b.close()
            await until(lambda: shown() == {})
            assert web.age < 60
            await until(lambda: seen[-1] == ())
            looking_on.cancel()
            await asyncio.wait([looking_on])
            await web.close()
            with pytest.raises((LeaseLostError, zkcore.NotMemberError)):
                await a.close()

    use(backend, test)
