"""Plays of the cache."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from random import Random

from playing import CROWD, ENDED, WITH_EXPIRY, Work, crowd, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld

PATH = "/tree"
NAMES = ("a", "b", "c", "d")


async def change_one(t: zkcore.AtomicTransaction, rng: Random) -> None:
    """Make, change or delete a znode, and write beside it how all of them are now."""
    if not await t.exists(PATH):
        t.create(PATH, b'{"number": 0, "nodes": {}}')
        return
    said = json.loads(await t.get(PATH))
    name = rng.choice(NAMES)
    path = f"{PATH}/{name}"
    number = said["number"] = said["number"] + 1
    if name not in said["nodes"]:
        t.create(path, b"%d" % number)
        said["nodes"][name] = number
    elif rng.random() < 0.6:
        t.set(path, b"%d" % number)
        said["nodes"][name] = number
    else:
        t.delete(path)
        del said["nodes"][name]
    t.set(PATH, json.dumps(said).encode())


def number_of(view: zkcore.CacheView) -> int:
    """How many changes were made to what is shown, which must be one state: all it says of itself is so."""
    if PATH not in view:
        assert not len(view), "there is something below nothing"
        return -1
    data, stat = view[PATH]
    said = json.loads(data)
    shown = {path.removeprefix(f"{PATH}/"): int(node.data) for path, node in view.items() if path != PATH}
    assert shown == said["nodes"], f"a mixture of states: {shown}, where there were {said['nodes']}"
    assert stat.num_children == len(shown), "the Stat of the parent is of another state"
    assert max([node.stat.mzxid for node in view.values()]) <= view.zxid
    number: int = said["number"]
    return number


@play(WITH_EXPIRY)
async def a_cache_shows_one_state_after_the_other_and_in_the_end_the_last(world: AppWorld) -> None:
    shown: Counter[str] = Counter()
    stopped: list[bool] = []

    def work(name: str) -> Work:
        rng = world.rng(name)

        async def write(client: zkcore.Client) -> None:
            try:
                while not stopped:
                    try:
                        await client.atomically(change_one)(rng)
                    except (zkcore.NodeExistsError, zkcore.TransactionConflictError):
                        pass
                    await asyncio.sleep(rng.random() / 5)
            except ENDED:
                pass

        async def look(client: zkcore.Client) -> None:
            writing = asyncio.create_task(write(client))
            try:
                async with zkcore.Cache(client, PATH, missing_ok=True) as cache:
                    before, zxid = -1, 0
                    async for change in cache.changes():
                        number = number_of(change.view)
                        assert number >= before, "what is shown goes back"
                        assert change.view.zxid >= zxid, "the zxid goes back"
                        before, zxid = number, change.view.zxid
                        shown[name] = number
            finally:
                writing.cancel()
                await asyncio.wait([writing])

        return look

    crowd(world, work)
    await storm(world)
    await world.sleep(1)
    stopped.append(True)
    await world.sleep(5)
    async with world.client() as client:
        await client.sync()
        last = json.loads((await client.get(PATH)).data)["number"]
        async with zkcore.Cache(client, PATH) as cache:
            assert number_of(cache.view) == last
            assert await cache.sync() >= cache.zxid
    await world.eventually(
        "everybody is shown the last state", lambda: all(shown[name] == last for name in CROWD), within=60
    )
    assert last > 0
