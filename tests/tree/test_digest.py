"""The digest of a tree: ZooKeeper's, kept up to date by every change, and compared by whoever applies."""

from __future__ import annotations

from zlib import crc32

import pytest
from alone import Alone

from zkcore.errors import InvariantViolation, MalformedFrameError
from zkcore.tree.digest import pack_digest
from zkcore.tree.requests import Create, CreateTTL, Multi, SetACL, SetData
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.tree import Tree


def test_a_fresh_tree_has_the_digest_of_two_znodes() -> None:
    """The root under the name '', and /zookeeper; those below do not count."""
    assert Tree().digest == crc32(bytes(60)) + crc32(b"/zookeeper" + bytes(60))


def test_whoever_applies_a_transaction_compares() -> None:
    alone, other = Alone(), Tree()
    for request in (Create("/a"), SetData("/a", b"x"), CreateTTL("/t", ttl_ms=5), SetACL("/a", Create("/").acl)):
        alone.do(request)
    for zxid, payload in enumerate(alone.payloads, start=(1 << 32) + 1):
        other.apply(zxid, payload)
    assert other.digest == alone.tree.digest == restore(dump(other)).digest


@pytest.mark.parametrize("path", ["/", "/a", "/a/b"])
def test_a_tree_that_differs_is_noticed_with_the_next_transaction(path: str) -> None:
    alone = Alone()
    alone.do(Create("/a"))
    alone.do(Create("/a/b"))
    other = restore(dump(alone.tree))
    record = other.state.find(path)
    assert record is not None
    other.state.replace(path, record, b"flipped" + record, crc32(path.encode()))
    alone.propose(Create("/elsewhere"))
    zxid, _, payload = alone.outstanding[0]
    with pytest.raises(InvariantViolation, match="this tree has the digest"):
        other.apply(zxid, payload)


def test_a_transaction_of_an_older_log_has_no_digest_and_one_of_another_definition_says_nothing() -> None:
    alone = Alone()
    alone.propose(Create("/a"))
    zxid, _, payload = alone.outstanding[0]
    for changed in (payload[:-12], payload[:-12] + b"\0\0\0\x01" + bytes(8)):
        tree = restore(dump(alone.tree))
        assert tree.apply(zxid, changed).error == 0
    with pytest.raises(MalformedFrameError):
        alone.tree.apply(zxid, payload[:-1])


def test_replaying_an_old_transaction_compares_nothing() -> None:
    alone = Alone()
    alone.do(Create("/a"))
    alone.do(SetData("/a", b"x"))
    digest = alone.tree.digest
    alone.tree.apply((1 << 32) + 2, alone.payloads[1])
    assert alone.tree.digest == digest


def test_one_digest_vouches_for_a_whole_multi() -> None:
    alone = Alone()
    alone.propose(Multi([Create("/a"), SetData("/a", b"x"), Create("/b")]))
    payload = alone.outstanding[0][2]
    alone.commit()
    assert payload.endswith(pack_digest(alone.tree.digest))
