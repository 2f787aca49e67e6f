"""A tree as bytes: whole, equal for equal trees, and proof against damage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import pack
from weakref import ref
from zlib import crc32

import pytest
from alone import Alone
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.errors import StorageCorruptError
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import CloseSession, Create, CreateSession, Delete, GetData, NullData, SetData
from zkcore.tree.snapshot import VERSION, _blocks, configuration_in, dump, restore
from zkcore.tree.tree import Tree
from zkcore.tree.znode import CreateMode


def lived_in() -> Alone:
    alone = Alone(1, -2, 3)
    for request in (Create("/a", b"1"), Create("/a/null", None), Create("/a/é"), Delete("/a/é"), SetData("/a", b"2")):
        alone.do(request)
    alone.do(Create("/a/e-", b"x", mode=CreateMode.EPHEMERAL_SEQUENTIAL), session=-2)
    alone.do(Create("/gone", b"x", mode=CreateMode.EPHEMERAL), session=3)
    alone.do(CloseSession(), session=3)
    return alone


def test_a_restored_tree_is_the_same_tree() -> None:
    alone = lived_in()
    tree = restore(dump(alone.tree))
    tree.check()
    assert tree.last_zxid == alone.zxid
    assert dict(tree.sessions) == {1: 4000, -2: 4000}
    assert tree.ephemerals(-2) == ("/a/e-0000000002",)
    assert isinstance(tree.read(GetData("/a/null")), NullData)
    assert not isinstance(tree.read(GetData("/a")), NullData)
    assert tree.read(GetData("/a")) == alone.tree.read(GetData("/a"))
    assert b"".join(dump(tree)) == b"".join(dump(alone.tree))


def test_a_restored_tree_goes_on_like_the_original() -> None:
    alone = lived_in()
    copy = restore(dump(alone.tree))
    preparer = Preparer(copy)
    requests = [
        Create("/a/s-", mode=CreateMode.PERSISTENT_SEQUENTIAL), SetData("/a/null", b""), CloseSession(), Create("/z"),
    ]  # fmt: skip
    for request in requests:
        session = -2 if isinstance(request, CloseSession) else 1
        alone.propose(request, session=session)
        assert alone.outstanding[0][2] == preparer.prepare(alone.zxid, alone.now_ms, session, 7, request)
        copy.apply(alone.zxid, alone.outstanding[0][2])
        alone.commit()
    copy.check()
    assert b"".join(dump(copy)) == b"".join(dump(alone.tree))


def test_equal_trees_give_equal_bytes_however_they_came_to_be() -> None:
    one, other = Alone(1, 2), Alone(1, 2)
    names = [f"/n{number}" for number in range(600)]
    for alone in (one, other):
        for name in names:
            alone.do(Create(name))
    middle = other.tree
    other.tree = restore(dump(middle))
    other.preparer = Preparer(other.tree)
    for alone in (one, other):
        alone.do(Delete(names[7]))
        alone.do(Create(names[7], None))
        alone.do(CreateSession(1), session=2)
    assert b"".join(dump(one.tree)) == b"".join(dump(other.tree))


def test_bytes_depend_on_the_state_alone_and_not_on_the_order_in_which_it_was_learnt() -> None:
    alone = Alone(1, 2, 3)
    for number in range(600):
        alone.do(Create(f"/n{number}", None if number % 3 else b"x"))
    state = alone.tree.freeze()
    znodes = [
        (path, record, path in nulls, acls.get(path))
        for shard, nulls, acls in zip(state.shards, state.nulls, state.acls, strict=True)
        for path, record in shard.items()
    ]
    sessions = dict(reversed(state.sessions.items()))
    backwards = Tree.rebuild(state.last_zxid, sessions, keys={}, znodes=reversed(znodes))
    backwards.check()
    assert b"".join(dump(backwards)) == b"".join(dump(alone.tree))


def test_a_snapshot_is_of_the_moment_it_was_asked_for() -> None:
    alone = Alone()
    for number in range(600):
        alone.do(Create(f"/n{number}", b"old"))
    whole = b"".join(dump(alone.tree))
    chunks = dump(alone.tree)
    drawn = [next(chunks)]
    for number, chunk in enumerate(chunks):
        drawn.append(chunk)
        alone.do(SetData(f"/n{number}", None))
        alone.do(Delete(f"/n{599 - number}"))
        alone.do(CreateSession(1), session=1000 + number)
    assert b"".join(drawn) == whole
    alone.tree.check()


class Mortal(dict[str, bytes]):
    """A shard whose end can be seen."""


def test_what_is_written_is_let_go() -> None:
    alone = Alone()
    for number in range(100):
        alone.do(Create(f"/n{number}"))
    frozen = alone.tree.freeze()
    shards = [Mortal(shard) for shard in frozen.shards]
    watched = [ref(shard) for shard in shards]
    blocks = _blocks(evolve(frozen, shards=tuple(shards)))
    del frozen, shards
    counts = [sum(each() is not None for each in watched) for block in blocks if block[8:9] == b"Z"]
    assert counts[0] > 200
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 50


def test_large_trees_and_large_znodes_come_in_blocks() -> None:
    alone = Alone()
    alone.do(Create("/big", bytes(0xFFFFF)))
    for number in range(6000):
        alone.do(CreateSession(4000), session=10 + number)
    chunks = list(dump(alone.tree))
    assert len(chunks) > 4
    tree = restore(chunks)
    tree.check()
    assert len(tree.sessions) == 6001
    assert tree.read(GetData("/big")).stat.data_length == 0xFFFFF


@given(st.data())
@settings(max_examples=50)
def test_chunks_may_be_cut_anywhere(draw: st.DataObject) -> None:
    whole = b"".join(dump(TREE))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert b"".join(dump(restore(pieces))) == whole


# --- damage ----------------------------------------------------------------------------------------------------------

TREE = lived_in().tree
BLOCKS = list(dump(TREE))
WHOLE = b"".join(BLOCKS)


NAMES = {"H": "the header", "S": "sessions", "O": "ended sessions", "A": "ACLs", "P": "who has ACLs", "Z": "znodes",
         "E": "the end"}  # fmt: skip


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_flipped_bit_is_noticed_and_said_where(number: int) -> None:
    start = sum(map(len, BLOCKS[:number]))
    here = rf"^block {number + 1} of a snapshot \("
    section = re.escape(NAMES[chr(BLOCKS[number][8])])
    before = f"behind {NAMES[chr(BLOCKS[number - 1][8])]}" if number else "its beginning"
    for bit in range(8 * len(BLOCKS[number])):
        damaged = bytearray(WHOLE)
        damaged[start + bit // 8] ^= 1 << bit % 8
        where = here + rf"{section}\)"
        if bit < 32:  # with another length it may be that nothing of it is found
            where = here + rf"({section}|{before})\)"
        elif 64 <= bit < 72:  # this says of what section it is
            where = here
        with pytest.raises(StorageCorruptError, match=where):
            restore([bytes(damaged)])


def test_every_cut_is_noticed() -> None:
    for size in range(len(WHOLE)):
        with pytest.raises(StorageCorruptError, match=r"^block [0-9]+ of a snapshot .* is cut short by [0-9]+ bytes"):
            restore([WHOLE[:size]])


def test_bytes_after_the_end_are_noticed() -> None:
    for surplus in ([b"x"], [b"", b"x"], BLOCKS):
        with pytest.raises(StorageCorruptError, match="after the end"):
            restore([WHOLE, *surplus])


def test_a_block_that_is_missing_doubled_or_out_of_place_is_noticed() -> None:
    for number in range(len(BLOCKS)):
        for changed in (BLOCKS[:number] + BLOCKS[number + 1 :], BLOCKS[: number + 1] + BLOCKS[number:]):
            with pytest.raises(StorageCorruptError):
                restore(changed)
    with pytest.raises(StorageCorruptError):
        restore([*BLOCKS[:2], BLOCKS[3], BLOCKS[2], *BLOCKS[4:]])


def test_who_the_members_are_is_part_of_it() -> None:
    alone = lived_in()
    alone.tree.configure(alone.zxid + 1, b"J")
    alone.tree.configure(alone.zxid + 2, b"F", text=b"server.1=", time_ms=7)
    data = list(dump(alone.tree))
    tree = restore(data)
    tree.check()
    assert tree.configuration == configuration_in(data) == (alone.zxid + 2, b"F")
    assert tree.read(GetData("/zookeeper/config")) == alone.tree.read(GetData("/zookeeper/config"))
    assert b"".join(dump(tree)) == b"".join(data)
    assert configuration_in(data[:3]) == (alone.zxid + 2, b"F")  # and no more is looked at
    assert configuration_in(dump(lived_in().tree)) == (0, b"")


def block(body: bytes) -> bytes:
    return pack(">II", len(body), crc32(body)) + body


def header(version: int = VERSION, magic: bytes = b"zkcs", digest: int = 0) -> bytes:
    return block(b"H" + pack(">4siqQ", magic, version, 5, digest))


def ended(*blocks: bytes, sessions: int = 0, znodes: int = 0) -> bytes:
    """The blocks, and an end that vouches for them."""
    data = b"".join(blocks)
    return data + block(b"E" + pack(">qqI", sessions, znodes, crc32(data)))


def znode(path: bytes, length: int, rest: int) -> bytes:
    return pack(">i", len(path)) + path + pack(">i", length) + bytes(rest)


def test_the_forger_can_write_a_snapshot() -> None:
    body = [header(digest=crc32(bytes(60))), block(b"S" + pack(">qi", 1, 1)), block(b"Z" + znode(b"/", 0, 60))]
    restore([ended(*body, sessions=1, znodes=1)])


def test_a_snapshot_of_the_version_before_is_read() -> None:
    body = [header(2, digest=crc32(bytes(60))), block(b"S" + pack(">qi", 1, 1)), block(b"Z" + znode(b"/", 0, 60))]
    tree = restore([ended(*body, sessions=1, znodes=1)])
    assert (dict(tree.sessions), tree.configuration) == ({1: 1}, (0, b""))


def forged() -> Iterator[tuple[str, str, bytes]]:
    yield "a later version", "no snapshot of version", ended(header(VERSION + 1))
    yield "an earlier version", "no snapshot of version", ended(header(1))
    yield "members of later", "names members as of 0x6", ended(header(), block(b"M" + pack(">qi", 6, 0)))
    yield "members of never", "names members as of 0x0", ended(header(), block(b"M" + pack(">qi", 0, 0)))
    yield "half of the members", r"members\) does not decode", ended(header(), block(b"M" + pack(">qi", 5, 9)))
    yield "members twice", "the end", ended(header(), *[block(b"M" + pack(">qi", 5, 0))] * 2)
    yield "another file", "no snapshot of version", ended(header(magic=b"ZKSN"))
    yield "no header", "begin with its header", ended()
    yield "a short header", "does not decode", ended(block(b"Hzkcs"))
    yield "half a session", "does not decode", ended(header(), block(b"S" + bytes(13)), sessions=1)
    yield "an unknown block", "the end", ended(header(), block(b"Q"))
    yield "an empty block", "the end", ended(header(), block(b""))
    yield "too few sessions", "the end", ended(header(), sessions=1)
    yield "too few znodes", "the end", ended(header(), block(b"Z" + znode(b"/", 0, 60)), znodes=2)
    yield "sessions after znodes", "the end", ended(header(), block(b"Z" + znode(b"/", 0, 60)), block(b"S"), znodes=1)
    for name, body in [
        ("a path cut short", pack(">i", 9) + b"/a"),
        ("a path of negative length", pack(">i", -1) + bytes(80)),
        ("a path that is no text", znode(b"/\xff", 0, 60)),
        ("a path without a slash", znode(b"a", 0, 60)),
        ("data of negative length", znode(b"/a", -2, 58)),
        ("data of very negative length", znode(b"/a", -100, 60)),
        ("a record cut short", znode(b"/a", 0, 59)),
        ("a record and half a length", znode(b"/a", 0, 62)),
    ]:
        yield name, "does not decode|a length of", ended(header(), block(b"Z" + body), znodes=1)
    yield "another digest", "do not have the digest", ended(header(digest=7))
    yield "an ACL that is not there", "who has ACLs.*not there", ended(header(), block(b"P" + bytes(8)))
    yield "half an ACL", "ACLs.*does not decode", ended(header(), block(b"A" + b"\0\0\0\x01"))
    yield "a huge block", "claims to have 2147483648 bytes", header() + pack(">II", 2**31, 0) + bytes(100)


@pytest.mark.parametrize(("why", "data"), [pytest.param(why, data, id=name) for name, why, data in forged()])
def test_checksums_alone_convince_nobody(why: str, data: bytes) -> None:
    with pytest.raises(StorageCorruptError, match=why):
        restore([data])


def test_an_empty_file_is_no_tree() -> None:
    with pytest.raises(StorageCorruptError):
        restore([])


def test_a_fresh_tree_has_these_bytes() -> None:
    data = b"".join(dump(Tree()))
    expected = block(b"Hzkcs" + pack(">iqQ", VERSION, 0, crc32(bytes(60)) + crc32(b"/zookeeper" + bytes(60))))
    world = pack(">i5si6s", 5, b"world", 6, b"anyone")
    expected += block(b"A" + pack(">ii", 1, 1) + world)
    expected += block(b"P" + pack(">i17si", 17, b"/zookeeper/config", 0))
    for path in sorted((b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config"), key=lambda p: crc32(p) & 255):
        aversion = b"\xff" * 4 if path == b"/zookeeper/config" else bytes(4)
        expected += block(b"Z" + znode(path, 0, 48) + aversion + bytes(8))
    assert data == expected + block(b"E" + pack(">qqI", 0, 4, crc32(expected)))
