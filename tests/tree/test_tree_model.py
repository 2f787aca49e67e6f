"""Random histories against a model: plain dicts that know ZooKeeper's rules and nothing of zkcore.

The model runs ahead: it answers each request when it is proposed. The tree answers when the transaction is applied,
several requests later, and must then say the same and look the same.
"""

from __future__ import annotations

import copy
from collections import deque
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from zkcore.errors import RequestError, SessionExpiredError
from zkcore.tree.prepare import Preparer
from zkcore.tree.requests import (
    CloseSession,
    Create,
    CreateSession,
    Delete,
    Exists,
    GetChildren2,
    GetData,
    Request,
    SetData,
    decode_request,
    encode_request,
)
from zkcore.tree.snapshot import dump, restore
from zkcore.tree.tree import Tree

STAT = (
    "czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeral_owner", "data_length",
    "num_children", "pzxid",
)  # fmt: skip
FIELDS = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "owner", "pzxid")


def is_valid(path: str) -> bool:
    return path == "/" or (path.startswith("/") and all(name not in ("", ".", "..") for name in path[1:].split("/")))


class Refused(Exception):
    pass


class Model:
    """What ZooKeeper's documentation says of znodes, done in the plainest way."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.sessions: dict[int, int] = {}
        for path, shown in (("/", -1), ("/zookeeper", -2), ("/zookeeper/quota", 0), ("/zookeeper/config", 0)):
            self.nodes[path] = {**dict.fromkeys(FIELDS, 0), "cversion": shown, "data": b"", "created": 0}
        self.nodes["/zookeeper/config"]["aversion"] = -1

    def children(self, path: str) -> list[str]:
        prefix = "/" if path == "/" else path + "/"
        below = [other[len(prefix) :] for other in self.nodes if other.startswith(prefix) and other != path]
        return sorted(name for name in below if "/" not in name)

    def stat(self, path: str) -> tuple[int, ...]:
        node = self.nodes[path]
        return (
            *(node[field] for field in FIELDS[:-1]),
            len(node["data"] or b""), len(self.children(path)), node["pzxid"],
        )  # fmt: skip

    def alive(self, session: int) -> None:
        if session not in self.sessions:
            raise Refused(-112)

    def create(self, zxid: int, now: int, session: int, path: str, data: bytes | None, mode: int) -> tuple[Any, ...]:
        self.alive(session)
        if "/" not in path:
            raise Refused(-8)
        parent = path.rpartition("/")[0] or "/"
        if parent not in self.nodes:
            raise Refused(-101)
        if mode >= 2:
            path += str(self.nodes[parent]["created"]).rjust(10, "0")
        if not is_valid(path):
            raise Refused(-8)
        if path in self.nodes:
            raise Refused(-110)
        if self.nodes[parent]["owner"]:
            raise Refused(-108)
        self.nodes[path] = {
            "czxid": zxid, "mzxid": zxid, "pzxid": zxid, "ctime": now, "mtime": now, "version": 0, "cversion": 0,
            "aversion": 0, "owner": session if mode % 2 else 0, "data": data, "created": 0,
        }  # fmt: skip
        self.nodes[parent]["created"] += 1
        self.nodes[parent]["cversion"] += 1
        self.nodes[parent]["pzxid"] = zxid
        return path, self.stat(path)

    def remove(self, zxid: int, path: str) -> None:
        del self.nodes[path]
        parent = self.nodes[path.rpartition("/")[0] or "/"]
        parent["cversion"] += 1
        parent["pzxid"] = zxid

    def delete(self, zxid: int, session: int, path: str, version: int) -> None:
        self.alive(session)
        if "/" not in path or path == "/" or path.startswith("/zookeeper"):
            raise Refused(-8)
        if path not in self.nodes:
            raise Refused(-101)
        if version not in (-1, self.nodes[path]["version"]):
            raise Refused(-103)
        if self.children(path):
            raise Refused(-111)
        self.remove(zxid, path)

    def set(self, zxid: int, now: int, session: int, path: str, data: bytes | None, version: int) -> tuple[int, ...]:
        self.alive(session)
        if not is_valid(path):
            raise Refused(-8)
        if path not in self.nodes:
            raise Refused(-101)
        node = self.nodes[path]
        if version not in (-1, node["version"]):
            raise Refused(-103)
        node.update(data=data, mzxid=zxid, mtime=now, version=node["version"] + 1)
        return self.stat(path)

    def close(self, zxid: int, session: int) -> None:
        self.alive(session)
        for path in [path for path, node in self.nodes.items() if node["owner"] == session]:
            self.remove(zxid, path)
        del self.sessions[session]


names = st.sampled_from(["a", "b", "q-"])
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
odd_paths = st.sampled_from(["/", "/zookeeper", "/zookeeper/quota", "/a/", "/a//b", "/a/..", "a", "", "/q-0000000000"])
any_path = st.one_of(paths, paths, paths, paths, odd_paths)
datas = st.sampled_from([b"", b"x", b"longer", None])
sessions = st.sampled_from([1, -2, 3])
versions = st.sampled_from([-1, -1, -1, 0, 1, 2])


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
        self.outstanding: deque[Outstanding] = deque()
        for session in (1, -2, 3):
            self.create_session(session)

    def propose(self, request: Request[Any], session: int, expected: Any) -> None:
        request = decode_request(*encode_request(request))
        payload = self.preparer.prepare(self.zxid, self.now, session, 1, request)
        self.outstanding.append(
            Outstanding(self.zxid, session, request, payload, expected, copy.deepcopy(self.model))
        )

    def step(self) -> None:
        self.zxid += 1
        self.now = (self.zxid * 7919) % 100_000  # a clock may say anything

    @rule(session=sessions)
    def create_session(self, session: int) -> None:
        self.step()
        expected = None
        if any(self.ends(other, session) for other in self.outstanding):
            expected = Refused(-112)  # it cannot begin anew before its end is applied
        else:
            self.model.sessions[session] = 4000
        self.propose(CreateSession(4000), session, expected)

    def ends(self, other: Outstanding, session: int) -> bool:
        return isinstance(other.request, CloseSession) and other.session == session and other.expected is None

    @rule(session=sessions, path=any_path, data=datas, mode=st.sampled_from([0, 0, 1, 2, 3]))
    def create(self, session: int, path: str, data: bytes | None, mode: int) -> None:
        self.step()
        try:
            expected: Any = self.model.create(self.zxid, self.now, session, path, data, mode)
        except Refused as refused:
            expected = refused
        self.propose(Create(path, data, mode=mode), session, expected)

    @rule(session=sessions, path=any_path, version=versions)
    def delete(self, session: int, path: str, version: int) -> None:
        self.step()
        try:
            expected: Any = self.model.delete(self.zxid, session, path, version)
        except Refused as refused:
            expected = refused
        self.propose(Delete(path, version), session, expected)

    @rule(session=sessions, path=any_path, data=datas, version=versions)
    def set(self, session: int, path: str, data: bytes | None, version: int) -> None:
        self.step()
        try:
            expected: Any = self.model.set(self.zxid, self.now, session, path, data, version)
        except Refused as refused:
            expected = refused
        self.propose(SetData(path, data, version=version), session, expected)

    @rule(session=sessions)
    def close(self, session: int) -> None:
        self.step()
        try:
            expected: Any = self.model.close(self.zxid, session)
        except Refused as refused:
            expected = refused
        self.propose(CloseSession(), session, expected)

    @precondition(lambda self: self.outstanding)
    @rule(count=st.integers(1, 6))
    def commit(self, count: int) -> None:
        model = None
        for _ in range(min(count, len(self.outstanding))):
            zxid, _, request, payload, expected, model = self.outstanding.popleft()
            answer = self.answer(request, self.tree.apply(zxid, payload))
            assert answer == (("refused", expected.args[0]) if isinstance(expected, Refused) else expected)
            self.follower.apply(zxid, payload)
            assert self.tree.last_zxid == zxid
        self.compare(model)

    def answer(self, request: Request[Any], applied: Any) -> Any:
        """The tree's answer in the model's terms."""
        try:
            answer = self.tree.result(request, applied)
        except (RequestError, SessionExpiredError) as error:
            return "refused", error.code
        if isinstance(request, Create):
            return answer.path, plain(answer.stat)
        return None if answer is None else plain(answer)

    def compare(self, model: Any) -> None:
        self.tree.check()
        assert dict(self.tree.sessions) == model.sessions
        assert len(self.tree) == len(model.nodes)
        for path, node in model.nodes.items():
            data, stat = self.tree.read(GetData(path))
            assert (data, plain(stat)) == (node["data"] or b"", model.stat(path))
            assert self.tree.has_null_data(path) == (node["data"] is None)
            names, same = self.tree.read(GetChildren2(path))
            assert list(names) == model.children(path)
            assert same == stat == self.tree.read(Exists(path))
        for session in model.sessions:
            mine = sorted(path for path, node in model.nodes.items() if node["owner"] == session)
            assert list(self.tree.ephemerals(session)) == mine

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


def plain(stat: Any) -> tuple[int, ...]:
    return tuple(int(getattr(stat, name)) for name in STAT)


Histories.TestCase.settings = settings(max_examples=70, stateful_step_count=50, deadline=None)
TestHistories = Histories.TestCase
