"""Three workers that begin together and end together, and a flag that tells them when to stop.

`Event` is a flag in the ensemble. `Barrier` lets nobody pass before all are there; entered with `async with`, it lets
nobody leave either before all are done. It prints::

    all three began before one of them worked: True
    all three had worked before one of them left: True
    told to stop: [0, 1, 2]
    the one that came alone: the barrier is broken
"""

import asyncio

import zkcore


async def work(zk: zkcore.Client, began: list[int], worked: list[int], seen: list[tuple[int, int]]) -> int:
    async with zkcore.Barrier(zk, "/round", parties=3) as number:
        began.append(number)
        await zkcore.Barrier(zk, "/halfway", parties=3).wait()
        at_work = len(began)
        worked.append(number)
    seen.append((at_work, len(worked)))
    await zkcore.Event(zk, "/stop").wait()
    return number


async def main() -> None:
    began: list[int] = []
    worked: list[int] = []
    seen: list[tuple[int, int]] = []
    async with zkcore.local_cluster(3) as cluster, cluster.client() as one, cluster.client() as two:
        workers = [asyncio.create_task(work(zk, began, worked, seen)) for zk in (one, two, two)]
        while len(seen) < 3:
            await asyncio.sleep(0.001)
        print("all three began before one of them worked:", all(count == 3 for count, _ in seen))
        print("all three had worked before one of them left:", all(count == 3 for _, count in seen))
        await zkcore.Event(one, "/stop").set()
        print("told to stop:", sorted(await asyncio.gather(*workers)))
        try:
            await zkcore.Barrier(one, "/round", parties=3).wait(timeout=0.05)
        except zkcore.BrokenBarrierError:
            print("the one that came alone: the barrier is broken")


asyncio.run(main())
