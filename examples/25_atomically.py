"""Moving money: a function that reads some znodes and changes others, as if nobody else were there.

It prints::

    ada 70, bob 30
    twenty transfers at once, and no money lost: 100
    called again where somebody was faster: True
    refused: ada has only 50
    another client sees it from its zxid on: True
"""

import asyncio

import zkcore


async def main() -> None:
    async with (
        zkcore.local_cluster(3, observers=1) as cluster,
        cluster.client() as zk,
        cluster.nodes[4].client() as far,
    ):
        await zk.create("/accounts/ada", b"100", makepath=True)
        await zk.create("/accounts/bob", b"0")

        @zk.atomically
        async def transfer(t: zkcore.AtomicTransaction, giver: str, taker: str, amount: int) -> int:
            has = int(await t.get(f"/accounts/{giver}"))
            if has < amount:
                raise ValueError(f"{giver} has only {has}")
            t.set(f"/accounts/{giver}", b"%d" % (has - amount))
            t.set(f"/accounts/{taker}", b"%d" % (int(await t.get(f"/accounts/{taker}")) + amount))
            return has - amount

        done = await transfer("ada", "bob", 30)
        print(f"ada {done.value}, bob {(await zk.get('/accounts/bob')).data.decode()}")

        there = [transfer("ada", "bob", 3) for _ in range(10)]
        back = [transfer("bob", "ada", 1) for _ in range(10)]
        moved = await asyncio.gather(*there, *back)
        total = sum([int((await zk.get(f"/accounts/{name}")).data) for name in ("ada", "bob")])
        print("twenty transfers at once, and no money lost:", total)
        print("called again where somebody was faster:", max(each.attempts for each in moved) > 1)

        try:
            await transfer("ada", "bob", 60)
        except ValueError as error:
            print("refused:", error)

        done = await transfer("ada", "bob", 50)
        seen = await far.get("/accounts/ada", read=zkcore.Read.at_least(done.zxid))
        print("another client sees it from its zxid on:", seen.data == b"0")


asyncio.run(main())
