"""The protocol beside the tree: what goes over the wire is what the tree says, to the last number.

The tree itself stands beside a live ZooKeeper in tests/tree/test_live_zookeeper.py, with the same requests. By hand,
for more of them: ``python tests/server/test_server_beside_tree.py 0:100 2000``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from anything import play, play_with_a_quota
from beside import Beside
from live import Session

from zkcore.replica.rules import Rules
from zkcore.testing.zookeeper import zookeeper_server
from zkcore.tree.acl import Access, DigestScheme, IpScheme, digest_id


class Ours:
    """A server of ours as `live.Session` needs it."""

    version = (3, 9, 3)
    before_first = 1 << 32

    def __init__(self, hosts: str) -> None:
        self.port = int(hosts.rpartition(":")[2])
        self.sessions: list[Session] = []


def served() -> Iterator[Beside]:
    access = Access([DigestScheme(superuser=digest_id("super", "pw")), IpScheme()])
    with zookeeper_server(rules=Rules(access=access)) as server:
        ours = Ours(server.hosts)
        try:
            yield Beside(ours)
        finally:
            for session in ours.sessions:
                session.drop()


@pytest.fixture
def beside() -> Iterator[Beside]:
    yield from served()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_is_answered_as_the_tree_says(beside: Beside, seed: int) -> None:
    play(beside, seed, 500)


def test_quotas_are_kept_as_the_tree_says(beside: Beside) -> None:
    play_with_a_quota(beside, 0, 200)


def main(seeds: str, requests: str) -> None:
    """Play by hand: seeds from `first:count`, so many requests each."""
    first, _, count = seeds.rpartition(":")
    for seed in range(int(first or 0), int(first or 0) + int(count)):
        for beside in served():
            play(beside, seed, int(requests))
    print(f"{int(count) * int(requests):,} requests, no difference")


if __name__ == "__main__":
    sys.path.append("tests/tree")
    main(*sys.argv[1:])
