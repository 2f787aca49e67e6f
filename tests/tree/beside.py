"""The same requests to a live ZooKeeper and to a tree, and no difference in what comes of them.

Both begin empty and see the same requests in the same order, so all is compared as it is: errors, paths, data, names,
Stats and zxids to the last number. Only times are translated: the n-th transaction has one here and one there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from alone import EPOCH, Alone
from attrs import evolve
from compared import Story, Translation
from live import Served, Session, answer_of

from zkcore.errors import MultiError, NoNodeError, RequestError, SessionExpiredError, ZkcoreError
from zkcore.jute.records import ACL, Id, Stat
from zkcore.tree.acl import SUPER, Access, Caller, DigestScheme, IpScheme, digest_id
from zkcore.tree.applied import WatchEvent
from zkcore.tree.requests import (
    CloseSession,
    Create,
    CreateContainer,
    CreateSession,
    CreateTTL,
    Exists,
    GetACL,
    GetData,
    Multi,
    MultiRead,
    NodeData,
    NullData,
    PlainCreate,
    Request,
    decode_request,
    encode_request,
)
from zkcore.tree.watch_audience import audience_of
from zkcore.tree.watch_requests import AddWatch, CheckWatches, RemoveWatches, SetWatches2
from zkcore.tree.watches import Watches
from zkcore.tree.znode import CreateMode

_WATCHES = AddWatch | CheckWatches | RemoveWatches
_SUPER_ID = digest_id("super", "pw")


class Beside:
    """A server and a tree. A session is known by its id on both sides."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.sessions: dict[int, Session] = {}
        self.ids: dict[int, tuple[Id, ...]] = {}
        self.access = Access([DigestScheme(superuser=_SUPER_ID), IpScheme()])
        first = self._connect()
        self.alone = Alone(first, access=self.access)
        self.watches = Watches()
        self._events: dict[int, list[tuple[int, str]]] = {first: []}
        self._in_live_words = Translation()
        self._story = Story()

    # --- sessions

    def _connect(self) -> int:
        live = Session(self.server)
        self.sessions[live.id] = live
        self.ids[live.id] = (Id("ip", "127.0.0.1"),)
        return live.id

    def open(self) -> int:
        """A new session."""
        session = self._connect()
        self.alone.do(CreateSession(4000), session=session)
        self._events[session] = []
        self._story.note(session, "opens")
        return session

    def close(self, session: int) -> None:
        """The session ends, and its ephemerals with it."""
        self._story.note(session, "closes")
        reply = self.sessions.pop(session).close()
        self.alone.propose(CloseSession(), session=session)
        self.watches.drop_session(session)
        self._events.pop(session)
        self._commit()
        assert (reply.zxid, reply.error) == (self._zxid, 0)
        self._compare_events(in_order=False)  # ephemerals go in the order of a hash table there

    def come_back(self, session: int, watches: SetWatches2, *, ago: int) -> None:
        """The session on another connection, which is told what it may have missed in the last `ago` transactions."""
        since = max(self._zxid - ago, 0)
        self._story.note(session, f"comes back, having seen {since}, with {watches}")
        self.watches.drop_session(session)
        self.ids[session] = (Id("ip", "127.0.0.1"),)
        watches = evolve(watches, since=EPOCH + since)
        for event in self.watches.read(self.alone.tree, watches, session=session):
            assert isinstance(event, WatchEvent)
            self._events[session].append((int(event.type), event.path))
        live = self.sessions[session]
        live.come_back()
        assert live.watch_again(watches, since).error == 0
        self._compare_events()

    def check(self) -> None:
        """Everything in the tree is as it must be."""
        self.alone.tree.check()

    def authenticate(self, session: int, credentials: bytes) -> None:
        """The session is also known by these, of the digest scheme."""
        self._story.note(session, f"is {credentials!r}")
        assert self.sessions[session].authenticate("digest", credentials) == 0
        self.ids[session] = tuple(dict.fromkeys((*self.ids[session], *self.access.authenticate("digest", credentials))))

    # --- requests

    def ask(self, session: int, asked: Sequence[Request[Any]]) -> list[Any]:
        """Ask all of it at once, and compare what comes of it. Gives the answers."""
        for request in asked:
            self._story.note(session, request)
        expected = self._ask_the_tree(session, asked)
        replies = self.sessions[session].ask(asked)
        answers = []
        for request, reply, (zxid, ours) in zip(asked, replies, expected, strict=True):
            answer = answer_of(request, reply)
            ours = self._in_live_words(ours, answer)
            assert (reply.zxid, answer) == (zxid, ours), self._story.end(request, (reply.zxid, answer), (zxid, ours))
            answers.append(ours)
        self._compare_events()
        return answers

    def ask_both(self, session: int, request: Request[Any]) -> tuple[Any, Any]:
        """What each answers to a request that changes nothing, or changes the same in spite of the answer."""
        ((_, ours),) = self._ask_the_tree(session, [request])
        (reply,) = self.sessions[session].ask([request])
        live = answer_of(request, reply)
        assert reply.zxid == self._zxid
        return live, self._in_live_words(ours, live)

    def _ask_the_tree(self, session: int, asked: Iterable[Request[Any]]) -> list[tuple[int, Any]]:
        answers: list[tuple[int, Any]] = []
        for request in asked:
            if isinstance(request, _WATCHES):
                received: Request[Any] = request
            else:
                received = decode_request(*encode_request(request))
            if received.writes:
                self.alone.propose(received, session=session, ids=self.ids[session])
            else:
                answers += self._commit()
                answers.append((self._zxid, self._read(session, received)))
        return answers + self._commit()

    @property
    def _zxid(self) -> int:
        return self.alone.tree.last_zxid - EPOCH

    def _read(self, session: int, request: Request[Any]) -> Any:
        ids = self.ids[session]
        if isinstance(request, Exists) and self.server.version < (3, 9, 2):
            ids = (SUPER,)  # these let everybody ask whether there is a znode
        try:
            caller = Caller(session, ids)
            answer = self.watches.read(self.alone.tree, request, session=session, caller=caller)
        except ZkcoreError as error:
            return "error", error.code
        return self._plain(request, answer)

    def _commit(self) -> list[tuple[int, Any]]:
        answers: list[tuple[int, Any]] = []
        tree = self.alone.tree
        while self.alone.outstanding:
            request, applied = self.alone.commit_quietly()
            audience = audience_of(tree, applied, self.ids.__getitem__)
            for session, event in self.watches.trigger(applied, audience):
                self._events[session].append((int(event.type), event.path))
            try:
                answer = self._plain(request, tree.result(request, applied))
            except MultiError as error:
                answer = [(-1, code) for code in error.codes]
            except (RequestError, SessionExpiredError) as error:
                answer = "error", error.code
            answers.append((self._zxid, answer))
        return answers

    # --- the tree's answers as those of `live`

    def _plain(self, request: Request[Any], answer: Any) -> Any:
        if isinstance(request, Multi):
            return [self._part(*pair) for pair in zip(request.operations, answer, strict=True)]
        if isinstance(request, MultiRead):
            return [self._read_part(*pair) for pair in zip(request.operations, answer, strict=True)]
        if isinstance(request, Exists) and answer is None:
            return "error", NoNodeError.code
        if isinstance(request, GetData):
            return _data(answer)
        if isinstance(request, AddWatch):
            return 0
        if isinstance(request, GetACL):
            return sorted((entry.perms, entry.id.scheme, entry.id.id) for entry in answer.acl), _numbers(answer.stat)
        return _simple(answer)

    def _part(self, operation: Request[Any], answer: Any) -> tuple[int, Any]:
        """One result of a multi. What a create is answered with there is for its mode to say."""
        if isinstance(operation, PlainCreate):
            return PlainCreate.opcode, answer
        if isinstance(operation, Create) and operation.mode != CreateMode.CONTAINER:
            return PlainCreate.opcode, answer.path
        if isinstance(operation, Create | CreateContainer | CreateTTL):
            return Create.opcode, _simple(answer)
        return operation.opcode, _simple(answer)

    def _read_part(self, operation: Request[Any], answer: Any) -> tuple[int, Any]:
        if isinstance(answer, RequestError):
            return -1, answer.code
        return operation.opcode, _data(answer) if isinstance(operation, GetData) else _simple(answer)

    # --- events

    def _compare_events(self, *, in_order: bool = True) -> None:
        for session, live in self.sessions.items():
            if not (self._events[session] or self.watches):
                continue
            live.catch_up()
            told = [(event.type, event.path) for event in live.events]
            expected = self._events[session]
            alike = told == expected if in_order else sorted(told) == sorted(expected)
            assert alike, self._story.end("events", told, expected)
            live.events.clear()
            expected.clear()


def _numbers(stat: Stat) -> tuple[int, ...]:
    czxid, mzxid, pzxid = (zxid - EPOCH if zxid else 0 for zxid in (stat.czxid, stat.mzxid, stat.pzxid))
    return (
        czxid, mzxid, stat.ctime, stat.mtime, stat.version, stat.cversion, stat.aversion, stat.ephemeral_owner,
        stat.data_length, stat.num_children, pzxid,
    )  # fmt: skip


def _data(answer: NodeData) -> tuple[Any, ...]:
    return None if isinstance(answer, NullData) else answer.data, _numbers(answer.stat)


def _simple(answer: Any) -> Any:
    if isinstance(answer, Stat):
        return _numbers(answer)
    if isinstance(answer, Id):
        return answer.scheme, answer.id
    if isinstance(answer, tuple):
        if all(isinstance(each, str | Id) for each in answer):
            return sorted(map(_simple, answer))
        return tuple(map(_simple, answer))
    return answer


def acl_of(*entries: tuple[int, str, str]) -> tuple[ACL, ...]:
    """The ACL with these entries."""
    return tuple(ACL(perms, Id(scheme, name)) for perms, scheme, name in entries)
