"""Trouble for an ensemble of real processes, and whether it keeps what it promises.

    python real_processes.py --members 3 --rounds 30 --seed 0

plays so many rounds of it with an ensemble in a directory of its own, and exits with 1 where a promise was broken.
Links are cut between network namespaces and disks are filled that are small where the system permits it; else through
proxies, and not at all.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from disks import SmallDisks
from members import Processes
from wires import Namespaces, Proxies, Wires

import zkcore

SLACK_SECONDS = 0.5
"""The machine may be busy: so much later than it should a member may notice what it does."""

Trouble = Callable[[Processes, Random], None]


def kill_leader(ensemble: Processes, rng: Random) -> None:
    """kill -9 of the leader: the others go on, and it comes back."""
    _kill(ensemble, ensemble.leader or 1)


def kill_follower(ensemble: Processes, rng: Random) -> None:
    _kill(ensemble, rng.choice(ensemble.others(ensemble.leader or 1)))


def kill_a_majority(ensemble: Processes, rng: Random) -> None:
    members = list(ensemble.running)
    gone = rng.sample(members, len(members) // 2 + 1)
    ensemble.kill(*gone)
    ensemble.start(*gone)


def kill_all(ensemble: Processes, rng: Random) -> None:
    """As when the power fails."""
    members = list(ensemble.running)
    ensemble.kill(*members)
    ensemble.start(*members)


def freeze_leader(ensemble: Processes, rng: Random) -> None:
    """A leader that is frozen is found out, and does no harm when it wakes up."""
    _freeze(ensemble, ensemble.leader or 1)


def freeze_follower(ensemble: Processes, rng: Random) -> None:
    _freeze(ensemble, rng.choice(ensemble.others(ensemble.leader or 1)))


def restart_one_by_one(ensemble: Processes, rng: Random) -> None:
    """As for a new version: each goes gracefully, and comes back before the next."""
    for me in list(ensemble.running):
        assert ensemble.terminate(me) == 0, f"member {me} did not end well"
        ensemble.wait_for_writes(*ensemble.running)
        ensemble.start(me)
        ensemble.wait_for_writes(me)


def mute_leader(ensemble: Processes, rng: Random) -> None:
    """Nobody hears the leader any more; it hears the others."""
    leader = ensemble.leader or 1
    _cut(ensemble, leader, [(leader, other) for other in ensemble.others(leader)])


def deafen_leader(ensemble: Processes, rng: Random) -> None:
    """The leader hears nobody any more; the others hear it."""
    leader = ensemble.leader or 1
    _cut(ensemble, leader, [(other, leader) for other in ensemble.others(leader)])


def cut_one_way(ensemble: Processes, rng: Random) -> None:
    """Of one member another hears nothing: there is a majority that does not need this link."""
    sender, receiver = rng.sample(list(ensemble.running), 2)
    ensemble.wires.cut(sender, receiver)
    for _ in range(3):  # for longer than it takes to notice
        ensemble.wait_for_writes(*ensemble.running, of=len(ensemble.running) // 2 + 1)
    ensemble.wires.heal()


def fill_a_disk(ensemble: Processes, rng: Random) -> None:
    """A member without room takes no part, and comes back by itself when there is some."""
    disks, leader = ensemble.disks, ensemble.leader
    assert disks is not None
    me = leader if leader in disks.paths else rng.choice(list(disks.paths))
    disks.fill(me)
    ensemble.wait_until(lambda: ensemble.logs[me].is_full, f"that member {me} has no room")
    ensemble.wait_for_writes(*ensemble.others(me))
    assert ensemble.leader != me
    disks.make_room(me)
    ensemble.wait_until(lambda: not ensemble.logs[me].is_full, f"that member {me} has room again")


def _kill(ensemble: Processes, me: int) -> None:
    ensemble.kill(me)
    ensemble.wait_for_writes(*ensemble.running)
    ensemble.start(me)


def _freeze(ensemble: Processes, me: int) -> None:
    led = me == ensemble.leader
    ensemble.signal(me, signal.SIGSTOP)
    try:
        if led:
            ensemble.wait_for_notice()
        ensemble.wait_for_writes(*ensemble.others(me))
    finally:
        ensemble.signal(me, signal.SIGCONT)


def _cut(ensemble: Processes, leader: int, directions: list[tuple[int, int]]) -> None:
    for sender, receiver in directions:
        ensemble.wires.cut(sender, receiver)
    ensemble.wait_for_notice()
    ensemble.wait_for_writes(*ensemble.others(leader))
    ensemble.wires.heal()


TROUBLE = (
    kill_leader, kill_follower, kill_a_majority, kill_all, freeze_leader, freeze_follower, restart_one_by_one,
    mute_leader, deafen_leader, cut_one_way, fill_a_disk,
)  # fmt: skip


def play(ensemble: Processes, rounds: Iterable[Trouble], rng: Random) -> None:
    """One trouble after the other, each when all members are at work again."""
    ensemble.start(*ensemble.members)
    ensemble.wait_for_writes(*ensemble.members)
    for trouble in rounds:
        ensemble.wait_until(lambda: ensemble.leader is not None, "a leader")
        trouble(ensemble, rng)
        ensemble.wait_for_writes(*ensemble.members)


# --- by hand ----------------------------------------------------------------------------------------------------------


def told(rounds: Iterable[Trouble]) -> Iterator[Trouble]:
    for number, trouble in enumerate(rounds):
        print(number, trouble.__name__, flush=True)
        yield trouble


def wires_for(count: int, *, proxies: bool) -> Wires:
    try:
        return Proxies(count) if proxies else Namespaces(count)
    except OSError as error:
        print(f"through proxies: no network namespaces ({error})")
        return Proxies(count)


def disks_for(folder: Path, count: int) -> SmallDisks | None:
    """For half of the members; the others keep their data where it is synced to."""
    try:
        return SmallDisks(folder, range(1, count // 2 + 1))
    except OSError as error:
        print(f"no disk will be full: small ones cannot be mounted ({error})")
        return None


def chosen(rng: Random, count: int, troubles: list[Trouble]) -> list[Trouble]:
    """Each as often as the others."""
    rounds = [troubles[number % len(troubles)] for number in range(count)]
    rng.shuffle(rounds)
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--proxies", action="store_true", help="even where there are network namespaces")
    options = parser.parse_args()
    rng, folder = Random(options.seed), Path(tempfile.mkdtemp(prefix="zkcore-processes-"))
    with ExitStack() as stack:
        wires = wires_for(options.members, proxies=options.proxies)
        disks = disks_for(folder, options.members)
        stack.callback(wires.close)
        if disks is not None:
            stack.callback(disks.close)
        ensemble = Processes(folder, wires, options.members, disks=disks, seed=options.seed)
        stack.callback(ensemble.close)
        troubles = [trouble for trouble in TROUBLE if disks is not None or trouble is not fill_a_disk]
        play(ensemble, told(chosen(rng, options.rounds, troubles)), rng)
        print(ensemble.check(), "in", folder)
        limits = zkcore.Limits()
        limit = limits.sync_limit_ticks * limits.tick_ms / 1000
        seconds = ", ".join(f"{notice:.2f}" for notice in sorted(ensemble.notices))
        print(f"a leader that was frozen or cut off was missed after {seconds} s; syncLimit is {limit:.2f} s")
        if any(notice > limit + SLACK_SECONDS for notice in ensemble.notices):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
