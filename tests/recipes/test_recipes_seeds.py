"""The recipes with five contenders each, in worlds where nodes and apps crash, sleep, and are cut off, by a seed.

The suite takes a sample; ``python tests/recipes/test_recipes_seeds.py 500`` takes more, and with a name only that one.
What a world checks is what a recipe promises to those who use it: it looks at no znode.

Sessions that the ensemble ends by fiat (`expire`) leave a holder in good faith for a moment. So those worlds judge
leases by their tokens only, and the ones without judge them by the holders' own clocks as well.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import pytest

import zkcore
from zkcore.testing.app_world import AppWorld
from zkcore.testing.seeds import run_seeds

CROWD = ("one", "two", "three", "four", "five")
FAULTS = "crash,delay,partition,pause,reset"
WITH_EXPIRY = FAULTS + ",expire"
SECONDS = 15.0
"""In which anything may happen."""

GRACE = 10.0
"""So much longer a session of 3 seconds may live on in the ensemble, where leaders change, after its client gave it
up."""

ENDED = (zkcore.SessionError, zkcore.OutcomeUnknownError, zkcore.LeaseLostError)
"""What a worker expects, and begins anew."""

SAMPLE = 3
"""Seeds of each play that the suite takes."""

Work = Callable[[zkcore.Client], Awaitable[None]]
Play = Callable[[AppWorld], Coroutine[Any, Any, None]]

PLAYS: dict[str, tuple[Play, str]] = {}
"""By name: what is played, and what goes wrong in it."""


def play(faults: str) -> Callable[[Play], Play]:
    """Decorator: one of the PLAYS."""

    def register(each: Play) -> Play:
        PLAYS[each.__name__] = each, faults
        return each

    return register


def run(name: str, seeds: Iterable[int]) -> None:
    each, faults = PLAYS[name]
    again = f"python tests/recipes/test_recipes_seeds.py {{seed}}:1 {name}"
    run_seeds(each, seeds, make_world=lambda seed: AppWorld(seed, faults=faults), again=again)


async def again_and_again(world: AppWorld, work: Work) -> None:
    """What each app does: `work` over one session after another."""
    while True:
        try:
            async with world.client(timeout=3) as client:
                while True:
                    await work(client)
        except ENDED:
            await asyncio.sleep(0.1)


def crowd(world: AppWorld, work: Callable[[str], Work]) -> None:
    for name in CROWD:
        world.app(name).spawn(again_and_again, world, work(name))


async def storm(world: AppWorld) -> None:
    """Anything may happen for a while; then all is mended."""
    await world.sleep(SECONDS)
    world.calm()


class Leases:
    """The leases that are held. Of those whose holder may believe in them there is one at most."""

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
        self.tokens.append(lease.fencing_token)
        self.counts[name] += 1


async def everybody_goes_on(world: AppWorld, counts: Counter[str], *, within: float = 60) -> None:
    before = Counter(counts)
    await world.eventually(
        "everybody gets on", lambda: all(counts[name] > before[name] for name in CROWD), within=within
    )


@play(FAULTS)
async def one_holds_a_lock_and_everybody_gets_it(world: AppWorld) -> None:
    leases = Leases(world)

    def work(name: str) -> Work:
        async def hold(client: zkcore.Client) -> None:
            async with zkcore.Lock(client, "/lock").hold(timeout=2.5) as lease:
                leases.begin(name, lease)
                await asyncio.sleep(0.3)
                lease.check()

        async def try_to(client: zkcore.Client) -> None:
            try:
                await hold(client)
            except zkcore.LockTimeoutError:
                pass

        return try_to

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, leases.counts)
    assert len(leases.tokens) == len(set(leases.tokens))


@play(WITH_EXPIRY)
async def a_fenced_resource_loses_no_update(world: AppWorld) -> None:
    account = world.fenced_resource("account", value=0)
    counts: Counter[str] = Counter()
    world.always("no update is lost", lambda: account.value == len(account.history))

    def work(name: str) -> Work:
        async def add(client: zkcore.Client) -> None:
            try:
                async with zkcore.Lock(client, "/lock") as lease:
                    balance = await account.read(token=lease.fencing_token)
                    await asyncio.sleep(0.2)
                    await account.write(balance + 1, token=lease.fencing_token)
                    counts[name] += 1
            except zkcore.StaleTokenError:
                pass  # a later holder was here

        return add

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    tokens = [written.token or 0 for written in account.history]
    assert tokens == sorted(tokens)


@play(FAULTS)
async def one_leads_and_in_the_end_everybody_sees_who(world: AppWorld) -> None:
    leases = Leases(world)
    seen: dict[str, zkcore.Contender | None] = {}

    def work(name: str) -> Work:
        async def lead(client: zkcore.Client) -> None:
            election = zkcore.Election(client, "/leader", identifier=name)
            observing = asyncio.create_task(observe(election))
            try:
                async with election.lead() as term:
                    leases.begin(name, term)
                    await asyncio.sleep(0.4)
                    term.check()
                await asyncio.sleep(0.1)
            finally:
                observing.cancel()
                await asyncio.wait([observing])

        async def observe(election: zkcore.Election) -> None:
            try:
                async for leader in election.observe():
                    seen[name] = leader
            except ENDED:
                pass

        return lead

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, leases.counts)
    newest = max(leases.tokens)
    await world.eventually(
        "everybody sees later leaders",
        lambda: all(leader is not None and leader.fencing_token > newest for leader in seen.values()),
        within=60,
    )


@play(WITH_EXPIRY)
async def nobody_passes_a_barrier_before_all_are_there(world: AppWorld) -> None:
    waits: dict[str, list[list[float]]] = {name: [] for name in CROWD}
    counts: Counter[str] = Counter()

    def were_all_there(since: float) -> bool:
        """Whether each of them waited at some time since then."""
        return all(any(end >= since for _, end in waits[name]) for name in CROWD)

    def work(name: str) -> Work:
        async def go_round(client: zkcore.Client) -> None:
            began = world.now
            waits[name].append([began, float("inf")])  # that of an app that crashed never ends: it may have passed
            mine = waits[name][-1]
            try:
                await zkcore.Barrier(client, "/barrier", parties=len(CROWD)).wait()
                assert were_all_there(began), f"{name} passes early"
                counts[name] += 1
                mine[1] = world.now
            except zkcore.SessionError:
                mine[1] = world.now + GRACE  # the ensemble may find out later than its client
                raise
            except BaseException:
                mine[1] = world.now
                raise

        return go_round

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)


@play(FAULTS)
async def a_queue_gives_nothing_out_twice_and_loses_nothing(world: AppWorld) -> None:
    begun, put, taken = [0], set[int](), list[int]()
    claimed: dict[int, zkcore.Claim[int]] = {}
    done: set[int] = set()
    getting: Counter[str] = Counter()
    stopped: list[bool] = []

    def queue_of(client: zkcore.Client) -> zkcore.Queue[int]:
        return zkcore.Queue(client, "/queue", maxsize=6, codec=zkcore.json_codec)

    def work(name: str) -> Work:
        async def trade(client: zkcore.Client) -> None:
            queue = queue_of(client)
            try:
                if not stopped:
                    begun[0] += 1
                    number = begun[0]
                    await queue.put(number, timeout=0.5)
                    put.add(number)
                if begun[0] % 2:
                    getting[name] += 1
                    taken.append(await queue.get(timeout=0.5))
                    getting[name] -= 1
                else:
                    await do_work(queue)
            except zkcore.QueueEmptyError:
                getting[name] -= getting[name] > 0 and begun[0] % 2
                await asyncio.sleep(0.1)
            except zkcore.QueueFullError:
                await asyncio.sleep(0.1)

        return trade

    async def do_work(queue: zkcore.Queue[int]) -> None:
        async with queue.claim(timeout=0.5) as claim:
            other = claimed.get(claim.item)
            assert other is None or other.lease.released or other.lease.is_lost(), "two have claimed one item"
            assert claim.item not in done, "given out again after it was done"
            claimed[claim.item] = claim
            await asyncio.sleep(0.1)
        done.add(claim.item)

    crowd(world, work)
    await storm(world)
    stopped.append(True)
    out = lambda: set(taken) | done | claimed.keys()  # noqa: E731
    # Who crashed between taking and telling may have got one that nobody else gets.
    await world.eventually(
        "all that was put comes out", lambda: len(put - out()) <= sum(getting.values()), within=60
    )
    assert len(taken) == len(set(taken)), "got twice"
    assert not set(taken) & done, "got by one, and done by another"


@play(WITH_EXPIRY)
async def a_config_loses_no_change_and_makes_none_twice(world: AppWorld) -> None:
    asked, made = Counter[str](), list[int]()
    counts: Counter[str] = Counter()

    def work(name: str) -> Work:
        async def add(client: zkcore.Client) -> None:
            config = zkcore.Config(client, "/config", codec=zkcore.json_codec)
            asked[name] += 1
            try:
                now = await config.update(lambda value: value + 1)
            except zkcore.NoNodeError:
                try:
                    await client.create("/config", b"0")
                except zkcore.NodeExistsError:
                    pass
                return
            assert now.version == now.value, "a change was lost or made twice"
            made.append(now.value)
            counts[name] += 1
            await asyncio.sleep(0.2)

        return add

    crowd(world, work)
    await storm(world)
    await everybody_goes_on(world, counts)
    assert len(made) == len(set(made))
    assert max(made) <= sum(asked.values())


@play(WITH_EXPIRY)
async def in_the_end_everybody_sees_everybody(world: AppWorld) -> None:
    views: dict[str, frozenset[str]] = {}

    def work(name: str) -> Work:
        async def join(client: zkcore.Client) -> None:
            group = zkcore.Membership(client, "/group", name=name)
            try:
                async with group:
                    async for members in group.changes():
                        views[name] = frozenset(member.name for member in members)
            except zkcore.NodeExistsError:
                await asyncio.sleep(0.5)  # this app as it was before, whose session has not expired yet

        return join

    crowd(world, work)
    await storm(world)
    await world.eventually(
        "everybody sees everybody", lambda: [views.get(name) for name in CROWD] == [frozenset(CROWD)] * 5, within=60
    )


@pytest.mark.parametrize("name", PLAYS)
def test_the_recipes_keep_their_promises_whatever_happens(name: str) -> None:
    run(name, range(SAMPLE))


def main(count: str, *names: str) -> None:
    """Run seeds by hand: `count` of them from 0, or `first:count`."""
    first, _, number = count.rpartition(":")
    for name in names or PLAYS:
        run(name, range(int(first or 0), int(first or 0) + int(number)))
        print(name, "kept", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
