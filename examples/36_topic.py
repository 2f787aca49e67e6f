"""Notify of a change: everybody who subscribes gets every message in one order, and who was away goes on where it was.

It prints::

    kitchen: bread 3, milk 2
    bar: bread 3, milk 2
    bar was away, and got: eggs 5
    somebody who was away for too long is told so
    and goes on with: tea 9
"""

import asyncio

import zkcore

HISTORY = 4


def topic_of(zk: zkcore.Client) -> zkcore.Topic[str]:
    return zkcore.Topic(zk, "/topics/prices", codec=zkcore.text_codec, history=HISTORY)


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
        prices = topic_of(zk)
        subscriptions = {name: await prices.subscribe() for name in ("kitchen", "bar")}
        for price in ("bread 3", "milk 2"):
            await prices.publish(price)
        for name, subscription in subscriptions.items():
            print(f"{name}: {(await anext(subscription)).item}, {(await anext(subscription)).item}")

        place = subscriptions["bar"].zxid  # kept wherever the bar keeps such things
        await prices.publish("eggs 5")
        async with cluster.client() as other:
            async for message in await topic_of(other).subscribe(since=place):
                print("bar was away, and got:", message.item)
                break

        for number in range(9):
            await prices.publish(f"tea {number + 1}")
        late = await prices.subscribe(since=place)
        try:
            await anext(late)
        except zkcore.MessagesMissedError:
            print("somebody who was away for too long is told so")
        while (message := await anext(late)).item != "tea 9":
            pass
        print("and goes on with:", message.item)


asyncio.run(main())
