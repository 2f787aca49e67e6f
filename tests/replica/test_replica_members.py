"""Members as ZooKeeper's text, and behind a record of the log."""

from __future__ import annotations

import pytest
from attrs import evolve

from zkcore.errors import ConfigurationError
from zkcore.replica.members import Change, Members, Note
from zkcore.zab.membership import configuration_record
from zkcore.zab.quorum import EnsembleConfig, Transition

THREE = Members(
    EnsembleConfig([1, 2], observers=[3]),
    addresses={1: "zk1:2888", 2: "zk2:2888", 3: "[::1]:2889"},
    clients={1: "0.0.0.0:2181", 3: "[::1]:2182"},
    version=0x1_0000_0003,
)
TEXT = """\
server.1=zk1:2888:2888:participant;0.0.0.0:2181
server.2=zk2:2888:2888:participant
server.3=[::1]:2889:2889:observer;[::1]:2182
version=100000003"""
GROUPED = Members(EnsembleConfig([1, 2, 3, 4, 5, 6], groups=[[1, 2, 3], [4, 5, 6]], weights={2: 0, 5: 7}))
GROUPED_TEXT = """\
server.1=0.0.0.0:0:0:participant
server.2=0.0.0.0:0:0:participant
server.3=0.0.0.0:0:0:participant
server.4=0.0.0.0:0:0:participant
server.5=0.0.0.0:0:0:participant
server.6=0.0.0.0:0:0:participant
group.1=1:2:3
group.2=4:5:6
weight.2=0
weight.5=7
version=0"""


@pytest.mark.parametrize(("members", "text"), [(THREE, TEXT), (GROUPED, GROUPED_TEXT)])
def test_members_are_written_as_zookeeper_writes_them_and_read_back(members: Members, text: str) -> None:
    assert members.text() == text
    assert Members.parse(text) == members
    assert hash(Members.parse(text)) == hash(members)


def test_what_kazoo_and_people_write_is_read_too() -> None:
    said = Members.parse("server.2=b:2888:3888;2182, server.1=a:2:3:participant;c:2181,\n\nserver.3=c:1:2:OBSERVER")
    assert said == Members(
        EnsembleConfig([1, 2], observers=[3]),
        addresses={1: "a:2", 2: "b:2888", 3: "c:1"},
        clients={1: "c:2181", 2: "0.0.0.0:2182"},
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs at least one voter"),
        ("server.1=a:1:1:observer", "needs at least one voter"),
        ("server.1", "'server.1' says nothing of the members"),
        ("server.1=a:1:1\nserver.1=b:1:1", "server.1 stands twice"),
        ("server.0=a:1:1", "server.0=a:1:1: a server's number is between 1 and 255"),
        ("server.x=a:1:1", "a server's number is between 1 and 255"),
        ("server.1=a:1", "server.1=a:1: the address is 'a'"),
        ("server.1=a:1:1:boss", "server.1=a:1:1:boss: give a port"),
        ("server.1=a:0:0", "with a port between 1 and 65535"),
        ("server.1=a:1:1;x", "give a port"),
        ("server.1=a:1:1|b:1:1", "a server has one address here"),
        ("server.1=a:1:1\nserver.2=a:1:1", "servers 1 and 2 have the same address, a:1"),
        ("server.1=a:1:1;h:5\nserver.2=b:1:1;h:5", "servers 1 and 2 have the same address, h:5"),
        ("server.1=a:1:1\ngroup.1=1:2", r"put every one of the voters \(1,\) into one"),
        ("server.1=a:1:1\ngroup.1=1;2", "a server's number is between 1 and 255"),
        ("server.1=a:1:1\nweight.1=-1", "a weight is a whole number"),
        ("server.1=a:1:1\nversion=x", "version=x"),
        ("server.1=a:1:1\nversion=-1", "version=-1: a version is a hexadecimal number"),
        ("server.1=a:1:1\nrole.1=2", "role.1=2: it is no line of"),
    ],
)
def test_what_is_no_text_of_members_says_why(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Members.parse(text)


def test_addresses_are_those_of_members() -> None:
    with pytest.raises(ConfigurationError, match="addresses has server 2, which is none of"):
        Members(EnsembleConfig([1]), addresses={2: "a:1"})
    with pytest.raises(ConfigurationError, match=r"clients\[1\] is 'a'"):
        Members(EnsembleConfig([1]), clients={1: "a"})


def test_what_stands_behind_a_record_is_read_from_it() -> None:
    new = Members(EnsembleConfig([1, 2]), addresses={1: "zk1:2888", 2: "zk9:2888"}, clients={2: "zk9:2181"})
    note = Note(0xABC, 7, 1_700_000_000_000, new, THREE).encode()
    first = configuration_record(Transition(THREE.config, new.config), note)
    second = configuration_record(new.config, note)
    begun, made = Change.read(0x2_0000_0001, first), Change.read(0x2_0000_0005, second)
    assert begun == Change(evolve(new, version=0x2_0000_0001), THREE, 0xABC, 7, 1_700_000_000_000)
    assert made == Change(evolve(new, version=0x2_0000_0005), None, 0xABC, 7, 1_700_000_000_000)


def test_a_record_without_a_note_is_nobodys() -> None:
    assert Change.read(5, configuration_record(EnsembleConfig([4]))) == Change(
        Members(EnsembleConfig([4]), version=5), None
    )
    with pytest.raises(ConfigurationError, match="does not decode"):
        Change.read(5, configuration_record(EnsembleConfig([4]), b"?"))
