"""Linearizable reads while links break, nodes die and leaders change: none ever shows less than anybody was told."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from virtual import Ensemble

from zkcore.errors import BadArgumentsError, ConnectionLostError, NotLeadingError, SessionClosedError
from zkcore.replica.answers import Attached, Detached, Replied, SessionEnded
from zkcore.replica.levels import Read, ReadLevel, Sync
from zkcore.tree.requests import Create, GetData, SetData
from zkcore.zab.limits import Limits
from zkcore.zxid import Zxid, epoch_of

LIMITS = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)


class Customer:
    """A session that goes from replica to replica."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.at = 0
        self.attached = False
        self.next_xid = 1000
        self.seen: Zxid = 0
        self.waiting: dict[int, tuple[Any, ReadLevel, Zxid]] = {}  # what was asked, and what was answered before it


class Chaos:
    """A world in trouble, and what its customers were told."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.world = Ensemble(3, observers=1, limits=LIMITS, slow=tuple(self.rng.sample((1, 2, 3, 4), 2)))
        leader = self.world.elect()
        self.customers = [Customer(self.world.open(leader, 10_000_000)) for _ in range(4)]
        self.world.ask(leader, self.customers[0].session, Create("/a", b""))
        self.world.pass_ms(1000)
        for me in self.world.replicas:
            for customer in self.customers:
                self.world.replicas[me].detach(customer.session)
        self.told = dict.fromkeys(self.world.told, 0)
        self.look()
        self.answered: Zxid = 0
        """The newest write that was answered to anybody."""
        self.judged = 0
        self.stale = 0

    def step(self) -> None:
        rng, world = self.rng, self.world
        draw = rng.random()
        if draw < 0.7:
            for _ in range(rng.randrange(6)):
                world.deliver_one()
        elif draw < 0.97:
            self.act(rng.choice(self.customers))
        elif draw < 0.985:
            world.pass_ms(10 * rng.randrange(1, 30))
        else:
            self.strike()
        self.look()

    def strike(self) -> None:
        """Something happens to a link, or to a node; most often the leader is paused, which is how leaders come to
        believe that they lead when they do not. Or all is well again, for a while."""
        rng, world = self.rng, self.world
        one, other = rng.sample(world.config.members, 2)
        leaders = [me for me, each in world.replicas.items() if each.leader == me and me not in world.paused]
        kind = rng.choice(("cut", "hold", "kill", "transfer", "pause", "pause", "pause", "calm", "calm", "calm"))
        if kind == "cut":
            world.cut((one, other))
        elif kind == "hold":
            world.hold((one, other))
        elif kind == "kill" and one in world.replicas and len(world.replicas) > 2:
            world.kill(one)
        elif kind == "pause" and leaders:
            world.paused.add(leaders[0])
        elif kind == "transfer" and leaders:
            try:
                world.replicas[leaders[0]].transfer()
            except (NotLeadingError, BadArgumentsError):
                return
            world.act(leaders[0])
        elif kind == "calm":
            self.calm()

    def calm(self) -> None:
        world = self.world
        world.held.clear()
        world.paused.clear()
        world.heal(*(tuple(pair) for pair in list(world.cuts)))  # type: ignore[misc]
        for me in world.config.members:
            if me not in world.replicas:
                self.told[me] = len(world.told[me])
                world.start(me)

    def act(self, customer: Customer) -> None:
        rng, world = self.rng, self.world
        running = [me for me in world.replicas if me not in world.paused]
        if customer.at in world.paused or not running:
            return
        if not customer.attached:
            customer.waiting.clear()
            customer.at = rng.choice(running)
            try:
                world.attach(customer.at, customer.session, last_zxid=customer.seen, next_xid=customer.next_xid)
            except ConnectionLostError:
                pass  # it has no leader, or is behind: try another one the next time
            return
        request: Any = rng.choice((SetData("/a", b"x"), GetData("/a"), GetData("/a"), Sync()))
        read: ReadLevel = Read.LINEARIZABLE
        if isinstance(request, GetData):
            read = rng.choice((Read.LINEARIZABLE, Read.SESSION, Read.at_least(self.answered)))
        burst = [request] * (rng.choice((1, 20)) if isinstance(request, SetData) else 1)
        try:
            xids = world.submit(customer.at, customer.session, *burst, read=read)
        except SessionClosedError:
            customer.attached = False
            return
        for xid in xids:
            customer.waiting[xid] = request, read, self.answered
            customer.next_xid = xid + 1

    def look(self) -> None:
        """Judge what was told since the last look."""
        world = self.world
        for me, told in world.told.items():
            news, self.told[me] = told[self.told[me] :], len(told)
            for event in news:
                for customer in self.customers:
                    if getattr(event, "session", None) == customer.session and customer.at == me:
                        self.hear(customer, event)
        for customer in self.customers:
            if customer.attached and customer.at not in world.replicas:
                customer.attached = False

    def hear(self, customer: Customer, event: Any) -> None:
        if isinstance(event, Attached):
            customer.attached = True
        elif isinstance(event, Detached | SessionEnded):
            assert not isinstance(event, SessionEnded)
            customer.attached = False
        elif isinstance(event, Replied):
            request, read, before = customer.waiting.pop(event.xid)
            assert event.error is None
            result: Any = event.result
            shown: Zxid = result if isinstance(request, Sync) else getattr(result, "stat", result).mzxid
            if isinstance(request, SetData):
                assert shown > before
                self.answered = max(self.answered, shown)
            elif read is Read.SESSION:
                self.stale += shown < before
            else:
                assert shown >= before, f"{read} at {customer.at} shows {shown:#x}, and {before:#x} was answered"
                self.judged += 1
            assert shown >= customer.seen or isinstance(request, Sync)
            customer.seen = max(customer.seen, shown)


def after(steps: int, seed: int) -> Chaos:
    chaos = Chaos(seed)
    for _ in range(steps):
        chaos.step()
    return chaos


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_a_fresh_read_shows_all_that_was_answered_before_it(seed: int) -> None:
    after(1500, seed)


def test_the_chaos_is_worth_something() -> None:
    """Many fresh reads were judged, leaders changed, and reads that may be stale sometimes were."""
    chaoses = [after(1500, seed) for seed in range(6)]
    assert sum(chaos.judged for chaos in chaoses) > 200
    assert sum(chaos.stale for chaos in chaoses) > 0
    assert sum(epoch_of(chaos.answered) for chaos in chaoses) > 12
