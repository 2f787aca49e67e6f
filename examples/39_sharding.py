"""Partitions of a key space, each owned by one member at a time: one joins, one dies, and only what must move does.

It prints::

    a alone owns 16
    with b: a owns 10, b owns 6
    with c: a owns 5, b owns 2, c owns 9; moved 9, all to c
    c died: a owns 10, b owns 6; moved 9, all from c
    the store refuses who owned it before: True
    a left: b owns 16
"""

import asyncio
from collections import Counter

import zkcore


async def main() -> None:
    store: dict[int, int] = {}  # by partition, the highest token that has written

    def member(client: zkcore.Client, name: str) -> zkcore.Sharding:
        async def load(partition: int, token: int) -> None:
            store[partition] = max(token, store.get(partition, 0))

        async def drain(partition: int) -> None:
            """Write down what is under way: another member owns the partition as soon as this returns."""

        return zkcore.Sharding(
            client, "/shards", name=name, partitions=16, rack=f"rack-{name}", on_acquire=load, on_release=drain
        )

    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        short = await cluster.client(timeout=0.5).start()
        async with zkcore.ShardMap(zk, "/shards") as shards:

            async def owners(*names: str) -> list[str]:
                """By partition who owns it, once these do."""
                async for state in shards.changes():
                    found = [route.owner for route in state.routes if route is not None]
                    planner = a if a.lease is not None else b
                    if state.is_whole and set(found) == set(names) and not planner.plan().moves:
                        return found
                raise AssertionError

            def shares(owned: list[str]) -> str:
                return ", ".join(f"{name} owns {count}" for name, count in sorted(Counter(owned).items()))

            a, b, c = member(zk, "a"), member(other, "b"), member(short, "c")
            await a.start()
            print("a alone owns", len(await owners("a")))
            await b.start()
            print("with b:", shares(two := await owners("a", "b")))
            await c.start()
            three = await owners("a", "b", "c")
            moved = [new for old, new in zip(two, three, strict=True) if old != new]
            print(f"with c: {shares(three)}; moved {len(moved)}, all to {', '.join(set(moved))}")

            route = next(route for route in shards.state.routes if route is not None and route.owner == "c")
            short.freeze()  # as if that process was paused: its session expires, and it does not know yet
            again = await owners("a", "b")
            moved = [old for old, new in zip(three, again, strict=True) if old != new]
            print(f"c died: {shares(again)}; moved {len(moved)}, all from {', '.join(set(moved))}")
            print("the store refuses who owned it before:", route.fencing_token < store[route.partition])

            await a.close()  # hands over, then leaves
            print("a left: b owns", len(await owners("b")))
            await b.close()
        short.abandon()


asyncio.run(main())
