"""A server of ours beside a live Apache ZooKeeper: what goes over the wire is the same. By hand: `two_servers.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anything import play, play_with_a_quota
from live import MISSING, Server
from two_servers import TwoServers, ours

pytestmark = [pytest.mark.zookeeper, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoServers]:
    with Server(tmp_path_factory.mktemp("zookeeper")) as live, ours() as served:
        yield TwoServers(live, served)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_is_answered_alike(both: TwoServers, seed: int) -> None:
    play(both, seed, 500)


def test_quotas_are_kept_alike(both: TwoServers) -> None:
    play_with_a_quota(both, 0, 200)
