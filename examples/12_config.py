"""A configuration that several processes share: checked before it is changed, watched, and taken back.

It prints::

    now: {'rate': 10}
    now: {'rate': 20}
    refused: a rate of -5 is not positive
    now: {'rate': 10}
    two updates at once: 12
    history: [(0, 10), (1, 20), (2, 10), (3, 11), (4, 12)]
"""

import asyncio
from typing import Any

import zkcore


def check(limits: dict[str, Any]) -> None:
    if limits["rate"] <= 0:
        raise ValueError(f"a rate of {limits['rate']} is not positive")


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, cluster.client() as other:
        config = zkcore.Config(zk, "/config/limits", codec=zkcore.json_codec, validate=check)
        await config.set({"rate": 10})

        changes = zkcore.Config(other, "/config/limits", codec=zkcore.json_codec).watch()
        print("now:", (await anext(changes)).value)
        doubled = await config.update(lambda limits: {"rate": limits["rate"] * 2})
        print("now:", (await anext(changes)).value)

        try:
            await config.set({"rate": -5})
        except zkcore.InvalidValueError as error:
            print("refused:", error.__cause__)

        await config.rollback(doubled.version - 1)
        print("now:", (await anext(changes)).value)
        await changes.aclose()

        def one_more(limits: dict[str, Any]) -> dict[str, Any]:
            return {"rate": limits["rate"] + 1}

        await asyncio.gather(config.update(one_more), config.update(one_more))
        print("two updates at once:", (await config.get()).value["rate"])
        print("history:", [(each.version, each.value["rate"]) for each in await config.history()])


asyncio.run(main())
