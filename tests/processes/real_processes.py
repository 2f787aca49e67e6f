"""An ensemble of real processes on this machine: started, killed, stopped and continued; and what became of its load.

    python real_processes.py --members 3 --rounds 30 --seed 0

plays so many rounds of trouble with an ensemble in a directory of its own, and exits with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from zkcore.testing.linearizability import (
    UNKNOWN,
    Create,
    Held,
    Operation,
    Read,
    Refusal,
    Register,
    Verdict,
    Write,
    check,
)

PATIENCE = 60.0
"""Seconds after which what was waited for is taken not to come."""

_MEMBER = Path(__file__).with_name("member.py")
_REFUSALS = {refusal.name: refusal for refusal in Refusal}


class Log:
    """What a member has written down in all its lives, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.acked: list[str] = []
        self.leads = False
        self.found: list[str] | None = None
        self._offset = 0
        self._rest = b""

    def read_on(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in map(json.loads, whole):
            self.take(line)

    def take(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        if "acked" in line:
            self.acked.append(line["acked"])
        self.leads = line.get("leads", self.leads)
        self.found = line.get("found", self.found)


class Processes:
    """The members of an ensemble, each in a process of its own with a directory in `folder`. `addresses` are theirs."""

    def __init__(self, folder: Path, addresses: dict[int, str], *, seed: int = 0) -> None:
        self.folder = folder
        self.addresses = addresses
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.logs = {me: Log(folder / f"{me}.log") for me in addresses}
        self._seed = seed
        self._lives = dict.fromkeys(addresses, 0)

    def start(self, *members: int) -> None:
        for me in members:
            settings = {
                "me": me, "members": self.addresses, "secret": "known to all members", "seed": self._seed,
                "data_dir": str(self.folder / str(me)), "new": self._lives[me] == 0, "life": self._lives[me],
            }  # fmt: skip
            self._lives[me] += 1
            self.running[me] = subprocess.Popen(
                [sys.executable, "-W", "error::ResourceWarning", str(_MEMBER), json.dumps(settings),
                 str(self.logs[me].path)],
                stdin=subprocess.PIPE,
            )  # fmt: skip

    def kill(self, *members: int) -> None:
        """All at the same time, as nearly as it can be had."""
        for me in members:
            self.signal(me, signal.SIGKILL)
        for me in members:
            self._reap(me)

    def terminate(self, me: int) -> int:
        """The exit code of a member that was asked to go."""
        self.signal(me, signal.SIGTERM)
        return self._reap(me)

    def signal(self, me: int, number: signal.Signals) -> None:
        os.kill(self.running[me].pid, number)

    def _reap(self, me: int) -> int:
        process = self.running.pop(me)
        code = process.wait(PATIENCE)
        assert process.stdin is not None
        process.stdin.close()
        return code

    def close(self) -> None:
        for me in list(self.running):
            self.signal(me, signal.SIGCONT)
        self.kill(*self.running)

    @property
    def leader(self) -> int | None:
        """Who says that it leads, and runs."""
        return next((me for me in self.running if self.logs[me].leads), None)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            for me, process in self.running.items():
                self.logs[me].read_on()
                assert process.poll() is None, f"member {me} has ended with {process.returncode}"
            if condition():
                return
            assert time.monotonic() < until, f"{what} has not come about; see {self.folder}"
            select.select([], [], [], 0.01)

    def wait_for_writes(self, *members: int) -> None:
        """Until clients of each of `members` have been told of a few more writes."""
        before = {me: len(self.logs[me].acked) for me in members}
        self.wait_until(lambda: all(len(self.logs[me].acked) > before[me] + 5 for me in members), "progress")

    # --- what became of it

    def found(self) -> dict[int, set[str]]:
        """End the load; what each member finds below /acked then."""
        for me in self.running:
            pipe = self.running[me].stdin
            assert pipe is not None
            pipe.write(b"\n")
            pipe.flush()
        self.wait_until(lambda: all(self.logs[me].found is not None for me in self.running), "an end")
        for log in self.logs.values():
            log.read_on()
        return {me: set(self.logs[me].found or ()) for me in self.running}

    def check(self) -> dict[str, int]:
        """AssertionError where something was lost, or seen in another order than it happened. How much there was."""
        found = self.found()
        acked = {path for log in self.logs.values() for path in log.acked}
        for me, names in found.items():
            lost = sorted(acked - names)
            assert not lost, f"member {me} has lost {len(lost)} of {len(acked)} writes: {lost[:5]}"
        assert len({frozenset(names) for names in found.values()}) == 1, "the members differ"
        history = history_of(line for log in self.logs.values() for line in log.lines)
        result = check(history, Register(), max_steps=20_000_000)
        assert result.verdict is Verdict.LINEARIZABLE, result.why
        unknown = sum(operation.result is UNKNOWN for operation in history)
        return {"writes": len(acked), "operations": len(history), "unknown": unknown, "leads": self._terms()}

    def _terms(self) -> int:
        return sum(line.get("leads", False) for log in self.logs.values() for line in log.lines)


def history_of(lines: Any) -> list[Operation]:
    """What the clients did. A call without an answer may have happened any time; one that was refused for certain never
    did."""
    calls, answers = {}, {}
    for line in lines:
        if "call" in line:
            calls[line["call"]] = line
        elif "returned" in line:
            answers[line["returned"]] = line
    history = []
    for number, call in calls.items():
        kind, *arguments = call["do"]
        do = {"create": Create, "read": Read, "write": Write}[kind](*arguments)
        answer = answers.get(number)
        if answer is None:
            if kind != "read":
                history.append(Operation(call["key"], do, call["at"], client=number))
        elif answer["result"] != "NOT DONE":
            result = answer["result"]
            result = Held(*result) if isinstance(result, list) else _REFUSALS.get(result, result)
            history.append(Operation(call["key"], do, call["at"], answer["at"], result, number))
    return history


# --- trouble ----------------------------------------------------------------------------------------------------------


Trouble = Callable[[Processes, Random], None]


def kill_leader(ensemble: Processes, rng: Random) -> None:
    """kill -9 of the leader: the others go on, and it comes back."""
    _kill(ensemble, ensemble.leader or 1)


def kill_follower(ensemble: Processes, rng: Random) -> None:
    _kill(ensemble, rng.choice([me for me in ensemble.running if me != ensemble.leader]))


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
    _freeze(ensemble, rng.choice([me for me in ensemble.running if me != ensemble.leader]))


def restart_one_by_one(ensemble: Processes, rng: Random) -> None:
    """As for a new version: each goes gracefully, and comes back before the next."""
    for me in list(ensemble.running):
        assert ensemble.terminate(me) == 0, f"member {me} did not end well"
        ensemble.wait_for_writes(*ensemble.running)
        ensemble.start(me)
        ensemble.wait_for_writes(me)


def _kill(ensemble: Processes, me: int) -> None:
    ensemble.kill(me)
    ensemble.wait_for_writes(*ensemble.running)
    ensemble.start(me)


def _freeze(ensemble: Processes, me: int) -> None:
    ensemble.signal(me, signal.SIGSTOP)
    try:
        ensemble.wait_for_writes(*(each for each in ensemble.running if each != me))
    finally:
        ensemble.signal(me, signal.SIGCONT)


TROUBLE = (
    kill_leader, kill_follower, kill_a_majority, kill_all, freeze_leader, freeze_follower, restart_one_by_one,
)  # fmt: skip


def play(ensemble: Processes, rounds: Iterable[Trouble], rng: Random) -> None:
    """One trouble after the other, each when all members are at work again."""
    ensemble.start(*ensemble.addresses)
    ensemble.wait_for_writes(*ensemble.addresses)
    for trouble in rounds:
        ensemble.wait_until(lambda: ensemble.leader is not None, "a leader")
        trouble(ensemble, rng)
        ensemble.wait_for_writes(*ensemble.addresses)


def told(rounds: Iterable[Trouble]) -> Iterator[Trouble]:
    for number, trouble in enumerate(rounds):
        print(number, trouble.__name__, flush=True)
        yield trouble


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from ports import Ports

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, ports = Random(options.seed), Ports()
    folder = Path(tempfile.mkdtemp(prefix="zkcore-processes-"))
    addresses = {me: ports.take() for me in range(1, options.members + 1)}
    ensemble = Processes(folder, addresses, seed=options.seed)
    try:
        play(ensemble, told(rng.choices(TROUBLE, k=options.rounds)), rng)
        print(ensemble.check(), "in", folder)
    finally:
        ensemble.close()
        ports.close()


if __name__ == "__main__":
    main()
