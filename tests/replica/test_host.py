"""The asyncio shell: what it does while a save lasts, when a storage fails, and when links come and go meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from zlib import crc32

import pytest
from hosts import GatedStorage, Hosts, T, run, until

from zkcore.client.client import Client
from zkcore.client.embedded import EmbeddedPort
from zkcore.client.port import SessionState
from zkcore.errors import (
    BadArgumentsError,
    ConnectionLostError,
    InvariantViolation,
    NotLeadingError,
    StorageFailedError,
    StorageFullError,
    TransferFailedError,
    ZkcoreError,
)
from zkcore.replica import host as host_module
from zkcore.replica.host import Host
from zkcore.replica.pump import Pump
from zkcore.replica.replica import Replica
from zkcore.storage.storage import MemoryStorage
from zkcore.transport.transport import LocalNetwork
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Ack, PeerId
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Event, RoleChanged, Saved, Write


class RepairedStorage(MemoryStorage):
    """Whoever opens it anew finds it working, with all that was saved."""

    def load(self) -> Saved:
        self.reopen()
        return super().load()


class BrokenStorage(MemoryStorage):
    """Nothing can be saved, with this error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.saves = 0

    def save(self, writes: Sequence[Write]) -> None:
        self.saves += 1
        raise self.error


# --- while a save lasts


def test_while_a_save_lasts_on_its_thread_reads_go_on_and_writes_gather() -> None:
    async def main() -> None:
        storage = GatedStorage()
        async with Hosts(storage, on_thread=[1]) as hosts:
            client = await hosts.client()
            await client.create("/a", b"0")
            storage.saving.clear()
            storage.gate.clear()
            first = asyncio.create_task(client.set("/a", b"1"))
            await asyncio.to_thread(storage.saving.wait, 10)
            reader = Client(hosts.ports[0])
            saves = storage.saves
            later = [asyncio.create_task(client.create(f"/n{number}")) for number in range(20)]
            await asyncio.sleep(0)
            assert hosts.hosts[1].replica.tree.persisted("/a") is not None
            assert not first.done()
            assert not any(task.done() for task in later)
            storage.gate.set()
            await asyncio.gather(first, *later)
            assert (await reader.get("/a")).data == b"1"
            assert storage.saves <= saves + 2, "what gathered during a save is one batch"

    run(main())


def test_nothing_is_sent_to_a_peer_between_the_loss_of_its_link_and_the_news_of_it() -> None:
    """The acknowledgement of the batch being saved belongs to a link that is gone: on the next it would lie."""

    async def main() -> None:
        storages = [GatedStorage() for _ in range(3)]
        async with Hosts(*storages, on_thread=[1, 2, 3]) as hosts:
            await until(hosts.serving)
            leader = hosts.leader
            follower = next(me for me in hosts.hosts if me != leader)
            client = await hosts.client(leader)
            storage = storages[follower - 1]
            storage.saving.clear()
            storage.gate.clear()
            await client.create("/a")
            await asyncio.to_thread(storage.saving.wait, 10)
            sent = hosts.recorders[follower].sent
            sent.clear()
            hosts.network.cut(follower, leader)
            hosts.network.heal(follower, leader)
            storage.gate.set()
            await until(lambda: any(to == leader for to, _ in sent))
            first = next(message for to, message in sent if to == leader)
            assert not isinstance(first, Ack)
            await until(hosts.serving)
            assert (await client.exists("/a")) is not None

    run(main())


def test_a_node_saves_though_the_application_fills_the_threads_of_the_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        free = threading.Event()
        busy = loop.run_in_executor(None, free.wait, 10)
        async with Hosts(MemoryStorage(), on_thread=[1]) as hosts:
            client = await hosts.client()
            await client.create("/a")
        free.set()
        await busy

    run(main())


def test_a_host_that_is_stopped_while_it_saves_says_when_the_storage_is_free() -> None:
    async def main() -> None:
        storage = GatedStorage()
        async with Hosts(storage, on_thread=[1]) as hosts:
            client = await hosts.client()
            storage.saving.clear()
            storage.gate.clear()
            lost = asyncio.create_task(client.create("/a"))
            await asyncio.to_thread(storage.saving.wait, 10)
            hosts.stop(1)
            free = asyncio.create_task(hosts.hosts[1].wait_saved())
            with pytest.raises(ConnectionLostError):
                await lost
            assert not free.done()
            storage.gate.set()
            await free
            assert Replica(1, hosts.config, storage).status().last_logged == storage.load().last

    run(main())


def test_when_everything_is_stopped_no_timer_and_no_task_is_left() -> None:
    async def main() -> None:
        async with Hosts(MemoryStorage(), MemoryStorage(), MemoryStorage(), on_thread=[2]) as hosts:
            await until(hosts.serving)
            await (await hosts.client()).create("/a")
        await hosts.hosts[2].wait_saved()
        await asyncio.sleep(0)
        loop: Any = asyncio.get_running_loop()
        left = [handle for handle in loop._scheduled if not handle.cancelled()]
        assert [handle for handle in left if "zkcore" in repr(handle) or "Embedded" in repr(handle)] == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


# --- storages that fail


def test_a_storage_that_failed_once_is_opened_anew_and_the_session_goes_on() -> None:
    async def main() -> None:
        storage = RepairedStorage()
        async with Hosts(storage) as hosts:
            client = await hosts.client()
            await client.create("/a", b"0")
            storage.fail("the cable came loose")
            with pytest.raises(ConnectionLostError) as caught:
                await client.set("/a", b"1")
            assert caught.value.applied == "unknown"
            assert client.state is SessionState.SUSPENDED
            data, stat = await client.get("/a")
            assert (data, stat.version) in [(b"0", 0), (b"1", 1)]
            assert (await client.set("/a", b"2", version=stat.version)).version == stat.version + 1
            assert hosts.hosts[1].failure is None

    run(main())


@pytest.mark.parametrize("on_thread", [[], [1]])
def test_a_storage_that_can_save_nothing_leaves_the_node_down_and_is_not_tried_for_ever(on_thread: list[int]) -> None:
    async def main() -> None:
        storage = BrokenStorage(StorageFailedError("read only"))
        async with Hosts(storage, on_thread=on_thread) as hosts:
            host = hosts.hosts[1]
            await until(lambda: storage.saves == 2)
            await until(lambda: not host.running)
            for _ in range(50):
                await asyncio.sleep(0)
            assert storage.saves == 2
            assert isinstance(host.failure, StorageFailedError)

    run(main())


def test_a_full_storage_has_the_node_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_REOPEN_SECONDS", 0.01)

    async def main() -> None:
        storage = MemoryStorage()
        async with Hosts(storage) as hosts:
            client = await hosts.client()
            await client.create("/a", b"0")
            storage.fill(storage.size_bytes)
            with pytest.raises(ConnectionLostError):
                await client.create("/b", bytes(1000))
            assert hosts.hosts[1].replica.tree.persisted("/a") is not None
            storage.fill(None)
            await client.create("/c")
            assert await client.exists("/a") is not None

    run(main())


def test_a_leader_with_a_full_storage_is_followed_by_another_and_waits_read_only_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes no part meanwhile: a node that cannot save would be elected in vain."""
    monkeypatch.setattr(host_module, "_REOPEN_SECONDS", 0.005)

    async def main() -> None:
        storages = [MemoryStorage() for _ in range(3)]
        async with Hosts(*storages) as hosts:
            await until(hosts.serving)
            full = hosts.leader
            client = await hosts.client(full, *(me for me in hosts.hosts if me != full))
            await client.create("/before", b"delivered")
            host = hosts.hosts[full]
            storages[full - 1].fill(storages[full - 1].size_bytes)
            with pytest.raises(ConnectionLostError):
                await client.create("/unknown", bytes(1000))
            assert host.read_only
            assert "read-only: no room" in host.explain()[0]
            loads, real = 0, storages[full - 1].load

            def load() -> Saved:
                nonlocal loads
                loads += 1
                return real()

            storages[full - 1].load = load  # type: ignore[method-assign]
            await until(lambda: loads > 5)
            await client.create("/meanwhile")
            assert host.read_only
            assert host.replica.tree.persisted("/before") is not None
            assert host.replica.tree.persisted("/meanwhile") is None
            storages[full - 1].fill(None)
            await until(lambda: host.replica.tree.persisted("/meanwhile") is not None)
            assert not host.read_only
            assert host.failure is None
            assert not any("read-only" in line for line in host.explain())

    run(main())


def test_a_storage_that_failed_and_has_no_room_to_recover_is_opened_again_when_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_module, "_REOPEN_SECONDS", 0.005)
    refused = 0

    class NoRoomYet(RepairedStorage):
        def load(self) -> Saved:
            nonlocal refused
            if self._dead is not None and refused < 3:
                refused += 1
                raise StorageFullError("no room for a segment")
            return super().load()

    async def main() -> None:
        storage = NoRoomYet()
        async with Hosts(storage) as hosts:
            client = await hosts.client()
            await client.create("/a")
            storage.fail("the cable came loose")
            with pytest.raises(ConnectionLostError):
                await client.create("/b")
            await until(lambda: refused == 3)
            await client.create("/c")
            assert not hosts.hosts[1].read_only

    run(main())


def test_a_save_that_lasts_is_told() -> None:
    async def main() -> None:
        storage = GatedStorage()
        async with Hosts(storage, on_thread=[1]) as hosts:
            client = await hosts.client()
            storage.saving.clear()
            storage.gate.clear()
            written = asyncio.create_task(client.create("/a"))
            await asyncio.to_thread(storage.saving.wait, 10)
            assert "a save has been under way for" in hosts.hosts[1].explain()[-1]
            storage.gate.set()
            await written
            assert not any("a save" in line for line in hosts.hosts[1].explain())

    run(main())


def test_a_leader_whose_save_outlasts_the_others_patience_leads_no_more() -> None:
    limits = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)

    async def main() -> None:
        storages = [GatedStorage() for _ in range(3)]
        async with Hosts(*storages, on_thread=[1, 2, 3], limits=limits) as hosts:
            await until(hosts.serving)
            slow = hosts.leader
            others = [me for me in hosts.hosts if me != slow]
            client = await hosts.client(slow, *others)
            storages[slow - 1].saving.clear()
            storages[slow - 1].gate.clear()
            under_way = asyncio.create_task(client.create("/under-way"))
            await asyncio.to_thread(storages[slow - 1].saving.wait, 10)
            await until(lambda: any(hosts.hosts[me].replica.leader == me for me in others))
            elsewhere = await hosts.client(*others)
            await elsewhere.create("/meanwhile")
            assert hosts.hosts[slow].replica.tree.persisted("/meanwhile") is None
            storages[slow - 1].gate.set()
            await until(lambda: hosts.hosts[slow].replica.tree.persisted("/meanwhile") is not None)
            assert hosts.hosts[slow].replica.leader in others
            await asyncio.wait([under_way])

    run(main())


@pytest.mark.parametrize("on_thread", [[], [1, 2, 3]])
def test_a_broken_invariant_halts_the_node_and_its_client_moves_on(on_thread: list[int]) -> None:
    async def main() -> None:
        storages = [MemoryStorage() for _ in range(3)]
        async with Hosts(*storages, on_thread=on_thread) as hosts:
            await until(hosts.serving)
            leader = hosts.leader
            broken = next(me for me in hosts.hosts if me != leader)
            client = await hosts.client(broken, leader)
            await client.create("/a")

            def save(writes: Sequence[Write]) -> None:
                raise InvariantViolation("this cannot be")

            storages[broken - 1].save = save  # type: ignore[method-assign]
            with pytest.raises(ZkcoreError):
                await client.create("/b")
            await until(lambda: client.state is SessionState.CONNECTED)
            assert not hosts.hosts[broken].running
            assert isinstance(hosts.hosts[broken].failure, InvariantViolation)
            await client.create("/c")

    run(main())


def test_snapshots_are_taken_after_so_many_transactions_and_the_log_before_them_goes() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        async with Hosts(storage, snapshot_every=5) as hosts:
            client = await hosts.client()
            for number in range(12):
                await client.create(f"/n{number}")
            assert storage.load().snapshot > 0
        async with Hosts(storage) as hosts:
            assert len(await (await hosts.client()).get_children("/")) == 13

    run(main())


def test_a_failure_between_snapshots_does_not_halt_the_node() -> None:
    """After it the tree is ahead of what the new Peer has delivered; a snapshot of it must wait."""

    async def main() -> None:
        storage = RepairedStorage()
        async with Hosts(storage, snapshot_every=15) as hosts:
            client = await hosts.client()
            for number in range(12):
                await client.create(f"/n{number}")
            storage.fail("for a moment")
            with pytest.raises(ConnectionLostError):
                await client.create("/lost")
            for number in range(12):
                await client.create(f"/m{number}")
            assert hosts.hosts[1].failure is None
            assert storage.load().snapshot > 0

    run(main())


def test_a_replica_whose_tree_has_gone_another_way_halts_with_the_next_transaction_and_the_others_go_on() -> None:
    async def main() -> None:
        async with Hosts(MemoryStorage(), MemoryStorage(), MemoryStorage()) as hosts:
            await until(hosts.serving)
            client = await hosts.client(hosts.leader)
            await client.create("/a", b"data")
            astray = next(host for me, host in hosts.hosts.items() if me != hosts.leader)
            await until(lambda: astray.replica.tree.persisted("/a") is not None)
            state = astray.replica.tree.state
            record = state.find("/a")
            assert record is not None
            state.replace("/a", record, b"D" + record[1:], crc32(b"/a"))
            await client.create("/b")
            await until(lambda: not astray.running)
            assert isinstance(astray.failure, InvariantViolation)
            assert "digest" in str(astray.failure)
            await client.create("/c")
            others = [host for host in hosts.hosts.values() if host is not astray]
            await until(lambda: len({host.replica.tree.last_zxid for host in others}) == 1)
            assert others[0].replica.tree.digest == others[1].replica.tree.digest

    run(main())


# --- listeners, and being stopped


def test_a_listener_that_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event] = []

    def broken(host: Host, event: Event) -> None:
        raise ValueError("a bug of the application")

    async def main() -> None:
        hosts = Hosts(MemoryStorage())
        hosts.hosts[1].listeners += [broken, lambda host, event: told.append(event)]
        async with hosts:
            await (await hosts.client()).create("/a")

    with caplog.at_level(logging.ERROR, "zkcore.node"):
        run(main())
    assert any(isinstance(event, RoleChanged) and event.established for event in told)
    assert "a bug of the application" in caplog.text


def test_a_listener_may_stop_its_own_host() -> None:
    storage = MemoryStorage()

    async def main() -> None:
        hosts = Hosts(storage)

        def stop(host: Host, event: Event) -> None:
            if isinstance(event, RoleChanged) and event.established:
                host.stop()

        hosts.hosts[1].listeners.append(stop)
        async with hosts:
            await until(lambda: not hosts.hosts[1].running)
            assert hosts.hosts[1].failure is None
            assert hosts.hosts[1]._timer is None or hosts.hosts[1]._timer.cancelled()

    run(main())


@pytest.mark.parametrize("started", [False, True])
def test_who_was_just_asking_for_a_session_is_told_when_the_host_stops(started: bool) -> None:
    """The request is still in the queue of the host, which will never look at it again."""

    async def main() -> None:
        async with Hosts(MemoryStorage(), MemoryStorage(), MemoryStorage()) as hosts:
            await until(hosts.serving)
            leader = hosts.leader
            asking = asyncio.create_task(hosts.client(leader, *(me for me in hosts.hosts if me != leader)))
            await asyncio.sleep(0)
            if started:
                await asking
            hosts.stop(leader)
            client = await asking
            await client.create("/a")
            assert client.state is SessionState.CONNECTED

    run(main())


def test_a_host_is_started_once_and_stopped_as_often_as_one_likes() -> None:
    async def main() -> None:
        async with Hosts(MemoryStorage()) as hosts:
            with pytest.raises(RuntimeError):
                hosts.hosts[1].start()
            hosts.hosts[1].stop()
            hosts.hosts[1].stop()
        Hosts(MemoryStorage()).hosts[1].stop()

    run(main())


def test_hosts_of_two_loops_cannot_share_a_pump() -> None:
    pump = Pump()

    async def main(network: LocalNetwork) -> None:
        host = Host(
            Replica(1, EnsembleConfig([1]), MemoryStorage()), lambda inbox: network.attach(1, inbox), pump=pump
        )
        host.start()
        host.stop()

    run(main(LocalNetwork()))
    with pytest.raises(RuntimeError):
        run(main(LocalNetwork()))


# --- bounds and hand-overs


def test_a_client_that_keeps_to_no_bound_is_detached_and_may_come_again() -> None:
    async def main() -> None:
        async with Hosts(MemoryStorage(), limits=Limits(outstanding_proposals=4)) as hosts:
            client = await hosts.client()
            hosts.ports[0]._most_requests = 100
            outcomes = await asyncio.gather(*(client.set("/", b"") for _ in range(5)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {ConnectionLostError}
            assert (await client.exists("/")) is not None

    run(main())


@pytest.mark.parametrize("end", ["stopped", "halted"])
def test_a_hand_over_under_way_ends_with_its_host(end: str) -> None:
    async def main() -> None:
        storages = [GatedStorage() for _ in range(3)]
        async with Hosts(*storages, on_thread=[1, 2, 3]) as hosts:
            await until(hosts.serving)
            leader = hosts.hosts[hosts.leader]
            target = next(me for me in hosts.hosts if me != hosts.leader)
            storages[target - 1].gate.clear()
            await (await hosts.client(hosts.leader)).create("/that-the-target-lacks")
            handing_over = asyncio.create_task(leader.transfer(target))
            await until(lambda: leader.replica.status().handing_over_to == target)
            if end == "stopped":
                hosts.stop(hosts.leader)
            else:
                leader._halt(InvariantViolation("a bug"))
            with pytest.raises(TransferFailedError):
                await handing_over
            storages[target - 1].gate.set()

    run(main())


def test_a_host_that_does_not_run_hands_nothing_over() -> None:
    async def main() -> None:
        hosts = Hosts(MemoryStorage())
        with pytest.raises(NotLeadingError):
            await hosts.hosts[1].transfer()
        async with hosts:
            await until(hosts.serving)
            with pytest.raises(BadArgumentsError):
                await hosts.hosts[1].transfer()
        with pytest.raises(NotLeadingError):
            await hosts.hosts[1].transfer()

    run(main())


# --- threads


class Elsewhere:
    """A host on the event loop of a thread of its own."""

    def __init__(self, me: PeerId, config: EnsembleConfig, network: LocalNetwork) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.host = Host(Replica(me, config, MemoryStorage()), lambda inbox: network.attach(me, inbox))
        self.thread.start()
        self.do(self._start())

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def _start(self) -> None:
        self.host.start()

    async def client(self) -> Client:
        port = EmbeddedPort(lambda: (self.host,), timeout=5)
        await port.start()
        return Client(port)

    async def _stop(self) -> None:
        self.host.stop()

    def stop(self) -> None:
        self.do(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
        self.loop.close()


def test_three_nodes_on_the_loops_of_three_threads_are_one_ensemble() -> None:
    config, network = EnsembleConfig([1, 2, 3]), LocalNetwork()
    places = [Elsewhere(me, config, network) for me in config.voters]
    try:
        clients = [place.do(place.client()) for place in places]

        async def write(client: Client, number: int) -> None:
            await asyncio.gather(*(client.create(f"/{number}-{count}") for count in range(50)))

        futures = [
            asyncio.run_coroutine_threadsafe(write(client, number), place.loop)
            for number, (client, place) in enumerate(zip(clients, places, strict=True))
        ]
        for future in futures:
            future.result(20)
        for client, place in zip(clients, places, strict=True):
            place.do(client.set("/0-0", b"seen by all"))  # a write, behind which a read sees everything before it
            assert len(place.do(client.get_children("/"))) == 151
    finally:
        for me, place in enumerate(places, 1):
            network.detach(me)
            place.stop()
