"""The protocol beside the tree: what goes over the wire is what the tree says, to the last number.

The tree itself stands beside a live ZooKeeper in tests/tree/test_live_zookeeper.py, with the same requests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anything import play, play_with_a_quota
from beside import Beside
from two_servers import ours


@pytest.fixture
def beside() -> Iterator[Beside]:
    with ours() as server:
        yield Beside(server)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_is_answered_as_the_tree_says(beside: Beside, seed: int) -> None:
    play(beside, seed, 500)


def test_quotas_are_kept_as_the_tree_says(beside: Beside) -> None:
    play_with_a_quota(beside, 0, 200)
