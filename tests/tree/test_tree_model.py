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
from model import ADMIN, READ, Model, Refused

from zkcore.errors import MultiError, NoAuthError, RequestError, SessionExpiredError
from zkcore.jute.records import ACL, Id, Stat
from zkcore.tree.acl import Caller
from zkcore.tree.cleaning import due
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CloseSession,
    Create,
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
    GetChildren2,
    GetData,
    GetEphemerals,
    ListChildren,
    Multi,
    Once,
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
CALLERS: list[tuple[tuple[str, str], ...]] = [
    (), (), (), (("digest", "bob:x"),), (("super", ""),), (("ip", "::1"), ("digest", "eve:x")),
]  # fmt: skip
NAMES = ["create"] * 6 + [
    "create_ttl", "delete", "delete", "set", "set", "set", "check", "check_absent", "create_if_absent",
    "delete_if_present",
]  # fmt: skip
MORE_NAMES = [*NAMES * 2, *["multi"] * 4, "set_acl", "set_acl", "create_with_parents", "delete_tree"]


def drawn(rng: Random, names: list[str]) -> tuple[Any, ...]:
    """An operation for the model."""
    name = rng.choice(names)
    path = rng.choice(PATHS if rng.random() < 0.95 else ODD_PATHS)
    data = rng.choice([b"", b"x", b"longer", None])
    mode, acl, version = rng.choice([0, 0, 0, 1, 2, 3, 4, 7]), rng.choice(ACLS), rng.choice([-1, -1, -1, -1, 0, 1])
    if name == "create_ttl":
        return "create", path, data, rng.choice([0, 5, 6]), acl, rng.randrange(0, 50_000)
    if name in _CREATES:
        return name, path, data, mode, acl
    if name == "multi":
        return name, [drawn(rng, NAMES) for _ in range(rng.randrange(5))]
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
    if isinstance(answer, Stat):
        return tuple(int(getattr(answer, name)) for name in STAT)
    if isinstance(answer, tuple):
        return [plain(each) for each in answer] if type(answer) is tuple else tuple(plain(each) for each in answer)
    return answer


class Outstanding(NamedTuple):
    zxid: int
    session: int
    request: Request[Any]
    payload: bytes
    expected: Any
    model: Model
    """The model as this request leaves it."""


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.preparer = Preparer(self.tree)
        self.follower = Tree()
        self.model = Model()
        self.zxid = 1 << 32
        self.now = 0
        self.numbers = 0
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
            if luck < 0.01:
                self.propose(("close_session",), session)
            elif luck < 0.06:
                for dead in {1, -2, 3} - self.model.sessions.keys():
                    self.create_session(dead)
            elif luck < 0.12 and session in self.model.sessions:
                self.numbers += 1
                op = drawn(rng, MORE_NAMES)
                for _ in range(rng.randrange(1, 4)):
                    self.propose(("once", session, self.numbers, op), session, ids)
            elif luck < 0.25:
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
        except RequestError as error:
            return "refused", error.code

    def compare(self, model: Any) -> None:
        self.tree.check()
        assert dict(self.tree.sessions) == model.sessions
        assert len(self.tree) == len(model.nodes)
        for path, node in model.nodes.items():
            data, stat = self.tree.read(GetData(path), ROOT)
            assert (data, plain(stat)) == (node["data"] or b"", model.stat(path))
            assert self.tree.has_null_data(path) == (node["data"] is None)
            names, same = self.tree.read(GetChildren2(path), ROOT)
            assert list(names) == model.children(path)
            assert same == stat == self.tree.read(Exists(path), ROOT)
            assert self.tree.read(GetACL(path), ROOT).acl == acl_of(node["acl"])
            assert self.tree.read(GetAllChildrenNumber(path), ROOT) == len(model.below(path)) - 1
            page = self.tree.read(ListChildren(path), ROOT)
            assert [child.name for child in page.children] == model.children(path)
            for ids in ((), (("digest", "bob:x"),)):
                self.compare_rights(model, path, ids)
        for session in model.sessions:
            mine = sorted(path for path, node in model.nodes.items() if node["owner"] == session)
            assert list(self.tree.read(GetEphemerals(), Caller(session))) == mine

    def compare_rights(self, model: Model, path: str, ids: tuple[tuple[str, str], ...]) -> None:
        caller = Caller(1, tuple(Id(*each) for each in ids))
        for request, perm in ((GetData(path), READ), (GetACL(path), READ | ADMIN)):
            try:
                self.tree.read(request, caller)
                allowed = True
            except NoAuthError:
                allowed = False
            assert allowed == model.may(path, perm, ids)

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


Histories.TestCase.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)
TestHistories = Histories.TestCase


@pytest.mark.parametrize("seed", range(10))
def test_a_long_history(seed: int) -> None:
    history = Histories()
    history.live(seed, 500)
    history.commit(1000)
    history.forget()
    history.restart_the_follower()
    history.teardown()
