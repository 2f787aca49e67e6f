"""The ensembles of `ensembles.py`, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ensembles import Ensemble
from live import MISSING, Server

from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server

APACHE = pytest.param(
    "apache", marks=[pytest.mark.zookeeper, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
)


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture
def ours() -> Iterator[ZookeeperServer]:
    with zookeeper_server(3) as server:
        yield server


@pytest.fixture(params=["zkcore", "taken for another", APACHE])
def ensemble(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ensemble:
    """Three of ours; the same for who does not know that they are ours; one Apache ZooKeeper."""
    if request.param == "apache":
        server: Server = request.getfixturevalue("apache")
        return Ensemble(f"127.0.0.1:{server.port}", is_zkcore=False)
    if request.param != "zkcore":
        monkeypatch.setattr("zkcore.client.zookeeper_port.EXTENSIONS", "/nobody/knows/this")
    ours: ZookeeperServer = request.getfixturevalue("ours")
    return Ensemble(ours.hosts, is_zkcore=request.param == "zkcore")
