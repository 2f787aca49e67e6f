"""kazoo, as it is released, with its recipes on three `python -m zkcore serve` processes, whose leaders are killed.

    python tests/interop/kazoo_under_fire.py --kills 3

plays each recipe while so many leaders are killed (`kill -9`) and come again, and ends with an error where a promise of
the recipe was broken. kazoo asks again what it had no answer to, and does not find out whether it was carried out: so
what it adds or takes may be off by one for each time that a connection broke, and no more; and what it has locked it
may not know, so a consumer opens another session then. Its barriers wait for a watch that it throws away when the
connection breaks: so one is waited for again after a while, and at the other nobody waits while a leader is killed.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tree"))

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import ConnectionLoss, NoAuthError, NodeExistsError, NoNodeError, RolledBackError
from kazoo.recipe.barrier import Barrier, DoubleBarrier
from kazoo.recipe.cache import TreeCache
from kazoo.recipe.queue import LockingQueue
from kazoo.recipe.watchers import ChildrenWatch, DataWatch
from kazoo.retry import KazooRetry
from kazoo.security import make_digest_acl
from live_ensemble import LiveEnsemble

__all__ = ["RECIPES", "UnderFire", "serve"]

PATIENCE = 60


def serve(directory: Path, *lines: str) -> subprocess.Popen[bytes]:
    """A server of ours that is configured by these lines, among others, and has its data in the directory."""
    configuration = directory / "zoo.cfg"
    is_new = not configuration.exists()
    common = (f"dataDir={directory / 'data'}", "clientPortAddress=127.0.0.1", "zkcore.plaintext=true")
    configuration.write_text("\n".join([*common, *lines, ""]))
    command = [sys.executable, "-m", "zkcore", "serve", str(configuration), *(["--new"] if is_new else [])]
    with (directory / "output").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


class UnderFire:
    """An ensemble whose leader is killed so often for each recipe, and clients of it."""

    def __init__(self, ensemble: LiveEnsemble, *, kills: int) -> None:
        self._ensemble = ensemble
        self.kills = kills
        self._clients: list[KazooClient] = []
        self.breaks = 0
        """How often a connection of a client has broken."""

    def client(self, **options: Any) -> KazooClient:
        """A new client, connected."""
        retry = {"max_tries": -1, "delay": 0.02, "max_delay": 0.2}
        zk = KazooClient(
            self._ensemble.hosts, timeout=40, connection_retry=retry, command_retry=KazooRetry(**retry), **options
        )
        zk.add_listener(self._note)
        zk.start(PATIENCE)
        self._clients.append(zk)
        return zk

    def _note(self, state: str) -> None:
        if state == KazooState.SUSPENDED:
            self.breaks += 1

    def work(
        self, *workers: Callable[[threading.Event], None], kill: Callable[[], None] | None = None
    ) -> None:
        """Run all of them on threads while leaders are killed, by `kill` or else at any time; then they are told to
        stop."""
        stop = threading.Event()
        failed: list[BaseException] = []

        def run(worker: Callable[[threading.Event], None]) -> None:
            try:
                worker(stop)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(worker,), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        for _ in range(self.kills):
            (kill or self.kill)()
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert failed or not thread.is_alive(), "a worker has not come to its end"
        if failed:
            raise failed[0]

    def kill(self) -> None:
        """Kill the leader, and have it come again."""
        leader = self.wait_for(lambda: self._ensemble.leader, "a leader")
        self._ensemble.kill(leader)
        self.wait_for(lambda: self._ensemble.leader, "a leader")
        self._ensemble.restart(leader)

    def expire(self, zk: KazooClient) -> None:
        """End the session of a client."""
        self._ensemble.end_session(*zk.client_id)

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """What it comes to, once that is true."""
        until = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < until, f"there was no {what}"
            time.sleep(0.01)
        return found

    def end(self, zk: KazooClient) -> None:
        """End one session."""
        self.wait_for(lambda: zk.connected, "connection")
        zk.stop()

    def close(self) -> None:
        """End all sessions."""
        while self._clients:
            zk = self._clients.pop()
            zk.stop()
            zk.close()


# --- the recipes ------------------------------------------------------------------------------------------------------


def _alone(fire: UnderFire, enter: Callable[[KazooClient, Callable[[], None]], None], *, at_most: int = 1) -> None:
    """`enter` calls what it is given where so many may be at a time: three clients, again and again."""
    inside: list[int] = []
    done: Counter[int] = Counter()

    def worker(number: int) -> Callable[[threading.Event], None]:
        zk = fire.client()

        def body() -> None:
            inside.append(number)
            assert len(inside) <= at_most, f"{inside} are inside"
            time.sleep(0.001)
            inside.remove(number)
            done[number] += 1

        def work(stop: threading.Event) -> None:
            while not stop.is_set():
                enter(zk, body)

        return work

    fire.work(*map(worker, range(3)))
    assert len(done) == 3


def lock(fire: UnderFire) -> None:
    def enter(zk: KazooClient, body: Callable[[], None]) -> None:
        with zk.Lock("/lock"):
            body()

    _alone(fire, enter)


def semaphore(fire: UnderFire) -> None:
    def enter(zk: KazooClient, body: Callable[[], None]) -> None:
        with zk.Semaphore("/semaphore", max_leases=2):
            body()

    _alone(fire, enter, at_most=2)


def election(fire: UnderFire) -> None:
    _alone(fire, lambda zk, body: zk.Election("/election").run(body))


def counter(fire: UnderFire) -> None:
    added: list[int] = []

    def worker(zk: KazooClient) -> Callable[[threading.Event], None]:
        def work(stop: threading.Event) -> None:
            number = zk.Counter("/counter")
            while not stop.is_set():
                number += 1
                added.append(1)

        return work

    before = fire.breaks
    fire.work(worker(fire.client()), worker(fire.client()))
    total = fire.client().Counter("/counter").value
    assert len(added) <= total <= len(added) + fire.breaks - before, (len(added), total)


def queue(fire: UnderFire) -> None:
    put: set[bytes] = set()
    got: Counter[bytes] = Counter()
    before = fire.breaks
    putting, getting = fire.client(), fire.client()

    def produce(stop: threading.Event) -> None:
        items = putting.Queue("/queue")
        while not stop.is_set() or not put:
            item = b"%d" % len(put)
            putting.retry(items.put, item)
            put.add(item)

    def consume(stop: threading.Event) -> None:
        items = getting.Queue("/queue")
        while not stop.is_set() or getting.retry(len, items):
            item = getting.retry(items.get)
            if item is not None:
                got[item] += 1

    fire.work(produce, consume)
    breaks = fire.breaks - before
    rest = getting.Queue("/queue")
    while (item := getting.retry(rest.get)) is not None:
        got[item] += 1
    assert set(got) <= put
    assert len(put - set(got)) <= breaks
    assert sum(got.values()) - len(got) <= breaks


def locking_queue(fire: UnderFire) -> None:
    """What is taken and not consumed comes again: nothing is lost, whatever breaks."""
    put: set[bytes] = set()
    consumed: set[bytes] = set()
    putting = fire.client()

    def produce(stop: threading.Event) -> None:
        items = LockingQueue(putting, "/locking-queue")
        while not stop.is_set() or not put:
            item = b"%d" % len(put)
            putting.retry(items.put, item)
            put.add(item)
            while len(put) > len(consumed) + 50:
                time.sleep(0.001)

    def consume(stop: threading.Event) -> None:
        while not (stop.is_set() and put <= consumed):
            zk, breaks = fire.client(), fire.breaks
            items = LockingQueue(zk, "/locking-queue")
            while fire.breaks == breaks and not (stop.is_set() and put <= consumed):
                item = zk.retry(items.get, 0.2)
                try:
                    if item is not None and zk.retry(items.consume):
                        consumed.add(item)
                except NoNodeError:  # it was consumed, and the answer was lost
                    items.processing_element = None
                    consumed.add(item)
            fire.end(zk)

    fire.work(produce, consume, consume)
    assert consumed == put


def barrier(fire: UnderFire) -> None:
    closing, waiting = fire.client(), fire.client()
    shut, gone = Barrier(closing, "/barrier"), Barrier(waiting, "/barrier")
    passed: list[bool] = []

    def wait(stop: threading.Event) -> None:
        while not stop.is_set() or not passed:
            shut.create()
            waiting.retry(waiting.sync, "/barrier")
            assert not waiting.retry(gone.wait, 0)
            opening = threading.Thread(target=shut.remove)
            opening.start()
            while not waiting.retry(gone.wait, 0.5):
                pass
            opening.join()
            passed.append(True)

    fire.work(wait)


def _ensure(zk: KazooClient, path: str) -> None:
    try:
        zk.create(path)
    except NodeExistsError:
        pass


def double_barrier(fire: UnderFire) -> None:
    clients = [fire.client(), fire.client()]
    met = threading.Barrier(3)  # the two, and who kills

    def member(number: int) -> Callable[[threading.Event], None]:
        def work(stop: threading.Event) -> None:
            for round_ in range(fire.kills):
                both = DoubleBarrier(clients[number], f"/double-barrier/{round_}", 2, identifier=f"{number}")
                both.enter()
                assert both.participating
                met.wait(PATIENCE)
                met.wait(PATIENCE)
                both.leave()
                met.wait(PATIENCE)

        return work

    def kill() -> None:
        met.wait(PATIENCE)
        fire.kill()
        fire.wait_for(lambda: all(zk.connected for zk in clients), "connection")
        met.wait(PATIENCE)
        met.wait(PATIENCE)

    fire.work(member(0), member(1), kill=kill)


def party(fire: UnderFire) -> None:
    clients = [fire.client() for _ in range(3)]
    parties = [zk.Party("/party", f"member {number}") for number, zk in enumerate(clients)]

    def stay(stop: threading.Event) -> None:
        for each in parties:
            each.join()
        stop.wait()

    fire.work(stay)
    looking = fire.client()
    looking.sync("/party")
    assert sorted(looking.Party("/party")) == [f"member {number}" for number in range(3)]
    for each in parties:
        each.leave()
    looking.sync("/party")
    assert len(looking.Party("/party")) == 0


def set_partitioner(fire: UnderFire) -> None:
    everything = set(range(7))
    owned: list[set[int]] = [set(), set()]
    settled = threading.Barrier(2)

    def member(number: int) -> Callable[[threading.Event], None]:
        zk = fire.client()

        def work(stop: threading.Event) -> None:
            def join() -> Any:
                return zk.SetPartitioner("/partitions", set=everything, identifier=f"{number}", time_boundary=0.1)

            partitioner = zk.retry(join)
            while not (stop.is_set() and partitioner.acquired and set.union(*owned) == everything):
                if partitioner.failed:  # as it is told to: the session is lost, or it was not answered
                    owned[number] = set()
                    partitioner = zk.retry(join)
                elif partitioner.release:
                    owned[number] = set()
                    partitioner.release_set()
                elif partitioner.acquired:
                    owned[number] = set(partitioner)
                elif partitioner.allocating:
                    partitioner.wait_for_acquire(1)
                time.sleep(0.005)
            settled.wait(PATIENCE)
            partitioner.finish()

        return work

    fire.work(member(0), member(1))
    assert not owned[0] & owned[1]
    assert all(owned)


def watches_and_tree_cache(fire: UnderFire) -> None:
    writing, looking = fire.client(), fire.client()
    writing.ensure_path("/tree")
    data: list[bytes] = []
    children: list[list[str]] = []
    DataWatch(looking, "/tree", lambda value, stat: data.append(value))
    ChildrenWatch(looking, "/tree", children.append)
    cache = TreeCache(looking, "/tree")
    cache.start()
    count = 0

    def write(stop: threading.Event) -> None:
        nonlocal count
        while not stop.is_set() or not count:
            writing.retry(writing.set, "/tree", b"%d" % count)
            writing.retry(_ensure, writing, f"/tree/{count}")
            count += 1
            time.sleep(0.005)

    fire.work(write)
    names = {str(number) for number in range(count)}
    fire.wait_for(lambda: data[-1] == b"%d" % (count - 1), "last value")
    fire.wait_for(lambda: set(children[-1]) == names, "last child")
    fire.wait_for(lambda: set(cache.get_children("/tree", ())) == names, "last child in the cache")
    fire.wait_for(lambda: cache.get_data("/tree").data == b"%d" % (count - 1), "last value in the cache")
    cache.close()


def sessions_acls_and_transactions(fire: UnderFire) -> None:
    ada, bob = fire.client(auth_data=[("digest", "ada:pw")]), fire.client()
    session = ada.client_id
    ada.create("/secret", b"1", acl=[make_digest_acl("ada", "pw", all=True)], ephemeral=True)

    def commit(verb: str, path: str, version: int) -> list[Any]:
        transaction = ada.transaction()
        getattr(transaction, verb)(path)
        transaction.check("/secret", version)
        results: list[Any] = transaction.commit()
        if any(isinstance(each, ConnectionLoss) for each in results):
            raise ConnectionLoss
        return results

    def transact(stop: threading.Event) -> None:
        number = 0
        while not stop.is_set() or not number:
            number += 1
            path = f"/done-{number}"
            results = ada.retry(commit, "create", path, 0)
            assert isinstance(results[0], NodeExistsError) or results == [path, True], results
            results = ada.retry(commit, "delete", path, 7)
            assert isinstance(results[0], RolledBackError)
            assert ada.retry(ada.exists, path)

    fire.work(transact)
    assert ada.client_id == session
    for forbidden in (lambda: bob.get("/secret"), lambda: bob.set("/secret", b"2")):
        try:
            bob.retry(forbidden)
            raise AssertionError("it was not refused")
        except NoAuthError:
            pass
    assert ada.retry(ada.get, "/secret")[0] == b"1"
    lost = threading.Event()
    ada.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
    while not lost.wait(1):
        fire.expire(ada)
    fire.wait_for(lambda: not bob.retry(bob.exists, "/secret"), "end of what was ephemeral")
    fire.wait_for(lambda: ada.connected, "new session")
    assert ada.client_id[0] != session[0]
    try:
        bob.retry(bob.get, "/secret")
        raise AssertionError("it is there again")
    except NoNodeError:
        pass


RECIPES: dict[str, Callable[[UnderFire], None]] = {
    recipe.__name__: recipe
    for recipe in (
        lock, semaphore, election, counter, queue, locking_queue, barrier, double_barrier, party, set_partitioner,
        watches_and_tree_cache, sessions_acls_and_transactions,
    )
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3, help="for each recipe")
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    options = parser.parse_args()
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # that connections break is no news here
    with tempfile.TemporaryDirectory() as folder, LiveEnsemble(Path(folder), serve) as ensemble:
        fire = UnderFire(ensemble, kills=options.kills)
        for name in options.recipes:
            RECIPES[name](fire)
            fire.close()
            print(name, "holds", flush=True)
        print(f"{options.kills * len(options.recipes)} leaders were killed, and {fire.breaks} connections broke")


if __name__ == "__main__":
    main()
