"""The bytes of ZooKeeper's records, spelt out."""

from __future__ import annotations

import pickle

import pytest

from zkcore.jute.codec import decode, encode
from zkcore.jute.records import (
    ACL,
    OPEN_ACL,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    Id,
    SetDataTxn,
    Stat,
    TxnHeader,
)

OPEN = "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"

STAT = Stat(
    czxid=1, mzxid=2, ctime=3, mtime=4, version=5, cversion=6, aversion=7, ephemeral_owner=8, data_length=9,
    num_children=10, pzxid=11,
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        (Id("world", "anyone"), "00000005 776f726c64 00000006 616e796f6e65"),
        (ACL(31, Id("ip", "::1")), "0000001f 00000002 6970 00000003 3a3a31"),
        (
            STAT,
            "0000000000000001 0000000000000002 0000000000000003 0000000000000004 00000005 00000006 00000007"
            "0000000000000008 00000009 0000000a 000000000000000b",
        ),
        (
            TxnHeader(session=0x0100000000000002, cxid=3, zxid=0x100000004, time=5, type=-1),
            "0100000000000002 00000003 0000000100000004 0000000000000005 ffffffff",
        ),
        (CreateTxn("/a", b"x", OPEN_ACL, True, 7), f"00000002 2f61 00000001 78 {OPEN} 01 00000007"),
        (CreateTxn("/a", None, OPEN_ACL, False, -1), f"00000002 2f61 ffffffff {OPEN} 00 ffffffff"),
        (DeleteTxn("/a"), "00000002 2f61"),
        (SetDataTxn("/a", b"", 2), "00000002 2f61 00000000 00000002"),
        (ErrorTxn(-101), "ffffff9b"),
        (CreateSessionTxn(30000), "00007530"),
        (CloseSessionTxn(("/a", "/b")), "00000002 00000002 2f61 00000002 2f62"),
    ],
)
def test_records_have_zookeepers_bytes(value: object, golden: str) -> None:
    assert encode(value).hex() == golden.replace(" ", "")
    assert decode(type(value), bytes.fromhex(golden)) == value


def test_a_stat_is_68_bytes_and_a_header_32() -> None:
    assert len(encode(STAT)) == 68
    assert len(encode(TxnHeader(1, 2, 3, 4, 5))) == 32


def test_transactions_have_zookeepers_numbers() -> None:
    assert (CreateTxn.TYPE, CreateTxn.TYPE2, DeleteTxn.TYPE, SetDataTxn.TYPE) == (1, 15, 2, 5)
    assert (ErrorTxn.TYPE, CreateSessionTxn.TYPE, CloseSessionTxn.TYPE) == (-1, -10, -11)


def test_a_stat_prints_on_one_line_and_compares_by_value() -> None:
    other = pickle.loads(pickle.dumps(STAT))
    assert other == STAT
    assert hash(other) == hash(STAT)
    assert decode(Stat, bytes(68)) != STAT
    assert STAT != 1
    assert str(STAT) == (
        "Stat(czxid=0x1, mzxid=0x2, ctime=3, mtime=4, version=5, cversion=6, aversion=7, ephemeral_owner=0x8, "
        "data_length=9, num_children=10, pzxid=0xb)"
    )


def test_an_acl_prints_as_zookeeper_writes_it() -> None:
    assert str(OPEN_ACL[0]) == "world:anyone:31"
