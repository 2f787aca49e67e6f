"""No more than two at a time: a limit for all processes together, on calls to something that bears no more.

The ensemble counts the permits, and all who use them must agree how many there are. A worker that is gone without a
word gives its permit back when its session expires. It prints::

    ten calls, at most 2 at a time
    both permits are held by ['five', 'six'], 0 are free
    one was gone without a word, and its permit is free again: True
    another size: ConfigMismatchError
"""

import asyncio

import zkcore


async def main() -> None:
    now = most = 0

    async def call(zk: zkcore.Client) -> None:
        nonlocal now, most
        async with zkcore.BoundedSemaphore(zk, "/limits/api", value=2):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1

    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        await asyncio.gather(*(call(client) for client in [zk, other] * 5))
        print("ten calls, at most", most, "at a time")

        silent = await cluster.client(timeout=0.3).start()
        await zkcore.BoundedSemaphore(silent, "/limits/api", value=2, identifier="five").acquire()
        six = zkcore.BoundedSemaphore(zk, "/limits/api", value=2, identifier="six")
        await six.acquire()
        names = [holder.identifier for holder in await six.holders()]
        print(f"both permits are held by {names}, {await six.available()} are free")

        silent.freeze()  # as if that process was paused: its session expires
        async with six.hold(timeout=10):
            print("one was gone without a word, and its permit is free again:", len(six.leases) == 2)
        await six.release()

        try:
            await zkcore.BoundedSemaphore(other, "/limits/api", value=3).acquire()
        except zkcore.ConfigMismatchError as error:
            print("another size:", type(error).__name__)


asyncio.run(main())
