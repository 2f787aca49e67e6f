"""Plays of discovery."""

from __future__ import annotations

import asyncio
from random import Random

from playing import CROWD, ENDED, SECONDS, WITH_EXPIRY, Work, crowd, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

PATH = "/services/web"
WAYS = tuple(zkcore.Choice)


class _Ends:
    """When instances were surely no more, or took nothing more: what who knows that much must not show, or choose."""

    def __init__(self, world: AppWorld) -> None:
        self._world = world
        self.gone: dict[tuple[str, int], float] = {}
        self.drained: dict[tuple[str, int], float] = {}
        self.looking: dict[str, zkcore.Discovery] = {}
        world.always("nobody shows what he knows to be gone", self._all_are_right)

    def _all_are_right(self) -> bool:
        for web in self.looking.values():
            knows = self._world.now - web.age
            if any(self.gone.get((each.name, each.fencing_token), knows) < knows for each in web.instances):
                return False
        return True

    def check(self, web: zkcore.Discovery, chosen: zkcore.Instance) -> None:
        """An instance that was chosen takes work, as far as `web` says that it knows."""
        assert chosen.status is zkcore.Status.UP
        at = self.drained.get((chosen.name, chosen.fencing_token))
        assert at is None or at >= self._world.now - web.age, f"{chosen.name} takes nothing more"


async def _look(world: AppWorld, ends: _Ends, name: str, rng: Random) -> None:
    """Choose again and again, in one session after the other."""
    while True:
        client = await world.client(timeout=3).start()
        web = zkcore.Discovery(client, PATH, by=rng.choice(WAYS), reconnect=lambda: world.client(timeout=3))
        try:
            await web.start()
            ends.looking[name] = web
            while True:
                assert web.is_live, "it goes on, in the next session"
                try:
                    with web.using(rng.randrange(100)) as instance:
                        ends.check(web, instance)
                        await asyncio.sleep(rng.random() / 5)
                except zkcore.NoInstancesError:
                    assert not any(each.status is zkcore.Status.UP for each in web.instances)
                    await asyncio.sleep(0.1)
        except ENDED:
            await client.close()  # before anything was seen
            await asyncio.sleep(0.1)


@play(WITH_EXPIRY)
async def nobody_chooses_what_he_knows_to_be_gone_and_all_are_found_in_the_end(world: AppWorld) -> None:
    ends = _Ends(world)

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def serve(client: zkcore.Client) -> None:
            me = zkcore.Registration(client, PATH, address=f"at {name}", name=name, drain_seconds=rng.choice((0, 0.3)))
            try:
                async with me:
                    lease = me.lease
                    if lease is None:
                        return  # lost by now, as the end of the `with` says
                    which = name, lease.fencing_token
                    await asyncio.sleep(rng.choice((0.3, 1, 3600)) if world.now < SECONDS else 3600)
                    if rng.random() < 0.5:
                        await me.drain()
                        ends.drained[which] = world.now
                        await asyncio.sleep(rng.random())
                if not client.port.session.lost.is_set():  # else it goes when the ensemble ends the session
                    ends.gone[which] = ends.drained[which] = world.now
            except (zkcore.NodeExistsError, zkcore.NotMemberError):
                await asyncio.sleep(0.5)  # this app as it was before; or it is this one no more

        return serve

    for name in CROWD:
        world.app(name).spawn(_look, world, ends, name, world.rng(f"looking/{name}"))
    crowd(world, work)
    await storm(world)
    await world.sleep(5)  # those who wanted to leave have left

    def shown(*names: str) -> bool:
        return all(
            tuple(each.name for each in web.instances) == names and web.age < 2 for web in ends.looking.values()
        )

    await world.eventually("everybody finds all", lambda: shown(*sorted(CROWD)), within=60)
    gone, *left = CROWD
    del ends.looking[gone]
    world.crash(gone)
    await world.eventually("everybody finds those who are left", lambda: shown(*sorted(left)), within=60)
