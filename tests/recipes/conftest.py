"""The backends of `backends.py`, as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from backends import QUICK, Backend, Embedded, Remote
from live import MISSING
from live_ensemble import LiveEnsemble

from zkcore.testing.zookeeper import zookeeper_server

APACHE = pytest.param(
    "zk-apache", marks=[pytest.mark.zookeeper, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
)


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEnsemble]:
    with LiveEnsemble(tmp_path_factory.mktemp("zookeepers")) as ensemble:
        yield ensemble


@pytest.fixture(params=["embedded", "zk-zkcore", APACHE])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Nodes in this process; three servers of ours, and three of Apache's, behind ZooKeeper's protocol."""
    if request.param == "embedded":
        yield Embedded()
    elif request.param == "zk-zkcore":
        with zookeeper_server(3, limits=QUICK) as server:
            yield Remote(server, kills=2)
    else:
        ensemble: LiveEnsemble = request.getfixturevalue("apache")
        yield Remote(ensemble, kills=1)
        ensemble.restart_all()
