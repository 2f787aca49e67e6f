"""The bytes of a Stat: those of a record, which is not decoded for it, are those of its fields."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from zkcore.jute.codec import encode
from zkcore.jute.records import Stat
from zkcore.tree.znode import CONTAINER_OWNER, Persisted, ZnodeStat, make_record, pack_stat, ttl_owner

LONGS = st.integers(-(1 << 63), (1 << 63) - 1)
INTS = st.integers(-(1 << 31), (1 << 31) - 1)
OWNERS = st.sampled_from([0, 7, -7, CONTAINER_OWNER, ttl_owner(1000)])


@given(
    st.binary(max_size=3), st.integers(0, 5),
    st.builds(Persisted, LONGS, LONGS, LONGS, LONGS, LONGS, INTS, INTS, INTS, OWNERS),
)  # fmt: skip
@example(b"", 1, Persisted(1, 2, 3, 4, 5, 6, 1 << 30, 8, 0))
@example(b"", 0, Persisted(1, 2, 3, 4, 5, 6, -(1 << 30) - 1, 8, 0))
def test_the_stat_of_a_record_has_the_bytes_of_its_fields(data: bytes, children: int, stat: Persisted) -> None:
    record = make_record(data, stat)
    seen = ZnodeStat(record, children)
    plain = Stat(
        seen.czxid, seen.mzxid, seen.ctime, seen.mtime, seen.version, seen.cversion, seen.aversion,
        seen.ephemeral_owner, seen.data_length, seen.num_children, seen.pzxid,
    )  # fmt: skip
    assert pack_stat(ZnodeStat(record, children)) == encode(plain)
    assert pack_stat(plain) == encode(plain)
