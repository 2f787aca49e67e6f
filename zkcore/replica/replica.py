"""The pure replica: one member of an ensemble with its tree, its sessions and its share of their requests.

This is the one place where zab, tree, storage and transport's messages meet. Like the Peer inside, it neither waits
nor looks outside, and its contract is the Peer's (`zkcore.zab.peer`): feed inputs; then, until `drain()` returns an
empty Ready: send, tell, save, send, close. Two things are added. Clients' requests are inputs, and what clients are
to be told stands among the events (`zkcore.replica.answers`). And `now`, the wall clock in milliseconds since 1970,
comes with every input that may end in a transaction: the leader writes it into ctime and mtime, nothing else depends
on it.

**A write** is sent to the leader, which prepares a transaction from it (`leading.py`). It comes back as part of the
committed sequence; the replica applies it like every other, recognises by session and xid whose it is, and answers.

**A read** is answered from this replica's own tree, at once, or after what the same session asked for before it. How
new the tree must be the read itself says (`levels.py`); for what cannot be known here the leader is asked, once for
all the reads that wait (`reading.py`).

**A session** is served by one replica at a time. When the replica loses its leader it detaches all its sessions: their
requests under way may or may not be applied. `attach` takes a session up again, here or elsewhere. From then on the
leader refuses what the old place may still send, and the new one waits until everything that got through is applied:
once attached, a client knows by reading what became of its requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from zkcore.errors import (
    BadArgumentsError,
    ConnectionLostError,
    NotLeadingError,
    ProtocolError,
    SessionClosedError,
    SessionMovedError,
    ThrottledError,
    UnimplementedError,
)
from zkcore.jute.records import Id
from zkcore.replica.admission import check_attaching, check_opening
from zkcore.replica.answers import Answer, Touched
from zkcore.replica.applying import Applying
from zkcore.replica.arriving import Arrivals
from zkcore.replica.confirming import Confirming
from zkcore.replica.forward import (
    AskIndex,
    Claim,
    Claimed,
    Forwarded,
    FromLeader,
    Index,
    Refused,
    Submit,
    Touch,
    TouchReply,
    bundle,
    pack,
    unpack,
)
from zkcore.replica.leading import Leading, LiveSession
from zkcore.replica.levels import AtLeast, Read, ReadLevel, check_level
from zkcore.replica.members import Members, members_from
from zkcore.replica.opening import open_peer
from zkcore.replica.reading import Questions
from zkcore.replica.reconfiguring import propose_change
from zkcore.replica.roster import Roster
from zkcore.replica.rules import Rules, add_ids, are_bounded
from zkcore.replica.serving import Connection, Serving
from zkcore.replica.sizes import encode_bounded
from zkcore.storage.storage import Storage
from zkcore.tree.acl import Caller
from zkcore.tree.requests import CloseSession, CreateSession, Request, T, decode_request
from zkcore.tree.sessions import SessionIds, key_of
from zkcore.tree.snapshot import dump
from zkcore.tree.tree import Tree
from zkcore.tree.watches import Watches
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Forward, Message, PeerId, Role
from zkcore.zab.peer import PeerStatus
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import (
    NOTHING,
    Delivered,
    Event,
    ReadReady,
    Ready,
    Restored,
    RoleChanged,
    SnapshotRef,
)
from zkcore.zxid import Zxid

__all__ = ["Replica"]

_CREATE_SESSION = CreateSession.opcode
_SESSION = Read.SESSION


class Replica:
    """See the module for the contract. `ensemble` is who the members were in the beginning, as Members with where they
    are; `storage` is opened here and used by nobody else; `rules` say what clients may do.

    Raises ConfigurationError where `me` is not in `ensemble`, and StorageCorruptError where the storage is damaged.
    """

    def __init__(
        self,
        me: PeerId,
        ensemble: EnsembleConfig | Members,
        storage: Storage,
        *,
        limits: Limits | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.me = me
        self._roster = Roster(members_from(ensemble))
        self.limits = limits if limits is not None else Limits()
        self.rules = rules if rules is not None else Rules()
        self.storage = storage
        self._most_requests = self.limits.outstanding_proposals
        self.watches = Watches(history=self.rules.watch_history, most=self.rules.watch_most)
        """Those of the sessions served here. Look, but do not touch."""
        self._serving = Serving(Tree(self.rules.access), self.watches)
        self._applying = Applying(self._serving, self._roster)
        self._ids = SessionIds(me)
        self._now_ms = 0
        self._claims = 0
        self._questions = Questions()
        self._leading: Leading | None = None
        self._confirming = Confirming()
        self._asking = False  # there is a question to put or to answer; looked at in every drain
        self._arrivals = Arrivals(self._most_requests)
        self._leader: PeerId | None = None
        self._sends: list[tuple[PeerId, bytes]] = []  # what is to be forwarded, packed
        self._busy = self._peer_busy = False
        self._open_peer()

    def recover(self) -> None:
        """After the storage failed: throw the Peer away with everything unsaved, and begin again from what is durable.
        What was delivered stays readable. The host breaks all links. Raises StorageError where it cannot be opened."""
        self._leave("the storage failed")
        self._open_peer()
        self._busy = self._peer_busy = False

    def _open_peer(self) -> None:
        self.peer = open_peer(self.me, self._roster.first.config, self.storage, self.limits)
        self._roster.begin(self.tree, self.peer.membership)

    # --- what it is

    @property
    def tree(self) -> Tree:
        """The state. Look, but do not touch."""
        return self._serving.tree

    @property
    def members(self) -> Members:
        """Who the members are after the last change that has ended here; see MembersChanged for one under way."""
        return self._roster.members

    @property
    def serving(self) -> bool:
        """Whether clients can be attached: a leader with a quorum behind it is known, and its history applied here."""
        return self._leader is not None

    @property
    def leader(self) -> PeerId | None:
        """The established leader, or None."""
        return self._leader

    @property
    def next_zxid(self) -> Zxid | None:
        """See `Peer.next_zxid`."""
        return self.peer.next_zxid

    @property
    def ticks_until_due(self) -> int:
        """How many ticks may pass before `tick` must be called; at least 1."""
        due = self.peer.ticks_until_due
        return due if self._leading is None else min(due, max(self._leading.ticks_until_due, 1))

    def status(self) -> PeerStatus:
        """See `Peer.status`."""
        return self.peer.status()

    def explain(self) -> tuple[str, ...]:
        """`Peer.explain`, and in the same way who is served here, and what their requests wait for."""
        lines = (*self.peer.explain(), *self._serving.explain())
        return lines if self._leading is None else (*lines, *self._leading.explain())

    # --- inputs from the ensemble

    def tick(self, ticks: int, now: int) -> None:
        """See `Peer.tick`."""
        self._begin_input(now)
        self.peer.tick(ticks)
        if self._leading is not None:
            self._leading.tick(ticks, now)

    def receive(self, sender: PeerId, message: Message, now: int) -> None:
        """See `Peer.receive`."""
        self._begin_input(now)
        if isinstance(message, Forward):
            self._on_forward(sender, message.data)
        else:
            self.peer.receive(sender, message)

    def report_linked(self, peer: PeerId) -> None:
        """See `Peer.report_linked`."""
        self._check_idle()
        self.peer.report_linked(peer)

    def report_lost(self, peer: PeerId) -> None:
        """See `Peer.report_lost`."""
        self._check_idle()
        self._confirming.on_lost(peer)
        self._sends = [pair for pair in self._sends if pair[0] != peer]
        self.peer.report_lost(peer)

    def snapshot(self) -> tuple[SnapshotRef, Iterator[bytes]]:
        """The state as it is now: a name for `Storage.save_snapshot`, and the pieces. They stay those of this state:
        draw them at leisure, while the replica goes on."""
        return SnapshotRef(self.tree.last_zxid), dump(self.tree)

    def compact(self, snapshot: SnapshotRef) -> None:
        """See `Peer.compact`. Ignored for a state that only the Peer before the last `recover` had delivered."""
        self._check_idle()
        if snapshot.zxid <= self.peer.last_delivered:
            self.peer.compact(snapshot)

    def transfer(self, target: PeerId | None = None) -> None:
        """See `Peer.transfer`. Requests that arrive meanwhile wait: for this leader to go on, or to be lost with it."""
        self._check_idle()
        self.peer.transfer(target)

    # --- inputs from clients

    def open(self, timeout_ms: int, now: int, *, password: bytes, ids: Iterable[Id] = ()) -> int:
        """Begin a session that expires after `timeout_ms` of silence, or what comes nearest to that in
        `rules.timeouts`; its id. The answer, Replied with xid 0, says when it exists; then `tree.sessions` has the
        timeout. `password` is PASSWORD_SIZE random bytes, by which the client will prove that the session is its own.
        `ids` are those by which the host knows the client: its address, what its certificate says.

        Raises ConnectionLostError where this replica has no leader, BadArgumentsError for a timeout or password that is
        none and for too many ids."""
        self._begin_input(now)
        check_opening(timeout_ms, password)
        known = add_ids((), ids)
        self._check_serving()
        session = self._ids.next(now)
        creation = CreateSession(self.rules.timeouts.negotiate(timeout_ms), key=key_of(session, password))
        self._submit(self._serving.open(Caller(session, known)), creation)
        return session

    def attach(
        self, session: int, *, password: bytes, last_zxid: Zxid, next_xid: int, now: int, ids: Iterable[Id] = ()
    ) -> None:
        """Serve a session that another replica served, or this one before. Attached or SessionEnded is the answer.

        `last_zxid` is the newest state the client has seen and `next_xid` a number above those of all its requests so
        far; `ids` are those by which the client is known now, whatever it was known by elsewhere. Raises
        ConnectionLostError where this replica has no leader, or has not yet applied `last_zxid`, AuthFailedError where
        `password` is not that of the session (where the session is not known here yet, SessionEnded says so, as of one
        that is over), ThrottledError where too many sessions are being attached here, and BadArgumentsError for a
        `next_xid` that is none, and for too many ids.
        """
        self._begin_input(now)
        known = add_ids((), ids)
        self._check_serving()
        check_attaching(self.tree, session, password=password, last_zxid=last_zxid, next_xid=next_xid)
        if len(self._serving.attaching) >= self._most_requests:
            raise ThrottledError("too many sessions are being attached here; try again a little later")
        self._claims += 1
        self._serving.begin_attach(Caller(session, known), next_xid, self._claims)
        claim = Claim(session, self._claims, key_of(session, password))
        if self._leading is not None:
            self._leading.arrive(self.me, session, 0, claim)
        else:
            self._to_leader(claim)

    def identify(self, session: int, ids: Iterable[Id]) -> None:
        """The client of a session served here is known by these, too: what it asks for from now on is judged by them.
        Whoever serves it has made sure, by `rules.access.authenticate` where the client has shown credentials. Not an
        input: it may be called while a Ready is out.

        Raises SessionClosedError where the session is not served here, and BadArgumentsError for too many ids."""
        connection = self._serving.find(session)
        if connection is None:
            raise SessionClosedError(f"session {session:#x} is not served by this replica; attach it first")
        connection.caller = Caller(session, add_ids(connection.caller.ids, ids))

    def detach(self, session: int) -> None:
        """The client has gone, and is told nothing more; its session is left to expire, or to be attached again."""
        self._check_idle()
        self._serving.drop(session)

    def pause(self, session: int) -> None:
        """The client does not keep up: tell it nothing of its watches, but what comes before its next answer, until
        `resume`. What it misses is not gathered; the replica remembers what happened, within bounds. Raises
        SessionClosedError."""
        self._check_idle()
        self._serving.pause(self._serving.get(session))

    def resume(self, session: int) -> None:
        """Tell the client of its watches again, and first what it missed: event by event, or where that is not known
        any more, or too much, with a Resync for each watch. Raises SessionClosedError."""
        self._check_idle()
        self._serving.resume(self._serving.get(session))

    def touch(self, session: int, token: int, now: int) -> None:
        """The client is alive. Touched is the answer, once the leader knows and is known to lead; or SessionEnded, once
        that is committed, where it comes too late."""
        self._begin_input(now)
        self._serving.get(session)
        if self._leading is not None:
            self._on_touch(self.me, self._leading, session, token)
        else:
            self._to_leader(Touch(session, token))

    def sessions(self) -> list[LiveSession]:
        """All sessions of the ensemble, by id, as their leader sees them. Raises NotLeadingError."""
        if self._leading is None:
            raise NotLeadingError(self._leader)
        return self._leading.sessions()

    def kill(self, session: int, now: int) -> bool:
        """End a session, wherever it is served, with the next tick: as if it had expired. Whether there is one. Raises
        NotLeadingError."""
        self._begin_input(now)
        if self._leading is None:
            raise NotLeadingError(self._leader)
        return self._leading.kill(session)

    def submit(self, session: int, request: Request[Any], now: int, *, read: ReadLevel = Read.SESSION) -> int:
        """A request of a session served here; its xid, which Replied carries. Replies come in the order of requests.

        A read is answered as fresh as `read` says, or fresher: Read.LOCAL has no meaning in an order, call `read` for
        it. What cannot be carried out is answered, too: with BadArgumentsError a request that cannot be written down
        (a number beyond its field) or is too large (MAX_REQUEST_BYTES), with UnimplementedError one that is no
        client's, with ThrottledError one too many for the leader.

        Raises SessionClosedError where the session is not served here, or not attached yet, and ThrottledError where
        it has `Limits.outstanding_proposals` requests under way, its end alone excepted; BadArgumentsError for what is
        no level, and for a CreateSession.
        """
        self._begin_input(now)
        connection = self._serving.get(session)
        if request.opcode == _CREATE_SESSION:
            raise BadArgumentsError("a session begins with `open`, and stays what it was made")
        if len(connection.unanswered) >= self._most_requests and not isinstance(request, CloseSession):
            raise ThrottledError("the session has too many requests under way; wait for answers")
        if read is _SESSION or request.writes or not self._needs_leader(read):
            return self._submit(connection, request)
        xid = connection.next_xid
        self._questions.waiting.append(self._serving.enqueue_gated(connection, request, read))
        self._asking = True
        return xid

    def _needs_leader(self, read: ReadLevel) -> bool:
        if isinstance(read, AtLeast):
            return read.zxid > self.tree.last_zxid
        check_level(read)
        return read is Read.LINEARIZABLE

    def can_read(self, session: int) -> bool:
        """Whether a read of the session may be answered at once: none of its requests is under way, and it was told of
        all its watches."""
        connection = self._serving.find(session)
        if connection is None or not connection.attached:
            return False
        return not connection.unanswered and not connection.paused

    def read(self, session: int, request: Request[T]) -> T:
        """The answer to a read, at once; `can_read` says whether that is in order. Not an input: it may be called
        while a Ready is out. Raises RequestError, and SessionClosedError where the session is not served here."""
        serving = self._serving
        return cast(T, serving.answer(serving.get(session), request))

    # --- output

    def drain(self) -> Ready[Event | Answer]:
        """Confirm the Ready before, and take the next. See the module."""
        leading = self._leading
        waits = self._asking or (leading is not None and leading.arrived)
        if waits and not self._peer_busy:
            self._feed_peer()
        drained = self.peer.drain()
        if waits and drained is NOTHING and self._feed_peer():  # what was confirmed just now may be the leadership
            drained = self.peer.drain()
        ready: Ready[Event | Answer] = cast("Ready[Event | Answer]", drained)
        self._peer_busy = ready is not NOTHING
        if ready.events:
            for event in ready.events:
                if type(event) is Delivered:
                    self._applying.apply(event.first, event.payloads, self._leading, tell=self.serving)
                elif isinstance(event, RoleChanged):
                    self._on_role_changed(event)
                elif isinstance(event, Restored):
                    self._applying.restore(self.storage, event.snapshot, self.rules.access)
                elif isinstance(event, ReadReady):
                    self._on_confirmed(event)
        serving = self._serving
        if serving.attaching:
            serving.finish_attaching()
        if serving.released:
            for connection, xid, request in serving.take_released():
                self._send_write(connection, xid, request)
        answers = serving.answers
        told = self._roster.told
        if self._sends or answers or told:
            if ready is NOTHING:
                ready = Ready()
            ready.early.extend(bundle(self._sends))
            self._sends.clear()
            ready.events.extend(told)
            ready.events.extend(answers)
            told.clear()
            answers.clear()
        self._busy = ready is not NOTHING
        return ready

    # --- requests

    def _check_idle(self) -> None:
        if self._busy:
            raise RuntimeError("a Ready is out: act on it and call drain() until it is empty before the next input")

    def _begin_input(self, now: int) -> None:
        self._check_idle()
        self._now_ms = now

    def _check_serving(self) -> None:
        if self._leader is None:
            raise ConnectionLostError(f"replica {self.me} has no leader at the moment; try again, or another replica")

    def _submit(self, connection: Connection, request: Request[Any]) -> int:
        gates = connection.gates
        xid = self._serving.enqueue(connection, request)
        if request.writes and not gates and not self._serving.goes_behind_released(connection, xid, request):
            self._send_write(connection, xid, request)
        return xid

    def _send_write(self, connection: Connection, xid: int, request: Request[Any]) -> None:
        leading = self._leading
        try:
            if leading is None:
                opcode, body = encode_bounded(request)
                self._to_leader(Submit(connection.session, xid, opcode, body, connection.caller.ids))
            else:
                leading.arrive(self.me, connection.session, xid, request, connection.caller.ids)
        except (BadArgumentsError, ThrottledError, UnimplementedError) as error:
            self._serving.refuse(connection, xid, error)

    def _to_leader(self, message: Forwarded) -> None:
        """Established followers always have a leader to send to; when they lose it their sessions are detached."""
        assert self._leader is not None
        self._sends.append((self._leader, pack(message)))

    def _feed_peer(self) -> bool:
        """Give the Peer what waits for it; whether there was anything."""
        if self._questions.is_due:
            self._ask()
        leading = self._leading
        if leading is None:
            self._asking = self._confirming.waiting
            return False
        fed = bool(leading.arrived) and self._propose(leading)
        if self._confirming.waiting:
            for origin, index in self._confirming.take_asks(self.peer.last_logged):
                self._confirm(origin, index)
            fed = True
        self._asking = False
        return fed

    def _propose(self, leading: Leading) -> bool:
        """Propose what has arrived, unless it has to wait: too much is outstanding, or the leadership is being handed
        over. Nothing is prepared before that is known: what is prepared must be proposed."""
        first = self.peer.next_zxid
        if first is None or self.peer.is_full:
            return False
        while (asked := leading.take_reconfigure()) is not None:
            refused = propose_change(asked, self.peer, leading, self._roster.members, first=first, now_ms=self._now_ms)
            if refused is None:
                return True
            self._answer_origin(asked.origin, refused)
        payloads, answers = leading.prepare(first, self._now_ms, last=self.peer.last_logged)
        if payloads:
            self.peer.propose(first, payloads)
        for origin, answer in answers:
            if isinstance(answer, Claimed):
                self._confirm(origin, answer)
            else:
                self._answer_origin(origin, answer)
        return True

    def _ask(self) -> None:
        """How much must be applied here for the reads that wait?"""
        nonce = self._questions.ask()
        if self._leading is not None:
            self._confirming.ask(self.me, nonce)
        else:
            self._to_leader(AskIndex(nonce))

    def _confirm(self, origin: PeerId, answer: Claimed | TouchReply | Index) -> None:
        self.peer.read_index(self._confirming.token(origin, answer))

    def _on_confirmed(self, event: ReadReady) -> None:
        confirmed = self._confirming.on_confirmed(event)
        if confirmed is not None:
            self._answer_origin(*confirmed)

    def _answer_origin(self, origin: PeerId, answer: FromLeader) -> None:
        if origin == self.me:
            self._on_leader_says(answer)
        else:
            self._sends.append((origin, pack(answer)))

    # --- forwarded

    def _on_forward(self, sender: PeerId, data: bytes) -> None:
        if not self.peer.hears(sender):
            return
        try:
            for message in unpack(data):
                self._on_forwarded(sender, message)
        except ProtocolError as error:
            self.peer.reject(sender, str(error))

    def _on_forwarded(self, sender: PeerId, message: Forwarded) -> None:
        if isinstance(message, Submit):
            self._on_submit(sender, message)
        elif isinstance(message, Claim):
            self._on_arrival(sender, message.session, 0, message, ())
        elif isinstance(message, Touch):
            if self._leading is not None:
                self._on_touch(sender, self._leading, message.session, message.token)
        elif isinstance(message, AskIndex):
            if self._leads:
                self._confirming.ask(sender, message.nonce)
                self._asking = True
        elif sender == self._leader:
            self._on_leader_says(message)

    def _on_submit(self, sender: PeerId, message: Submit) -> None:
        if not are_bounded(message.ids):
            raise ProtocolError(f"a request comes with {len(message.ids)} ids of its client, or with too long ones")
        try:
            request = decode_request(message.opcode, message.body)
        except UnimplementedError as error:
            self._answer_origin(sender, Refused(message.session, message.xid, error.code))
        else:
            self._on_arrival(sender, message.session, message.xid, request, message.ids)

    @property
    def _leads(self) -> bool:
        """Whether this replica leads, or is about to. A follower may be established a moment before its leader has
        delivered all it must: what it sends is kept until then. What reaches a replica that does not lead is dropped;
        the link it came on is about to break."""
        return self._leading is not None or self.peer.role is Role.LEADING

    def _on_touch(self, origin: PeerId, leading: Leading, session: int, token: int) -> None:
        if (alive := leading.touch(session)) is not None:
            self._confirm(origin, TouchReply(session, token, alive))

    def _on_arrival(
        self, sender: PeerId, session: int, xid: int, request: Request[Any] | Claim, ids: tuple[Id, ...]
    ) -> None:
        if self._leads:
            refused = self._arrivals.take(self._leading, sender, session, xid, request, ids)
            if refused is not None:
                self._answer_origin(sender, refused)

    def _on_leader_says(self, message: FromLeader) -> None:
        if isinstance(message, Index):
            self._serving.pass_on(self._questions.on_index(message.nonce, message.committed, message.proposed))
            self._asking = self._asking or self._questions.is_due
            return
        connection = self._serving.find(message.session)
        if connection is None:
            return
        if isinstance(message, TouchReply):
            self._serving.answers.append(Touched(message.session, message.token, message.alive))
        elif isinstance(message, Refused) and message.code == SessionMovedError.code:
            if any(xid == message.xid for xid, _ in connection.unanswered):
                self._serving.detach(connection, "the session is served elsewhere now")
        elif isinstance(message, Refused):
            self._serving.refuse(connection, message.xid, message.error)
        elif isinstance(message, Claimed) and connection.claim == message.nonce and not connection.attached:
            self._serving.on_claimed(connection, message.zxid, alive=message.alive)

    # --- roles

    def _on_role_changed(self, event: RoleChanged) -> None:
        if not event.established:
            self._leave(event.why)
            return
        self._leader = event.leader
        self._roster.follow(self.tree, self.peer.membership)
        if event.role is Role.LEADING:
            self._leading = Leading(self.tree, self.limits, self.rules)
            for origin, refused in self._arrivals.establish(self._leading):
                self._answer_origin(origin, refused)

    def _leave(self, why: str) -> None:
        self._leader = self._leading = None
        self._arrivals.clear()
        self._confirming.clear()
        self._sends.clear()
        self._questions.drop()
        self._serving.detach_all(why)
