"""Five workers, one lock, three replicas, and everything that is supposed to go wrong.

The workers take turns under one `zkcore.Lock` to process the lines of a text file, each with a client and a session
of its own. Two things happen on the way:

- **The leader is killed** while an answer of it is awaited, and started again later.
- **A holder is paused** inside its `async with`, long enough for its session to expire. Another worker gets the lock
  and goes on with the same line. Then the first wakes up, does not know that it slept, and writes.

No lock service can stop that last write, and no timeout can: only the resource can. Here it is the `Ledger`, and it
does what the real one would have to do: it remembers the highest fencing token it has seen and refuses lower ones.

Every line is processed *exactly once* because each step may be repeated: the ledger takes a line once, under its
number; then a znode named after the line says that it is done. A holder that dies between the two leaves a line that
its successor does again, and the ledger has it already. A create whose answer is lost is tried again, and
NodeExistsError then means that it is done.

    python examples/demo.py [FILE]      README.md if none is given; at least ten lines that are not empty

At the end the results are read back from each replica and compared with the file. It exits with 1 where a promise did
not hold. The times are those of one process, where a killed leader is missed at once; over a network its silence has
to last for a while first.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import zkcore
from zkcore.events import LeaderChanged, NodeEvent
from zkcore.zxid import format_zxid

LOCK, RESULTS = "/locks/lines", "/results"
WORKERS = ("ada", "bob", "cyd", "dan", "eve")
SESSION_SECONDS = 0.8
WORK_SECONDS = 7.0  # all lines together, so that one can watch

KILL_AT, RESTART_AT, PAUSE_AT = 0.25, 0.45, 0.60  # how far the lines are when it happens


def process(line: str) -> str:
    """The work: how many words a line has, and a digest of it."""
    return f"{len(line.split())} words, {hashlib.sha256(line.encode()).hexdigest()[:16]}"


def path_of(number: int) -> str:
    return f"{RESULTS}/line-{number:06d}"


class StaleTokenError(Exception):
    """The ledger has seen a higher fencing token."""


class Ledger:
    """The resource that the lock protects. It knows nothing of zkcore: a token is a number that only rises."""

    def __init__(self) -> None:
        self.results: dict[int, str] = {}
        self.highest = 0
        self.accepted: list[int] = []  # the tokens of what was written, in order
        self.refused: list[int] = []  # the tokens of what was not

    def write(self, number: int, result: str, *, token: int) -> None:
        """Enter the result of a line; a line that is entered already stays as it is. Raises StaleTokenError."""
        if token < self.highest:
            self.refused.append(token)
            raise StaleTokenError(f"token {format_zxid(token)} is below {format_zxid(self.highest)}")
        self.highest = token
        if number not in self.results:
            self.results[number] = result
            self.accepted.append(token)


@dataclass
class Facts:
    """What happened, for the table at the end."""

    epochs: list[int] = field(default_factory=list)
    sessions: int = 0
    started: int = 0  # lines that some worker began with
    answers_lost: int = 0
    leases_lost: int = 0
    killed: int = 0  # the node
    killed_at: float = 0.0  # this and the next: seconds, monotonic
    led_again_at: float = 0.0
    wrote_again_at: float = 0.0


class Demo:
    """What the workers share: the cluster, the ledger, and what is to go wrong when."""

    def __init__(self, lines: list[str], screen: Screen) -> None:
        self.lines = lines
        self.screen = screen
        self.cluster = zkcore.local_cluster(3)
        self.ledger = Ledger()
        self.facts = Facts()
        self.holder = self.paused = ""  # workers
        self.has_paused = False
        self.kill_at, self.restart_at, self.pause_at = (
            round(len(lines) * part) for part in (KILL_AT, RESTART_AT, PAUSE_AT)
        )
        self.cluster.events.subscribe(self.on_event)

    def on_event(self, event: NodeEvent) -> None:
        if not isinstance(event, LeaderChanged):
            return
        if event.leader != event.node:
            self.screen.say(str(event))
            return
        self.facts.epochs.append(event.epoch)
        if self.facts.killed_at and not self.facts.led_again_at:
            self.facts.led_again_at = time.monotonic()
        self.screen.say(str(event), "green")

    def kill(self, leader: int) -> None:
        self.facts.killed, self.facts.killed_at = leader, time.monotonic()
        self.screen.say(f"node {leader}, the leader, is killed while {self.holder} waits for its answer", "red")
        self.cluster.kill(leader)

    def restart(self) -> None:
        self.screen.say(f"node {self.facts.killed} is started again, on what it had saved", "yellow")
        self.cluster.start_node(self.facts.killed)


class Worker:
    """Takes its turn again and again, with a new client whenever its session is over."""

    def __init__(self, name: str, demo: Demo) -> None:
        self.name = name
        self.demo = demo
        self.say = demo.screen.say

    async def run(self) -> None:
        while True:
            self.demo.facts.sessions += 1
            try:
                async with self.demo.cluster.client(timeout=SESSION_SECONDS) as zk:
                    await self.take_turns(zk)
                return
            except zkcore.LeaseLostError:
                self.demo.facts.leases_lost += 1
                self.say(f"{self.name} asks its lease: LeaseLostError. It opens a new client")
            except zkcore.SessionError as error:
                self.say(f"{self.name}: {type(error).__name__}. It opens a new client")

    async def take_turns(self, zk: zkcore.EmbeddedClient) -> None:
        lock = zkcore.Lock(zk, LOCK, identifier=self.name)
        while True:
            # By default a body is cancelled when its lease is lost. That would stop the late write here, in a process
            # that only plays dead; one that really stood still would wake up right before it.
            async with lock.hold(on_lost=zkcore.OnLost.NOTHING) as lease:
                number = await self.next_line(zk)
                if number is None:
                    return
                self.demo.holder = self.name
                self.demo.screen.progress(self.demo, number, lease.fencing_token)
                await self.do_line(zk, lease, number)

    async def next_line(self, zk: zkcore.Client) -> int | None:
        """The first line that is not done. Whoever has just got the lock sees all that its predecessors wrote: it has
        seen their contenders go, and they wrote before they went."""
        while True:
            try:
                done = set(await zk.get_children(RESULTS))
            except zkcore.OutcomeUnknownError:
                continue  # a read may be repeated; it waits until there is a leader
            names = (path_of(number).rpartition("/")[2] for number in range(len(self.demo.lines)))
            return next((number for number, name in enumerate(names) if name not in done), None)

    async def do_line(self, zk: zkcore.EmbeddedClient, lease: zkcore.Lease, number: int) -> None:
        demo = self.demo
        demo.facts.started += 1
        if number == demo.restart_at and demo.facts.killed not in demo.cluster.nodes:
            demo.restart()
        if number == demo.pause_at and demo.has_paused:
            self.say(f"{self.name} has the lock now, and begins with line {number + 1} again", "green")
        await asyncio.sleep(WORK_SECONDS / len(demo.lines))
        result = process(demo.lines[number])
        if number == demo.pause_at and not demo.has_paused:
            await self.pause(zk, lease)
        try:
            demo.ledger.write(number, result, token=lease.fencing_token)
        except StaleTokenError as error:
            self.say(f"the ledger refuses {self.name}: {error}", "red")
            lease.check()  # raises LeaseLostError
            raise  # or the ledger and the lease contradict each other, and the demo fails
        await self.record(zk, number, result)

    async def pause(self, zk: zkcore.EmbeddedClient, lease: zkcore.Lease) -> None:
        """What a long garbage collection, a closed laptop or a stopped virtual machine does to a process: no heartbeat,
        no thought. It lasts as many times the session's timeout as it takes until somebody else has written."""
        self.demo.paused, self.demo.has_paused = self.name, True
        self.say(f"{self.name} is paused while it holds the lock, token {format_zxid(lease.fencing_token)}", "red")
        zk.freeze()
        while self.demo.ledger.highest <= lease.fencing_token:
            await asyncio.sleep(SESSION_SECONDS)
        self.demo.paused = ""
        self.say(f"{self.name} wakes up, and goes on as if nothing had happened", "yellow")

    async def record(self, zk: zkcore.Client, number: int, result: str) -> None:
        """Say for all to see that the line is done. Its name makes trying again harmless."""
        facts = self.demo.facts
        if number == self.demo.kill_at and not facts.killed_at:
            leader = await self.demo.cluster.wait_for_leader()
            asyncio.get_running_loop().call_soon(self.demo.kill, leader)  # when the request below is on its way
        while True:
            try:
                await zk.create(path_of(number), result.encode())
                break
            except zkcore.NodeExistsError:
                break  # by the attempt before, or by a holder that was gone before it could say so
            except zkcore.OutcomeUnknownError:
                facts.answers_lost += 1
                self.say(f"{self.name} lost the answer; line {number + 1} may be recorded or not; it tries again")
        if facts.killed_at and not facts.wrote_again_at:
            facts.wrote_again_at = time.monotonic()


# --- what one sees


COLOURS = {"": "", "bold": "\x1b[1m", "dim": "\x1b[2m", "red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m"}
WIDTH, LOG_LINES = 78, 13


class Screen:
    """A view that is redrawn in place where there is a terminal to draw on; else a log, line by line."""

    def __init__(self) -> None:
        size = shutil.get_terminal_size()
        self.live = sys.stdout.isatty() and size.columns > WIDTH and size.lines > LOG_LINES + 9
        self.coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.began = time.monotonic()
        self.log: list[str] = []
        self.work = ""
        self.told = -1
        self.drawn = 0

    def paint(self, text: str, colour: str) -> str:
        return f"{COLOURS[colour]}{text}\x1b[0m" if self.coloured and colour else text

    def say(self, text: str, colour: str = "") -> None:
        """Something happened."""
        stamp = self.paint(f"{time.monotonic() - self.began:5.2f} s", "dim")
        self.log.append(f"  {stamp}  {self.paint(text[: WIDTH - 11] if self.live else text, colour)}")
        if not self.live:
            print(self.log[-1], flush=True)

    def progress(self, demo: Demo, number: int, token: int) -> None:
        """A worker has the lock."""
        self.work = f"{demo.holder}, token {format_zxid(token)}, line {number + 1}"
        tenth = 10 * number // len(demo.lines)
        if not self.live and tenth > self.told:
            self.told = tenth
            self.say(f"{number} of {len(demo.lines)} lines are done; the lock is held by {self.work}")

    async def draw_forever(self, demo: Demo) -> None:
        while self.live:
            self.draw(demo)
            await asyncio.sleep(0.05)

    def draw(self, demo: Demo) -> None:
        rows = [
            self.paint("  zkcore", "bold") + "   five workers, one lock, three replicas in one process",
            "  " + "─" * (WIDTH - 2),
            "  nodes    " + "    ".join(self.node(demo, me) for me in demo.cluster.ensemble.voters),
            "  workers  " + "    ".join(self.worker(demo, name) for name in WORKERS),
            f"  lock     {self.work}",
            f"  ledger   highest token {format_zxid(demo.ledger.highest)}, "
            f"{len(demo.ledger.accepted)} writes taken, {len(demo.ledger.refused)} refused",
            "  lines    " + self.bar(len(demo.ledger.results), len(demo.lines)),
            "  " + "─" * (WIDTH - 2),
            *self.log[-LOG_LINES:],
        ]
        up = f"\x1b[{self.drawn}F" if self.drawn else ""
        sys.stdout.write(up + "".join(f"{row}\x1b[K\n" for row in rows))
        sys.stdout.flush()
        self.drawn = len(rows)

    def node(self, demo: Demo, me: int) -> str:
        node = demo.cluster.nodes.get(me)
        if node is None:
            return self.paint(f"{me} {'killed':18}", "red")
        status = node.status()
        if not status.established:
            return self.paint(f"{me} {'no leader yet':18}", "yellow")
        colour = "green" if status.role is zkcore.Role.LEADING else ""
        return self.paint(f"{me} {f'{status.role.name.lower()}, epoch {status.current_epoch}':18}", colour)

    def worker(self, demo: Demo, name: str) -> str:
        return self.paint(name, "red" if name == demo.paused else "green" if name == demo.holder else "dim")

    def bar(self, done: int, total: int) -> str:
        filled = 48 * done // total
        return "█" * filled + self.paint("░" * (48 - filled), "dim") + f" {done} of {total}"

    def row(self, what: str, figure: object, held: bool | None = None) -> None:
        """A row of the table at the end: a promise that held or not, or just a figure."""
        verdict = "" if held is None else self.paint("held", "green") if held else self.paint("BROKEN", "red")
        print(f"  {what:<56}{figure!s:>13}  {verdict}".rstrip())


# --- the end: was it true?


async def read_back(demo: Demo) -> dict[int, dict[str, bytes]]:
    """The results as each replica by itself has them, once all have applied everything. A znode that was written more
    than once is left out."""
    nodes = demo.cluster.nodes
    newest = max(node.status().last_delivered for node in nodes.values())
    found: dict[int, dict[str, bytes]] = {}
    for me, node in nodes.items():
        while node.status().last_delivered < newest:
            await asyncio.sleep(0.01)
        async with node.client() as zk:
            read = {name: await zk.get(f"{RESULTS}/{name}") for name in await zk.get_children(RESULTS)}
        found[me] = {name: data for name, (data, stat) in read.items() if stat.version == 0}
    return found


def report(demo: Demo, found: dict[int, dict[str, bytes]]) -> bool:
    """Print the table; whether everything promised was kept."""
    facts, ledger, screen = demo.facts, demo.ledger, demo.screen
    results = dict(enumerate(map(process, demo.lines)))
    znodes = {path_of(number).rpartition("/")[2]: result.encode() for number, result in results.items()}
    once = sum(on.get(name) == data for name, data in znodes.items() for on in found.values())
    rising = sum(before < after for before, after in pairwise(ledger.accepted))
    promises = [
        ("lines whose result is in the ledger, once and correct", f"{len(ledger.accepted)} of {len(results)}",
         ledger.results == results and len(ledger.accepted) == len(results)),
        ("the same read back from each of the three replicas", f"{once} of {3 * len(results)}",
         len(found) == 3 and all(on == znodes for on in found.values())),
        ("tokens higher than the one before, at the ledger", f"{rising} of {len(ledger.accepted) - 1}",
         rising == len(ledger.accepted) - 1),
        ("writes of the expired holder that the ledger refused", len(ledger.refused), len(ledger.refused) > 0),
        ("LeaseLostError raised when it asked its lease", facts.leases_lost, facts.leases_lost == len(ledger.refused)),
        ("epochs, each led by one node", ", ".join(map(str, facts.epochs)),
         len(facts.epochs) > 1 and all(before < after for before, after in pairwise(facts.epochs))),
    ]  # fmt: skip
    print(screen.paint("\n  What was promised", "bold"))
    for what, figure, held in promises:
        screen.row(what, figure, held)
    print(screen.paint("\n  What it took", "bold"))
    screen.row("milliseconds without a leader", f"{1000 * (facts.led_again_at - facts.killed_at):.1f}")
    pause = 1000 * (facts.wrote_again_at - facts.killed_at)
    screen.row("milliseconds from the kill to the next write", f"{pause:.1f}")
    screen.row("answers lost, and the write repeated", facts.answers_lost)
    screen.row("lines begun, those begun in vain with them", facts.started)
    screen.row(f"sessions of the {len(WORKERS)} workers", facts.sessions)
    screen.row("seconds in all", f"{time.monotonic() - screen.began:.1f}")
    return all(held for _, _, held in promises)


async def play(demo: Demo) -> bool:
    async with asyncio.timeout(30), demo.cluster:
        drawing = asyncio.create_task(demo.screen.draw_forever(demo))
        async with demo.cluster.client() as zk:
            await zk.ensure_path(RESULTS)
        async with asyncio.TaskGroup() as workers:
            for name in WORKERS:
                workers.create_task(Worker(name, demo).run())
        found = await read_back(demo)
        drawing.cancel()
        if demo.screen.live:
            demo.screen.draw(demo)
    return report(demo, found)


def main() -> int:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(lines) < 10:
        print(f"{path} has {len(lines)} lines with something on them; give a file with at least 10", file=sys.stderr)
        return 2
    return 0 if asyncio.run(play(Demo(lines, Screen()))) else 1


if __name__ == "__main__":
    sys.exit(main())
