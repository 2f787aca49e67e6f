"""What nodes tell of themselves while they are elected, cut off, filled up, damaged and stopped."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve
from ports import Ports

import zkcore
import zkcore.sync
from zkcore import ConfigurationError, Limits, LocalNetwork, MemoryStorage, Node, local_cluster
from zkcore.errors import InvariantViolation, StorageFailedError
from zkcore.events import (
    DamageFound,
    DamageRepaired,
    Dropped,
    LeaderChanged,
    LinkDown,
    LinkRefused,
    LinkUp,
    NodeEvent,
    NodeHalted,
    NodeStarted,
    NodeStopped,
    QuorumLost,
    QuorumRegained,
    RoleChanged,
    SessionClosed,
    SessionExpired,
    SessionMoved,
    SessionOpened,
    SlowRequest,
    SlowSave,
    SnapshotBegun,
    SnapshotFailed,
    SnapshotSaved,
    StorageFailed,
    StorageReadOnly,
    StorageWritable,
    Synced,
    SyncMode,
)
from zkcore.replica import host as host_module
from zkcore.zab.messages import Damage
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Write

E = TypeVar("E", bound=NodeEvent)
QUICK = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)
SECRET = zkcore.SharedSecret(b"known to all members")


class Told:
    """What was told, in order."""

    def __init__(self) -> None:
        self.events: list[NodeEvent] = []

    def __call__(self, event: NodeEvent) -> None:
        self.events.append(event)

    def of(self, kind: type[E], node: int | None = None) -> list[E]:
        return [event for event in self.events if isinstance(event, kind) and node in (None, event.node)]

    async def wait_for(self, kind: type[E], node: int | None = None) -> E:
        """The last of a kind, as soon as there is one."""
        while not self.of(kind, node):
            await asyncio.sleep(0.001)
        return self.of(kind, node)[-1]


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


def alone(storage: MemoryStorage | None = None, **options: Any) -> Node:
    """A node that is an ensemble by itself."""
    return Node(
        1, EnsembleConfig([1]), storage=storage if storage is not None else MemoryStorage(),
        transport=partial(LocalNetwork().attach, 1), **options,
    )  # fmt: skip


class GatedStorage(MemoryStorage):
    """Saves, while the gate is closed, do not return."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def save(self, writes: Sequence[Write]) -> None:
        assert self.gate.wait(10)
        super().save(writes)


# --- leaders and quorums


def test_a_cluster_that_loses_its_leader_tells_so_and_who_leads_next() -> None:
    async def main() -> None:
        told = Told()
        cluster = local_cluster(3, limits=QUICK)
        cluster.events.subscribe(told)
        async with cluster, cluster.client() as zk:
            await zk.create("/a")
            leader = await cluster.wait_for_leader()
            first = {event.node: event for event in told.of(LeaderChanged)}
            assert all(event.leader == leader and event.previous is None for event in first.values())
            assert told.of(QuorumLost) == told.of(QuorumRegained) == []
            del told.events[:]
            cluster.kill(leader)
            await zk.create("/b")
            others = sorted(cluster.nodes)
            for me in others:
                await told.wait_for(QuorumRegained, me)
                kinds = [type(event) for event in told.events if event.node == me]
                assert kinds.index(LinkDown) < kinds.index(QuorumLost)
                assert kinds.index(QuorumLost) < kinds.index(LeaderChanged) < kinds.index(QuorumRegained)
                (changed,) = told.of(LeaderChanged, me)
                assert changed.leader in others
                assert changed.previous == leader
                assert changed.epoch > first[me].epoch if me in first else True
                assert 0 <= told.of(QuorumRegained, me)[0].seconds < 30
                assert "broke" in told.of(QuorumLost, me)[0].why
            assert told.of(NodeStopped, leader)
            cluster.start_node(leader)
            assert told.of(NodeStarted, leader), "a node that is started again is heard, too"

    run(main)


def test_a_hand_over_is_no_loss_of_the_quorum() -> None:
    async def main() -> None:
        told = Told()
        cluster = local_cluster(3)
        cluster.events.subscribe(told)
        async with cluster, cluster.client() as zk:
            await zk.create("/a")
            leader = await cluster.wait_for_leader()
            await cluster.transfer()
            (changed,) = told.of(LeaderChanged, leader)[1:]
            assert changed.previous == leader != changed.leader
            assert told.of(QuorumLost) == []

    run(main)


def test_a_subscriber_may_stop_the_node_whatever_it_hears_first() -> None:
    kinds = {
        NodeStarted, LinkUp, RoleChanged, LeaderChanged, SessionOpened, SessionClosed, SnapshotBegun, SnapshotSaved,
    }  # fmt: skip

    class Watched(MemoryStorage):
        """Notes what is saved once its node was stopped."""

        closed, late = False, 0

        def save(self, writes: Sequence[Write]) -> None:
            self.late += self.closed
            super().save(writes)

    async def stopped_at(kind: type[NodeEvent]) -> None:
        network, storage = LocalNetwork(), Watched()
        told = Told()
        async with AsyncExitStack() as stack:
            nodes = [
                Node(
                    me, EnsembleConfig([1, 2, 3]), storage=storage if me == 1 else MemoryStorage(),
                    transport=partial(network.attach, me), limits=QUICK, snapshot_every=3, save_on_thread=False,
                )
                for me in (1, 2, 3)
            ]  # fmt: skip
            first = nodes[0]

            def stop(event: NodeEvent) -> None:
                if isinstance(event, kind):
                    network.detach(1)
                    first.host.stop()
                    storage.closed = True

            first.events.subscribe(told)
            first.events.subscribe(stop)
            for node in nodes:
                await stack.enter_async_context(node)
            for node in nodes[1:]:
                async with node.client() as zk:
                    for number in range(4):
                        await zk.create(f"/{node.me}-{number}")
            await told.wait_for(NodeStopped)
            for node in nodes:
                node.host.stop()  # at once: nobody has to hand over
        assert isinstance(told.events[-1], NodeStopped), "nothing comes after that"
        assert not told.of(NodeHalted)
        assert storage.late == 0

    async def main() -> None:
        for kind in kinds:
            await stopped_at(kind)

    run(main)


def test_a_learner_says_how_its_leader_has_brought_it_in_line() -> None:
    async def main() -> None:
        told = Told()
        cluster = local_cluster(3, limits=QUICK)
        cluster.events.subscribe(told)
        async with cluster, cluster.client() as zk:
            leader = await cluster.wait_for_leader()
            behind = next(me for me in cluster.nodes if me != leader)
            await told.wait_for(Synced, behind)
            cluster.kill(behind)
            del told.events[:]
            await zk.create("/missed", bytes(5000))
            cluster.start_node(behind)
            synced = await told.wait_for(Synced, behind)
            assert (synced.leader, synced.mode) == (leader, SyncMode.DIFF)
            assert 5000 <= synced.bytes < 6000
            assert cluster.nodes[behind].host.telling.tally.sync_bytes == {SyncMode.DIFF: synced.bytes}

            cluster.kill(behind)  # what the leader logs alone is cut again when it comes back
            other = next(me for me in cluster.nodes if me != leader)
            cluster.network.cut(leader, other)
            asyncio.get_running_loop().call_later(0.01, cluster.kill, leader)
            with pytest.raises(zkcore.OutcomeUnknownError):
                await zk.create("/lost")
            cluster.network.heal(leader, other)
            cluster.start_node(behind)
            await zk.create("/kept")
            del told.events[:]
            cluster.start_node(leader)
            assert (await told.wait_for(Synced, leader)).mode is SyncMode.TRUNC

    run(main)


def test_a_learner_that_has_nothing_is_sent_a_snapshot() -> None:
    async def main() -> None:
        network, told, few = LocalNetwork(), Told(), evolve(QUICK, retained_records=1)
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(
                    Node(
                        me, EnsembleConfig([1, 2, 3]), storage=MemoryStorage(), limits=few,
                        transport=partial(network.attach, me), snapshot_every=5,
                    )
                )
                for me in (1, 2)
            ]  # fmt: skip
            nodes[0].events.subscribe(told)
            nodes[1].events.subscribe(told)
            async with nodes[0].client() as zk:
                for number in range(12):
                    await zk.create(f"/{number}", bytes(2000))
            begun, saved = told.of(SnapshotBegun, 1), told.of(SnapshotSaved, 1)
            assert len(saved) >= 2
            assert [event.zxid for event in begun] == [event.zxid for event in saved]
            assert all(event.bytes > 5000 and event.seconds >= 0 for event in saved)
            late = Node(
                3, EnsembleConfig([1, 2, 3]), storage=MemoryStorage(), transport=partial(network.attach, 3), limits=few
            )
            late.events.subscribe(told)
            await stack.enter_async_context(late)
            synced = await told.wait_for(Synced, 3)
            assert synced.mode is SyncMode.SNAP
            assert synced.bytes > 20_000, "the pieces of the snapshot are counted"

    run(main)


# --- sessions


def test_every_node_tells_what_becomes_of_sessions_and_one_that_it_serves_them() -> None:
    async def main() -> None:
        told = Told()
        async with local_cluster(3) as cluster:
            cluster.events.subscribe(told)
            async with cluster.nodes[2].client() as zk:
                session = zk.session_id
                while len(told.of(SessionOpened)) < 3:
                    await asyncio.sleep(0.001)
                assert sorted((event.node, event.served_here) for event in told.of(SessionOpened)) == [
                    (1, False), (2, True), (3, False),
                ]  # fmt: skip
                assert {(event.session, event.timeout_ms) for event in told.of(SessionOpened)} == {(session, 10_000)}
            while len(told.of(SessionClosed)) < 3:
                await asyncio.sleep(0.001)
            assert {event.session for event in told.of(SessionClosed)} == {session}
            assert {event.node for event in told.of(SessionClosed) if event.served_here} == {2}
            assert told.of(SessionExpired) == []

            doomed = cluster.client()
            await doomed.start()
            await cluster.kill_session(doomed.session_id)
            while len(told.of(SessionExpired)) < 3:
                await asyncio.sleep(0.001)
            assert {event.session for event in told.of(SessionExpired)} == {doomed.session_id}
            assert len(told.of(SessionClosed)) == 3

    run(main)


def test_a_session_that_moves_is_told_and_what_a_node_catches_up_with_is_not() -> None:
    async def main() -> None:
        told = Told()
        async with local_cluster(3, limits=QUICK) as cluster, cluster.client() as zk:
            await zk.create("/a")
            cluster.events.subscribe(told)
            home = await cluster.wait_for_leader()
            cluster.kill(home)
            await zk.create("/b")
            (moved,) = told.of(SessionMoved)
            assert moved.node != home
            assert moved.session == zk.session_id
            cluster.start_node(home)
            await told.wait_for(Synced, home)
            assert told.of(SessionOpened) == [], "it was opened long ago"

    run(main)


# --- storage


def test_a_full_storage_makes_a_node_read_only_alive_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_REOPEN_SECONDS", 0.005)

    async def main() -> None:
        storage, told = MemoryStorage(), Told()
        async with alone(storage) as node:
            node.events.subscribe(told)
            async with node.client() as zk:
                await zk.create("/a")
                assert node.is_ready()
                storage.fill(storage.size_bytes)
                with pytest.raises(zkcore.ConnectionLostError):
                    await zk.create("/b", bytes(1000))
                assert "no room" in (await told.wait_for(StorageReadOnly)).why
                assert node.is_alive()
                assert not node.is_ready()
                storage.fill(None)
                assert (await told.wait_for(StorageWritable)).seconds > 0
                await zk.create("/c")
                assert node.is_ready()
            assert told.of(StorageFailed) == []

    run(main)


def test_a_storage_that_fails_for_good_makes_a_node_dead() -> None:
    class Broken(MemoryStorage):
        def save(self, writes: Sequence[Write]) -> None:
            raise StorageFailedError("the disk is gone")

    async def main() -> None:
        told = Told()
        node = alone(Broken())
        node.events.subscribe(told)
        assert not node.is_alive()
        async with node:
            while node.is_alive():
                await asyncio.sleep(0.001)
            assert [event.opens_anew for event in told.of(StorageFailed)] == [True, False]
            assert told.of(StorageWritable)[0].seconds >= 0
            assert not node.is_ready()

    run(main)


def test_a_node_that_halts_says_why_and_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        told = Told()
        async with alone() as node:
            node.events.subscribe(told)
            zk = await node.client().start()
            broken = InvariantViolation("a bug")
            monkeypatch.setattr(node.replica, "submit", lambda *_, **__: (_ for _ in ()).throw(broken))
            with pytest.raises(zkcore.ConnectionLostError):
                await zk.create("/a")
            assert (await told.wait_for(NodeHalted)).error is broken
            assert not node.is_alive()
            zk.abandon()

    run(main)


def test_a_snapshot_that_cannot_be_saved_is_told() -> None:
    class NoSnapshots(MemoryStorage):
        def save_snapshot(self, *_: object) -> None:
            raise StorageFailedError("not today")

    async def main() -> None:
        told = Told()
        async with alone(NoSnapshots(), snapshot_every=3) as node, node.client() as zk:
            node.events.subscribe(told)
            for number in range(3):
                await zk.create(f"/{number}")
            assert "not today" in (await told.wait_for(SnapshotFailed)).why
            assert told.of(SnapshotSaved) == []

    run(main)


def test_damage_is_told_when_it_is_found_and_when_the_others_have_made_it_good(tmp_path: Path) -> None:
    async def main() -> None:
        async with local_cluster(3, data_dir=tmp_path, new=True, fsync="never") as cluster, cluster.client() as zk:
            await zk.create("/a")
        shutil.rmtree(tmp_path / "node-2")
        told = Told()
        cluster = local_cluster(3, data_dir=tmp_path, fsync="never", limits=QUICK)
        cluster.events.subscribe(told)
        async with cluster:
            assert (await told.wait_for(DamageRepaired)).damage is Damage.EPOCHS
            (found,) = told.of(DamageFound)
            assert (found.node, found.damage) == (2, Damage.EPOCHS)
            assert told.of(DamageRepaired)[0].node == 2

    run(main)


# --- slowness


def test_a_save_that_lasts_is_told_while_it_lasts_and_counted_after_it() -> None:
    async def main() -> None:
        storage, told = GatedStorage(), Told()
        async with alone(storage, save_on_thread=True, slow_save_seconds=0.01) as node, node.client() as zk:
            node.events.subscribe(told)
            storage.gate.clear()
            writing = asyncio.create_task(zk.create("/a"))
            under_way = await told.wait_for(SlowSave)
            assert under_way.under_way
            assert under_way.seconds > 0.01
            assert node.is_alive()
            slow_saves = node.host.telling.measures.slow_saves
            storage.gate.set()
            await writing
            assert node.host.telling.measures.slow_saves == slow_saves + 1

    run(main)


def test_slow_requests_are_told_once_in_a_while_and_all_are_counted() -> None:
    async def main() -> None:
        told = Told()
        async with alone(slow_request_seconds=1e-9, slow_save_seconds=1e-9) as node, node.client() as zk:
            node.events.subscribe(told)
            for number in range(5):
                await zk.create(f"/{number}")
            (slow,) = [event for event in told.of(SlowRequest) if not event.under_way]
            assert (slow.request, slow.path, slow.session) == ("Create", "/0", zk.session_id)
            measures = node.host.telling.measures
            assert measures.answers == measures.slow_answers == 5
            assert measures.answer_seconds >= measures.answer_seconds_most > 0
            assert measures.slow_saves == measures.saves >= 5

    run(main)


def test_a_request_that_waits_is_told_before_it_has_an_answer() -> None:
    async def main() -> None:
        storage, told = GatedStorage(), Told()
        async with alone(storage, save_on_thread=True, slow_request_seconds=0.01) as node, node.client() as zk:
            node.events.subscribe(told)
            storage.gate.clear()
            writing = asyncio.create_task(zk.create("/a"))
            assert (await told.wait_for(SlowRequest)).under_way
            storage.gate.set()
            await writing
            assert [event.under_way for event in told.of(SlowRequest)] == [True, False]
            assert zk.session_id in {event.session for event in told.of(SlowRequest)}

    run(main)


@pytest.mark.parametrize("name", ["slow_request_seconds", "slow_save_seconds"])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_threshold_is_above_zero(name: str, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is .*; give seconds above 0, or infinity"):
        alone(**{name: seconds})


# --- alive and ready


def test_a_node_without_a_quorum_is_alive_and_not_ready() -> None:
    async def main() -> None:
        network = LocalNetwork()
        node = Node(1, EnsembleConfig([1, 2, 3]), storage=MemoryStorage(), transport=partial(network.attach, 1))
        assert not node.is_alive()
        assert not node.is_ready()
        async with node:
            assert node.is_alive()
            assert not node.is_ready()
        assert not node.is_alive()

    run(main)


def test_a_loop_that_does_not_turn_is_seen_from_another_thread() -> None:
    async def main() -> None:
        async with alone(limits=QUICK) as node, node.client():
            assert node.is_alive(stuck_seconds=5)
            assert await asyncio.to_thread(node.is_ready, stuck_seconds=5)
            seen: list[tuple[bool, bool]] = []

            def look() -> None:
                while node.is_alive(stuck_seconds=0.05):
                    pass
                seen.append((node.is_alive(stuck_seconds=0.05), node.is_ready(stuck_seconds=0.05)))

            looking = threading.Thread(target=look)
            looking.start()
            looking.join(10)  # on the loop, which is stuck meanwhile
            assert seen == [(False, False)]
            assert node.is_alive(stuck_seconds=10)

    run(main)


# --- over TCP


@pytest.fixture
def members() -> Iterator[dict[int, str]]:
    ports = Ports()
    yield {me: ports.take() for me in (1, 2)}
    ports.close()


def configured(members: dict[int, str], me: int, secret: zkcore.SharedSecret = SECRET) -> zkcore.NodeConfig:
    return zkcore.NodeConfig(me=me, members=members, security=secret, storage=MemoryStorage())


@pytest.mark.filterwarnings("ignore:2 voters")
def test_links_over_tcp_say_where_and_why_and_who_was_refused(members: dict[int, str]) -> None:
    async def main() -> None:
        told = Told()
        one, two = zkcore.start_node(configured(members, 1)), zkcore.start_node(configured(members, 2))
        stranger = zkcore.start_node(configured(members, 2, zkcore.SharedSecret(b"known to nobody else")))
        one.events.subscribe(told)
        assert not one.is_alive()
        async with one:
            async with stranger:
                refused = await told.wait_for(LinkRefused)
                assert refused.called
                assert "does not know the secret" in refused.why
                assert refused.where.startswith("127.0.0.1:")
            async with two:
                assert (await told.wait_for(LinkUp)).where.startswith("127.0.0.1:")
                await told.wait_for(LeaderChanged)
                assert one.is_ready()
            assert (await told.wait_for(LinkDown)).why
            assert one.is_alive()
        assert not one.is_alive()
        assert isinstance(told.events[-1], NodeStopped)

    run(main)


# --- blocking code


def test_blocking_code_is_called_on_a_thread_of_its_own_and_may_use_the_cluster(members: dict[int, str]) -> None:
    told, found, asked = Told(), [], threading.Event()
    cluster = zkcore.sync.local_cluster(3)

    def ask(event: NodeEvent) -> None:
        if isinstance(event, SessionOpened) and event.served_here:
            found.append(cluster.leader)
            asked.set()

    cluster.events.subscribe(told)
    cluster.events.subscribe(ask)
    with cluster, cluster.events.stream() as stream, cluster.client() as zk:
        zk.create("/a")
        assert next(event for event in stream if isinstance(event, SessionOpened)).session == zk.session_id
        assert asked.wait(30)
        cluster.events.unsubscribe(ask)
        leader = cluster.leader
    assert found == [leader]
    assert told.of(NodeStopped)
    assert list(stream) == [], "it was closed"

    alone = zkcore.sync.start_node(configured({1: members[1]}, 1))
    kept = alone.events.stream(most=1)
    assert not alone.is_alive()
    with alone, alone.client():
        assert alone.is_alive()
        assert alone.is_ready()
    dropped, last = kept
    assert isinstance(dropped, Dropped)
    assert isinstance(last, NodeStopped)
    assert not alone.is_ready()
