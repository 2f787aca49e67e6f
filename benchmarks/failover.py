"""How long nobody can write when the leader is killed: zkcore, Apache ZooKeeper and PySyncObj, side by side in one run.

    python benchmarks/failover.py [--quick] [--rounds 5]

Three processes each. A client writes in a loop, `kill -9` ends the leader, and what is measured is the longest time
between two writes that were answered, from the last before the kill on. Those who are left see its connections break at
once, so this is the time that election and recovery take; how soon a leader is missed that is frozen or cut off is a
matter of limits.

What asks for writes does so again at once, 2 ms after each that failed, and knows the survivors only: over ZooKeeper's
protocol from this process, at zkcore's servers (`python -m zkcore serve`) and at Apache ZooKeeper's (with a tickTime
of 2000 and of 200); inside a survivor with a client of zkcore's node, and with PySyncObj (the `bench` extra, in memory,
at its defaults and without its batches, which is quicker here). A killed member comes back before the next round; of
PySyncObj all begin anew. Rounds alternate between the systems. Each has a median, the best and the worst of rounds.
"""

from __future__ import annotations

import importlib.util
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise

from frames import Frames, create, set_data
from members import PATH, Members, pysyncobj_member, zkcore_member
from runs import described, parser
from servers import APACHE, ZKCORE, Servers, missing
from targets import Target

_RETRY_SECONDS = 0.002
_BEFORE_SECONDS, _AFTER_SECONDS = 1.0, 0.3
"""For so long writes are to succeed before the kill, and after the outage, before it is over."""
_PATIENCE_SECONDS = 30.0


class Writer(threading.Thread):
    """Writes until it is told to stop. `write` returns when the write was done, by the monotonic clock, or raises."""

    def __init__(self, write: Callable[[], float]) -> None:
        super().__init__(daemon=True)
        self._write = write
        self._done: list[float] = []
        self._stopped = False

    def run(self) -> None:
        while not self._stopped:
            try:
                self._done.append(self._write())
            except (OSError, RuntimeError):
                time.sleep(_RETRY_SECONDS)

    def outage(self, kill: Callable[[], None]) -> float:
        """Seconds."""
        self.start()
        self._wait(lambda: len(self._done) > 1 and self._done[-1] - self._done[0] > _BEFORE_SECONDS)
        killed_at = time.monotonic()
        kill()
        # A write that was under way may still be answered: it is not the end of the outage.
        self._wait(lambda: self._done[-1] > killed_at + self._longest(killed_at) + _AFTER_SECONDS)
        self._stopped = True
        return self._longest(killed_at)

    def _wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not until():
            if time.monotonic() > deadline:
                self._stopped = True
                raise TimeoutError("there are no writes any more")
            time.sleep(0.05)

    def _longest(self, killed_at: float) -> float:
        done = self._done.copy()
        first = next((place for place, at in enumerate(done) if at > killed_at), len(done))
        times = done[max(first - 1, 0) :]
        return max((after - before for before, after in pairwise(times)), default=0.0)


# --- over ZooKeeper's protocol ---------------------------------------------------------------------------------------


class FramesWriter:
    """A connection to one of the servers, and when it breaks to the next, without delay."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._frames: Frames | None = None
        self._request = set_data(PATH, b"x" * 100)

    def write(self) -> float:
        try:
            if self._frames is None:
                self._ports.append(self._ports.pop(0))
                self._frames = Frames(self._ports[0], patience=2.0)
            self._frames.ask(self._request)
        except BaseException:
            self.close()
            raise
        return time.monotonic()

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None


def prepare(servers: Servers) -> None:
    with Frames(servers.ports[servers.leader]) as frames:
        frames.ask(create(PATH, b""))


def servers_outage(servers: Servers) -> float:
    leader = servers.leader
    writer = FramesWriter([port for place, port in enumerate(servers.ports) if place != leader])
    thread = Writer(writer.write)
    try:
        return thread.outage(lambda: servers.kill(leader))
    finally:
        thread.join()
        writer.close()
        servers.start(leader)
        servers.wait_until_all_serve()


# --- inside of a survivor --------------------------------------------------------------------------------------------


def members_outage(members: Members) -> float:
    """Leaves the leader dead, and whoever asks for writes without a stop."""
    leader, (survivor, _) = members.leader, members.followers
    members.tell(survivor, "write_on")
    thread = Writer(lambda: float(members.hear(survivor)))
    outage = thread.outage(lambda: members.kill(leader))
    thread.join()
    members.tell(survivor, "stop")
    while members.hear(survivor) is not None:
        pass
    members.start(leader, new=False)
    return outage


def our_members_outage(members: Members) -> float:
    outage = members_outage(members)
    members.wait_until_all_serve()
    return outage


def pysyncobj_outage(**options: bool) -> float:
    with Members(pysyncobj_member, **options) as members:
        return members_outage(members)


# --- the table -------------------------------------------------------------------------------------------------------

OURS = ("zkcore, served", "zkcore, embedded")
_HAS_PYSYNCOBJ = importlib.util.find_spec("pysyncobj") is not None


def measure_all(rounds: int) -> dict[str, list[float]]:
    with ExitStack() as stack:
        served = stack.enter_context(Servers(ZKCORE, 3))
        embedded = stack.enter_context(Members(zkcore_member))
        prepare(served)
        systems: dict[str, Callable[[], float]] = {
            OURS[0]: partial(servers_outage, served),
            OURS[1]: partial(our_members_outage, embedded),
        }
        if not missing():
            for tick_ms in (2000, 200):
                servers = stack.enter_context(Servers(APACHE, 3, tick_ms=tick_ms))
                prepare(servers)
                systems[f"ZooKeeper, tickTime={tick_ms}"] = partial(servers_outage, servers)
        if _HAS_PYSYNCOBJ:
            systems["PySyncObj"] = pysyncobj_outage
            systems["PySyncObj, no batches"] = partial(pysyncobj_outage, appendEntriesUseBatch=False)
        found: dict[str, list[float]] = {name: [] for name in systems}
        for _ in range(rounds):
            for name, outage in systems.items():
                found[name].append(outage())
    return found


def main() -> None:
    arguments = parser(__doc__, rounds=5, quick="one round: whether it runs at all").parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    absent = "" if _HAS_PYSYNCOBJ else "not in this environment: pip install pysyncobj"
    with described(f"{rounds} rounds", missing={"ZooKeeper": missing(), "PySyncObj": absent}):
        found = measure_all(rounds)
    print(f"{'no writes for, ms':26} {'median':>8} {'best':>8} {'worst':>8}")
    medians = {name: statistics.median(outages) for name, outages in found.items()}
    for name, outages in found.items():
        shown = (medians[name], min(outages), max(outages))
        print(f"{name:26} " + " ".join(f"{seconds * 1000:8,.0f}" for seconds in shown))
    print()
    best = min((median for name, median in medians.items() if name not in OURS), default=None)
    for name in OURS:
        share = None if best is None else medians[name] / best
        print(Target(f"{name}, share of the best of the others", share, 0.5, at_most=True))


if __name__ == "__main__":
    main()
