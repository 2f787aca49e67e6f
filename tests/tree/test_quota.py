"""Quotas, and the limit on the whole tree: what counts, what is refused, and what is only shown."""

from __future__ import annotations

import pytest
from alone import Alone

from zkcore.errors import QuotaExceededError
from zkcore.tree.prepare import Guard
from zkcore.tree.quota import Limits, Usage, limits_of, quota_root
from zkcore.tree.requests import Create, Delete, DeleteTree, GetData, Multi, SetData
from zkcore.tree.snapshot import dump, restore

LIMITS, STATS = "/zookeeper/quota/q/zookeeper_limits", "/zookeeper/quota/q/zookeeper_stats"


def limited(limits: bytes) -> Alone:
    """A tree with /q of two znodes and 3 bytes, and `limits` on it."""
    alone = Alone()
    for request in [
        Create("/q", b"123"), Create("/q/a"), Create("/qq", b"none of it"), Create("/zookeeper/quota/q"),
        Create(LIMITS, limits), Create(STATS, b"count=0,bytes=0"),
    ]:  # fmt: skip
        alone.do(request)
    return alone


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (b"", Limits()),
        (b"count=5,bytes=10=;byteHardLimit=20;countHardLimit=2", Limits(5, 10, 2, 20)),
        (b"count=-1,bytes=-1", Limits()),
        (b"countHardLimit=,bytes=7", Limits(bytes=7)),
        (b"\xff\xfe=1;count=1e3;bytes", Limits()),
        (b"count=" + b"9" * 40, Limits()),
    ],
)
def test_limits_are_written_as_zookeeper_writes_them(text: bytes, limits: Limits) -> None:
    assert limits_of(text) == limits


@pytest.mark.parametrize(
    ("path", "root"),
    [
        (LIMITS, "/q"),
        ("/zookeeper/quota/zookeeper_limits", ""),
        ("/zookeeper/quota/q/other", ""),
        ("/zookeeper/quota/zookeeper/quota/zookeeper_limits", ""),
        ("/zookeeper/quotaq/zookeeper_limits", ""),
        ("/q/zookeeper_limits", ""),
    ],
)
def test_limits_stand_in_their_place(path: str, root: str) -> None:
    assert quota_root(path) == root


def test_what_there_is_is_counted_at_once_and_kept_up_to_date() -> None:
    alone = limited(b"count=-1,bytes=-1")
    seen = []
    for request in [
        None, Create("/q/b", b"12345"), SetData("/q/b", b"1"), SetData("/qq", b""), Create("/q/b/c", None),
        Delete("/q/b/c"), Delete("/q/b"), SetData("/q", None), SetData(STATS, b"count=99,bytes=99"),
    ]:  # fmt: skip
        if request is not None:
            alone.do(request)
        seen.append(alone.tree.read(GetData(STATS)).data)
        alone.tree.check()
    assert seen == [
        b"count=2,bytes=3", b"count=3,bytes=8", b"count=3,bytes=4", b"count=3,bytes=4", b"count=4,bytes=4",
        b"count=3,bytes=4", b"count=2,bytes=3", b"count=2,bytes=0", b"count=2,bytes=0",
    ]  # fmt: skip


def test_the_statistics_change_without_a_trace_in_their_stat_or_in_the_digest() -> None:
    alone = limited(b"")
    before = alone.tree.read(GetData(STATS)).stat
    alone.do(Create("/q/b", bytes(100)))
    after = alone.tree.read(GetData(STATS)).stat
    assert (after.mzxid, after.version, after.mtime) == (before.mzxid, before.version, before.mtime)
    tree = restore(dump(alone.tree))
    tree.check()
    assert b"".join(dump(tree)) == b"".join(dump(alone.tree))


def test_a_hard_limit_refuses_what_is_more() -> None:
    alone = limited(b"byteHardLimit=10;countHardLimit=3")
    assert alone.outcome(Create("/q/b", bytes(8))) is QuotaExceededError
    alone.do(Create("/q/b", bytes(7)))
    assert alone.outcome(Create("/q/c")) is QuotaExceededError
    assert alone.outcome(SetData("/q/b", bytes(8), version=9)) is QuotaExceededError  # before the version
    alone.do(SetData("/q/b", b""))
    alone.do(Delete("/q/a"))
    assert alone.do(Create("/q/c", bytes(7))).path == "/q/c"


def test_a_soft_limit_refuses_nothing() -> None:
    alone = limited(b"count=1,bytes=1")
    alone.do(Create("/q/b", bytes(100)))
    assert limits_of(b"count=1,bytes=1").is_passed(alone.tree.quotas["/q"])
    assert not limits_of(b"count=9,bytes=999").is_passed(alone.tree.quotas["/q"])


def test_what_is_outstanding_counts() -> None:
    alone = limited(b"countHardLimit=4")
    for name in "bcd":
        alone.propose(Create(f"/q/{name}"))
    alone.propose(Delete("/q/b"))
    alone.propose(Create("/q/e"))
    alone.propose(Multi([Create("/q/f"), Create("/q/g")]))
    alone.propose(Delete("/q/e"))
    alone.propose(Create("/q/h"))
    assert [alone.commit_quietly()[1].error for _ in range(8)] == [0, 0, -125, 0, 0, -125, 0, 0]
    assert alone.tree.quotas["/q"] == Usage(4, 3)
    alone.tree.check()


def test_a_quota_ends_with_its_limits() -> None:
    alone = limited(b"countHardLimit=2")
    alone.do(Delete(LIMITS))
    alone.do(Create("/q/b"))
    assert dict(alone.tree.quotas) == {}
    assert alone.tree.read(GetData(STATS)).data == b"count=2,bytes=3"
    alone.tree.check()


def test_a_quota_may_come_before_its_znode() -> None:
    alone = Alone()
    for request in (Create("/zookeeper/quota/q"), Create(LIMITS, b"countHardLimit=1"), Create("/q")):
        alone.do(request)
    assert alone.outcome(Create("/q/a")) is QuotaExceededError


def test_all_quotas_above_a_znode_count() -> None:
    alone = limited(b"byteHardLimit=10")
    for path, data in [("/zookeeper/quota/q/a", b""), ("/zookeeper/quota/q/a/zookeeper_limits", b"countHardLimit=2")]:
        alone.do(Create(path, data))
    alone.do(Create("/q/a/x", bytes(7)))
    assert alone.outcome(Create("/q/a/y")) is QuotaExceededError
    assert alone.outcome(SetData("/q/a/x", bytes(8))) is QuotaExceededError
    assert dict(alone.tree.quotas) == {"/q": Usage(3, 10), "/q/a": Usage(2, 7)}
    alone.tree.check()


# --- the whole tree --------------------------------------------------------------------------------------------------


def test_the_tree_has_so_many_znodes_and_no_more() -> None:
    alone = Alone(guard=Guard(max_znodes=6))
    alone.propose(Create("/a"))
    alone.propose(Create("/b"))
    alone.propose(Create("/c"))
    alone.propose(Delete("/a"))
    alone.propose(Create("/d"))
    assert [alone.commit_quietly()[1].error for _ in range(5)] == [0, 0, -125, 0, 0]
    assert len(alone.tree) == 6
    with pytest.raises(QuotaExceededError, match="raise"):
        alone.do(Create("/e"))


def test_the_tree_has_so_many_bytes_and_no_more() -> None:
    alone = Alone()
    base = alone.tree.size_bytes
    alone = Alone(guard=Guard(max_bytes=base + 2 + 60 + 100))
    assert alone.outcome(Create("/a", bytes(101))) is QuotaExceededError
    alone.do(Create("/a", bytes(100)))
    assert alone.tree.size_bytes == base + 162
    assert alone.outcome(SetData("/a", bytes(101))) is QuotaExceededError
    alone.do(SetData("/a", bytes(60)))
    alone.propose(SetData("/a", bytes(90)))
    alone.propose(SetData("/a", bytes(101)))
    alone.propose(SetData("/a", bytes(100)))
    assert [alone.commit_quietly()[1].error for _ in range(3)] == [0, -125, 0]
    alone.do(DeleteTree("/a"))
    assert alone.tree.size_bytes == base
    alone.tree.check()


@pytest.mark.parametrize(("room", "fits"), [(62, False), (63, True)])
def test_a_path_counts_with_its_bytes(room: int, fits: bool) -> None:
    alone = Alone(guard=Guard(max_bytes=Alone().tree.size_bytes + room))
    assert (alone.outcome(Create("/ä")) is not QuotaExceededError) == fits
