"""Reads in plays: three replicas and three clients that do what the script says, in virtual time.

Each play gives a stale answer its chance. As the replicas are, nobody is told anything wrong; with the rule broken that
the play is about, the Reference says so (X17), and where a client can see it without knowing zxids, so does the search
for an order.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from attrs import evolve

from zkcore.replica.forward import Index
from zkcore.replica.levels import AtLeast, Read, ReadLevel, Sync
from zkcore.replica.reading import Gated, Questions
from zkcore.replica.replica import Replica
from zkcore.testing.checkers import Violation
from zkcore.testing.clients import Client
from zkcore.testing.faults import Plan, draw_plan
from zkcore.testing.linearizability import Verdict
from zkcore.testing.network import MILLISECOND
from zkcore.testing.node import Node
from zkcore.testing.replicas import Replicas
from zkcore.testing.trace import NANOSECONDS
from zkcore.testing.world import World
from zkcore.tree.requests import Create, GetData, Request, SetData
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId, Role


class Troupe(Replicas):
    """Replicas whose load is what the script asks for next."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.clients = [Client(number) for number in (1, 2, 3)]
        self.timeout_ms = 3_600_000  # nobody sends heartbeats here
        self.acts: dict[PeerId, list[Callable[[Node], None]]] = {}

    def step(self, node: Node, rng: Random) -> None:
        self.acts[node.me].pop(0)(node)


class Play:
    """Three replicas, one of them established as leader, and a client at each: `at_leader`, `here` and `there`."""

    def __init__(self, *, deliver_bytes: int = 1 << 20, without: frozenset[str] = frozenset()) -> None:
        plan = evolve(
            draw_plan(1), voters=(1, 2, 3), observers=(), groups=(), weights=(), tick_ns=(10_000_000,) * 3, rates={},
            limits=Limits(deliver_bytes=deliver_bytes), transfer_share=0.0, load_rate=1e-9, delay_ns=MILLISECOND,
            jitter_ns=0, spike_share=0.0, relink_ns=MILLISECOND, save_ns=100_000, snapshot_every=0, over_wire=False,
        )  # fmt: skip
        self.world = World(1, plan=plan, make_program=Troupe, without=without)
        assert isinstance(self.world.program, Troupe)
        self.troupe = self.world.program
        for node in self.world.nodes.values():
            node.start()
        self.run(2000)
        self.leader = self.leaders()[0]
        self.at_leader, self.here, self.there = self.troupe.clients
        self.followers = [me for me in self.world.nodes if me != self.leader]
        for client, me in zip(self.troupe.clients, (self.leader, *self.followers), strict=True):
            self.bring(client, me)
        self.run(100)
        self.ask(self.at_leader, Create("/c", b"first"))
        self.run(100)

    def run(self, milliseconds: float) -> None:
        self.world.run_until(self.world.now + int(milliseconds * MILLISECOND))

    def leaders(self) -> list[PeerId]:
        """Who is established as leader, the latest first."""
        found = [
            (node.peer.epoch, me)
            for me, node in self.world.nodes.items()
            if node.peer is not None and node.peer.role is Role.LEADING and node.peer.established
        ]
        return [me for _, me in sorted(found, reverse=True)]

    def bring(self, client: Client, me: PeerId) -> None:
        self.act(me, lambda node: self.troupe.come(node, client))

    def ask(self, client: Client, *requests: Request[Any], read: ReadLevel = Read.SESSION) -> None:
        """All at once; everything but session reads counts as linearizable."""
        assert client.ready
        assert client.node is not None
        for request in requests:
            level = Read.LINEARIZABLE if isinstance(request, Sync) else Read.SESSION if request.writes else read
            self.act(client.node, self._asking(client, request, level))

    def _asking(self, client: Client, request: Request[Any], level: ReadLevel) -> Callable[[Node], None]:
        linearizable = request.writes or level is Read.LINEARIZABLE
        return lambda node: self.troupe.submit(node, client, request, read=level, linearizable=linearizable)

    def act(self, me: PeerId, act: Callable[[Node], None]) -> None:
        self.troupe.acts.setdefault(me, []).append(act)
        self.world.nodes[me].want_load(0)

    def end(self) -> None:
        """Everybody is answered; the search for an order looks at it all."""
        self.run(20_000)
        assert self.troupe.idle()
        self.troupe.check(self.world.nodes.values())
        assert self.troupe.verdict is Verdict.LINEARIZABLE


# --- the plays --------------------------------------------------------------------------------------------------------


def a_leader_wakes_up_deposed(play: Play, *questions: Request[Any]) -> None:
    """It stood still, and nothing reaches it; the others have gone on under a new leader."""
    for other in play.followers:
        play.world.network.block(play.leader, other, mute=(play.leader, other), notice_ns=60 * NANOSECONDS)
    play.world.nodes[play.leader].pause()
    play.run(4000)
    successor = play.leaders()[0]
    assert successor in play.followers
    play.bring(play.here, successor)
    play.run(100)
    play.ask(play.here, SetData("/c", b"second"))
    play.run(100)
    play.ask(play.at_leader, *questions, read=Read.LINEARIZABLE)  # it asks a node that stands still
    play.world.nodes[play.leader].resume()
    play.run(1)


def reading_from_a_deposed_leader(play: Play) -> None:
    a_leader_wakes_up_deposed(play, GetData("/c"))


def syncing_with_a_deposed_leader(play: Play) -> None:
    a_leader_wakes_up_deposed(play, Sync())


def a_write_that_is_not_applied_everywhere(play: Play) -> None:
    """The client at the leader has its answer, and the COMMIT is still on its way to the others."""
    play.ask(play.at_leader, SetData("/c", b"second"))
    while play.at_leader.waiting:
        play.run(0.01)


def reading_linearizably_at_a_follower(play: Play) -> None:
    a_write_that_is_not_applied_everywhere(play)
    for client in (play.here, play.there):
        play.ask(client, GetData("/c"), read=Read.LINEARIZABLE)


def reading_what_another_client_has_told(play: Play) -> None:
    a_write_that_is_not_applied_everywhere(play)
    for client in (play.here, play.there):
        play.ask(client, GetData("/c"), read=Read.at_least(play.at_leader.seen))


def reading_while_a_follower_applies_slowly(play: Play) -> None:
    """Everybody applies one transaction at each input, and fifty are committed."""
    play.ask(play.at_leader, *(SetData("/c", b"%d" % number) for number in range(50)))
    play.run(10)
    for client in (play.here, play.there):
        play.ask(client, GetData("/c"), read=Read.LINEARIZABLE)


def syncing_with_what_is_proposed(play: Play) -> None:
    """What is proposed when the leader is asked is committed and applied before the sync is over."""
    play.ask(play.at_leader, *(SetData("/c", b"%d" % number) for number in range(50)))
    play.run(0.5)
    for client in (play.here, play.there):
        play.ask(client, Sync())


def reading_while_a_question_is_under_way(play: Play) -> None:
    """The second client of a follower asks after a write, and the first before it."""
    play.bring(play.there, play.followers[0])
    play.run(100)
    play.ask(play.here, GetData("/c"), read=Read.LINEARIZABLE)
    play.run(1.5)  # the question has reached the leader
    a_write_that_is_not_applied_everywhere(play)
    assert play.here.waiting
    play.ask(play.there, GetData("/c"), read=Read.LINEARIZABLE)


# --- broken replicas --------------------------------------------------------------------------------------------------

Breaking = Callable[[pytest.MonkeyPatch], None]


def index_without_quorum(patch: pytest.MonkeyPatch) -> None:
    """A leader says at once how much is committed, without asking whether it still leads."""
    real = Replica._confirm

    def confirm(self: Replica, origin: PeerId, answer: Any) -> None:
        if isinstance(answer, Index):
            committed = self.peer.last_committed
            self._answer_origin(origin, Index(answer.nonce, committed, max(committed, answer.proposed)))
        else:
            real(self, origin, answer)

    patch.setattr(Replica, "_confirm", confirm)


def level_ignored(patch: pytest.MonkeyPatch) -> None:
    """Linearizable reads are answered like others."""
    real = Replica._needs_leader
    patch.setattr(Replica, "_needs_leader", lambda self, read: read is not Read.LINEARIZABLE and real(self, read))


def least_ignored(patch: pytest.MonkeyPatch) -> None:
    """Reads that name a zxid are answered like others."""
    real = Replica._needs_leader
    patch.setattr(Replica, "_needs_leader", lambda self, read: not isinstance(read, AtLeast) and real(self, read))


def index_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A follower answers when the leader has, whatever it has applied itself."""

    def on_index(self: Gated, committed: int, proposed: int) -> None:
        self.needs = 0

    patch.setattr(Gated, "on_index", on_index)


def sync_to_what_is_committed(patch: pytest.MonkeyPatch) -> None:
    """A sync does not wait for what is proposed."""
    real = Gated.on_index
    patch.setattr(Gated, "on_index", lambda self, committed, proposed: real(self, committed, committed))


def question_joined(patch: pytest.MonkeyPatch) -> None:
    """Reads share a question that was asked before them."""
    real = Questions.on_index

    def on_index(self: Questions, nonce: int, committed: int, proposed: int) -> list[Gated]:
        answered = real(self, nonce, committed, proposed)
        if answered:
            answered, self.waiting = answered + self.waiting, []
            for gated in answered:
                gated.on_index(committed, proposed)
        return answered

    patch.setattr(Questions, "on_index", on_index)


PLAYS: list[tuple[Callable[[Play], None], Breaking]] = [
    (reading_from_a_deposed_leader, index_without_quorum),
    (syncing_with_a_deposed_leader, index_without_quorum),
    (reading_linearizably_at_a_follower, level_ignored),
    (reading_what_another_client_has_told, least_ignored),
    (reading_while_a_follower_applies_slowly, index_not_waited_for),
    (syncing_with_what_is_proposed, sync_to_what_is_committed),
    (syncing_with_what_is_proposed, index_not_waited_for),
    (reading_while_a_question_is_under_way, question_joined),
]


def begin(perform: Callable[[Play], None], *, without: frozenset[str] = frozenset()) -> Play:
    slowly = perform in (reading_while_a_follower_applies_slowly, syncing_with_what_is_proposed)
    return Play(deliver_bytes=1 if slowly else 1 << 20, without=without)


@pytest.mark.parametrize("perform", dict.fromkeys(perform for perform, _ in PLAYS), ids=lambda play: play.__name__)
def test_nobody_is_told_anything_wrong(perform: Callable[[Play], None]) -> None:
    play = begin(perform)
    perform(play)
    play.end()


@pytest.mark.parametrize(("perform", "breaking"), PLAYS, ids=lambda part: part.__name__)
def test_a_broken_rule_is_seen(
    perform: Callable[[Play], None], breaking: Breaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = begin(perform)
    breaking(monkeypatch)

    def performance() -> None:
        perform(play)
        play.end()

    with pytest.raises(Violation) as found:
        performance()
    assert found.value.invariant == "X17"


@pytest.mark.parametrize(
    ("perform", "breaking"),
    [
        (reading_from_a_deposed_leader, index_without_quorum),
        (reading_linearizably_at_a_follower, level_ignored),
        (reading_while_a_question_is_under_way, question_joined),
    ],
    ids=lambda part: part.__name__,
)
def test_what_contradicts_an_answer_is_seen_without_knowing_zxids(
    perform: Callable[[Play], None], breaking: Breaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = begin(perform, without=frozenset({"X17"}))
    breaking(monkeypatch)
    perform(play)
    with pytest.raises(Violation, match=r"no order of the operations explains .* Read") as found:
        play.end()
    assert found.value.invariant == "linearizable"


def test_the_search_for_an_order_is_not_given_up() -> None:
    """It is bounded, so it must be shown to come to an end in worlds as they are, with something to look at."""
    operations = 0
    for seed in range(10):
        world = World(seed, make_program=Replicas)
        world.run()
        assert isinstance(world.program, Replicas)
        assert world.program.verdict is Verdict.LINEARIZABLE
        operations += sum(1 for _ in world.program.history.operations())
    assert operations > 500
