"""Snapshots of a host: exact at one zxid however long they take, and never in the way of anything else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hosts import Hosts, run, until

from zkcore.client.client import Client
from zkcore.errors import ConnectionLostError, InvariantViolation
from zkcore.replica.replica import Replica
from zkcore.storage.file import FileStorage
from zkcore.storage.storage import MemoryStorage, Storage
from zkcore.testing.virtual_loop import VirtualLoop
from zkcore.tree.snapshot import restore
from zkcore.zab.limits import Limits
from zkcore.zab.ready import Compact, Saved, SnapshotRef, Write

LARGE = bytes(30_000)
"""Three of these are a slice."""


class Shelf(MemoryStorage):
    """Writes down what becomes of its snapshots. While the gate is closed they do not get beyond the first slice, on a
    thread, or beyond the last."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[SnapshotRef] = []
        self.saved: list[SnapshotRef] = []
        self.compacted: list[SnapshotRef] = []
        self.under_way = 0
        self.gate = threading.Event()
        self.gate.set()
        self.half_way = threading.Event()

    def save(self, writes: Sequence[Write]) -> None:
        super().save(writes)
        self.compacted += [write.ref for write in writes if isinstance(write, Compact)]

    def save_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        self.begun.append(ref)
        self.under_way += 1
        try:
            super().save_snapshot(ref, self._held_up(chunks))
        finally:
            self.under_way -= 1
        self.saved.append(ref)

    def _held_up(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.half_way.set()
            assert self.gate.wait(10)
            yield chunk


class RepairedShelf(Shelf):
    """Whoever opens it anew finds it working; nobody may while a snapshot is being saved."""

    def load(self) -> Saved:
        assert not self.under_way
        self.reopen()
        return super().load()


async def fill(client: Client, count: int = 12) -> None:
    for number in range(count):
        await client.create(f"/large-{number:02}", LARGE)


def pieces(storage: MemoryStorage, ref: SnapshotRef) -> Iterator[bytes]:
    offset = 0
    while piece := storage.read_snapshot(ref, offset, 1000):
        yield piece
        offset += len(piece)


both = pytest.mark.parametrize("on_thread", [(), (1,)], ids=["on the loop", "on a thread"])


@both
def test_a_snapshot_is_of_one_state_and_writes_go_on_while_it_is_drawn(on_thread: tuple[int, ...]) -> None:
    async def main() -> None:
        storage = Shelf()
        async with Hosts(storage, on_thread=on_thread, snapshot_every=20) as hosts:
            client = await hosts.client()
            tree = hosts.hosts[1].replica.tree
            digests, answered = {}, 0
            await fill(client)
            while not storage.saved:
                await client.set(f"/large-{answered % 12:02}", LARGE[:-answered])
                digests[tree.last_zxid] = tree.digest
                answered += 1
            (ref,) = storage.saved
            after = [zxid for zxid in digests if zxid > ref.zxid]
            assert len(after) > 1, "what was written meanwhile was answered meanwhile"
            found = restore(pieces(storage, ref))
            assert (found.last_zxid, found.digest) == (ref.zxid, digests[ref.zxid])
            await until(lambda: storage.load().snapshot == ref.zxid)

    run(main())


@both
def test_the_log_before_a_snapshot_goes_when_that_is_durable_and_not_before(on_thread: tuple[int, ...]) -> None:
    async def main() -> None:
        storage = Shelf()
        async with Hosts(storage, on_thread=on_thread, snapshot_every=5, limits=Limits(retained_records=1)) as hosts:
            client = await hosts.client()
            if on_thread:
                storage.gate.clear()
            while not storage.begun:
                await client.create("/n", LARGE, sequence=True)
                assert storage.begun or storage.load().snapshot == 0
            for _ in range(10 if on_thread else 0):
                await client.create("/n", LARGE, sequence=True)
                assert (storage.load().snapshot, storage.load().base) == (0, 0)
            storage.gate.set()
            await until(lambda: storage.compacted)
            assert storage.compacted[0] == storage.saved[0]  # another may be done already
            assert storage.load().base > 0

    run(main())


def test_one_ends_before_the_next_begins_and_the_next_is_of_a_newer_state() -> None:
    async def main() -> None:
        storage = Shelf()
        async with Hosts(storage, on_thread=[1], snapshot_every=3) as hosts:
            client = await hosts.client()
            storage.gate.clear()
            await fill(client, 20)
            assert len(storage.begun) == 1
            storage.gate.set()
            await until(lambda: storage.saved)
            await client.create("/a")
            await until(lambda: len(storage.saved) == 2)
            first, second = storage.saved
            assert first.zxid < second.zxid

    run(main())


def test_hosts_of_one_loop_take_theirs_one_after_the_other() -> None:
    """In turn: one for which another is due at once waits behind those that have had none."""

    async def main() -> None:
        storages = [Shelf() for _ in range(3)]
        async with Hosts(*storages, on_thread=[1, 2, 3], snapshot_every=5) as hosts:
            client = await hosts.client()
            for storage in storages:
                storage.gate.clear()
            await fill(client)
            for count in (1, 2, 3):
                await until(lambda: any(storage.under_way for storage in storages))
                await asyncio.gather(*(client.create("/n", sequence=True) for _ in range(6)))
                (taking,) = [storage for storage in storages if storage.under_way]
                assert sum(bool(storage.begun) for storage in storages) == count
                taking.gate.set()
                await until(lambda taking=taking: taking.saved)  # type: ignore[misc]

    run(main())


# --- what can come in between


@both
def test_a_storage_without_room_for_a_snapshot_keeps_the_one_before_and_the_log(
    on_thread: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        storage = Shelf()
        async with Hosts(storage, on_thread=on_thread, snapshot_every=14) as hosts:
            client = await hosts.client()
            await fill(client, 12)
            storage.fill(storage.size_bytes + 3 * len(LARGE))
            await client.create("/a")
            await client.create("/b")
            await until(lambda: "could not save" in caplog.text)
            await client.create("/c")
            assert (storage.load().snapshot, hosts.hosts[1].failure) == (0, None)
            storage.fill(None)
            for _ in range(14):
                await client.create("/n", sequence=True)
            await until(lambda: storage.load().snapshot)

    with caplog.at_level(logging.WARNING, "zkcore.node"):
        run(main())


def test_a_storage_that_fails_meanwhile_is_opened_anew_when_the_snapshot_has_let_go_of_it() -> None:
    async def main() -> None:
        storage = RepairedShelf()
        async with Hosts(storage, on_thread=[1], snapshot_every=5) as hosts:
            client = await hosts.client()
            storage.gate.clear()
            await fill(client)
            await asyncio.to_thread(storage.half_way.wait, 10)
            storage.fail("the cable came loose")
            with pytest.raises(ConnectionLostError):
                await client.create("/a")
            for _ in range(50):
                await asyncio.sleep(0)
            assert not hosts.hosts[1].running, "the thread is still at it"
            storage.gate.set()
            await client.create("/b")
            assert hosts.hosts[1].failure is None
            assert storage.saved == [] or storage.saved[0] != storage.begun[0]

    run(main())


def test_a_tree_that_is_ahead_of_what_the_log_has_delivered_anew_is_not_taken() -> None:
    """After a failure of the storage: the log may not hold all that the tree has."""

    async def main() -> None:
        storage = RepairedShelf()
        async with Hosts(storage, snapshot_every=40) as hosts:
            host = hosts.hosts[1]
            client = await hosts.client()
            for _ in range(30):
                await client.create("/n", sequence=True)
            taken, ahead = host.replica.snapshot, []

            def watched() -> tuple[SnapshotRef, Iterator[bytes]]:
                ahead.append(host.replica.tree.last_zxid - host.replica.peer.last_delivered)
                return taken()

            host.replica.snapshot = watched  # type: ignore[method-assign]
            host._snapshots._every = 5
            host._snapshots.since = 0
            storage.fail("the cable came loose")
            with pytest.raises(ConnectionLostError):
                await client.create("/a")
            await client.create("/b")
            await until(lambda: storage.saved)
            assert ahead == [0] * len(ahead)

    run(main())


def test_a_host_that_is_stopped_in_the_middle_says_when_the_storage_is_free() -> None:
    async def main() -> None:
        storage = Shelf()
        async with Hosts(storage, on_thread=[1], snapshot_every=5) as hosts:
            client = await hosts.client()
            storage.gate.clear()
            await fill(client)
            await asyncio.to_thread(storage.half_way.wait, 10)
            hosts.stop(1)
            free = asyncio.create_task(hosts.hosts[1].wait_saved())
            await asyncio.sleep(0)
            assert not free.done()
            storage.gate.set()
            await free
            assert (storage.under_way, storage.saved) == (0, [])
            last = storage.load().last
            assert Replica(1, hosts.config, storage).status().last_logged == last

    run(main())


def test_a_host_on_the_loop_alone_leaves_nothing_behind_when_it_is_stopped_in_the_middle() -> None:
    async def main() -> None:
        storage = Shelf()
        async with Hosts(storage, snapshot_every=12) as hosts:
            client = await hosts.client()
            await fill(client, 11)
            assert hosts.hosts[1]._snapshots.ended is not None
            hosts.stop(1)
            await hosts.hosts[1].wait_saved()
            for _ in range(10):
                await asyncio.sleep(0)
            assert storage.begun == []

    run(main())


def test_a_state_from_the_leader_ends_the_snapshot_of_the_one_it_replaces() -> None:
    async def main() -> None:
        storages = [Shelf() for _ in range(3)]
        limits = Limits(retained_records=1)
        async with Hosts(*storages, on_thread=[1, 2, 3], apart=[1, 2, 3], snapshot_every=10, limits=limits) as hosts:
            await until(hosts.serving)
            leader = hosts.leader
            behind = next(me for me in hosts.hosts if me != leader)
            storage, host = storages[behind - 1], hosts.hosts[behind]
            client = await hosts.client(leader)
            storage.gate.clear()
            await fill(client)
            await until(storage.half_way.is_set)
            for other in hosts.hosts:
                if other != behind:
                    hosts.network.cut(behind, other)
            while storages[leader - 1].load().base <= host.replica.peer.last_logged:  # so that no log has what it lacks
                await client.create("/n", sequence=True)
            for other in hosts.hosts:
                if other != behind:
                    hosts.network.heal(behind, other)
            await until(lambda: storage.load().snapshot > storage.begun[0].zxid)
            storage.gate.set()
            await until(lambda: not storage.under_way)
            assert storage.begun[0] not in storage.saved
            await fill_more(client, storage)
            await until(lambda: host.replica.tree.digest == hosts.hosts[leader].replica.tree.digest)
            assert host.failure is None

    run(main())


async def fill_more(client: Client, storage: Storage) -> None:
    """Until the storage begins with a newer snapshot."""
    before = storage.load().snapshot
    while storage.load().snapshot == before:
        await client.create("/n", sequence=True)


def test_a_storage_in_files_is_left_as_after_a_crash(tmp_path: Path) -> None:
    async def main() -> None:
        held = threading.Event()
        with FileStorage(tmp_path / "node", node=1, cluster="c", new=True) as storage:
            async with Hosts(storage, on_thread=[], snapshot_every=12) as hosts:
                host = hosts.hosts[1]
                client = await hosts.client()
                await fill(client, 5)
                taken = host.replica.snapshot

                def once() -> tuple[SnapshotRef, Iterator[bytes]]:
                    ref, drawn = taken()
                    held.set()
                    return ref, drawn

                host.replica.snapshot = once  # type: ignore[method-assign]
                while not held.is_set():
                    await client.create("/n", sequence=True)
                hosts.stop(1)
                await host.wait_saved()
            assert storage.load().snapshot == 0
        with FileStorage(tmp_path / "node", node=1, cluster="c") as storage:
            async with Hosts(storage, snapshot_every=5) as hosts:
                await fill_more(await hosts.client(), storage)
                await until(lambda: not (tmp_path / "node" / "saving").exists())  # another may be under way already
        assert [path.name for path in (tmp_path / "node").glob("snapshot-*")]

    run(main())


@both
def test_a_snapshot_that_cannot_be_made_halts_the_node(on_thread: tuple[int, ...]) -> None:
    async def main() -> None:
        storage = Shelf()
        async with Hosts(storage, on_thread=on_thread, snapshot_every=5) as hosts:
            host = hosts.hosts[1]
            client = await hosts.client()

            def broken() -> Iterator[bytes]:
                yield LARGE
                raise InvariantViolation("this cannot be")

            ref = SnapshotRef(1)
            host.replica.snapshot = lambda: (ref, broken())  # type: ignore[method-assign]
            with pytest.raises(ConnectionLostError):
                await fill(client)
            assert isinstance(host.failure, InvariantViolation)
            assert storage.saved == []

    run(main())


def test_a_loop_that_is_closed_in_the_middle_leaves_no_thread_behind() -> None:
    storage = Shelf()

    async def main() -> None:
        hosts = Hosts(storage, on_thread=[1], snapshot_every=5)
        for host in hosts.hosts.values():
            host.start()
        client = await hosts.client()
        storage.gate.clear()
        await fill(client)
        await asyncio.to_thread(storage.half_way.wait, 10)
        hosts.ports[0].abandon()

    run(main())
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "zkcore-1-snapshot"]
    storage.gate.set()
    thread.join(10)
    assert not thread.is_alive()
    assert storage.saved == []


def test_on_virtual_time_a_seed_decides_what_happens_while_one_is_drawn() -> None:
    def steps(seed: int) -> list[int]:
        loop = VirtualLoop(seed)
        seen: list[int] = []

        async def main() -> None:
            storage = Shelf()
            async with Hosts(storage, snapshot_every=20) as hosts:
                client = await hosts.client()
                await fill(client)
                while len(storage.saved) < 2:
                    await client.create("/n", LARGE, sequence=True)
                    seen.append(loop.steps)
                seen.extend(ref.zxid for ref in storage.saved)

        try:
            loop.run_until_complete(main())
        finally:
            loop.close()
        return seen

    assert steps(1) == steps(1)
