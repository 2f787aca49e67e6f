"""Where the servers of an ensemble are, in one line."""

from __future__ import annotations

import pytest

import zkcore
from zkcore.client.places import parse_places
from zkcore.errors import BadArgumentsError, ConfigurationError


@pytest.mark.parametrize(
    ("url", "addresses", "chroot"),
    [
        ("zk://one", ["one:2181"], "/"),
        ("zk://one:1,two,[::1]:3,[::2]/", ["one:1", "two:2181", "[::1]:3", "[::2]:2181"], "/"),
        ("zk://one, two:5/app/part", ["one:2181", "two:5"], "/app/part"),
        ("zk://one,one:2181/app/", ["one:2181"], "/app"),
    ],
)
def test_hosts_and_a_chroot(url: str, addresses: list[str], chroot: str) -> None:
    places = parse_places(url)
    assert ([str(address) for address in places.addresses], places.chroot) == (addresses, chroot)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("one:2181", "zk://host:2181"),
        ("http://one", "zk://host:2181"),
        ("zk://", "give it as"),
        ("zk://one,,two", "give it as"),
        ("zk://one:99999", "a port between"),
        ("zk://one:x", "a port between"),
        ("zk://ada:secret@one", "auth="),
        ("zk://one//a", "the chroot"),
        ("zk://one/../a", "the chroot"),
    ],
)
def test_what_names_no_servers(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        zkcore.connect(url)
    assert "secret" not in str(raised.value)


def test_a_timeout_that_is_none() -> None:
    with pytest.raises(BadArgumentsError):
        zkcore.connect("zk://one", timeout=0)
