"""An ensemble of real processes whose members change under load, and whether it keeps what it promises.

    python changing.py grow          1 -> 3 -> 5 -> 3
    python changing.py replace       all three machines by others, one after the other

Each prints what happened as a timeline, with the longest time in which no client anywhere was told of a write, and
exits with 1 where an acknowledged write is lost, what clients saw is not linearizable, or that time was longer than it
takes to miss a leader and elect another.
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from members import Processes
from ports import Ports
from wires import Wires

import zkcore

__all__ = ["Changing", "Straight", "grow", "replace"]

SLACK_SECONDS = 1.0
"""For the election, and for a machine that is busy."""


class Straight(Wires):
    """No wires: all members know each other by the same addresses."""

    def __init__(self, count: int) -> None:
        self._ports = Ports()
        self._addresses = {me: self._ports.take() for me in range(1, count + 1)}

    def addresses(self, me: int) -> dict[int, str]:
        return self._addresses

    def command(self, me: int) -> list[str]:
        return []

    def close(self) -> None:
        self._ports.close()


class Changing(Processes):
    """It begins with the members `first`. Who is started later joins by the address of one that runs."""

    def __init__(self, folder: Path, wires: Wires, count: int, *, first: int, pause: float = 0) -> None:
        super().__init__(folder, wires, count, pause=pause)
        self.first = range(1, first + 1)
        self.began = time.monotonic_ns()
        self.timeline: list[tuple[int, str]] = []

    def settings(self, me: int) -> dict[str, object]:
        settings, addresses = super().settings(me), self.wires.addresses(me)
        if me in self.first:
            return {**settings, "members": {each: addresses[each] for each in self.first}}
        seeds = [addresses[other] for other in self.running]
        return {**settings, "members": {me: addresses[me]}, "join": seeds}

    def note(self, what: str) -> None:
        self.timeline.append((time.monotonic_ns(), what))

    @property
    def voters(self) -> list[int]:
        """As the last one says who has heard of a change."""
        told = [line for me in self.running for line in self.logs[me].lines if "voters" in line]
        return max(told, key=lambda line: line["at"])["voters"] if told else list(self.first)

    def come(self, *members: int) -> None:
        for me in members:
            self.note(f"{me} starts")
            self.start(me)
            self.wait_until(lambda: me in self.voters, f"a vote for member {me}")  # noqa: B023
            self.wait_for_writes(me)

    def go(self, me: int, *, by: int) -> None:
        self.note(f"{by} asks for the removal of {me}{', which leads' if me == self.leader else ''}")
        self.remove(me, by=by)
        self.wait_until(lambda: me not in self.voters, f"the removal of member {me}")
        if me in self.running:
            assert self.terminate(me) == 0, f"member {me} did not end well"
            self.note(f"{me} has stopped")
        self.wait_for_writes(*self.running)

    # --- what became of it

    def pauses(self) -> list[tuple[int, float]]:
        """When each write was told of, and how many seconds after the one before, of whichever client."""
        told = sorted(line["at"] for log in self.logs.values() for line in log.lines if "acked" in line)
        return [(later, (later - earlier) / 1e9) for earlier, later in pairwise(told)]

    def lines(self) -> list[str]:
        """The timeline."""
        seen: dict[int, tuple[int, str]] = {}  # when the first one has heard of it, by version
        what = list(self.timeline)
        for log in self.logs.values():
            for line in log.lines:
                if "voters" in line:
                    heard = line["at"], line["members"]
                    seen[line["version"]] = min(seen.get(line["version"], heard), heard)
                if line.get("leads"):
                    what.append((line["at"], f"{log.path.stem} leads"))
        what += seen.values()
        told = [line["at"] for log in self.logs.values() for line in log.lines if "acked" in line]
        lines = []
        for (at, text), (until, _) in pairwise([*sorted(what), (max(told, default=0), "")]):
            writes = sum(at <= each < until for each in told)
            longest = max((seconds for when, seconds in self.pauses() if at <= when < until), default=0.0)
            began = (at - self.began) / 1e9
            lines.append(f"{began:7.2f} s  {text:<44} {writes:6} writes, at most {longest:.2f} s apart")
        return lines

    def judge(self) -> dict[str, object]:
        """`check`, and the longest pause. AssertionError where it is too long."""
        report = self.check()
        limits = zkcore.Limits()
        limit = limits.sync_limit_ticks * limits.tick_ms / 1000 + SLACK_SECONDS
        longest = max(seconds for _, seconds in self.pauses())
        assert longest < limit, f"for {longest:.2f} s nobody was told of a write"
        return {**report, "longest pause": round(longest, 3)}


def grow(ensemble: Changing, *, seconds: float = 0) -> None:
    """1 -> 3 -> 5 -> 3; of the two that go one was killed before, and one goes by its own wish."""
    ensemble.start(1)
    ensemble.wait_for_writes(1)
    for members in ((2, 3), (4, 5)):
        ensemble.come(*members)
        _work(ensemble, seconds)
    dead = 5 if ensemble.leader != 5 else 4
    ensemble.note(f"{dead} is killed")
    ensemble.kill(dead)
    ensemble.wait_for_writes(*ensemble.running)
    ensemble.go(dead, by=ensemble.others(dead)[0])
    leaving = ensemble.leader or 1
    ensemble.go(leaving, by=leaving)
    _work(ensemble, seconds)


def replace(ensemble: Changing, *, seconds: float = 0) -> None:
    """Three machines go, and three come, one by one; the leader is the second to go, wherever it is."""
    ensemble.start(*ensemble.first)
    ensemble.wait_for_writes(*ensemble.first)
    old = list(ensemble.first)
    for number, new in enumerate(range(len(old) + 1, 2 * len(old) + 1)):
        ensemble.come(new)
        left = [me for me in old if me in ensemble.running]
        gone = ensemble.leader if number and ensemble.leader in left else left[0]
        assert gone is not None
        ensemble.go(gone, by=next(me for me in ensemble.others(gone)))
        _work(ensemble, seconds)


def _work(ensemble: Changing, seconds: float) -> None:
    until = time.monotonic() + seconds
    ensemble.wait_until(lambda: time.monotonic() >= until, "the end of a while")


def main() -> None:
    plays = {"grow": (grow, 5, 1), "replace": (replace, 6, 3)}
    play, count, first = plays[sys.argv[1]]
    folder, wires = Path(tempfile.mkdtemp(prefix="zkcore-changing-")), Straight(count)
    ensemble = Changing(folder, wires, count, first=first, pause=0.002)
    try:
        play(ensemble, seconds=3)
        report = ensemble.judge()
        print("\n".join(ensemble.lines()))
        print(report, "in", folder)
    finally:
        ensemble.close()
        wires.close()


if __name__ == "__main__":
    main()
