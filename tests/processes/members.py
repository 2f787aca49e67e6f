"""An ensemble of real processes on this machine: started, killed, stopped, continued; and what became of its load."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disks import SmallDisks
from wires import Wires

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

__all__ = ["Log", "Processes", "history_of"]

PATIENCE = 60.0
"""Seconds after which what was waited for is taken not to come."""

_MEMBER = Path(__file__).with_name("member.py")
_REMOVE = 0x80
_REFUSALS = {refusal.name: refusal for refusal in Refusal}


class Log:
    """What a member has written down in all its lives, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self.acked: list[str] = []
        self.leads_since: int | None = None
        self.is_full = False
        self.is_quiet = False
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
        if "leads" in line:
            self.leads_since = line["at"] if line["leads"] else None
        self.is_full = line.get("full", self.is_full)
        self.is_quiet = line.get("quiet", self.is_quiet)
        self.found = line.get("found", self.found)


class Processes:
    """The members of an ensemble, each in a process of its own, linked by `wires`. They keep their data in `folder`, or
    on small disks, where they have one. Clients pause for so many seconds between two calls."""

    def __init__(
        self,
        folder: Path,
        wires: Wires,
        count: int,
        *,
        disks: SmallDisks | None = None,
        seed: int = 0,
        pause: float = 0,
    ) -> None:
        self.folder = folder
        self.members = range(1, count + 1)
        self.wires = wires
        self.disks = disks
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.logs = {me: Log(folder / f"{me}.log") for me in self.members}
        self.notices: list[float] = []
        """The seconds in which members have noticed that their leader was frozen, or cut off."""
        self._seed = seed
        self._pause = pause
        self._lives = dict.fromkeys(self.members, 0)

    def settings(self, me: int) -> dict[str, object]:
        """What a member is told when it is started."""
        disk = self.disks.paths.get(me) if self.disks is not None else None
        return {
            "me": me, "members": self.wires.addresses(me), "secret": "known to all members", "seed": self._seed,
            "data_dir": str((disk or self.folder) / str(me)), "small": disk is not None,
            "new": self._lives[me] == 0, "life": self._lives[me], "pause": self._pause,
        }  # fmt: skip

    def start(self, *members: int) -> None:
        for me in members:
            settings = self.settings(me)
            self._lives[me] += 1
            self.running[me] = subprocess.Popen(
                [*self.wires.command(me), sys.executable, "-W", "error::ResourceWarning", str(_MEMBER),
                 json.dumps(settings), str(self.logs[me].path)],
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

    def remove(self, gone: int, *, by: int) -> None:
        """Have the ensemble remove a member, because another asks for it, or it itself."""
        process = self.running[by]
        assert process.stdin is not None
        process.stdin.write(bytes([_REMOVE + gone]))
        process.stdin.flush()

    def close(self) -> None:
        for me in list(self.running):
            self.signal(me, signal.SIGCONT)
        self.kill(*self.running)

    @property
    def leader(self) -> int | None:
        """Who runs, and is the last to have said that it leads."""
        since = {me: self.logs[me].leads_since or 0 for me in self.running}
        last = max(since, key=since.__getitem__)
        return last if since[last] else None

    def others(self, *members: int) -> list[int]:
        """Who else runs."""
        return [me for me in self.running if me not in members]

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

    def wait_for_writes(self, *members: int, of: int | None = None) -> None:
        """Until clients of each of `members`, or of as many `of` them, have been told of a few more writes."""
        before = {me: len(self.logs[me].acked) for me in members}
        needed = len(members) if of is None else of
        self.wait_until(
            lambda: sum(len(self.logs[me].acked) > before[me] + 5 for me in members) >= needed, "progress"
        )

    def wait_for_notice(self) -> None:
        """Until a member that runs has nobody to follow any more. How long it took is kept in `notices`."""
        now = time.monotonic_ns()

        def noticed() -> int:
            lines = (line for me in self.running for line in reversed(self.logs[me].lines))
            return min((line["at"] for line in lines if line.get("looks") and line["at"] > now), default=0)

        self.wait_until(lambda: noticed() > 0, "a notice of what has happened")
        self.notices.append((noticed() - now) / 1e9)

    # --- what became of it

    def found(self) -> dict[int, set[str]]:
        """End the load; what each member finds below /acked then."""
        self._ask()
        self.wait_until(lambda: all(self.logs[me].is_quiet for me in self.running), "an end")
        self._ask()
        self.wait_until(lambda: all(self.logs[me].found is not None for me in self.running), "what is there")
        for log in self.logs.values():
            log.read_on()
        return {me: set(self.logs[me].found or ()) for me in self.running}

    def _ask(self) -> None:
        for process in self.running.values():
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()

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
