"""What ZooKeeper does not have: checks of all kinds, creates and deletes that mind no race, whole trees, pages."""

from __future__ import annotations

from typing import Any

import pytest
from alone import Alone
from hypothesis import given, settings
from hypothesis import strategies as st

from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    MultiError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
)
from zkcore.jute.records import ACL, ANYONE
from zkcore.tree.acl import digest_id
from zkcore.tree.requests import (
    CheckAbsent,
    CheckStat,
    Child,
    ChildKind,
    ChildPage,
    Condition,
    Create,
    CreateContainer,
    CreateIfAbsent,
    CreateWithParents,
    Delete,
    DeleteIfPresent,
    DeleteTree,
    Exists,
    GetChildren,
    GetData,
    ListChildren,
    Multi,
    Relation,
    SetData,
    StatField,
    decode_request,
    encode_request,
)
from zkcore.tree.znode import CreateMode

EPHEMERAL, SEQUENTIAL = CreateMode.EPHEMERAL, CreateMode.PERSISTENT_SEQUENTIAL
BOB = digest_id("bob", "pw")
BOBS = (ACL(31, BOB),)
GROWING = (ACL(5, ANYONE),)  # READ and CREATE


@pytest.fixture
def alone() -> Alone:
    """With /a, which has data, /a/b and /a/b/c; and /secret, which is Bob's."""
    alone = Alone()
    for request in (Create("/a", b"data"), Create("/a/b"), Create("/a/b/c"), Create("/secret", acl=BOBS)):
        alone.do(request)
    return alone


# --- checks ----------------------------------------------------------------------------------------------------------


def test_a_check_that_a_znode_is_absent(alone: Alone) -> None:
    assert alone.outcome(CheckAbsent("/nope")) is None
    assert alone.outcome(CheckAbsent("/a")) is NodeExistsError
    assert alone.outcome(CheckAbsent("nope")) is BadArgumentsError
    with pytest.raises(MultiError) as caught:
        alone.do(Multi([CheckAbsent("/x"), Create("/x"), CheckAbsent("/x")]))
    assert caught.value.index == 2


@pytest.mark.parametrize(
    ("field", "relation", "value", "holds"),
    [
        (StatField.VERSION, Relation.EQUAL, 0, True),
        (StatField.VERSION, Relation.EQUAL, 1, False),
        (StatField.VERSION, Relation.NOT_EQUAL, 1, True),
        (StatField.NUM_CHILDREN, Relation.LESS, 2, True),
        (StatField.NUM_CHILDREN, Relation.LESS, 1, False),
        (StatField.NUM_CHILDREN, Relation.AT_MOST, 1, True),
        (StatField.DATA_LENGTH, Relation.GREATER, 3, True),
        (StatField.DATA_LENGTH, Relation.GREATER, 4, False),
        (StatField.DATA_LENGTH, Relation.AT_LEAST, 4, True),
        (StatField.CVERSION, Relation.EQUAL, 1, True),
        (StatField.EPHEMERAL_OWNER, Relation.EQUAL, 0, True),
        (StatField.CTIME, Relation.EQUAL, 2000, True),
        (StatField.PZXID, Relation.GREATER, 1 << 40, False),
        (11, Relation.EQUAL, 0, BadArgumentsError),
        (StatField.VERSION, 6, 0, BadArgumentsError),
    ],
)
def test_a_check_of_any_field_of_the_stat(alone: Alone, field: int, relation: int, value: int, holds: Any) -> None:
    expected = {True: None, False: BadVersionError}.get(holds, holds)
    assert alone.outcome(CheckStat("/a", [Condition(field, relation, value)])) is expected


def test_all_conditions_must_hold_of_what_is_outstanding(alone: Alone) -> None:
    both = [Condition(StatField.VERSION, Relation.EQUAL, 1), Condition(StatField.NUM_CHILDREN, Relation.EQUAL, 2)]
    alone.propose(SetData("/a", b""))
    alone.propose(CheckStat("/a", both))
    alone.propose(Create("/a/x"))
    alone.propose(CheckStat("/a", both))
    assert [alone.commit_quietly()[1].error for _ in range(4)] == [0, BadVersionError.code, 0, 0]
    assert alone.outcome(CheckStat("/nope", both)) is NoNodeError
    assert alone.outcome(CheckStat("/secret", both)) is NoAuthError


# --- if absent, if present -------------------------------------------------------------------------------------------


def test_a_create_where_there_is_a_znode_leaves_it_and_answers_with_its_stat(alone: Alone) -> None:
    before = alone.tree.read(GetData("/a"))
    assert alone.do(CreateIfAbsent("/a", b"other")).stat == before.stat
    assert alone.tree.read(GetData("/a")) == before
    assert alone.do(CreateIfAbsent("/new", b"x")).stat.czxid == alone.zxid
    assert alone.do(CreateIfAbsent("/mine", mode=EPHEMERAL)).stat.ephemeral_owner == 1
    assert alone.outcome(CreateIfAbsent("/secret")) is NoAuthError
    assert alone.outcome(CreateIfAbsent("/x", mode=SEQUENTIAL)) is BadArgumentsError
    assert alone.outcome(CreateIfAbsent("/x", mode=99)) is BadArgumentsError
    assert alone.outcome(CreateIfAbsent("/nope/x")) is NoNodeError


def test_a_delete_where_there_is_nothing_says_so(alone: Alone) -> None:
    assert alone.do(DeleteIfPresent("/a/b/c")) is True
    assert alone.do(DeleteIfPresent("/a/b/c")) is False
    assert alone.do(DeleteIfPresent("/no/where")) is False
    assert alone.outcome(DeleteIfPresent("/a", 9)) is BadVersionError
    assert alone.outcome(DeleteIfPresent("/a")) is NotEmptyError
    assert alone.outcome(DeleteIfPresent("/x//y")) is BadArgumentsError
    assert alone.outcome(DeleteIfPresent("/x"), session=9) is SessionExpiredError


def test_both_stand_in_a_multi_too(alone: Alone) -> None:
    answers = alone.do(
        Multi([CreateIfAbsent("/a"), CreateIfAbsent("/n"), DeleteIfPresent("/n"), DeleteIfPresent("/n")])
    )
    assert [answers[0].stat.data_length, answers[1].path, *answers[2:]] == [4, "/n", True, False]


# --- whole trees -----------------------------------------------------------------------------------------------------


def test_missing_parents_come_with_a_znode(alone: Alone) -> None:
    created = alone.do(CreateWithParents("/a/x/y/z-", b"end", acl=GROWING, mode=SEQUENTIAL))
    assert created.path == "/a/x/y/z-0000000000"
    assert created.stat.data_length == 3
    assert alone.tree.read(GetData("/a/x")).data == b""
    assert {alone.tree.acl(path) for path in ("/a/x", "/a/x/y", created.path)} == {GROWING}
    assert alone.tree.acl("/a") is None
    alone.tree.check()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/a", NodeExistsError), ("/", NodeExistsError), ("a", BadArgumentsError), ("/x//y", BadArgumentsError),
        ("a/b/c", NoNodeError), ("", BadArgumentsError), ("/a/new/", BadArgumentsError),
        ("/x/../y", BadArgumentsError), ("/secret/x/y", NoAuthError),
    ],
)  # fmt: skip
def test_all_come_or_none(alone: Alone, path: str, error: type[Exception]) -> None:
    names = alone.tree.read(GetChildren("/"))
    assert alone.outcome(CreateWithParents(path)) is error
    assert alone.tree.read(GetChildren("/")) == names
    assert alone.do(CreateWithParents("/fresh/one")).path == "/fresh/one"
    alone.tree.check()


def test_a_tree_is_deleted_with_one_zxid(alone: Alone) -> None:
    alone.propose(DeleteTree("/a"))
    request, applied = alone.commit_quietly()
    assert [path for _, path in applied.changes] == ["/a/b/c", "/a/b", "/a"]
    assert alone.tree.result(request, applied) == 3
    alone.tree.check()


def test_a_tree_as_it_will_be_is_deleted(alone: Alone) -> None:
    for request in (Create("/a/new"), Create("/a/new/x"), Delete("/a/b/c"), DeleteTree("/a"), Create("/a")):
        alone.propose(request)
    assert [alone.commit() for _ in range(4)][-1] == 4
    alone.commit()
    assert alone.tree.read(GetChildren("/a")) == ()
    alone.tree.check()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (DeleteTree("/nope"), NoNodeError),
        (DeleteTree("/nope/x"), NoNodeError),
        (DeleteTree("/"), BadArgumentsError),
        (DeleteTree("/zookeeper"), BadArgumentsError),
        (DeleteTree("a"), BadArgumentsError),
        (DeleteTree("/a", 2), NotEmptyError),
        (DeleteTree("/guarded"), NoAuthError),
    ],
)
def test_what_may_not_be_deleted_stays_whole(alone: Alone, request_: DeleteTree, error: type[Exception]) -> None:
    alone.do(Create("/guarded"))
    alone.do(Create("/guarded/inner", acl=BOBS))
    alone.do(Create("/guarded/inner/child"), ids=(BOB,))
    digest = alone.tree.digest
    assert alone.outcome(request_) is error
    assert alone.tree.digest == digest
    assert alone.do(DeleteTree("/guarded"), ids=(BOB,)) == 3


# --- pages -----------------------------------------------------------------------------------------------------------


def family() -> Alone:
    alone = Alone()
    alone.do(Create("/f"))
    for number in range(100):
        mode = EPHEMERAL if number % 10 == 3 else 0
        alone.do(Create(f"/f/n{number:03}", str(number).encode(), mode=mode))
    alone.do(Create("/f/secret", b"secret", acl=BOBS))
    alone.do(CreateContainer("/f/z"))
    return alone


FAMILY = family()
NAMES = FAMILY.tree.read(GetChildren("/f"))


def names_of(page: ChildPage) -> list[str]:
    return [child.name for child in page.children]


@given(st.integers(1, 120), st.sampled_from(["", "n", "n0", "n09", "s", "zz", "0"]), st.sampled_from([*ChildKind]))
@settings(max_examples=60)
def test_pages_put_together_are_all_children(limit: int, prefix: str, kind: ChildKind) -> None:
    listed: list[str] = []
    after: str | None = ""
    while after is not None:
        page = FAMILY.ask(ListChildren("/f", limit=limit, prefix=prefix, kind=kind, after=after))
        assert len(page.children) <= limit
        listed += names_of(page)
        after = page.after
    ephemeral = {name for name in NAMES if name.startswith("n") and name.endswith("3")}
    everybody = set(NAMES)
    by_kind = {
        ChildKind.ANY: everybody, ChildKind.EPHEMERAL: ephemeral, ChildKind.PERSISTENT: everybody - ephemeral
    }  # fmt: skip
    wanted = by_kind[kind]
    assert listed == [name for name in NAMES if name in wanted and name.startswith(prefix)]


def test_a_page_has_what_was_asked_for_of_each_child() -> None:
    plain = FAMILY.ask(ListChildren("/f", limit=1))
    assert plain.children == (Child("n000", None, None),)
    assert plain.stat == FAMILY.tree.read(Exists("/f"))
    (full,) = FAMILY.ask(ListChildren("/f", limit=1, with_stat=True, with_data=True)).children
    assert (full.data, full.stat) == (b"0", FAMILY.tree.read(Exists("/f/n000")))


def test_what_may_not_be_read_is_only_named() -> None:
    page = FAMILY.ask(ListChildren("/f", prefix="secret", with_stat=True, with_data=True))
    assert page.children == (Child("secret", None, None),)
    page = FAMILY.ask(ListChildren("/f", prefix="secret", with_data=True), ids=(BOB,))
    assert page.children == (Child("secret", None, b"secret"),)


def test_a_page_is_no_longer_than_a_reply_may_be() -> None:
    alone = Alone()
    for name in "abc":
        alone.do(Create(f"/{name}", bytes(600_000)))
    page = alone.ask(ListChildren("/", with_data=True))
    assert (names_of(page), page.after) == (["a"], "a")
    assert names_of(alone.ask(ListChildren("/", with_data=True, after="a"))) == ["b"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (ListChildren("/nope"), NoNodeError), (ListChildren("/secret"), NoAuthError),
        (ListChildren("/a", limit=0), BadArgumentsError), (ListChildren("/a", kind=3), BadArgumentsError),
    ],
)  # fmt: skip
def test_pages_that_there_are_not(alone: Alone, request_: ListChildren, error: type[Exception]) -> None:
    assert alone.outcome(request_) is error


@pytest.mark.parametrize(
    "request_",
    [
        CheckAbsent("/a"), CheckStat("/a", [Condition(StatField.VERSION, Relation.LESS, 5)]),
        CreateIfAbsent("/a", None),
        CreateWithParents("/a/b", b"x"), DeleteIfPresent("/a", 4), DeleteTree("/a", 7),
        ListChildren("/a", after="b", limit=5, kind=ChildKind.EPHEMERAL, with_stat=True),
    ],
)  # fmt: skip
def test_what_is_encoded_is_decoded(request_: Any) -> None:
    assert decode_request(*encode_request(request_)) == request_
