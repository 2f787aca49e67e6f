"""A service that is to be found: its znode goes with its session, and comes back with the next.

It prints::

    there
    not there: its session ended while it was paused
    there again, with a higher token: True
    gone when it leaves: True
"""

import asyncio
from functools import partial

import zkcore


async def main() -> None:
    async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
        connect = partial(cluster.client, timeout=0.5)
        async with connect() as sleepy:
            service = zkcore.PersistentEphemeral(sleepy, "/services/web-1", data=b"port=80", reconnect=connect)
            async with service:
                changes = service.changes()
                first = await anext(changes)
                print("there" if await zk.exists("/services/web-1") else "?")

                sleepy.freeze()  # as if the process was paused
                while (again := await anext(changes)) is not None:
                    pass
                print("not there: its session ended while it was paused")

                while again is None:
                    again = await anext(changes)
                print("there again, with a higher token:", again.fencing_token > first.fencing_token)
            await zk.sync()
            print("gone when it leaves:", await zk.exists("/services/web-1") is None)


asyncio.run(main())
