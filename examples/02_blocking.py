"""The same without asyncio: two threads, and one lock between them.

`zkcore.sync` has the names of `zkcore`, and no `await`. Both threads add to a number in a znode: read it, add one,
write it back. Without the lock both would now and then read the same number, and one addition would be lost. It
prints::

    two threads added one 50 times each
    the counter is 100
    each hold had a higher fencing token than the one before: True
"""

import threading
from itertools import pairwise

import zkcore.sync as zkcore

ROUNDS = 50


def add(zk: zkcore.Client, tokens: list[int]) -> None:
    lock = zkcore.Lock(zk, "/locks/counter")
    for _ in range(ROUNDS):
        with lock as lease:
            count = int(zk.get("/counter").data)
            zk.set("/counter", str(count + 1).encode())
            tokens.append(lease.fencing_token)


def main() -> None:
    tokens: list[int] = []
    # One client serves both threads. Two clients would do as well: the lock is in the cluster, not in the client.
    with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
        zk.create("/counter", b"0")
        threads = [threading.Thread(target=add, args=(zk, tokens)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"two threads added one {ROUNDS} times each")
        print("the counter is", int(zk.get("/counter").data))
        rising = all(before < after for before, after in pairwise(tokens))
        print("each hold had a higher fencing token than the one before:", rising)


main()
