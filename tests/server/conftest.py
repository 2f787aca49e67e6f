"""Servers that speak ZooKeeper's client protocol, and a client that takes the bytes as they come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zkcore.replica.rules import Rules
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server
from zkcore.tree.acl import Access, CertificateScheme, DigestScheme, IpScheme, digest_id
from zkcore.tree.sessions import Timeouts

RULES = Rules(
    access=Access([DigestScheme(superuser=digest_id("super", "pw")), IpScheme(), CertificateScheme()]),
    timeouts=Timeouts(minimum_ms=100, maximum_ms=1_000_000),
)


@pytest.fixture
def server() -> Iterator[ZookeeperServer]:
    """One node."""
    with zookeeper_server(rules=RULES) as running:
        yield running


@pytest.fixture
def servers() -> Iterator[ZookeeperServer]:
    """Three nodes."""
    with zookeeper_server(3, rules=RULES) as running:
        yield running
