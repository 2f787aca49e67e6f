"""What each transaction does to Stats, to data and to the sessions; and what reading answers."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from alone import EPOCH, Alone
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    InvariantViolation,
    MalformedFrameError,
    NoNodeError,
    ProtocolError,
    RequestError,
    SessionExpiredError,
    UnimplementedError,
)
from zkcore.jute.codec import codec_of, encode
from zkcore.jute.records import (
    OPEN_ACL,
    CloseSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    SetDataTxn,
    Stat,
    TxnHeader,
)
from zkcore.tree.applied import Applied, EventType
from zkcore.tree.requests import (
    Children,
    CloseSession,
    Create,
    Created,
    CreateSession,
    Delete,
    Exists,
    GetChildren,
    GetChildren2,
    GetData,
    NodeData,
    NullData,
    Reconfigure,
    SetData,
)
from zkcore.tree.tree import Tree
from zkcore.tree.znode import CreateMode


def stat(**fields: int) -> Stat:
    """A Stat that is zero but for `fields`."""
    names = (
        "czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeral_owner", "data_length",
        "num_children", "pzxid",
    )  # fmt: skip
    return Stat(**{**dict.fromkeys(names, 0), **fields})


def payload(zxid: int, body: Any, *, kind: int | None = None, session: int = 1, time: int = 0) -> bytes:
    header = TxnHeader(session, 7, zxid, time, body.TYPE if kind is None else kind)
    return encode(header) + encode(body)


@pytest.fixture
def alone() -> Alone:
    return Alone()


# --- a fresh tree ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "children", "expected"),
    [
        ("/", ("zookeeper",), stat(cversion=-1, num_children=1)),
        ("/zookeeper", ("config", "quota"), stat(cversion=-2, num_children=2)),
        ("/zookeeper/quota", (), stat()),
        ("/zookeeper/config", (), stat(aversion=-1)),
    ],
)
def test_a_fresh_tree_has_zookeepers_own_znodes_counted_by_nobody(
    path: str, children: tuple[str, ...], expected: Stat
) -> None:
    tree = Tree()
    tree.check()
    assert tree.read(GetData(path)) == (b"", expected)
    assert tree.read(GetChildren2(path)) == Children(children, expected)
    assert (len(tree), tree.last_zxid, dict(tree.sessions)) == (4, 0, {})


# --- Stat ------------------------------------------------------------------------------------------------------------


def test_a_created_znode_has_its_zxid_and_time_in_every_place(alone: Alone) -> None:
    path, made = alone.do(Create("/a", b"xyz"))
    assert path == "/a"
    assert made == stat(czxid=EPOCH + 2, mzxid=EPOCH + 2, pzxid=EPOCH + 2, ctime=2000, mtime=2000, data_length=3)


def test_setting_changes_mzxid_mtime_version_and_length_and_nothing_else(alone: Alone) -> None:
    alone.do(Create("/a", b"xyz"))
    assert alone.do(SetData("/a", b"12345")) == stat(
        czxid=EPOCH + 2, mzxid=EPOCH + 3, pzxid=EPOCH + 2, ctime=2000, mtime=3000, version=1, data_length=5
    )
    assert alone.tree.read(GetData("/a")).data == b"12345"


def test_children_coming_and_going_change_cversion_and_pzxid_of_the_parent_and_nothing_else(alone: Alone) -> None:
    alone.do(Create("/a", b"xyz"))
    born = stat(czxid=EPOCH + 2, mzxid=EPOCH + 2, ctime=2000, mtime=2000, data_length=3)
    seen = []
    for request in (Create("/a/1"), Create("/a/2"), Delete("/a/1"), Create("/a/1"), SetData("/a/1", b"x")):
        alone.do(request)
        seen.append(alone.tree.read(Exists("/a")))
    changes = [  # the shown cversion, the children there are, and who changed them last
        (1, 1, 3), (2, 2, 4), (3, 1, 5), (4, 2, 6), (4, 2, 6),
    ]  # fmt: skip
    assert [(s.cversion, s.num_children, s.pzxid - EPOCH) for s in seen if s] == changes
    for s in seen:
        assert s is not None
        assert (s.czxid, s.mzxid, s.ctime, s.mtime, s.version, s.data_length) == (
            born.czxid, born.mzxid, born.ctime, born.mtime, 0, 3,
        )  # fmt: skip


def test_what_happens_to_a_grandchild_leaves_no_trace(alone: Alone) -> None:
    alone.do(Create("/a"))
    alone.do(Create("/a/b"))
    before = alone.tree.read(Exists("/a"))
    alone.do(Create("/a/b/c"))
    assert alone.tree.read(Exists("/a")) == before


def test_an_ephemeral_shows_its_session() -> None:
    alone = Alone(1, -5)
    assert alone.do(Create("/e", mode=CreateMode.EPHEMERAL), session=-5).stat.ephemeral_owner == -5
    assert alone.do(Create("/p"), session=-5).stat.ephemeral_owner == 0


@pytest.mark.parametrize("data", [None, b""])
def test_null_and_empty_data_read_alike_and_are_told_apart(alone: Alone, data: bytes | None) -> None:
    alone.do(Create("/born", data))
    alone.do(Create("/set", b"x"))
    alone.do(SetData("/set", data))
    for path in ("/born", "/set"):
        answer = alone.tree.read(GetData(path))
        assert answer.data == b""
        assert answer.stat.data_length == 0
        assert isinstance(answer, NullData) == (data is None)
        assert repr(answer).startswith("NodeData(data=b'', ")
    alone.do(SetData("/born", b""))
    alone.do(Delete("/set"))
    alone.do(Create("/set"))
    for path in ("/born", "/set"):
        assert not isinstance(alone.tree.read(GetData(path)), NullData)
    alone.tree.check()


def test_versions_go_round_at_32_bits(alone: Alone) -> None:
    alone.do(Create("/a"))
    alone.zxid += 1
    alone.tree.apply(alone.zxid, payload(alone.zxid, SetDataTxn("/a", b"", 2**31 - 1)))
    assert alone.do(SetData("/a", b"", version=2**31 - 1)).version == -(2**31)
    with pytest.raises(BadVersionError):
        alone.do(SetData("/a", b"", version=2**31 - 1))
    assert alone.do(SetData("/a", b"", version=-(2**31))).version == -(2**31) + 1


def test_a_stat_is_the_state_when_it_was_read_and_in_every_way_a_stat(alone: Alone) -> None:
    alone.do(Create("/a", b"x"))
    seen = alone.tree.read(GetData("/a")).stat
    untouched = alone.tree.read(GetData("/a")).stat
    alone.do(SetData("/a", b"yy"))
    plain = stat(czxid=EPOCH + 2, mzxid=EPOCH + 2, pzxid=EPOCH + 2, ctime=2000, mtime=2000, data_length=1)
    assert isinstance(seen, Stat)
    assert seen == plain
    assert plain == seen
    assert hash(seen) == hash(plain)
    assert repr(untouched) == repr(plain)
    fresh = alone.tree.read(GetData("/zookeeper")).stat
    assert codec_of(Stat).encode(fresh) == encode(stat(cversion=-2, num_children=2))
    assert pickle.loads(pickle.dumps(untouched)) == plain
    assert not hasattr(seen, "colour")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_request_that_somebody_made_up_is_refused(alone: Alone) -> None:
    class MadeUp(Exists):
        pass

    with pytest.raises(UnimplementedError):
        alone.tree.read(MadeUp("/"))


def test_children_are_named_in_order(alone: Alone) -> None:
    for name in ("b", "a-1", "a", "ä", "B"):
        alone.do(Create(f"/{name}"))
    alone.do(Create("/a/deep"))
    assert alone.tree.read(GetChildren("/")) == ("B", "a", "a-1", "b", "zookeeper", "ä")
    assert alone.tree.read(GetChildren("/a")) == ("deep",)
    assert alone.tree.read(GetChildren("/b")) == ()


@pytest.mark.parametrize("kind", [GetData, GetChildren, GetChildren2])
def test_reading_what_is_missing(alone: Alone, kind: Any) -> None:
    with pytest.raises(NoNodeError) as caught:
        alone.tree.read(kind("/nope"))
    assert caught.value.path == "/nope"
    for path in ("", "nope", "/\ud800", "/zookeeper/"):  # what is no path is the path of nothing
        with pytest.raises(NoNodeError):
            alone.tree.read(kind(path))


def test_existing_is_answered_with_none_or_the_stat(alone: Alone) -> None:
    assert alone.tree.read(Exists("/nope")) is None
    assert alone.tree.read(Exists("/zookeeper")) == stat(cversion=-2, num_children=2)
    assert alone.tree.read(Exists("nope")) is None
    with pytest.raises(BadArgumentsError):
        alone.tree.read(Exists("/a\x00"))


def test_answers_unpack(alone: Alone) -> None:
    assert isinstance(alone.do(Create("/a", b"x")), Created)
    answer = alone.tree.read(GetData("/a"))
    data, seen = answer
    assert isinstance(answer, NodeData)
    assert (data, seen.version) == (b"x", 0)


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_lives_from_its_creation_to_its_end_and_takes_its_ephemerals_along() -> None:
    alone = Alone(1, 2)
    assert dict(alone.tree.sessions) == {1: 4000, 2: 4000}
    alone.do(Create("/keep"), session=2)
    alone.do(Create("/keep/b", mode=CreateMode.EPHEMERAL), session=2)
    alone.do(Create("/a", mode=CreateMode.EPHEMERAL), session=2)
    alone.do(Create("/mine", mode=CreateMode.EPHEMERAL))
    assert alone.tree.ephemerals(2) == ("/a", "/keep/b")
    assert alone.do(CloseSession(), session=2) is None
    alone.tree.check()
    assert dict(alone.tree.sessions) == {1: 4000}
    assert alone.tree.ephemerals(2) == ()
    assert alone.tree.read(GetChildren("/")) == ("keep", "mine", "zookeeper")
    kept = alone.tree.read(Exists("/keep"))
    assert kept is not None
    assert (kept.cversion, kept.num_children, kept.pzxid) == (2, 0, alone.zxid)


def test_creating_a_session_that_lives_gives_it_the_new_timeout(alone: Alone) -> None:
    alone.do(CreateSession(9000))
    assert dict(alone.tree.sessions) == {1: 9000}


# --- what apply tells ------------------------------------------------------------------------------------------------


def test_applied_says_whose_request_it_was_and_what_changed() -> None:
    alone = Alone(1, 2)
    told = []
    for request, session in [
        (Create("/a", mode=CreateMode.EPHEMERAL_SEQUENTIAL), 2),
        (Create("/b", mode=CreateMode.EPHEMERAL), 2),
        (SetData("/b", b""), 1),
        (Delete("/nope"), 1),
        (CloseSession(), 2),
        (Create("/c"), 1),
        (Delete("/c"), 1),
    ]:
        alone.propose(request, session=session)
        told.append(alone.commit_quietly()[1])
    created, deleted, changed = EventType.NODE_CREATED, EventType.NODE_DELETED, EventType.NODE_DATA_CHANGED
    assert told == [
        Applied(EPOCH + 3, 2, 7, 15, 0, "/a0000000000", ((created, "/a0000000000"),)),
        Applied(EPOCH + 4, 2, 7, 15, 0, "/b", ((created, "/b"),)),
        Applied(EPOCH + 5, 1, 7, 5, 0, "/b", ((changed, "/b"),)),
        Applied(EPOCH + 6, 1, 7, -1, -101, "", ()),
        Applied(EPOCH + 7, 2, 7, -11, 0, "", ((deleted, "/a0000000000"), (deleted, "/b"))),
        Applied(EPOCH + 8, 1, 7, 15, 0, "/c", ((created, "/c"),)),
        Applied(EPOCH + 9, 1, 7, 2, 0, "/c", ((deleted, "/c"),)),
    ]
    assert str(told[0]) == "applied 0x1_00000003 type=15 for 0x2/7: NODE_CREATED /a0000000000"
    assert str(told[3]) == "applied 0x1_00000006 type=-1 for 0x1/7: error -101"


def test_a_failed_request_raises_the_exception_of_its_code_with_its_path(alone: Alone) -> None:
    with pytest.raises(NoNodeError, match="/a/b: no such znode") as caught:
        alone.do(Create("/a/b"))
    assert caught.value.path == "/a/b"
    with pytest.raises(SessionExpiredError):
        alone.do(Create("/a"), session=99)
    alone.zxid += 1
    applied = alone.tree.apply(alone.zxid, payload(alone.zxid, ErrorTxn(-9999)))
    with pytest.raises(RequestError, match="-9999"):
        alone.tree.result(Create("/a"), applied)


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_log_replayed_over_the_state_it_led_to_changes_nothing() -> None:
    alone = Alone(1, 2)
    for request in (Create("/a", b"1"), Create("/a/b"), SetData("/a", b"2"), Delete("/a/b"), Create("/a/c")):
        alone.do(request)
    alone.do(Create("/a/e", mode=CreateMode.EPHEMERAL), session=2)
    alone.do(CloseSession(), session=2)
    before = alone.tree.freeze()
    for number, body in enumerate(alone.payloads, start=1):
        alone.tree.apply(EPOCH + number, body)
    alone.tree.check()
    after = alone.tree.freeze()
    assert after.shards == before.shards
    assert after.sessions == before.sessions
    assert after.last_zxid == before.last_zxid


def test_a_create_that_finds_its_znode_still_brings_the_parent_forward() -> None:
    tree = Tree()
    tree.apply(5, payload(5, CreateTxn("/a", b"first", OPEN_ACL, False, 1)))
    applied = tree.apply(9, payload(9, CreateTxn("/a", b"second", OPEN_ACL, False, 4)))
    assert (applied.error, applied.changes) == (-110, ())
    root = tree.read(GetData("/")).stat
    assert (root.cversion, root.pzxid) == (4 * 2 - 2, 9)
    assert tree.read(GetData("/a")).data == b"first"
    tree.apply(7, payload(7, CreateTxn("/a", b"second", OPEN_ACL, False, 2)))
    assert tree.read(GetData("/")).stat == root


def test_a_create_of_the_older_form_counts_the_parent_up_by_one() -> None:
    tree = Tree()
    tree.apply(5, payload(5, CreateTxn("/a", b"", OPEN_ACL, False, -1), kind=1))
    assert tree.read(GetData("/")).stat.cversion == 1 * 2 - 2


def test_a_delete_that_finds_nothing_still_brings_the_parent_forward_and_never_back() -> None:
    tree = Tree()
    tree.apply(5, payload(5, CreateTxn("/a", b"", OPEN_ACL, False, 1)))
    assert tree.apply(9, payload(9, DeleteTxn("/gone"))).error == -101
    assert tree.read(GetData("/")).stat.pzxid == 9
    tree.apply(7, payload(7, DeleteTxn("/gone")))
    assert tree.read(GetData("/")).stat.pzxid == 9
    assert tree.last_zxid == 9


@pytest.mark.parametrize(
    "body", [SetDataTxn("/x", b"", 1), CreateTxn("/x/y", b"", OPEN_ACL, False, 1), DeleteTxn("/x/y")]
)
def test_what_concerns_a_missing_znode_does_nothing(body: Any) -> None:
    tree = Tree()
    assert tree.apply(5, payload(5, body)).error == -101
    assert len(tree) == 4
    tree.check()


def test_closing_a_session_deletes_what_the_transaction_names_and_what_else_the_session_has() -> None:
    tree = Tree()
    for zxid, path in enumerate(("/named", "/unnamed"), start=2):
        tree.apply(zxid, payload(zxid, CreateTxn(path, b"", OPEN_ACL, True, zxid)))
    applied = tree.apply(9, payload(9, CloseSessionTxn(("/gone", "/named"))))
    assert [path for _, path in applied.changes] == ["/named", "/unnamed"]
    assert tree.read(GetChildren("/")) == ("zookeeper",)


# --- what is no transaction ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        payload(5, DeleteTxn("/a"))[:-1],
        payload(5, DeleteTxn("/a")) + b"\x00",
        payload(5, SetDataTxn("/a", b"", 1)) + b"\x00",
        payload(5, CreateTxn("/b", b"", OPEN_ACL, False, 1)) + b"\x00",
        payload(5, CloseSessionTxn(("/a",))) + b"\x00",
        payload(5, ErrorTxn(1)) + b"\x00",
        payload(5, ErrorTxn(1), kind=-10) + b"\x00",
        payload(5, DeleteTxn("/a"), kind=14),
        payload(5, DeleteTxn("/")),
        payload(5, DeleteTxn("a")),
        payload(5, CreateTxn("", b"", OPEN_ACL, False, 1)),
        payload(5, CreateTxn("/b\0c", b"", OPEN_ACL, False, 1)),
        payload(5, CloseSessionTxn(("/a", "a"))),
    ],
)
def test_bytes_that_are_no_transaction_change_nothing(body: bytes) -> None:
    tree = Tree()
    tree.apply(1, payload(1, CreateTxn("/a", b"x", OPEN_ACL, True, 1)))
    with pytest.raises(MalformedFrameError):
        tree.apply(5, body)
    assert tree.last_zxid == 1
    assert tree.read(GetData("/a")).data == b"x"


@given(st.sampled_from([-11, -10, -1, 1, 2, 5, 15]), st.binary(max_size=60))
def test_a_body_of_any_bytes_applies_or_is_a_protocol_error(kind: int, body: bytes) -> None:
    try:
        Tree().apply(5, encode(TxnHeader(1, 0, 5, 0, kind)) + body)
    except ProtocolError:
        pass


def test_a_transaction_prepared_for_another_zxid_stops_the_replica() -> None:
    with pytest.raises(InvariantViolation):
        Tree().apply(6, payload(5, DeleteTxn("/a")))


# --- freezing --------------------------------------------------------------------------------------------------------


def test_a_frozen_state_stays_while_the_tree_goes_on(alone: Alone) -> None:
    for number in range(300):
        alone.do(Create(f"/n{number}", None if number % 2 else b"x"))
    frozen = alone.tree.freeze()
    shards, nulls = [dict(shard) for shard in frozen.shards], [set(some) for some in frozen.nulls]
    for number in range(0, 300, 3):
        alone.do(SetData(f"/n{number}", b"new"))
        alone.do(Delete(f"/n{number + 1}"))
        alone.do(Create(f"/m{number}", None))
    alone.do(CreateSession(1000), session=2)
    assert list(frozen.shards) == shards
    assert list(frozen.nulls) == nulls
    assert dict(frozen.sessions) == {1: 4000}
    assert frozen.last_zxid == EPOCH + 301
    alone.tree.check()


def test_who_the_members_are_is_shown_and_remembered() -> None:
    tree = Tree()
    assert tree.configuration == (0, b"")
    tree.show_members(b"one")
    digest = tree.digest
    assert tree.configure(0x1_0000_0001, b"J").changes == ()
    assert tree.read(GetData("/zookeeper/config")).data == b"one"
    applied = tree.configure(0x1_0000_0002, b"F", text=b"two", time_ms=77, session=5, cxid=6)
    assert (applied.session, applied.cxid, applied.changes) == (
        5, 6, ((EventType.NODE_DATA_CHANGED, "/zookeeper/config"),)
    )  # fmt: skip
    shown = tree.read(GetData("/zookeeper/config"))
    assert (shown.data, shown.stat.version, shown.stat.mzxid, shown.stat.mtime) == (b"two", -1, 0x1_0000_0002, 77)
    assert tree.result(Reconfigure(), applied) == shown
    assert (tree.configuration, tree.last_zxid) == ((0x1_0000_0002, b"F"), 0x1_0000_0002)
    assert tree.digest == digest
    tree.check()
    assert tree.configure(0x1_0000_0001, b"J").changes == ()
    assert tree.configuration == (0x1_0000_0002, b"F")
