"""A cache over a ring: a node is added, another is lost, and every entry stays within reach.

Each entry is kept by two nodes in different racks. The plan is printed before it is followed. It prints::

    cache-4 is added in the south
    2 moves, 33.40% of the keys to transfer, 2 at a time
      0  hand over  cache-0 -> cache-4  17.22%
      1  hand over  cache-2 -> cache-4  16.18%
    followed; entries that could not be reached on the way: 0

    cache-1 is lost, with all it had
    3 moves, 50.52% of the keys to transfer, 2 at a time
      0  copy       cache-0 -> cache-3  17.57%
      1  copy       cache-2 -> cache-3  17.32%
      2  copy       cache-4 -> cache-3  15.63%
    followed; entries that could not be reached on the way: 0

    entries with two copies again: 1000 of 1000
"""

from zkcore.ring import HashRing, Member, Migration, MigrationPlan, Phase

ENTRIES = {f"user:{number}": f"profile {number}" for number in range(1000)}
COPIES = 2


class Cache:
    """The nodes, each a dictionary here, and who has what."""

    def __init__(self, ring: HashRing) -> None:
        self.ring = ring
        self.stores: dict[str, dict[str, str]] = {node: {} for node in ring.nodes}
        for key, value in ENTRIES.items():
            for node in ring.replicas(key, COPIES, distinct_by="rack"):
                self.stores[node][key] = value

    def become(self, ring: HashRing, lost: frozenset[str] = frozenset()) -> None:
        """Move to another version of the ring while the cache is in use."""
        plan = self.ring.plan(ring, COPIES, distinct_by="rack", minimum=COPIES, at_once=2, lost=lost)
        print(plan)
        for node in ring.nodes:
            self.stores.setdefault(node, {})
        self.follow(plan)
        self.ring = ring

    def follow(self, plan: MigrationPlan) -> None:
        migration = Migration(plan)
        unreachable = 0
        while not migration.complete:
            migration.begin()
            for move in migration.under_way:
                source = self.stores[move.source]
                moving = {key: value for key, value in source.items() if self.ring.position(key) in move}
                if move.target is not None:
                    self.stores[move.target].update(moving)
                migration.finish(move)  # from here on the target is asked
                if move.phase is not Phase.COPY:
                    for key in moving:
                        del source[key]
                unreachable += sum(key not in self.stores[migration.owner(key)] for key in ENTRIES)
        print(f"followed; entries that could not be reached on the way: {unreachable}")


def main() -> None:
    cache = Cache(HashRing([Member(f"cache-{n}", labels={"rack": "north" if n % 2 else "south"}) for n in range(4)]))
    print("cache-4 is added in the south")
    cache.become(cache.ring.with_node("cache-4", labels={"rack": "south"}))
    print("\ncache-1 is lost, with all it had")
    del cache.stores["cache-1"]
    cache.become(cache.ring.without_node("cache-1"), lost=frozenset({"cache-1"}))
    kept = sum(sum(key in store for store in cache.stores.values()) == COPIES for key in ENTRIES)
    print(f"\nentries with two copies again: {kept} of {len(ENTRIES)}")


main()
