"""From requests to transactions: the bytes, which error wins, and what is still outstanding."""

from __future__ import annotations

from typing import Any

import pytest
from alone import EPOCH, Alone
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zkcore.errors import (
    BY_CODE,
    BadArgumentsError,
    BadVersionError,
    InvalidACLError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    UnimplementedError,
)
from zkcore.jute.codec import decode, encode
from zkcore.jute.records import ACL, OPEN_ACL, READ_ACL, CreateTxn, ErrorTxn, Id, TxnHeader
from zkcore.tree.prepare import MAX_DATA, MAX_SEQUENCE
from zkcore.tree.requests import (
    Check,
    CloseSession,
    Create,
    CreateContainer,
    CreateSession,
    CreateTTL,
    Delete,
    Exists,
    GetChildren,
    GetData,
    Request,
    SetACL,
    SetData,
)
from zkcore.tree.writes import CleanUp
from zkcore.tree.znode import MAX_TTL, CreateMode

EPHEMERAL, SEQUENTIAL = CreateMode.EPHEMERAL, CreateMode.PERSISTENT_SEQUENTIAL
TOO_LARGE = bytes(MAX_DATA + 1)
OTHERS_ACL = (*OPEN_ACL, ACL(1, Id("world", "anyone")))
NOBODYS_ACL = (*OPEN_ACL, ACL(1, Id("world", "somebody")))


# --- bytes -----------------------------------------------------------------------------------------------------------

HEADER = "0000000000000001 00000007 0000000100000005 0000000000000fa0"  # session 1, cxid 7, zxid, four seconds
OPEN = "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"


@pytest.mark.parametrize(
    ("request_", "golden"),
    [
        (Create("/b", b"x"), f"0000000f 00000002 2f62 00000001 78 {OPEN} 00 00000004"),
        (Create("/b", None, mode=EPHEMERAL), f"0000000f 00000002 2f62 ffffffff {OPEN} 01 00000004"),
        (Create("/b", mode=SEQUENTIAL), f"0000000f 0000000c 2f6230303030303030303033 00000000 {OPEN} 00 00000004"),
        (SetData("/a", b"x"), "00000005 00000002 2f61 00000001 78 00000001"),
        (Delete("/a"), "00000002 00000002 2f61"),
        (Delete("/nope"), "ffffffff ffffff9b"),
        (CreateContainer("/b", b"x"), f"00000013 00000002 2f62 00000001 78 {OPEN} 00000004"),
        (CreateTTL("/b", b"x", ttl_ms=9), f"00000015 00000002 2f62 00000001 78 {OPEN} 00000004 0000000000000009"),
        (SetACL("/a", READ_ACL), "00000007 00000002 2f61" + OPEN.replace("1f", "01", 1) + "00000001"),
        (Check("/a", 0), "0000000d 00000002 2f61 00000000"),
        (CreateSession(30000), "fffffff6 00007530"),
        (CloseSession(), "fffffff5 00000002 00000002 2f65 00000002 2f66"),
    ],
)
def test_a_transaction_is_a_header_and_a_body_in_zookeepers_layout(request_: Request[Any], golden: str) -> None:
    alone = Alone()
    for request in (Create("/a"), Create("/f", mode=EPHEMERAL), Create("/e", mode=EPHEMERAL)):
        alone.do(request)
    payload = alone.preparer.prepare(EPOCH + 5, 4000, 1, 7, request_)
    alone.tree.apply(EPOCH + 5, payload)
    digest = "" if golden.startswith("ffffffff") else f"00000002{alone.tree.digest:016x}"
    assert payload.hex() == (HEADER + golden).replace(" ", "") + digest


# --- which error wins ------------------------------------------------------------------------------------------------
# The order of checks of ZooKeeper's PrepRequestProcessor: in each line everything wrong that comes later is wrong too.

WORLD = [
    (Create("/parent"), 1), (Create("/parent/child"), 1), (Create("/eph", mode=EPHEMERAL), 1), (Create("/set"), 1),
    (SetData("/set", b""), 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("session", "request_", "error"),
    [
        # create
        (9, Create("x", TOO_LARGE, acl=(), mode=CreateMode.PERSISTENT_WITH_TTL), BadArgumentsError),
        (9, Create("x", acl=(), mode=CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL), BadArgumentsError),
        (9, CreateTTL("/x", mode=0, ttl_ms=-1), BadArgumentsError),  # a live server dies of it, at every start
        (9, CreateTTL("/x", mode=0, ttl_ms=5), BadArgumentsError),
        (9, CreateTTL("/x", mode=CreateMode.CONTAINER, ttl_ms=5), BadArgumentsError),
        (9, CreateTTL("/x", mode=9, ttl_ms=5), BadArgumentsError),
        (9, CreateTTL("/x", ttl_ms=0), BadArgumentsError),
        (9, CreateTTL("/x", ttl_ms=MAX_TTL + 1), BadArgumentsError),
        (9, CreateTTL("/x", ttl_ms=1), SessionExpiredError),
        (9, Create("x", mode=CreateMode.CONTAINER), SessionExpiredError),
        (9, CreateContainer("x", mode=CreateMode.PERSISTENT_WITH_TTL), BadArgumentsError),
        (9, CreateContainer("x", mode=CreateMode.EPHEMERAL), SessionExpiredError),
        (9, Create("x", acl=(), mode=7), BadArgumentsError),
        (9, Create("x", acl=(), mode=-1), BadArgumentsError),
        (9, Create("x", TOO_LARGE, acl=()), SessionExpiredError),
        (0, Create("/x"), SessionExpiredError),
        (1, Create("", acl=()), BadArgumentsError),
        (1, Create("x", acl=()), BadArgumentsError),
        (1, Create("/nope/x\x00", acl=()), BadArgumentsError),
        (1, Create("/nope/x", TOO_LARGE, acl=()), BadArgumentsError),
        (1, Create("/nope/x//", acl=()), InvalidACLError),
        (1, Create("/nope/x//", acl=NOBODYS_ACL), InvalidACLError),
        (1, Create("/nope/x"), NoNodeError),
        (1, Create("nope/x"), NoNodeError),
        (1, Create("/nope/\ud800"), NoNodeError),
        (1, Create("/\ud800/x"), NoNodeError),
        (1, Create("/eph/."), BadArgumentsError),
        (1, Create("/eph/"), BadArgumentsError),
        (1, Create("/eph/x\x01"), BadArgumentsError),
        (1, Create("/parent/child"), NodeExistsError),
        (1, Create("/"), NodeExistsError),
        (1, Create("/eph/x"), NoChildrenForEphemeralsError),
        (1, Create("/eph/", mode=SEQUENTIAL), NoChildrenForEphemeralsError),
        # delete
        (9, Delete("x"), SessionExpiredError),
        (1, Delete("x"), BadArgumentsError),
        (1, Delete(""), BadArgumentsError),
        (1, Delete("/nope/\x00"), BadArgumentsError),
        (1, Delete("/"), BadArgumentsError),
        (1, Delete("/zookeeper", 9), BadArgumentsError),
        (1, Delete("/zookeeper/quota"), BadArgumentsError),
        (1, Delete("/zookeeper/config"), BadArgumentsError),
        (1, Delete("/nope/x", 9), NoNodeError),
        (1, Delete("/nope", 9), NoNodeError),
        (1, Delete("/\ud800"), NoNodeError),
        (1, Delete("/parent", 9), BadVersionError),
        (1, Delete("/parent", -2), BadVersionError),
        (1, Delete("/parent", 0), NotEmptyError),
        # set
        (9, SetData("x", TOO_LARGE), SessionExpiredError),
        (1, SetData("", b""), BadArgumentsError),
        (1, SetData("x", b"", version=9), BadArgumentsError),
        (1, SetData("/nope/", b""), BadArgumentsError),
        (1, SetData("/\ud800", b""), BadArgumentsError),
        (1, SetData("/nope", TOO_LARGE), BadArgumentsError),
        (1, SetData("/nope", b"", version=9), NoNodeError),
        (1, SetData("/set", b"", version=0), BadVersionError),
        (1, SetData("/set", b"", version=2**40), BadVersionError),
        # check, and set the ACL
        (9, Check("x"), SessionExpiredError),
        (1, Check("/nope/", 9), BadArgumentsError),
        (1, Check("/nope", 9), NoNodeError),
        (1, Check("/set", 0), BadVersionError),
        (9, SetACL("x", ()), SessionExpiredError),
        (1, SetACL("/nope/", ()), BadArgumentsError),
        (1, SetACL("/nope", (), version=9), InvalidACLError),
        (1, SetACL("/nope", OPEN_ACL, version=9), NoNodeError),
        (1, SetACL("/set", OPEN_ACL, version=1), BadVersionError),
        # what only the leader asks for
        (1, CleanUp("/set", 0), UnimplementedError),
        (0, CleanUp("/nope", 0), NoNodeError),
        (0, CleanUp("/parent", 0), NotEmptyError),
        (0, CleanUp("/set", EPOCH + 7), BadVersionError),
        # sessions
        (9, CloseSession(), SessionExpiredError),
        (2, CreateSession(0), BadArgumentsError),
        (2, CreateSession(-1), BadArgumentsError),
        (2, CreateSession(2**31), BadArgumentsError),
        (0, CreateSession(4000), BadArgumentsError),
        (-(2**63), CreateSession(4000), BadArgumentsError),  # ZooKeeper's mark of a container
        (-(2**56) + 4000, CreateSession(4000), BadArgumentsError),  # and of a time to live
        # what never becomes a transaction
        (1, GetData("/set"), UnimplementedError),
    ],
)
def test_the_first_check_that_fails_decides(session: int, request_: Request[Any], error: type[Exception]) -> None:
    alone = Alone()
    for request, owner in WORLD:
        alone.do(request, session=owner)
    before = alone.tree.freeze()
    payload = alone.preparer.prepare(alone.zxid + 1, 123, session, 5, request_)
    header = decode(TxnHeader, payload[:32])
    assert header == TxnHeader(session, 5, alone.zxid + 1, 123, ErrorTxn.TYPE)
    assert BY_CODE[decode(ErrorTxn, payload[32:]).code] is error
    applied = alone.tree.apply(alone.zxid + 1, payload)
    with pytest.raises(error):
        alone.tree.result(request_, applied)
    after = alone.tree.freeze()
    assert evolve(after, last_zxid=before.last_zxid) == before
    assert after.last_zxid == before.last_zxid + 1


def test_an_acl_entry_given_twice_counts_once() -> None:
    assert Alone().do(Create("/a", acl=OPEN_ACL * 2)).path == "/a"


def test_the_largest_data_allowed() -> None:
    alone = Alone()
    alone.do(Create("/a", bytes(MAX_DATA)))
    assert alone.do(SetData("/a", bytes(MAX_DATA))).data_length == 1048575


# --- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [-1, 1])
def test_a_version_that_is_minus_one_or_right_lets_through(version: int) -> None:
    alone = Alone()
    alone.do(Create("/a"))
    alone.do(SetData("/a", b""))
    assert alone.do(SetData("/a", b"", version=version)).version == 2
    alone.do(Delete("/a", version=2 if version == 1 else -1))
    assert alone.tree.read(Exists("/a")) is None


# --- sequential names ------------------------------------------------------------------------------------------------


def test_the_number_counts_every_child_ever_created_whatever_its_name() -> None:
    alone = Alone()
    alone.do(Create("/q"))
    names = []
    for path, mode in [
        ("/q/a-", SEQUENTIAL), ("/q/b-", SEQUENTIAL), ("/q/plain", 0), ("/q/", SEQUENTIAL),
        ("/q/e-", CreateMode.EPHEMERAL_SEQUENTIAL),
    ]:  # fmt: skip
        names.append(alone.do(Create(path, mode=mode)).path)
    alone.do(Delete("/q/plain"))
    names.append(alone.do(Create("/q/a-", mode=SEQUENTIAL)).path)
    assert names == [
        "/q/a-0000000000", "/q/b-0000000001", "/q/plain", "/q/0000000003", "/q/e-0000000004", "/q/a-0000000005",
    ]  # fmt: skip


def test_a_failed_create_uses_up_no_number_and_setting_the_parent_neither() -> None:
    alone = Alone()
    alone.do(Create("/q"))
    alone.do(Create("/q/x"))
    with pytest.raises(NodeExistsError):
        alone.do(Create("/q/x"))
    alone.do(SetData("/q", b""))
    assert alone.do(Create("/q/", mode=SEQUENTIAL)).path == "/q/0000000001"


def test_the_numbers_begin_again_below_a_parent_that_was_deleted_and_created_anew() -> None:
    alone = Alone()
    for request in (Create("/q"), Create("/q/x"), Delete("/q/x"), Delete("/q"), Create("/q")):
        alone.propose(request)
    alone.propose(Create("/q/", mode=SEQUENTIAL))
    paths = [alone.commit() for _ in range(6)]
    assert paths[-1].path == "/q/0000000000"


def test_below_the_root_too() -> None:
    assert Alone().do(Create("/", mode=SEQUENTIAL)).path == "/0000000000"


def at_the_end_of_the_numbers(created: int) -> Alone:
    alone = Alone()
    alone.do(Create("/q"))
    alone.zxid += 1
    body = CreateTxn("/q/last", b"", OPEN_ACL, False, created)
    alone.tree.apply(alone.zxid, encode(TxnHeader(1, 0, alone.zxid, 0, CreateTxn.TYPE)) + encode(body))
    return alone


def test_a_parent_that_used_up_its_numbers_never_gives_one_out_twice() -> None:
    alone = at_the_end_of_the_numbers(MAX_SEQUENCE - 1)
    assert alone.do(Create("/q/", mode=SEQUENTIAL)).path == "/q/2147483646"
    alone.do(Delete("/q/2147483646"))
    for _ in range(2):
        with pytest.raises(NodeExistsError):
            alone.do(Create("/q/", mode=SEQUENTIAL))
    made = alone.do(Create("/q/plain"))
    seen = alone.tree.read(Exists("/q"))
    assert (seen.pzxid, seen.num_children, seen.cversion) == (made.stat.czxid, 2, -4)  # twice the count, round 32 bits
    alone.tree.check()


# --- outstanding -----------------------------------------------------------------------------------------------------


def outcomes(alone: Alone) -> list[Any]:
    """Commit everything; the answers, exceptions by their class."""
    found: list[Any] = []
    while alone.outstanding:
        try:
            found.append(alone.commit())
        except Exception as error:
            found.append(type(error))
    return found


def test_requests_meet_the_state_that_those_before_them_will_leave() -> None:
    alone = Alone()
    for request in [
        Create("/a"), Create("/a"), Create("/a/b"), Delete("/a"), SetData("/a/b", b"1", version=0),
        SetData("/a/b", b"2", version=0), SetData("/a/b", b"3", version=1), Delete("/a/b", 1), Delete("/a/b", 2),
        SetData("/a/b", b""), Create("/a/", mode=SEQUENTIAL), Delete("/a/0000000001"), Delete("/a"), Create("/a/c"),
        Create("/e", mode=EPHEMERAL), Create("/e/f"),
    ]:  # fmt: skip
        alone.propose(request)
    found = outcomes(alone)
    failed = {number: outcome for number, outcome in enumerate(found) if isinstance(outcome, type)}
    assert failed == {
        1: NodeExistsError, 3: NotEmptyError, 5: BadVersionError, 7: BadVersionError, 9: NoNodeError, 13: NoNodeError,
        15: NoChildrenForEphemeralsError,
    }  # fmt: skip
    assert [outcome.version for outcome in (found[4], found[6])] == [1, 2]
    alone.tree.check()


def test_what_the_tree_has_reached_is_forgotten() -> None:
    alone = Alone()
    for _ in range(3):
        for request in (Create("/a"), SetData("/a", b""), Create("/a/e", mode=EPHEMERAL), Delete("/a/e"), Delete("/a")):
            alone.propose(request)
    alone.propose(CreateSession(1), session=2)
    assert alone.preparer.outstanding > 0
    assert outcomes(alone)
    assert alone.preparer.outstanding == 0
    held = alone.preparer._outstanding
    assert not any((held._znodes, held._ephemerals, held._sessions, held._size, held._count))


def test_what_was_forgotten_and_touched_again_is_not_forgotten_too_early() -> None:
    alone = Alone()
    alone.do(Create("/a"))
    alone.propose(SetData("/a", b"1"))
    alone.propose(SetData("/a", b"2"))
    alone.commit()
    alone.propose(SetData("/a", b"3", version=2))
    assert [answer.version for answer in outcomes(alone)] == [2, 3]


def test_a_session_that_is_ending_gets_nothing_more_and_takes_what_is_in_flight_along() -> None:
    alone = Alone(1, 2)
    alone.do(Create("/old", mode=EPHEMERAL), session=2)
    alone.do(Create("/gone", mode=EPHEMERAL), session=2)
    for request in [
        Create("/new", mode=EPHEMERAL), Delete("/gone"), Create("/brief", mode=EPHEMERAL), Delete("/brief"),
        Create("/stays"), CloseSession(), Create("/late", mode=EPHEMERAL), SetData("/stays", b""), Delete("/stays"),
        CreateSession(4000), CloseSession(),
    ]:  # fmt: skip
        alone.propose(request, session=2)
    alone.propose(Create("/new"))
    alone.propose(Delete("/old"))
    found = outcomes(alone)
    assert found[6:11] == [SessionExpiredError] * 5
    assert found[11].path == "/new"
    assert found[12] is NoNodeError
    assert alone.tree.read(GetChildren("/")) == ("new", "stays", "zookeeper")
    assert dict(alone.tree.sessions) == {1: 4000}
    alone.tree.check()
    alone.do(CreateSession(4000), session=2)
    assert alone.do(Create("/late", mode=EPHEMERAL), session=2).path == "/late"


def test_a_session_that_ends_leaves_alone_what_others_made_in_the_place_of_its_ephemerals() -> None:
    alone = Alone(1, 2)
    alone.do(Create("/p"))
    for path in ("/p/e", "/p/f", "/p/g"):
        alone.do(Create(path, mode=EPHEMERAL), session=2)
    for request in (Delete("/p/e"), Create("/p/e"), Delete("/p/f"), Create("/p/f", mode=EPHEMERAL), Delete("/p/g")):
        alone.propose(request)
    alone.propose(CloseSession(), session=2)
    alone.propose(Delete("/p"))
    assert outcomes(alone)[-1] is NotEmptyError
    assert alone.tree.read(GetChildren("/p")) == ("e", "f")
    assert alone.tree.ephemerals(1) == ("/p/f",)


def test_the_parent_of_an_ephemeral_is_free_while_the_end_of_its_session_is_outstanding() -> None:
    alone = Alone(1, 2)
    alone.do(Create("/p"))
    alone.do(Create("/p/e", mode=EPHEMERAL), session=2)
    alone.propose(CloseSession(), session=2)
    alone.propose(Delete("/p"))
    assert outcomes(alone) == [None, None]


def test_a_session_serves_before_its_creation_is_applied() -> None:
    alone = Alone()
    alone.propose(CreateSession(4000), session=2)
    alone.propose(Create("/e", mode=EPHEMERAL), session=2)
    alone.propose(CloseSession(), session=2)
    alone.propose(CreateSession(4000), session=2)
    assert outcomes(alone)[1].path == "/e"
    assert alone.tree.read(Exists("/e")) is None
    assert dict(alone.tree.sessions) == {1: 4000}


def test_a_session_lives_for_the_leader_from_its_creation_in_flight_to_its_end_in_flight() -> None:
    alone = Alone()
    seen = [alone.preparer.is_live(2)]
    for request in (CreateSession(4000), CloseSession()):
        alone.propose(request, session=2)
        seen.append(alone.preparer.is_live(2))
        alone.commit()
        seen.append(alone.preparer.is_live(2))
    assert seen == [False, True, True, False, False]


def test_an_ephemeral_created_again_in_flight_is_closed_with_its_session() -> None:
    alone = Alone(1, 2)
    alone.do(Create("/e", mode=EPHEMERAL), session=2)
    alone.propose(Delete("/e"))
    alone.propose(Create("/e", mode=EPHEMERAL), session=2)
    alone.propose(Delete("/e"))
    alone.propose(Create("/e", mode=EPHEMERAL), session=2)
    for _ in range(3):
        alone.commit()
    alone.propose(CloseSession(), session=2)
    outcomes(alone)
    assert alone.tree.read(Exists("/e")) is None
    alone.tree.check()


# --- anything --------------------------------------------------------------------------------------------------------

anything = st.one_of(st.text(), st.text("/.a\x00\ud800\U0001f512").map(lambda tail: "/" + tail))
numbers = st.integers() | st.integers(-2, 8)
acls = st.sampled_from([OPEN_ACL, (), OTHERS_ACL, NOBODYS_ACL, OPEN_ACL * 2])
requests = st.one_of(
    st.builds(Create, anything, st.none() | st.binary(max_size=3), acl=acls, mode=numbers),
    st.builds(Delete, anything, numbers),
    st.builds(SetData, anything, st.none() | st.binary(max_size=3), version=numbers),
    st.builds(CreateContainer, anything, st.none() | st.binary(max_size=3), acl=acls, mode=numbers),
    st.builds(CreateTTL, anything, st.none() | st.binary(max_size=3), acl=acls, mode=numbers, ttl_ms=numbers),
    st.builds(SetACL, anything, acls, version=numbers),
    st.builds(Check, anything, numbers),
    st.builds(CleanUp, anything, numbers),
    st.builds(CreateSession, numbers),
    st.just(CloseSession()),
    st.builds(GetData, anything),
)


@given(st.lists(st.tuples(st.sampled_from([1, 1, 1, 0, 9, -(2**63)]), requests), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no clock decides
def test_nothing_that_a_client_sends_raises_and_every_transaction_applies(sent: list[tuple[int, Request[Any]]]) -> None:
    alone = Alone()
    for session, request in sent:
        alone.propose(request, session=session)
    while alone.outstanding:
        alone.commit_quietly()
    alone.tree.check()


def test_a_session_that_has_ended_can_begin_anew_while_changes_made_since_are_outstanding() -> None:
    alone = Alone(1, 2)
    alone.propose(CloseSession(), session=2)
    alone.propose(Create("/a"))
    alone.commit()
    alone.propose(CreateSession(4000), session=2)
    assert outcomes(alone)[1] is None
    assert 2 in alone.tree.sessions
