"""The key to a session's password is part of the replicated state."""

from __future__ import annotations

import pytest
from alone import EPOCH, Alone

from zkcore.errors import BadArgumentsError, StorageCorruptError
from zkcore.jute.codec import codec_of
from zkcore.jute.records import CreateSessionTxn, TxnHeader
from zkcore.tree.requests import CloseSession, CreateSession
from zkcore.tree.sessions import KEY_SIZE, key_of, opens
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.tree import Tree

PASSWORD = b"sixteen bytes :-"
KEY = key_of(2, PASSWORD)


def test_a_session_begins_and_ends_with_its_key() -> None:
    world = Alone()
    assert world.tree.session_keys == {}
    world.do(CreateSession(4000, key=KEY), session=2)
    assert opens(world.tree.session_keys[2], 2, PASSWORD)
    world.tree.check()
    world.do(CloseSession(), session=2)
    assert world.tree.session_keys == {}


def test_a_session_begun_again_has_the_key_it_was_given_last() -> None:
    world = Alone()
    for key in (KEY, key_of(2, PASSWORD[::-1]), b""):
        world.do(CreateSession(4000, key=key), session=2)
        assert world.tree.session_keys.get(2, b"") == key


@pytest.mark.parametrize("size", [1, KEY_SIZE - 1, KEY_SIZE + 1])
def test_a_key_has_its_size_or_is_none(size: int) -> None:
    with pytest.raises(BadArgumentsError):
        Alone().do(CreateSession(4000, key=b"k" * size), session=2)


def test_a_transaction_of_zookeepers_with_or_without_a_digest_has_no_key() -> None:
    tree = Tree()
    header = codec_of(TxnHeader).pack(2, 0, EPOCH + 1, 0, CreateSessionTxn.TYPE)
    tree.apply(EPOCH + 1, header + codec_of(CreateSessionTxn).pack(4000))
    assert tree.sessions == {2: 4000}
    assert tree.session_keys == {}
    plain = Alone()
    assert plain.tree.session_keys == {}  # this one has the digest


def test_what_is_applied_again_does_no_harm() -> None:
    world = Alone()
    world.do(CreateSession(4000, key=KEY), session=2)
    world.tree.apply(world.zxid, world.payloads[-1])
    assert world.tree.session_keys == {2: KEY}


def test_a_snapshot_keeps_the_keys_and_replicas_agree_on_its_bytes() -> None:
    world = Alone()
    for session in (9, 2, -5):
        world.do(CreateSession(4000, key=key_of(session, PASSWORD)), session=session)
    other = Tree()
    for number, payload in enumerate(world.payloads, 1):
        other.apply(EPOCH + number, payload)
    snapshot = b"".join(dump(world.tree))
    assert snapshot == b"".join(dump(other))
    restored = restore([snapshot])
    assert restored.session_keys == world.tree.session_keys
    assert b"".join(dump(restored)) == snapshot
    restored.check()


def test_a_frozen_state_keeps_the_keys_it_had() -> None:
    world = Alone()
    world.do(CreateSession(4000, key=KEY), session=2)
    chunks = dump(world.tree)
    world.do(CloseSession(), session=2)
    assert restore(chunks).session_keys == {2: KEY}


def test_a_key_to_a_session_that_a_snapshot_does_not_hold_is_refused() -> None:
    world = Alone()
    world.tree.state.session_keys[2] = KEY
    with pytest.raises(StorageCorruptError, match="key to a session"):
        restore(dump(world.tree))


def test_neither_password_nor_key_is_printed() -> None:
    assert KEY.hex()[:8] not in str(CreateSession(4000, key=KEY))
    assert str(KEY)[2:10] not in str(CreateSession(4000, key=KEY))


def test_a_password_is_compared_in_a_time_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zkcore.tree.sessions.compare_digest", lambda one, other: False)
    assert not opens(KEY, 2, PASSWORD), "there is no other comparison"
