"""Replicas in a plain loop: no event loop, no threads, and a clock that moves when told.

Messages wait in one queue per direction of a link and are delivered one at a time, in the same order in every run. So
a test can stop the world between any two of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from attrs import evolve

from zkcore.jute.records import Id
from zkcore.replica.answers import Attached, Detached, Replied, SessionEnded, Touched, WatchFired
from zkcore.replica.levels import Read, ReadLevel
from zkcore.replica.replica import Replica
from zkcore.replica.rules import Rules
from zkcore.storage.storage import MemoryStorage
from zkcore.tree.requests import Request
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Message
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import NOTHING, Ready

ANSWERS = (Replied, WatchFired, Touched, Attached, Detached, SessionEnded)
PASSWORD = b"0123456789abcdef"
"""Of every session that does not say otherwise."""
START_MS = 1_700_000_000_000


class Ensemble:
    """Replicas 1 to `count`, and then the observers, linked with one another."""

    def __init__(
        self, count: int = 3, *, observers: int = 0, limits: Limits | None = None, slow: tuple[int, ...] = (),
        rules: Rules | None = None, make_storage: Callable[[int], Any] | None = None,
    ) -> None:  # fmt: skip
        self.config = EnsembleConfig(range(1, count + 1), observers=range(count + 1, count + observers + 1))
        self.limits = limits if limits is not None else Limits()
        self.rules = rules
        self.slow = slow  # these apply one transaction with each input
        self.now = START_MS
        self.storages = {me: make_storage(me) if make_storage else MemoryStorage() for me in self.config.members}
        self.replicas: dict[int, Replica] = {}
        self.told: dict[int, list[Any]] = {me: [] for me in self.config.members}
        self.flying: dict[tuple[int, int], deque[Message]] = {}
        self.held: set[tuple[int, int]] = set()
        self.cuts: set[frozenset[int]] = set()
        self.reports: dict[int, deque[tuple[str, int]]] = {me: deque() for me in self.config.members}
        self.acting: set[int] = set()
        self.paused: set[int] = set()  # these do nothing and hear nothing, and no time passes for them
        for me in self.config.members:
            self.start(me)

    # --- replicas and links

    def start(self, me: int) -> None:
        limits = evolve(self.limits, deliver_bytes=1) if me in self.slow else self.limits
        self.replicas[me] = Replica(me, self.config, self.storages[me], limits=limits, rules=self.rules)
        self.act(me)
        for other in self.replicas:
            self._link(me, other)

    def kill(self, me: int) -> None:
        del self.replicas[me]
        self.reports[me].clear()
        for other in self.replicas:
            self._break(me, other)

    def cut(self, *pairs: tuple[int, int]) -> None:
        for a, b in pairs:
            self.cuts.add(frozenset((a, b)))
            self._break(a, b)

    def heal(self, *pairs: tuple[int, int]) -> None:
        for a, b in pairs:
            self.cuts.discard(frozenset((a, b)))
            self._link(a, b)

    def isolate(self, me: int) -> None:
        self.cut(*((me, other) for other in self.config.members if other != me))

    def hold(self, *directions: tuple[int, int]) -> None:
        """What is sent in these directions stays on its way until `release`, and nobody learns of it."""
        self.held.update(directions)

    def release(self, *directions: tuple[int, int]) -> None:
        self.held.difference_update(directions)

    def _link(self, a: int, b: int) -> None:
        pair = frozenset((a, b))
        if a == b or pair in self.cuts or (a, b) in self.flying or not pair <= self.replicas.keys():
            return
        self.flying[a, b], self.flying[b, a] = deque(), deque()
        self._report("linked", a, b)

    def _break(self, a: int, b: int) -> None:
        if self.flying.pop((a, b), None) is None:
            return
        del self.flying[b, a]
        self._report("lost", a, b)

    def _report(self, what: str, a: int, b: int) -> None:
        for me, other in ((a, b), (b, a)):
            if me in self.replicas:
                self.reports[me].append((what, other))
        for me in (a, b):
            if me in self.replicas:
                self.act(me)

    # --- the contract of a replica, kept

    def act(self, me: int) -> None:
        """Do what the replica says until it says nothing more, and tell it of its links in between."""
        if me in self.acting or me in self.paused:
            return
        self.acting.add(me)
        self._drain(me)
        while self.reports[me]:
            what, other = self.reports[me].popleft()
            if what == "lost":
                self.replicas[me].report_lost(other)
            else:
                self.replicas[me].report_linked(other)
            self._drain(me)
        self.acting.discard(me)

    def _drain(self, me: int) -> None:
        while (ready := self.replicas[me].drain()) is not NOTHING:
            self.carry_out(me, ready)

    def carry_out(self, me: int, ready: Ready[Any]) -> None:
        """Do what one Ready says."""
        self._send(me, ready.early)
        self.told[me] += ready.events
        self.replicas[me].storage.save(ready.writes)
        self._send(me, ready.messages)
        for other in ready.closes:
            if ("lost", other) not in self.reports[me]:
                self._break(me, other)
                self._link(me, other)

    def _send(self, me: int, messages: Iterable[tuple[int, Message]]) -> None:
        for to, message in messages:
            # What is meant for a link that is gone must not travel on the next.
            if (me, to) in self.flying and ("lost", to) not in self.reports[me]:
                self.flying[me, to].append(message)

    # --- what happens

    def deliver_one(self) -> bool:
        """Deliver the next message; False where none is on its way."""
        for (sender, to), messages in sorted(self.flying.items()):
            if messages and (sender, to) not in self.held and to not in self.paused:
                self.replicas[to].receive(sender, messages.popleft(), self.now)
                self.act(to)
                return True
        return False

    def settle(self) -> None:
        """Deliver whatever is on its way, and whatever that leads to."""
        while self.deliver_one():
            pass

    def run(self, until: Callable[[], bool], *, limit_ms: int = 60_000) -> None:
        """Let time pass until something is true, which must be within `limit_ms`."""
        self.settle()
        end = self.now + limit_ms
        while not until():
            assert self.now < end, "it did not come about"
            self.pass_ms(self.limits.tick_ms)

    def pass_ms(self, milliseconds: int) -> None:
        """Let time pass, a tick at a time."""
        for _ in range(milliseconds // self.limits.tick_ms):
            self._tick()
            self.settle()

    def _tick(self) -> None:
        self.now += self.limits.tick_ms
        for me in list(self.replicas):
            if me not in self.paused:
                self.replicas[me].tick(1, self.now)
                self.act(me)

    def step_until(self, condition: Callable[[], bool]) -> None:
        """Go on message by message, and tick by tick where there is none, until something is true."""
        for _ in range(100_000):
            if condition():
                return
            if not self.deliver_one():
                self._tick()
        raise AssertionError("it did not come about")

    def elect(self) -> int:
        """The leader that all replicas serve under, as soon as there is one."""

        def agreed() -> bool:
            leaders = {replica.leader for replica in self.replicas.values()}
            return len(leaders) == 1 and leaders <= self.replicas.keys()

        self.run(agreed)
        return next(iter(self.replicas.values())).leader or 0

    def followers(self) -> list[int]:
        return [me for me, replica in self.replicas.items() if replica.leader not in (me, None)]

    # --- what clients do and hear

    def heard(self, me: int, session: int) -> list[Any]:
        """All that replica `me` has told a session, in order."""
        return [told for told in self.told[me] if isinstance(told, ANSWERS) and told.session == session]

    def replies(self, me: int, session: int) -> list[Any]:
        """The Replied among them."""
        return [told for told in self.heard(me, session) if isinstance(told, Replied)]

    def open(self, me: int, timeout_ms: int = 10_000, *, ids: tuple[Id, ...] = ()) -> int:
        session = self.replicas[me].open(timeout_ms, self.now, password=PASSWORD, ids=ids)
        self.act(me)
        self.settle()
        assert [reply[:4] for reply in self.replies(me, session)] == [(session, 0, None, None)]
        return session

    def submit(
        self, me: int, session: int, *requests: Request[Any], read: ReadLevel = Read.SESSION
    ) -> list[int]:
        """Give a replica requests in one batch; their xids. Nothing is delivered yet."""
        xids = [self.replicas[me].submit(session, request, self.now, read=read) for request in requests]
        self.act(me)
        return xids

    def ask(self, me: int, session: int, request: Request[Any], *, read: ReadLevel = Read.SESSION) -> Any:
        """The answer to a request, or what it raises."""
        (xid,) = self.submit(me, session, request, read=read)
        self.settle()
        answer = self.replies(me, session)[-1]
        assert answer.xid == xid
        if answer.error is not None:
            raise answer.error
        return answer.result

    def attach(
        self, me: int, session: int, *, password: bytes = PASSWORD, last_zxid: int = 0, next_xid: int = 1000,
        ids: tuple[Id, ...] = (),
    ) -> None:  # fmt: skip
        self.replicas[me].attach(
            session, password=password, last_zxid=last_zxid, next_xid=next_xid, now=self.now, ids=ids
        )
        self.act(me)

    def touch(self, me: int, session: int, token: int = 1) -> None:
        self.replicas[me].touch(session, token, self.now)
        self.act(me)

    def trees(self) -> set[bytes]:
        """The distinct states of the replicas that are up, as the bytes of a snapshot."""
        return {b"".join(replica.snapshot()[1]) for replica in self.replicas.values()}
