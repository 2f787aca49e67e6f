"""Three workers, one of whom leads: when it fails, the next takes over, and everybody sees who it is.

`lead` waits until this worker is elected, and gives its term: a lease with a fencing token, to be shown to whatever the
leader writes to. `observe` is for those who only want to know who leads. It prints::

    who leads: nobody
    who leads: one
    who leads: two
    who leads: three
    each term had a higher token than the one before: True
"""

import asyncio
from itertools import pairwise

import zkcore


async def lead_until(seen: asyncio.Event, zk: zkcore.Client, name: str, tokens: list[int]) -> None:
    election = zkcore.Election(zk, "/leader", identifier=name)
    async with election.lead() as term:
        tokens.append(term.fencing_token)
        await seen.wait()
        term.check()  # before every step that only the leader may take


async def main() -> None:
    tokens: list[int] = []
    seen = {name: asyncio.Event() for name in ("one", "two", "three")}
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk, asyncio.TaskGroup() as workers:
        async for leader in zkcore.Election(zk, "/leader").observe():
            print("who leads:", "nobody" if leader is None else leader.identifier)
            if leader is None:
                for name, event in seen.items():
                    workers.create_task(lead_until(event, zk, name, tokens))
            else:
                seen[leader.identifier].set()
                if leader.identifier == "three":
                    break
    rising = all(before < after for before, after in pairwise(tokens))
    print("each term had a higher token than the one before:", rising)


asyncio.run(main())
