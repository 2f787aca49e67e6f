"""Random histories against a model: plain dicts that know ZooKeeper's rules and nothing of zkcore.

The model runs ahead: it answers each request when it is proposed. The tree answers when the transaction is applied,
several requests later, and must then say the same and look the same.
"""

from __future__ import annotations

import copy
from collections import deque
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from model import LARGEST, LIMITS, QUOTA, REMEMBERED, STATS, Model, Refused

from zkcore.errors import MultiError, OutcomeForgottenError, RequestError, SessionExpiredError
from zkcore.jute.records import ACL, Id, Stat
from zkcore.tree.acl import Caller
from zkcore.tree.cleaning import due
from zkcore.tree.prepare import Guard, Preparer
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CheckStat,
    CloseSession,
    Condition,
    Create,
    CreateContainer,
    CreateIfAbsent,
    CreateSession,
    CreateTTL,
    CreateWithParents,
    Delete,
    DeleteIfPresent,
    DeleteTree,
    Exists,
    GetACL,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    ListChildren,
    Multi,
    MultiRead,
    NullData,
    Once,
    PlainCreate,
    Request,
    SetACL,
    SetData,
    decode_request,
    encode_request,
)
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.tree import Tree
from zkcore.tree.writes import CleanUp

STAT = (
    "czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeral_owner", "data_length",
    "num_children", "pzxid",
)  # fmt: skip
ROOT = Caller(0, (Id("super", ""),))

# Few paths and one session that seldom ends, so that much happens to each znode.
PATHS = ["/a", "/a", "/a", "/b", "/q-", "/a/a", "/a/a", "/a/b", "/a/q-", "/a/a/a", "/b/a", "/b/a/q-"]
ODD_PATHS = ["/", "/zookeeper", "/zookeeper/quota", "/a/", "/a//b", "/a/..", "a", "", "/q-0000000000"]
SESSIONS = [1, 1, 1, 1, -2, 3]
WORLD, BOB = (31, "world", "anyone"), (31, "digest", "bob:x")
ACLS = [
    *[[WORLD]] * 12, [WORLD, WORLD], [(1, "world", "anyone"), BOB], [(30, "world", "anyone")],
    [(27, "world", "anyone"), BOB], [(23, "world", "anyone")], [(31, "auth", "")], [], [(31, "nope", "x")], [BOB],
]  # fmt: skip
TOO_LARGE = bytes(LARGEST + 1)
QUOTAS = [
    b"count=-1,bytes=-1", b"count=3,bytes=1", b"countHardLimit=3", b"byteHardLimit=8",
    b"byteHardLimit=0;countHardLimit=1",
    b"count=1,bytes=1=;byteHardLimit=20;countHardLimit=6",
]  # fmt: skip
CALLERS: list[tuple[tuple[str, str], ...]] = [
    (), (), (), (("digest", "bob:x"),), (("super", ""),), (("ip", "::1"), ("digest", "eve:x")),
]  # fmt: skip
NAMES = ["create"] * 5 + [
    "plain_create", "create_container", "create_ttl", "delete", "delete", "set", "set", "set", "check", "check_absent",
    "check_stat", "create_if_absent", "delete_if_present",
]  # fmt: skip
MORE_NAMES = [*NAMES * 2, *["multi"] * 4, "set_acl", "set_acl", "create_with_parents", "delete_tree"]


def drawn(rng: Random, names: list[str]) -> tuple[Any, ...]:
    """An operation for the model."""
    name = rng.choice(names)
    path = rng.choice(PATHS if rng.random() < 0.95 else ODD_PATHS)
    data = TOO_LARGE if rng.random() < 0.01 else rng.choice([b"", b"x", b"longer", None])
    mode, acl, version = rng.choice([0, 0, 0, 1, 2, 3, 4, 7]), rng.choice(ACLS), rng.choice([-1, -1, -1, -1, 0, 1])
    if name == "create_ttl":
        return "create", path, data, rng.choice([0, 5, 6]), acl, rng.randrange(0, 50_000)
    if name in _CREATES:
        return name, path, data, mode, acl
    if name == "multi":
        return name, [drawn(rng, NAMES) for _ in range(rng.randrange(5))]
    if name == "check_stat":
        wanted = [(rng.randrange(12), rng.randrange(6), rng.randrange(3)) for _ in range(rng.randrange(3))]
        return name, path, wanted
    arguments: dict[str, tuple[Any, ...]] = {
        "set": (data, version), "set_acl": (acl, version), "check_absent": (), "delete_tree": (rng.choice([2, 100]),),
    }  # fmt: skip
    return name, path, *arguments.get(name, (version,))


def request_for(op: tuple[Any, ...]) -> Request[Any]:
    """The request that an operation of the model stands for."""
    name, *args = op
    if name == "create" and len(args) == 5:
        path, data, mode, acl, ttl = args
        return CreateTTL(path, data, acl=acl_of(acl), mode=mode, ttl_ms=ttl)
    if name in _CREATES:
        path, data, mode, acl = args
        return _CREATES[name](path, data, acl=acl_of(acl), mode=mode)
    if name == "check_stat":
        return CheckStat(args[0], [Condition(*each) for each in args[1]])
    if name == "set_acl":
        return SetACL(args[0], acl_of(args[1]), version=args[2])
    if name == "set":
        return SetData(args[0], args[1], version=args[2])
    if name == "multi":
        return Multi([request_for(each) for each in args[0]])
    if name == "once":
        return Once(args[0], args[1], request_for(args[2]))
    return _OTHERS[name](*args)


_CREATES: dict[str, Any] = {
    "create": Create, "create_if_absent": CreateIfAbsent, "create_with_parents": CreateWithParents,
    "plain_create": PlainCreate, "create_container": CreateContainer,
}  # fmt: skip
_OTHERS: dict[str, Any] = {
    "delete": Delete, "check": Check, "check_absent": CheckAbsent, "delete_if_present": DeleteIfPresent,
    "delete_tree": DeleteTree, "create_session": lambda: CreateSession(4000), "close_session": CloseSession,
    "clean_up": CleanUp,
}  # fmt: skip


def acl_of(entries: Any) -> tuple[ACL, ...]:
    return tuple(ACL(perms, Id(scheme, name)) for perms, scheme, name in entries)


def plain(answer: Any) -> Any:
    """An answer of the tree in the model's terms."""
    if isinstance(answer, ACL):
        return answer.perms, answer.id.scheme, answer.id.id
    if isinstance(answer, Stat):
        return tuple(int(getattr(answer, name)) for name in STAT)
    if isinstance(answer, tuple):
        return [plain(each) for each in answer] if type(answer) is tuple else tuple(plain(each) for each in answer)
    return answer


_READS: dict[str, Any] = {"get": GetData, "exists": Exists, "names": GetChildren, "get_acl": GetACL}


def expected_of(model: Model, op: tuple[Any, ...]) -> Any:
    """What the model answers to one who reads."""
    try:
        return getattr(model, op[0])(*op[1:])
    except Refused as refused:
        return "refused", *refused.args


class Outstanding(NamedTuple):
    zxid: int
    session: int
    request: Request[Any]
    payload: bytes
    expected: Any
    model: Model
    """The model as this request leaves it."""


class Histories(RuleBasedStateMachine):
    guard = Guard()

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.preparer = Preparer(self.tree, guard=self.guard)
        self.follower = Tree()
        self.model = Model(self.guard.max_znodes or float("inf"), self.guard.max_bytes or float("inf"))
        self.zxid = 1 << 32
        self.now = 0
        self.sent: list[tuple[Any, ...]] = []  # those that may be retried
        self.outstanding: deque[Outstanding] = deque()
        for session in (1, -2, 3):
            self.create_session(session)

    def propose(self, op: tuple[Any, ...], session: int, ids: tuple[tuple[str, str], ...] = ()) -> None:
        self.zxid += 1
        self.now = (self.zxid * 7919) % 100_000  # a clock may say anything
        try:
            expected: Any = copy.deepcopy(self.model.run(self.zxid, self.now, session, ids, op))
        except Refused as refused:
            expected = refused
        self.send(request_for(op), session, ids, expected)

    def send(self, request: Request[Any], session: int, ids: tuple[tuple[str, str], ...], expected: Any) -> None:
        if not isinstance(request, CleanUp):
            request = decode_request(*encode_request(request))
        known_as = tuple(Id(*each) for each in ids)
        payload = self.preparer.prepare(self.zxid, self.now, session, 1, request, known_as)
        self.outstanding.append(
            Outstanding(self.zxid, session, request, payload, expected, copy.deepcopy(self.model))
        )

    # --- rules

    def create_session(self, session: int) -> None:
        if any(self.ends(other, session) for other in self.outstanding):
            self.zxid += 1
            self.send(CreateSession(4000), session, (), Refused(-112))  # not before its end is applied
        else:
            self.propose(("create_session",), session)

    def ends(self, other: Outstanding, session: int) -> bool:
        return isinstance(other.request, CloseSession) and other.session == session and other.expected is None

    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 60))
    def live(self, seed: int, count: int) -> None:
        """Many requests, committed a few at a time. (Drawn one by one they would be too few to get anywhere.)"""
        rng = Random(seed)
        for _ in range(count):
            session, ids = rng.choice(SESSIONS), rng.choice(CALLERS)
            luck = rng.random()
            if luck < 0.004:
                self.propose(("close_session",), session)
            elif luck < 0.06:
                for dead in {1, -2, 3} - self.model.sessions.keys():
                    self.create_session(dead)
            elif luck < 0.14 and session in self.model.sessions:
                self.sent.append(("once", session, len(self.sent) + 1, drawn(rng, MORE_NAMES)))
                for _ in range(rng.randrange(1, 4)):
                    self.propose(self.sent[-1], session, ids)
            elif luck < 0.16:
                limits = QUOTA + rng.choice(["/a", "/b", "/a/a"]) + LIMITS
                self.propose(("set", limits, rng.choice(QUOTAS), -1), session)
            elif luck < 0.28:
                self.commit(rng.randrange(1, 8))
            else:
                self.propose(drawn(rng, MORE_NAMES), session, ids)

    @precondition(lambda self: not self.outstanding)
    @rule(later=st.integers(0, 50_000), then=st.sampled_from(PATHS))
    def clean_up(self, later: int, then: str) -> None:
        found = due(self.tree, self.now + later, most=100)
        assert {request.path for request in found} == self.model.due(self.now + later)
        self.propose(("set", then, b"used", -1), 1)
        for request in found:
            self.propose(("clean_up", request.path, request.mzxid), 0)

    @precondition(lambda self: not self.outstanding)
    @rule(root=st.sampled_from(["/a", "/b", "/a/a"]), limits=st.sampled_from(QUOTAS), ends=st.booleans())
    def set_quota(self, root: str, limits: bytes, ends: bool) -> None:
        """A quota begins or ends. (What is prepared until that is applied does not know of it.)"""
        if ends:
            self.propose(("delete", QUOTA + root + LIMITS, -1), 1)
        else:
            self.propose(("create_with_parents", QUOTA + root + STATS, None, 0, [WORLD]), 1)
            self.propose(("create", QUOTA + root + LIMITS, limits, 0, [WORLD]), 1)
        self.commit(2)

    @rule()
    def work_hard(self) -> None:
        """More requests than are remembered of a client."""
        for _ in range(REMEMBERED + 2):
            self.sent.append(("once", 1, len(self.sent) + 1, ("set", "/", b"", -1)))
            self.propose(self.sent[-1], 1)

    @precondition(lambda self: not self.outstanding)
    @rule(seed=st.integers(0, 2**32))
    def retry_something_old(self, seed: int) -> None:
        if self.sent:
            self.propose(Random(seed).choice(self.sent), 1)
            self.commit(1)

    @rule(count=st.integers(1, 100))
    def commit(self, count: int) -> None:
        if not self.outstanding:
            return
        model = None
        for _ in range(min(count, len(self.outstanding))):
            zxid, _, request, payload, expected, model = self.outstanding.popleft()
            answer = self.answer(request, self.tree.apply(zxid, payload))
            assert answer == (("refused", *expected.args) if isinstance(expected, Refused) else expected)
            self.follower.apply(zxid, payload)
            assert self.tree.last_zxid == zxid
        self.compare(model)

    def answer(self, request: Request[Any], applied: Any) -> Any:
        """The tree's answer in the model's terms."""
        try:
            return plain(self.tree.result(request, applied))
        except MultiError as error:
            return "refused", error.error.code, error.index
        except SessionExpiredError as error:
            several = isinstance(request, Multi) and request.operations
            return ("refused", error.code, 0) if several else ("refused", error.code)
        except (RequestError, OutcomeForgottenError) as error:
            return "refused", error.code

    def compare(self, model: Any) -> None:
        self.tree.check()
        assert dict(self.tree.sessions) == model.sessions
        assert len(self.tree) == len(model.nodes)
        for path, node in model.nodes.items():
            data, stat = answer = self.tree.read(GetData(path), ROOT)
            assert (data, plain(stat)) == (node["data"] or b"", model.stat(path))
            assert isinstance(answer, NullData) == (node["data"] is None)
            names, same = self.tree.read(GetChildren2(path), ROOT)
            assert list(names) == model.children(path)
            assert same == stat == self.tree.read(Exists(path), ROOT)
            assert self.tree.read(GetACL(path), ROOT).acl == acl_of(node["acl"])
            assert self.tree.read(GetAllChildrenNumber(path), ROOT) == len(model.below(path)) - 1
        for session in model.sessions:
            mine = sorted(path for path, node in model.nodes.items() if node["owner"] == session)
            assert list(self.tree.read(GetEphemerals(), Caller(session))) == mine
        assert self.tree.size_bytes == model.size()
        for ids in ((), (("digest", "bob:x"),)):
            self.compare_reads(model, ids)

    def compare_reads(self, model: Any, ids: tuple[tuple[str, str], ...]) -> None:
        """All that `ids` may read, and what they are answered where they may not."""
        model.ids = ids
        caller = Caller(1, tuple(Id(*each) for each in ids))
        several = []
        for path in [*model.nodes, "/nope", "/a/nope", "no path", "/a\x00"]:
            several += [("get", path), ("exists", path), ("names", path), ("get_acl", path)]
            assert self.outcome(GetAllChildrenNumber(path), caller) == expected_of(model, ("count", path))
            page = self.outcome(ListChildren(path, limit=2, prefix="a", with_stat=True, with_data=True), caller)
            assert page == expected_of(model, ("page", path))
        answers = self.tree.read(MultiRead([_READS[name](path) for name, path in several]), caller)
        found = [("refused", each.code) if isinstance(each, RequestError) else plain(each) for each in answers]
        assert found == [expected_of(model, op) for op in several]

    def outcome(self, request: Request[Any], caller: Caller) -> Any:
        try:
            return plain(self.tree.read(request, caller))
        except RequestError as error:
            return "refused", error.code

    @rule()
    def restart_the_follower(self) -> None:
        self.follower = restore(dump(self.follower))
        self.follower.check()

    @precondition(lambda self: not self.outstanding)
    @rule()
    def forget(self) -> None:
        assert self.preparer.outstanding == 0

    def teardown(self) -> None:
        assert b"".join(dump(self.follower)) == b"".join(dump(self.tree))


Histories.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestHistories = Histories.TestCase


class Narrow(Histories):
    """Where there may not be much."""

    guard = Guard(max_znodes=9, max_bytes=700)


Narrow.TestCase.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)
TestNarrow = Narrow.TestCase


@pytest.mark.parametrize("kind", [Histories, Narrow])
@pytest.mark.parametrize("seed", range(5))
def test_a_long_history(seed: int, kind: type[Histories]) -> None:
    history = kind()
    for part in range(4):
        history.live(seed * 4 + part, 150)
        history.work_hard()
        history.commit(1000)
        history.set_quota("/a", QUOTAS[(seed + part) % len(QUOTAS)], ends=part == 2)
        history.retry_something_old(seed)
    history.forget()
    history.restart_the_follower()
    history.teardown()
