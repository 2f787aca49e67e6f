"""Plays of the queue."""

from __future__ import annotations

import asyncio
from collections import Counter

from playing import FAULTS, Work, crowd, play, storm

import zkcore
from zkcore.testing.app_world import AppWorld


@play(FAULTS)
async def a_queue_gives_nothing_out_twice_and_loses_nothing(world: AppWorld) -> None:
    begun, put, taken = [0], set[int](), list[int]()
    claimed: dict[int, zkcore.Claim[int]] = {}
    done: set[int] = set()
    getting: Counter[str] = Counter()
    stopped: list[bool] = []
    rng = world.rng("cancellations")

    def queue_of(client: zkcore.Client) -> zkcore.Queue[int]:
        return zkcore.Queue(client, "/queue", maxsize=6, codec=zkcore.json_codec)

    def work(name: str) -> Work:
        async def trade(client: zkcore.Client) -> None:
            queue = queue_of(client)
            try:
                if not stopped:
                    begun[0] += 1
                    number = begun[0]
                    await queue.put(number, timeout=0.5)
                    put.add(number)
                if begun[0] % 2:
                    getting[name] += 1
                    number = await queue.get(timeout=0.5)
                    assert not is_claimed(number), "one gets what another has claimed"
                    taken.append(number)
                    getting[name] -= 1
                else:
                    async with asyncio.timeout(rng.uniform(0, 0.3) if rng.random() < 0.3 else None):
                        await do_work(queue)
            except TimeoutError:
                pass  # the work was cancelled, wherever it was
            except zkcore.QueueEmptyError:
                getting[name] -= getting[name] > 0 and begun[0] % 2
                await asyncio.sleep(0.1)
            except zkcore.QueueFullError:
                await asyncio.sleep(0.1)

        return trade

    def is_claimed(number: int) -> bool:
        claim = claimed.get(number)
        return claim is not None and not (claim.lease.released or claim.lease.is_lost())

    async def do_work(queue: zkcore.Queue[int]) -> None:
        async with queue.claim(timeout=0.5) as claim:
            assert not is_claimed(claim.item), "two have claimed one item"
            assert claim.item not in done, "given out again after it was done"
            claimed[claim.item] = claim
            await asyncio.sleep(0.1)
        done.add(claim.item)

    crowd(world, work)
    await storm(world)
    stopped.append(True)
    out = lambda: set(taken) | done | claimed.keys()  # noqa: E731
    # Who crashed between taking and telling may have got one that nobody else gets.
    await world.eventually(
        "all that was put comes out", lambda: len(put - out()) <= sum(getting.values()), within=60
    )
    assert len(taken) == len(set(taken)), "got twice"
    assert not set(taken) & done, "got by one, and done by another"
