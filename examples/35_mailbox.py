"""Send and receive: one process asks another, which hangs with the question in its hands; who follows it answers.

A message waits for its receiver and is deleted when it is dealt with, not before. It prints::

    order 7 is with a receiver that hangs
    order 7 came again, with a higher token: True
    answer of stock: {'in stock': True, 'order': 7}
    left to do: 0
"""

import asyncio

import zkcore


def mailbox_of(zk: zkcore.Client, name: str) -> zkcore.Mailbox[dict[str, object]]:
    return zkcore.Mailbox(zk, "/mail", name, codec=zkcore.json_codec)


async def hang(zk: zkcore.EmbeddedClient, tokens: list[int]) -> None:
    try:
        async with mailbox_of(zk, "stock").receive() as message:
            print("order", message.item["order"], "is with a receiver that hangs")
            tokens.append(message.lease.fencing_token)
            zk.freeze()  # as if the process was paused
            await asyncio.sleep(60)
    except zkcore.LeaseLostError:
        pass  # the session has expired: the message is somebody else's


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client(timeout=0.5) as sleepy:
        shop = mailbox_of(zk, "shop")
        await shop.send("stock", {"order": 7})  # its receiver need not be there
        tokens: list[int] = []
        await hang(sleepy, tokens)

        async with mailbox_of(zk, "stock").receive() as message:
            is_later = message.lease.fencing_token > tokens[0] and message.deliveries == 2
            print("order", message.item["order"], "came again, with a higher token:", is_later)
            await message.reply({"in stock": True, **message.item})

        async with shop.receive() as answer:
            print(f"answer of {answer.sender}: {answer.item}")
        print("left to do:", await shop.size())


asyncio.run(main())
