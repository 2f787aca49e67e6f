"""What plays are made of: five contenders, one recipe, and worlds where nodes and apps crash, sleep, and are cut off.

A play is a test in an AppWorld, for any seed. It has a crowd of apps use a recipe while anything may happen, calms the
world, and sees that everybody gets on. What it checks is what the recipe promises to those who use it; znodes are
looked at, if at all, only after the calm, for what nobody knows to have.

The plays of a recipe stand in a file of their own in `plays/`, and are found there. Sessions that the ensemble ends by
fiat (`expire`) leave a holder in good faith for a moment. So worlds with `WITH_EXPIRY` judge leases by their tokens
only, and the ones without judge them by the holders' own clocks as well.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import zkcore
from zkcore.testing.app_world import AppWorld
from zkcore.testing.seeds import run_seeds

__all__ = [
    "CROWD",
    "ENDED",
    "FAULTS",
    "GRACE",
    "PLAYS",
    "WITH_EXPIRY",
    "Leases",
    "Play",
    "Work",
    "chosen",
    "crowd",
    "everybody_goes_on",
    "impatient",
    "load",
    "nobody_is_left",
    "play",
    "run",
    "storm",
]

CROWD = ("one", "two", "three", "four", "five")
FAULTS = "crash,delay,partition,pause,reset"
WITH_EXPIRY = FAULTS + ",expire"
SECONDS = 15.0
"""In which anything may happen."""

GRACE = 10.0
"""So much longer a session of 3 seconds may live on in the ensemble, where leaders change, after its client gave it
up."""

MOST_STEPS = 500_000
"""Of the loop, in one world: ten times what a play takes, for bugs that ask without end."""

ENDED = (zkcore.SessionError, zkcore.OutcomeUnknownError, zkcore.LeaseLostError)
"""What a worker expects, and begins anew."""

Work = Callable[[zkcore.Client], Coroutine[Any, Any, None]]
"""What an app does with a session, once. It may be cancelled at any await."""


class Play(NamedTuple):
    """`story` is what is played, of the `recipe` whose file it stands in, and `faults` what goes wrong in it."""

    recipe: str
    story: Callable[[AppWorld], Coroutine[Any, Any, None]]
    faults: str


PLAYS: dict[str, Play] = {}
"""All of them by name, once they are loaded."""


def play(faults: str) -> Callable[[Callable[[AppWorld], Coroutine[Any, Any, None]]], Any]:
    """Decorator: one of the PLAYS."""

    def register(story: Callable[[AppWorld], Coroutine[Any, Any, None]]) -> Any:
        assert story.__name__ not in PLAYS, "plays have names of their own"
        PLAYS[story.__name__] = Play(story.__module__.rpartition(".")[2], story, faults)
        return story

    return register


def load(folder: str) -> None:
    """Import every module in a folder beside this file: what is in them registers itself."""
    for path in sorted((Path(__file__).parent / folder).glob("*.py")):
        import_module(f"{folder}.{path.stem}")


def chosen(names: Iterable[str]) -> list[str]:
    """The plays that are called so, by their own names or by that of their recipe; all where none is named."""
    names = list(names)
    found = [name for name, each in PLAYS.items() if not names or name in names or each.recipe in names]
    unknown = set(names) - PLAYS.keys() - {each.recipe for each in PLAYS.values()}
    if unknown:
        raise SystemExit(f"there is no play {', '.join(sorted(unknown))}; there are {', '.join(PLAYS)}")
    return found


def run(name: str, seeds: Iterable[int]) -> None:
    """Play it with each of `seeds`, up to the first that fails."""
    again = f"python tests/recipes/test_recipes_seeds.py {{seed}}:1 {name}"
    each = PLAYS[name]
    run_seeds(
        each.story,
        seeds,
        make_world=lambda seed: AppWorld(seed, faults=each.faults, most_steps=MOST_STEPS),
        again=again,
    )


# --- what plays are made of -------------------------------------------------------------------------------------------


class _Crowd:
    """An app for each name of the CROWD. It does its work over one session after another, and again and again over
    each, until it is to rest. By the seed some of the work is cancelled while anything may happen: at any await."""

    def __init__(self, world: AppWorld, work: Callable[[str], Work]) -> None:
        self._world = world
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._is_resting = False
        self._resting: set[str] = set()
        self._interrupted = world.rng("interrupted").choice((0.0, 0.1, 0.4))
        for name in CROWD:
            world.app(name).spawn(self._go, name, work(name), world.rng(f"interrupted/{name}"))

    async def rest(self) -> None:
        """Cancel what is under way, and let nothing begin. The sessions live on."""
        self._is_resting = True
        for task in self._under_way.values():
            task.cancel()
        await self._world.eventually("everybody rests", lambda: self._resting == set(CROWD), within=60)

    async def _go(self, name: str, work: Work, rng: Random) -> None:
        while True:
            try:
                async with self._world.client(timeout=3) as client:
                    while not self._is_resting:
                        await self._work(name, partial(work, client), rng)
                    self._resting.add(name)
                    await asyncio.sleep(3600)
            except ENDED:
                await asyncio.sleep(0.1)

    async def _work(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], rng: Random) -> None:
        at = None
        if self._world.now < SECONDS and rng.random() < self._interrupted:
            at = int(rng.expovariate(1 / 8))
        task = self._under_way[name] = asyncio.create_task(_await(work, at, 0.005 * rng.random()))
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


def crowd(world: AppWorld, work: Callable[[str], Work]) -> _Crowd:
    """Five apps at work: `work(name)` is made once for each, and lives as long as the test. `rest` ends it."""
    return _Crowd(world, work)


async def _await(work: Callable[[], Coroutine[Any, Any, None]], at: int | None, after: float) -> None:
    await _Counted(work(), at, after)


class _Counted:
    """Awaits `work`, and has the task cancelled so many seconds `after` its await number `at` has begun."""

    def __init__(self, work: Coroutine[Any, Any, None], at: int | None, after: float) -> None:
        self._work, self._at, self._after = work, at, after

    def __await__(self) -> Generator[Any, Any, None]:
        work = self._work.__await__()
        go_on: Callable[[], Any] = work.__next__
        for number in count():
            try:
                point = go_on()
            except StopIteration:
                return
            if number == self._at:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_later(self._after, task.cancel)
            try:
                yield point
            except BaseException as error:
                go_on = partial(work.throw, error)
            else:
                go_on = work.__next__


async def storm(world: AppWorld) -> None:
    """Anything may happen for a while; then all is mended."""
    await world.sleep(SECONDS)
    world.calm()


async def everybody_goes_on(world: AppWorld, counts: Counter[str], *, within: float = 60) -> None:
    """Each of the CROWD is counted once more, from now on."""
    before = Counter(counts)
    await world.eventually(
        "everybody gets on", lambda: all(counts[name] > before[name] for name in CROWD), within=within
    )


@asynccontextmanager
async def impatient(rng: Random) -> AsyncIterator[None]:
    """Now and then the body is cancelled, wherever it is. To be out of time is no error of it."""
    try:
        async with asyncio.timeout(rng.uniform(0, 1) if rng.random() < 0.3 else None):
            yield
    except TimeoutError:
        pass


async def nobody_is_left(world: AppWorld, *paths: str) -> None:
    """Once nobody does anything any more, the znodes at `paths` come to have no children, when the sessions of the past
    have expired. The sessions of those who rest go on: what nobody knows to have would stay."""
    deadline = world.now + 60
    async with world.client() as client:
        for path in paths:
            while await client.exists(path) is not None and (left := await client.get_children(path)):
                assert world.now < deadline, f"nobody knows to have {left} at {path}"
                await world.sleep(0.5)


class Leases:
    """The leases that are held. Of those whose holder may believe in them there is one at most, and each is later than
    all before it."""

    def __init__(self, world: AppWorld) -> None:
        self._held: dict[str, Any] = {}
        self.tokens: list[int] = []
        self.counts: Counter[str] = Counter()
        world.always("one believes to hold it", lambda: len(self.believed) <= 1)

    @property
    def believed(self) -> list[str]:
        return [name for name, lease in self._held.items() if not (lease.released or lease.is_lost())]

    def begin(self, name: str, lease: Any) -> None:
        self._held[name] = lease
        assert lease.is_lost() or lease.fencing_token > max(self.tokens, default=0), f"{name} is out of turn"
        self.tokens.append(lease.fencing_token)
        self.counts[name] += 1
