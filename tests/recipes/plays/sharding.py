"""Plays of sharding."""

from __future__ import annotations

import asyncio

from playing import CROWD, FAULTS, SECONDS, WITH_EXPIRY, Work, crowd, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

PATH = "/shards"
PARTITIONS = 12


class _Owners:
    """What members believe to own, and what has happened to each partition."""

    def __init__(self, *, is_strict: bool) -> None:
        self.members: dict[str, zkcore.Sharding] = {}
        self.tokens: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
        self.wrong: list[str] = []
        self._is_strict = is_strict  # where no session ends by fiat
        self._undrained: dict[int, zkcore.Client] = {}  # by partition, of whom

    def owned(self) -> dict[int, list[str]]:
        """By partition, who believes to own it."""
        found: dict[int, list[str]] = {}
        for name, member in self.members.items():
            for partition in member.owned:
                found.setdefault(partition, []).append(name)
        return found

    def is_whole(self) -> bool:
        return len(self.owned()) == PARTITIONS

    def new(self, client: zkcore.Client, name: str, *, drain_seconds: float) -> zkcore.Sharding:
        """A member, which takes some time to drain what it gives up."""

        async def load(partition: int, token: int) -> None:
            lease = member._held[partition].lease
            if not lease.is_lost():  # or it is told too late what it has lost already
                if token <= max(self.tokens[partition], default=0):
                    self.wrong.append(f"{name} got {partition} out of turn")
                if self._is_strict and not self._is_free(partition):
                    self.wrong.append(f"{name} got {partition} before it was drained")
            self.tokens[partition].append(token)
            self._undrained[partition] = client

        async def drain(partition: int) -> None:
            await asyncio.sleep(drain_seconds)
            if self._undrained.get(partition) is client:
                del self._undrained[partition]

        member = self.members[name] = zkcore.Sharding(
            client, PATH, name=name, partitions=PARTITIONS, on_acquire=load, on_release=drain
        )
        return member

    def _is_free(self, partition: int) -> bool:
        """Whether the owner before has drained it, or its session is over."""
        before = self._undrained.get(partition)
        if before is None:
            return True
        session = before.port.session
        return session.lost.is_set() or before.port.now() >= session.alive_until


async def _play(world: AppWorld, owners: _Owners) -> None:
    world.always("all goes its way", lambda: owners.wrong == [])

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def own(client: zkcore.Client) -> None:
            try:
                async with owners.new(client, name, drain_seconds=rng.choice((0, 0.05))):
                    await asyncio.sleep(rng.choice((1, 4, 3600)) if world.now < SECONDS else 3600)
            except zkcore.NodeExistsError:
                await asyncio.sleep(0.5)  # this app as it was before, whose session has not expired yet

        return own

    crowd(world, work)
    await storm(world)
    await world.sleep(5)  # those who wanted to leave have left


async def _settled(world: AppWorld, *members: str) -> zkcore.ShardState:
    """Who owns what, once every partition is owned, and nothing has changed for a while."""
    async with world.client() as client, zkcore.ShardMap(client, PATH) as shards:
        deadline = world.now + 60
        while True:
            before = shards.state
            await world.sleep(3)
            state = shards.state
            staying = {name for name, member in state.members.items() if not member.is_leaving}
            if state.version == before.version and state.is_whole and staying == state.members.keys() == set(members):
                return state
            assert world.now < deadline, f"no owner, or no end of moving, with {', '.join(state.members)}"


@play(FAULTS)
async def each_partition_has_one_owner_and_always_has_one_again(world: AppWorld) -> None:
    owners = _Owners(is_strict=True)
    world.always("one owns it", lambda: all(len(names) <= 1 for names in owners.owned().values()))
    await _play(world, owners)
    await world.eventually("every partition is owned", owners.is_whole, within=60)
    before = await _settled(world, *CROWD)
    gone, *left = CROWD
    world.crash(gone)
    state = await _settled(world, *left)
    for old, new in zip(before.routes, state.routes, strict=True):
        assert old is not None
        assert new is not None
        assert (old == new) == (old.owner != gone), f"{old} became {new}, though {gone} died"
    world.restart(gone)
    after = await _settled(world, *CROWD)
    for old, new in zip(state.routes, after.routes, strict=True):
        assert old is not None
        assert new is not None
        assert (old == new) == (new.owner != gone), f"{old} became {new}, though {gone} came"


@play(WITH_EXPIRY)
async def a_later_owner_has_a_higher_token(world: AppWorld) -> None:
    owners = _Owners(is_strict=False)
    await _play(world, owners)
    state = await _settled(world, *CROWD)
    for route in state.routes:
        assert route is not None
        assert route.fencing_token == owners.tokens[route.partition][-1] == max(owners.tokens[route.partition])
