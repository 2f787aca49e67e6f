"""ZooKeeper's data model in tables: what each operation changes and needs, and the corners that no other file turns.

A live server agrees with all of it, as far as it can be asked (`test_live_zookeeper.py`).
"""

from __future__ import annotations

from typing import Any

import pytest
from alone import Alone
from attrs import asdict
from watched import RECURSIVE, Watched

from zkcore.errors import (
    BadArgumentsError,
    MultiError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    QuotaExceededError,
)
from zkcore.jute.codec import encode
from zkcore.jute.records import ACL, ANYONE, OPEN_ACL, READ_ACL, CreateTxn, Id, SetACLTxn, Stat, TxnHeader
from zkcore.tree.acl import Permission, digest_id
from zkcore.tree.applied import EventType
from zkcore.tree.cleaning import due
from zkcore.tree.request import Request
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CloseSession,
    Create,
    CreateContainer,
    CreateTTL,
    Delete,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    Multi,
    Once,
    PlainCreate,
    SetACL,
    SetData,
    WhoAmI,
    decode_request,
    encode_request,
)
from zkcore.tree.watch_requests import AddWatch
from zkcore.tree.znode import CreateMode

EPHEMERAL, SEQUENTIAL = CreateMode.EPHEMERAL, CreateMode.PERSISTENT_SEQUENTIAL
BOB = digest_id("bob", "pw")


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (CreateMode, range(7)),
        (Permission, [1, 2, 4, 8, 16]),
        (EventType, [1, 2, 3, 4]),
    ],
)
def test_names_have_zookeepers_numbers(names: Any, numbers: Any) -> None:
    assert [int(each) for each in names] == list(numbers)


# --- what changes in a Stat (2.2) ------------------------------------------------------------------------------------

CHILDREN_CAME = {"cversion": 1, "num_children": 1, "pzxid": "now"}
CHILDREN_WENT = {"cversion": 1, "num_children": -1, "pzxid": "now"}
NOTHING: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("request_", "znode", "parent"),
    [
        (SetData("/p/n", b"new"), {"mzxid": "now", "mtime": "now", "version": 1, "data_length": 3}, NOTHING),
        (SetData("/p/n", b"new", version=0), {"mzxid": "now", "mtime": "now", "version": 1, "data_length": 3}, NOTHING),
        (SetData("/p/n", None), {"mzxid": "now", "mtime": "now", "version": 1}, NOTHING),
        (SetACL("/p/n", READ_ACL), {"aversion": 1}, NOTHING),
        (SetACL("/p/n", READ_ACL, version=0), {"aversion": 1}, NOTHING),
        (Check("/p/n"), NOTHING, NOTHING),
        (Create("/p/n/x"), CHILDREN_CAME, NOTHING),
        (Create("/p/n/x", mode=EPHEMERAL), CHILDREN_CAME, NOTHING),
        (Create("/p/n/", mode=SEQUENTIAL), CHILDREN_CAME, NOTHING),
        (CreateContainer("/p/n/x"), CHILDREN_CAME, NOTHING),
        (CreateTTL("/p/n/x", ttl_ms=1), CHILDREN_CAME, NOTHING),
        (PlainCreate("/p/n/x"), CHILDREN_CAME, NOTHING),
        (Delete("/p/n/child"), CHILDREN_WENT, NOTHING),
        (Create("/p/other"), NOTHING, CHILDREN_CAME),
        (Delete("/p/e"), NOTHING, CHILDREN_WENT),
        (CloseSession(), NOTHING, CHILDREN_WENT),
        (SetData("/p/n/child", b"new"), NOTHING, NOTHING),
        (SetACL("/p/n/child", READ_ACL), NOTHING, NOTHING),
        (Create("/p/n/child/x"), NOTHING, NOTHING),
    ],
)
def test_an_operation_changes_these_fields_of_a_stat_and_no_others(
    request_: Request[Any], znode: dict[str, Any], parent: dict[str, Any]
) -> None:
    alone = Alone(1, 2)
    for request in (Create("/p"), Create("/p/n"), Create("/p/n/child")):
        alone.do(request)
    alone.do(Create("/p/e", mode=EPHEMERAL), session=2)
    before = [alone.ask(Exists(path)) for path in ("/p/n", "/p")]
    alone.do(request_, session=2)
    for path, old, changes in zip(("/p/n", "/p"), before, (znode, parent), strict=True):
        assert changed(old, alone.ask(Exists(path)), alone) == changes


def changed(old: Stat, new: Stat, alone: Alone) -> dict[str, Any]:
    """The fields that differ: versions and numbers by how much, zxids and times by whether they are those of now."""
    before, after = asdict(old), asdict(new)
    found: dict[str, Any] = {}
    for name in before:
        if after[name] != before[name]:
            now = {alone.zxid, alone.now_ms}
            found[name] = "now" if after[name] in now else after[name] - before[name]
    return found


def test_the_version_of_an_acl_goes_round_at_32_bits() -> None:
    alone = Alone()
    alone.do(Create("/a"))
    alone.zxid += 1
    body = SetACLTxn("/a", OPEN_ACL, 2**31 - 1)
    alone.tree.apply(alone.zxid, encode(TxnHeader(1, 0, alone.zxid, 0, SetACLTxn.TYPE)) + encode(body))
    assert alone.do(SetACL("/a", OPEN_ACL, version=2**31 - 1)).aversion == -(2**31)


def test_a_failing_request_uses_up_a_zxid_and_a_multi_one_for_all() -> None:
    alone = Alone()
    first = alone.do(Create("/a")).stat.czxid
    for request in (Create("/a"), Delete("/nope"), SetData("/a", b"", version=9), Multi([Delete("/nope")])):
        assert isinstance(alone.outcome(request), type)
    made = alone.do(Multi([Create("/b"), Create("/c")]))
    assert [answer.stat.czxid - first for answer in made] == [5, 5]


# --- which error wins, where quotas and rights take part (2.3) -------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Create("/q/x", bytes(9)), QuotaExceededError),
        (Create("/q/a", bytes(9)), NodeExistsError),
        (Create("/q/e/x", bytes(9)), NoChildrenForEphemeralsError),
        (Create("/q/x/", bytes(9)), NoNodeError),
        (Create("/q/.", bytes(9)), BadArgumentsError),
        (SetData("/q/a", bytes(9), version=9), QuotaExceededError),
        (SetData("/q/locked", bytes(9), version=9), NoAuthError),
        (SetData("/q/nope", bytes(9)), NoNodeError),
        (Create("/q/locked/x", bytes(9)), NoAuthError),
    ],
)
def test_a_quota_is_the_last_check_of_a_create_and_the_last_but_one_of_a_set(
    request_: Request[Any], error: type[Exception]
) -> None:
    alone = Alone()
    for request in [
        Create("/q"), Create("/q/a"), Create("/q/e", mode=EPHEMERAL), Create("/q/locked", acl=READ_ACL),
        Create("/zookeeper/quota/q"), Create("/zookeeper/quota/q/zookeeper_limits", b"byteHardLimit=5"),
    ]:  # fmt: skip
        alone.do(request)
    assert alone.outcome(request_) is error


def test_no_version_deletes_or_checks_anything_but_its_own_and_minus_one_any() -> None:
    alone = Alone()
    alone.do(Create("/a"))
    alone.do(SetData("/a", b""))
    assert [alone.outcome(Check("/a", version)) is None for version in (-2, -1, 0, 1, 2)] == [0, 1, 0, 1, 0]


# --- what makes a server die, and what else is no create (2.4, and one malformed request must stop nobody) -----------


@pytest.mark.parametrize("wrap", [lambda made: made, lambda made: Multi([made]), lambda made: Once(1, 1, made)])
@pytest.mark.parametrize(
    ("mode", "ttl_ms"),
    [(mode, ttl_ms) for mode in (-1, 0, 1, 2, 3, 4, 7, 2**31 - 1) for ttl_ms in (-(2**63), -1, 0, 1, 2**40)]
    + [(mode, ttl_ms) for mode in (5, 6) for ttl_ms in (-(2**63), -1, 0, 2**40, 2**63 - 1)],
)
def test_a_time_to_live_that_cannot_be_is_refused_in_whatever_it_comes(wrap: Any, mode: int, ttl_ms: int) -> None:
    """Flags 0 and a time to live of -1 end a live server for good: it logs what it cannot apply."""
    alone = Alone()
    request = decode_request(*encode_request(wrap(CreateTTL("/x", mode=mode, ttl_ms=ttl_ms))))
    with pytest.raises((BadArgumentsError, MultiError)) as caught:
        alone.do(request)
    assert isinstance(getattr(caught.value, "error", caught.value), BadArgumentsError)
    assert alone.do(Create("/still-here")).path == "/still-here"
    assert alone.ask(Exists("/x")) is None
    alone.tree.check()


@pytest.mark.parametrize("mode", [CreateMode.PERSISTENT_WITH_TTL, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, 7, -1])
@pytest.mark.parametrize("kind", [Create, PlainCreate, CreateContainer])
def test_a_mode_that_says_nothing_of_its_time_to_live_is_refused(kind: Any, mode: int) -> None:
    assert Alone().outcome(kind("/x", mode=mode)) is BadArgumentsError


def test_only_a_change_of_data_renews_a_time_to_live() -> None:
    alone = Alone()
    alone.do(CreateTTL("/t", ttl_ms=1000))  # at 2000
    for request in (SetACL("/t", OPEN_ACL), Create("/t/x"), Delete("/t/x"), Check("/t")):
        alone.do(request)
    assert [[each.path for each in due(alone.tree, now, most=9)] for now in (3000, 3001)] == [[], ["/t"]]


def test_whoever_adds_a_child_must_expect_that_the_container_has_gone() -> None:
    alone = Alone()
    for request in (CreateContainer("/c"), Create("/c/x"), Delete("/c/x")):
        alone.do(request)
    (cleanup,) = due(alone.tree, 0, most=9)
    alone.do(cleanup, session=0)
    assert alone.outcome(Create("/c/y")) is NoNodeError


@pytest.mark.parametrize(
    "request_", [Create("/zookeeper/a"), SetData("/zookeeper", b"x"), Create("/zookeeper/quota/a"), SetData("/", b"x")]
)
def test_below_zookeepers_own_znodes_everybody_may_write(request_: Request[Any]) -> None:
    alone = Alone()
    assert not isinstance(alone.outcome(request_), type)
    if isinstance(request_, Create):
        assert alone.do(Delete(request_.path)) is None


# --- the older create ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind"), [(0, CreateTxn.TYPE), (EPHEMERAL, CreateTxn.TYPE), (SEQUENTIAL, CreateTxn.TYPE), (4, 19)]
)
def test_the_older_create_is_answered_with_the_path_and_logged_as_what_it_is(mode: int, kind: int) -> None:
    alone, other = Alone(), Alone()
    alone.propose(PlainCreate("/x", b"data", mode=mode))
    request, applied = alone.commit_quietly()
    assert applied.type == kind
    made = other.do(Create("/x", b"data", mode=mode))
    assert alone.tree.result(request, applied) == made.path
    assert alone.ask(GetData(made.path)) == other.ask(GetData(made.path))
    assert alone.tree.digest == other.tree.digest


def test_a_multi_answers_each_create_as_it_was_asked() -> None:
    alone = Alone()
    operations = [PlainCreate("/a"), Create("/b"), PlainCreate("/c-", mode=SEQUENTIAL), Delete("/a"), CheckAbsent("/a")]
    plain, whole, numbered, *nothing = alone.do(decode_request(*encode_request(Multi(operations))))
    assert (plain, whole.path, numbered, nothing) == ("/a", "/b", "/c-0000000002", [None, None])
    once = Once(1, 1, PlainCreate("/d-", mode=SEQUENTIAL))
    assert alone.do(once) == alone.do(once) == "/d-0000000003"


# --- watches (2.7) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [SetACL("/p", READ_ACL), Check("/p"), Multi([Check("/p")])])
def test_no_watch_is_told_of_acls_and_of_checks(request_: Request[Any]) -> None:
    world = Watched()
    world.do(Create("/p"))
    world.watch(GetData("/p", True), GetChildren("/p", True), GetChildren("/", True), AddWatch("/p"))
    world.watch(AddWatch("/", RECURSIVE))
    assert world.tell(request_) == []
    assert len(world.watches) == 5


# --- rights (2.10) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [GetData("/p/open"), SetData("/p/open", b""), Create("/p/open/x"), GetChildren2("/p/open")]
)
def test_an_acl_holds_for_one_znode_and_not_for_those_below(request_: Request[Any]) -> None:
    alone = Alone()
    for request in (Create("/p"), Create("/p/open"), SetACL("/p", (ACL(31, BOB),))):
        alone.do(request)
    assert not isinstance(alone.outcome(request_), type)


def test_a_child_may_be_made_below_what_may_not_be_read() -> None:
    alone = Alone()
    alone.do(Create("/p", acl=(ACL(int(Permission.CREATE), ANYONE),)))
    assert alone.do(Create("/p/x")).path == "/p/x"
    assert alone.outcome(GetChildren("/p")) is NoAuthError


@pytest.mark.parametrize("request_", [GetEphemerals(), WhoAmI(), GetEphemerals("/p")])
def test_what_concerns_the_asker_alone_needs_no_right(request_: Request[Any]) -> None:
    alone = Alone()
    alone.do(Create("/p", acl=(ACL(31, BOB),)))
    assert alone.outcome(request_) == ()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (Permission.READ, "digest:bob:x:1"),
        (Permission.READ | Permission.ADMIN, f"{BOB}:17"),
        (Permission.ADMIN, f"{BOB}:16"),
    ],
)
def test_an_acl_is_shown_to_who_may_read_or_administer(given: int, shown: str) -> None:
    alone = Alone()
    alone.do(Create("/p", acl=(ACL(given, BOB),)))
    assert [str(entry) for entry in alone.ask(GetACL("/p"), ids=(BOB,)).acl] == [shown]
    assert alone.outcome(GetACL("/p"), ids=(Id("digest", "eve:x"),)) is NoAuthError


# --- other requests (2.12) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", ("/a/b", "/ab", "/c")),
        ("/", ("/a/b", "/ab", "/c")),
        ("/a", ("/a/b", "/ab")),
        ("/a/", ("/a/b",)),
        ("/c", ("/c",)),
        ("c", ()),
        ("/nope", ()),
    ],
)
def test_ephemerals_are_the_sessions_own_and_those_that_begin_like_this(prefix: str, found: tuple[str, ...]) -> None:
    alone = Alone(1, 2)
    alone.do(Create("/a"))
    for path in ("/ab", "/c", "/a/b"):
        alone.do(Create(path, mode=EPHEMERAL))
    alone.do(Create("/a/theirs", mode=EPHEMERAL), session=2)
    assert alone.ask(GetEphemerals(prefix)) == found


@pytest.mark.parametrize(("path", "number"), [("/", 8), ("/a", 3), ("/a/b", 1), ("/ab", 0), ("/zookeeper", 2)])
def test_all_children_are_those_at_any_depth(path: str, number: int) -> None:
    alone = Alone()
    assert alone.ask(GetAllChildrenNumber("/")) == 3
    for each in ("/a", "/a/b", "/a/b/c", "/a/d", "/ab"):
        alone.do(Create(each))
    assert alone.ask(GetAllChildrenNumber(path)) == number
