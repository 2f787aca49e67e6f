"""Plays of the persistent ephemeral."""

from __future__ import annotations

import asyncio

from playing import CROWD, ENDED, FAULTS, WITH_EXPIRY, Leases, Work, crowd, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


def client_of(world: AppWorld) -> zkcore.EmbeddedClient:
    return world.client(timeout=3)


@play(WITH_EXPIRY)
async def whoever_lost_his_session_is_there_again_in_the_end(world: AppWorld) -> None:
    tokens: dict[str, int] = {}
    leases: dict[str, zkcore.Lease | None] = {}

    async def be_there(name: str) -> None:
        while True:
            client = await client_of(world).start()
            stay = zkcore.PersistentEphemeral(
                client, f"/services/{name}", data=name.encode(), reconnect=lambda: client_of(world)
            )
            try:
                await stay.start()
                async for lease in stay.changes():
                    leases[name] = lease
                    if lease is not None:
                        assert lease.fencing_token > tokens.get(name, 0), "tokens go back"
                        tokens[name] = lease.fencing_token
            except ENDED:
                await client.close()  # before it was there once
                await asyncio.sleep(0.1)

    for name in CROWD:
        world.app(name).spawn(be_there, name)
    await storm(world)
    async with world.client() as client:

        async def missing() -> list[str]:
            found = []
            for name in CROWD:
                stat = await client.exists(f"/services/{name}", read=zkcore.Read.LINEARIZABLE)
                lease = leases.get(name)
                if lease is None or lease.is_lost() or stat is None or stat.czxid != lease.fencing_token:
                    found.append(name)  # also where what is left of the last session is still there
            return found

        for _ in range(60):
            if not await missing():
                break
            await asyncio.sleep(1)
        await world.sleep(5)
        assert await missing() == [], "not there in the end, or nobody knows it"


@play(FAULTS)
async def one_is_there_where_several_want_to_be(world: AppWorld) -> None:
    leases = Leases(world)

    def work(name: str) -> Work:
        async def be_there_for_a_while(client: zkcore.Client) -> None:
            stay = zkcore.PersistentEphemeral(client, "/leader", reconnect=lambda: client_of(world))
            try:
                leases.begin(name, await stay.start(timeout=2.5))
                await asyncio.sleep(0.3)
            except zkcore.NodeExistsError:
                pass
            finally:
                await stay.close()

        return be_there_for_a_while

    crowd(world, work)
    await storm(world)
    before = len(leases.tokens)  # who gets it is nobody's promise
    await world.eventually("it goes on", lambda: len(leases.tokens) > before + 10, within=60)
    assert leases.tokens == sorted(set(leases.tokens))
