"""Worlds for tests of one's own code: what can happen in them, what a test may promise, and what is refused."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import zkcore
from zkcore.testing.app_faults import CLASSES
from zkcore.testing.app_world import AppWorld
from zkcore.testing.boundary import ForeignLoopError, LoopClosedError, SimulationError
from zkcore.testing.fenced_resource import FencedResource
from zkcore.testing.promises import WorldFailure
from zkcore.testing.seeds import run_seeds

Story = Callable[[AppWorld], Coroutine[Any, Any, Any]]


def play(story: Story, *, seed: int = 1, **options: Any) -> AppWorld:
    """The world of `seed` after `story(world)`."""
    world = AppWorld(seed, **options)
    world.run(story, world)
    return world


# --- clients and nodes ------------------------------------------------------------------------------------------------


def test_a_client_has_the_verbs_of_every_client_and_each_takes_its_time() -> None:
    async def story(world: AppWorld) -> None:
        async with world.client() as zk:
            for verb in (
                zk.create("/config", b"old"),
                zk.set("/config", b"new"),
                zk.get("/config"),
                zk.get("/config", read=zkcore.Read.LOCAL),
                zk.get("/config", read=zkcore.Read.LINEARIZABLE),
                zk.get("/config", read=zkcore.Read.at_least(zk.last_zxid)),
                zk.sync(),
                zk.delete("/config"),
            ):
                before = world.now
                await verb
                assert before < world.now < before + 1
            assert await zk.exists("/config") is None

    play(story)


def test_a_watch_travels_as_everything_does() -> None:
    async def story(world: AppWorld) -> None:
        async with world.client() as one, world.client() as two:
            await one.create("/config")
            changed = asyncio.Event()
            await two.get("/config", watch=lambda event: changed.set())
            await one.set("/config", b"new")
            await changed.wait()
            assert (await two.get("/config")).data == b"new"

    play(story)


def test_an_idle_hour_is_short() -> None:
    async def story(world: AppWorld) -> None:
        async with world.client() as zk:
            steps = world.loop.steps
            await world.sleep(3600)
            assert world.loop.steps - steps < 90_000  # which take about half a second
            assert zk.state is zkcore.SessionState.CONNECTED

    play(story)


def test_the_work_goes_on_without_the_leader_and_it_comes_back_with_what_it_had() -> None:
    async def story(world: AppWorld) -> None:
        async with world.client() as zk:
            await zk.create("/before")
            crashed = world.leader
            assert crashed is not None
            world.kill(crashed)
            assert crashed not in world.nodes
            await surely(lambda: zk.create("/during"))
            world.restart(crashed)
            await world.sleep(10)
            tree = world.host(crashed).replica.tree
            assert {"before", "during"} <= set(tree.read(zkcore.tree.requests.GetChildren("/")))

    play(story)


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01, 0.05])
def test_a_session_that_was_to_be_opened_at_a_node_that_died_meanwhile_is_opened_at_another(delay: float) -> None:
    """Also where the node had not yet heard that it was asked."""

    async def test(world: AppWorld) -> None:
        opening = [asyncio.create_task(world.client(timeout=3).start()) for _ in range(6)]
        await world.sleep(delay)
        node = next(node for node in world.nodes if node != world.leader)
        world.kill(node)
        async with asyncio.timeout(30):
            for client in await asyncio.gather(*opening):
                assert await client.exists("/") is not None
                await client.close()

    for seed in range(5):
        world = AppWorld(seed)
        world.run(test, world)


async def surely(make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Until it has happened."""
    while True:
        try:
            await make()
            return
        except zkcore.OutcomeUnknownError:
            continue
        except zkcore.NodeExistsError:
            return


def test_a_leader_that_is_cut_off_is_replaced_and_follows_later() -> None:
    async def story(world: AppWorld) -> None:
        old = world.leader
        assert old is not None
        world.partition(old)
        await world.eventually("somebody else leads", lambda: world.leader not in (None, old), within=30)
        async with world.client() as zk:
            await surely(lambda: zk.create("/without-it"))
        world.heal()
        new = world.leader
        assert new is not None
        await world.sleep(20)
        assert world.host(old).replica.tree.last_zxid == world.host(new).replica.tree.last_zxid

    play(story)


def test_a_node_that_was_paused_finds_itself_deposed() -> None:
    async def story(world: AppWorld) -> None:
        old = world.leader
        assert old is not None
        world.pause(old)
        await world.sleep(30)
        assert world.host(old).replica.leader == old  # it has not had the time to notice
        world.resume(old)
        await world.sleep(10)
        assert world.leader not in (None, old)

    play(story)


def test_an_app_that_is_cut_off_cannot_read_and_goes_on_after() -> None:
    async def story(world: AppWorld) -> None:
        app = world.app("far")
        read: list[float] = []

        async def reader() -> None:
            async with world.client(timeout=30) as zk:
                while True:
                    try:
                        await zk.exists("/")
                    except zkcore.OutcomeUnknownError:
                        continue
                    read.append(world.now)
                    await asyncio.sleep(1)

        app.spawn(reader)
        await world.sleep(10)
        world.partition("far")
        cut = world.now
        await world.sleep(10)
        world.heal()
        await world.sleep(10)
        assert not [time for time in read if cut + 0.1 < time < cut + 10]
        assert [time for time in read if time > cut + 10]

    play(story)


def test_a_client_that_is_cut_off_from_its_node_moves_and_the_node_hears_of_it() -> None:
    async def story(world: AppWorld) -> None:
        async with world.client(timeout=20) as zk:

            def serving() -> list[int]:
                return [me for me in world.nodes if world.host(me).replica.can_read(zk.session_id)]

            (before,) = serving()
            world.partition("test", before)
            await world.eventually("it moves", lambda: before not in serving() and serving(), within=20)
            await world.sleep(20)
            assert len(serving()) == 1
            assert zk.state is zkcore.SessionState.CONNECTED

    for seed in range(5):
        play(story, seed=seed)


def test_a_session_that_the_ensemble_ends_is_lost() -> None:
    async def story(world: AppWorld) -> None:
        async with world.client() as zk, world.client() as other:
            await zk.create("/here", ephemeral=True)
            world.expire(zk)
            await world.sleep(1)
            assert zk.state is zkcore.SessionState.LOST
            assert await other.exists("/here") is None
            with pytest.raises(zkcore.SessionExpiredError):
                await zk.exists("/")

    play(story)


# --- apps -------------------------------------------------------------------------------------------------------------


def test_a_paused_holder_has_lost_its_lease_and_the_resource_refuses_its_token() -> None:
    async def story(world: AppWorld) -> None:
        account = world.fenced_resource("account")
        seen: list[str] = []

        async def sleepy() -> None:
            heedless = zkcore.OnLost.NOTHING
            async with world.client(timeout=5) as zk, zkcore.Lock(zk, "/lock").hold(on_lost=heedless) as lease:
                await account.write("mine", token=lease.fencing_token)
                await asyncio.sleep(5)  # and here it is paused
                seen.append(f"lost: {lease.is_lost()}")
                with pytest.raises(zkcore.StaleTokenError, match="of the past"):
                    await account.write("mine still", token=lease.fencing_token)
                seen.append("refused")

        world.app("sleepy").spawn(sleepy)
        await world.eventually("it holds the lock", lambda: account.value == "mine", within=5)
        world.pause("sleepy")
        async with world.client() as zk, zkcore.Lock(zk, "/lock") as lease:
            await account.write("ours", token=lease.fencing_token)
        world.resume("sleepy")
        await world.sleep(10)
        assert seen == ["lost: True", "refused"]
        assert (account.value, account.refused) == ("ours", 1)

    play(story)


def test_a_crashed_app_leaves_its_session_to_expire_and_starts_again() -> None:
    async def story(world: AppWorld) -> None:
        lives: list[float] = []
        ended: list[float] = []

        async def main() -> None:
            lives.append(world.now)
            try:
                async with world.client(timeout=5) as zk:
                    await zk.create("/here-", ephemeral=True, sequence=True)
                    await asyncio.sleep(1000)
            finally:
                ended.append(world.now)

        app = world.app("crashing")
        app.spawn(main)
        async with world.client() as zk:
            await world.sleep(5)
            world.crash("crashing")
            assert not app.up
            await world.sleep(2)
            assert len(await zk.get_children("/")) == 2  # and /zookeeper
            await world.sleep(10)
            assert await zk.get_children("/") == ["zookeeper"]
            assert ended == []
            world.restart(app)
            await world.sleep(5)
            assert len(await zk.get_children("/")) == 2
            assert len(lives) == 2

    play(story)


def test_what_was_on_its_way_when_an_app_crashed_still_arrives() -> None:
    async def story(world: AppWorld) -> None:
        account = world.fenced_resource()

        async def main() -> None:
            await account.write("last words")

        world.app("crashing").spawn(main)
        await asyncio.sleep(0)
        world.crash("crashing")
        await world.sleep(1)
        assert account.value == "last words"

    assert "last words" in str(play(story, seed=3).lines)


def test_a_task_that_fails_fails_the_world() -> None:
    async def broken() -> None:
        await asyncio.sleep(1)
        raise KeyError("nobody thought of this")

    async def story(world: AppWorld) -> None:
        world.app("one").spawn(broken)
        await world.sleep(100)

    with pytest.raises(WorldFailure, match=r"one/.* failed: KeyError: 'nobody thought of this'") as caught:
        play(story)
    assert isinstance(caught.value.__cause__, KeyError)


# --- promises ---------------------------------------------------------------------------------------------------------


def test_what_always_holds_is_looked_at_after_each_step() -> None:
    async def story(world: AppWorld) -> None:
        values: list[int] = []

        async def for_a_moment() -> None:
            await asyncio.sleep(1)
            values.append(1)
            await asyncio.sleep(0)
            values.clear()

        world.always("there are no values", lambda: not values)
        world.app("one").spawn(for_a_moment)
        await world.sleep(5)

    with pytest.raises(WorldFailure, match=r"always 'there are no values': no longer at 1\.0"):
        play(story)


def test_what_should_come_true_and_does_not_is_a_failure_at_its_time() -> None:
    async def story(world: AppWorld) -> None:
        await world.eventually("soon", lambda: world.now > 2, within=5)
        world.eventually("too late", lambda: world.now > 50, within=10)
        await world.sleep(100)

    world = AppWorld(1)
    with pytest.raises(WorldFailure, match="eventually 'too late': not within 10 s"):
        world.run(story, world)
    assert 12 < world.now < 13


def test_a_test_that_does_not_end_says_who_waits() -> None:
    async def waiting_for_nobody() -> None:
        await asyncio.Event().wait()

    with pytest.raises(WorldFailure, match=r"not ended after 60 virtual seconds(.|\n)*waiting_for_nobody"):
        play(lambda world: waiting_for_nobody(), time_limit=60)
    with pytest.raises(SimulationError, match="steps were not enough"):
        play(lambda world: world.sleep(3600), most_steps=1000)


def test_a_failure_has_the_seed_the_way_to_it_and_what_happened_last() -> None:
    async def story(world: AppWorld) -> None:
        world.say("the balance is 3")
        await world.sleep(1)
        assert world.seed < 5

    with pytest.raises(AssertionError) as caught:
        run_seeds(story, range(10), again="make again SEED={seed}")
    (note,) = caught.value.__notes__
    assert "seed 5 failed at 1." in note
    assert "again:  make again SEED=5" in note
    assert "the balance is 3" in note


def test_seeds_are_counted() -> None:
    done = run_seeds(lambda world: world.sleep(60), range(4), make_world=lambda seed: AppWorld(seed, faults="reset"))
    assert done.count == 4
    assert done.seconds > 240
    assert done.faults["reset"] > 0


# --- seeds ------------------------------------------------------------------------------------------------------------


async def worker(connect: Callable[..., zkcore.EmbeddedClient], account: FencedResource, fenced: bool) -> None:
    """Adds one to the account, again and again, while it holds the lock."""
    while True:
        try:
            async with connect(timeout=4) as zk, zkcore.Lock(zk, "/locks/account") as lease:
                token = lease.fencing_token if fenced else None
                while not lease.is_lost():
                    value = await account.read(token=token)
                    await asyncio.sleep(0.1)
                    await account.write(value + 1, token=token)
        except (zkcore.SessionError, zkcore.OutcomeUnknownError, zkcore.LeaseLostError, zkcore.StaleTokenError):
            continue


async def three_workers(world: AppWorld, *, fenced: bool = True) -> None:
    account = world.fenced_resource("account")
    for name in ("one", "two", "three"):
        world.app(name).spawn(worker, world.client, account, fenced)
    world.always("no update is lost", lambda: account.value == len(account.history))
    await world.sleep(40)
    world.calm()
    value = account.value
    await world.eventually("the work goes on", lambda: account.value > value + 3, within=60)


def with_all_faults(seed: int) -> AppWorld:
    return AppWorld(seed, faults=",".join(CLASSES))


def test_workers_that_give_their_token_lose_no_update_under_all_faults() -> None:
    done = run_seeds(three_workers, range(12), make_world=with_all_faults)
    assert set(done.faults) == set(CLASSES)


@pytest.mark.parametrize("faults", ["pause", "expire"])
def test_workers_that_give_none_are_caught(faults: str) -> None:
    async def story(world: AppWorld) -> None:
        await three_workers(world, fenced=False)

    with pytest.raises(WorldFailure, match="no update is lost"):
        run_seeds(story, range(60), make_world=lambda seed: AppWorld(seed, faults=faults))


def test_the_same_seed_is_the_same_world() -> None:
    digests = []
    for seed in (3, 3, 4):
        world = with_all_faults(seed)
        world.run(three_workers, world)
        digests.append(world.digest)
    assert digests[0] == digests[1] != digests[2]


def test_the_same_seed_leaves_the_same_state_to_the_byte() -> None:
    """Times, passwords and the names that clients draw are the seed's, too."""

    async def story(world: AppWorld) -> None:
        async with world.client() as zk, zkcore.Lock(zk, "/lock"):
            await world.sleep(1)
            _, pieces = world.host(1).replica.snapshot()
            states.append(b"".join(pieces))

    states: list[bytes] = []
    for seed in (1, 1, 2):
        play(story, seed=seed)
    assert states[0] == states[1] != states[2]


SAME_WORLD = """
import sys
sys.path.insert(0, sys.argv[1])
from test_app_world import three_workers, with_all_faults

for seed in (1, 2):
    world = with_all_faults(seed)
    world.run(three_workers, world)
    print(world.digest, world.loop.steps, world.trace.events)
"""


def test_the_same_seed_is_the_same_world_whatever_the_hash_seed() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", SAME_WORLD, __file__.rpartition("/")[0]],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True,
        ).stdout
        for seed in ("0", "1", "42")
    }  # fmt: skip
    assert len(printed) == 1


def test_chance_is_the_seeds_and_given_back_afterwards() -> None:
    async def story(world: AppWorld) -> None:
        drawn.append((random.random(), world.rng("mine").random(), world.rng("yours").random()))

    drawn: list[tuple[float, float, float]] = []
    random.seed(99)
    before = random.getstate()
    for seed in (1, 1, 2):
        play(story, seed=seed)
    assert random.getstate() == before
    assert drawn[0] == drawn[1]
    assert len({*drawn[0], *drawn[2]}) == 6


def test_faults_strike_again_and_again_and_never_the_test_itself() -> None:
    async def idle(world: AppWorld) -> None:
        while True:
            async with world.client() as zk:
                await zk.port.wait(zk.port.session.lost)

    async def story(world: AppWorld) -> None:
        world.app("one").spawn(idle, world)
        async with world.client() as zk:
            await world.sleep(300)
            assert zk.state is zkcore.SessionState.CONNECTED
            struck.append(world.fault_counts["expire"])

    struck: list[int] = []
    run_seeds(story, range(6), make_world=lambda seed: AppWorld(seed, faults="expire"))
    assert max(struck) > 10
    assert min(struck) == 0  # not every seed has every class


def test_calm_mends_everything() -> None:
    async def story(world: AppWorld) -> None:
        world.app("one").spawn(lambda: asyncio.sleep(0))
        await world.sleep(60)
        world.calm()
        await world.sleep(10)
        assert world.nodes == (1, 2, 3)
        assert world.leader is not None
        struck = sum(world.fault_counts.values())
        await world.sleep(60)
        assert sum(world.fault_counts.values()) == struck

    run_seeds(story, range(10), make_world=with_all_faults)


# --- misuse -----------------------------------------------------------------------------------------------------------


async def nothing() -> None:
    """A main that ends at once."""


@pytest.mark.parametrize(
    ("misuse", "says"),
    [
        (lambda world: world.kill(4), "node 4 is not up"),
        (lambda world: (world.kill(2), world.kill(2)), "node 2 is not up"),
        (lambda world: world.restart(1), "not one of .* that is down"),
        (lambda world: world.restart("one"), "one has not crashed"),
        (lambda world: (world.crash("one"), world.crash("one")), "one has crashed; restart it first"),
        (lambda world: (world.crash("one"), world.app("one").spawn(nothing)), "one has crashed; restart it first"),
        (lambda world: world.pause("nobody"), "no app 'nobody'; there are test, one"),
        (lambda world: world.partition("one", 7), "no node 7"),
        (lambda world: world.pause("test"), "an app of its own"),
        (lambda world: world.app(""), "an app has a name"),
        (lambda world: world.app("node 1"), "no node's"),
        (lambda world: world.app("one").spawn("main"), "a coroutine function and its arguments"),
        (lambda world: world.app("one").spawn(nothing()), "a coroutine function and its arguments"),
        (lambda world: ([world.kill(me) for me in world.nodes], world.expire(5)), "nobody leads"),
        (lambda world: world.client(timeout=-1), "session timeout"),
    ],
)
def test_what_makes_no_sense_is_refused(misuse: Callable[[AppWorld], object], says: str) -> None:
    async def story(world: AppWorld) -> None:
        world.app("one").spawn(nothing)
        with pytest.raises(zkcore.BadArgumentsError, match=says):
            misuse(world)

    play(story)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"nodes": 0}, "a world of 0 nodes"),
        ({"observers": -1}, "a world of -1 observers"),
        ({"faults": "crash,earthquake"}, "no class of faults 'earthquake'; there are crash, "),
    ],
)
def test_worlds_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(zkcore.ConfigurationError, match=says):
        AppWorld(1, **options)


def test_a_world_is_used_once_and_from_within() -> None:
    clients: list[zkcore.EmbeddedClient] = []

    async def story(world: AppWorld) -> None:
        clients.append(await world.client().start())

    world = AppWorld(1)
    with pytest.raises(ForeignLoopError):
        world.heal()
    world.run(story, world)
    for use in (world.heal, lambda: world.kill(1), lambda: world.run(story, world)):
        with pytest.raises(LoopClosedError, match="anew in each test"):
            use()
    with pytest.raises(LoopClosedError):
        asyncio.run(clients[0].exists("/"))
    with pytest.raises(LoopClosedError):
        asyncio.run(clients[0].create("/a"))


def test_a_client_of_a_world_is_of_no_use_on_another_loop() -> None:
    async def story(world: AppWorld) -> None:
        inner.append(await world.client().start())
        with pytest.raises(ForeignLoopError, match="start no loop of your own"):
            outer(inner[0].exists("/"))

    def outer(request: Coroutine[Any, Any, Any]) -> None:
        """Another loop, in the middle of this one: what a plain function does that hides asyncio."""
        asyncio._set_running_loop(None)
        try:
            asyncio.run(request)
        finally:
            asyncio._set_running_loop(world.loop)

    inner: list[zkcore.EmbeddedClient] = []
    world = AppWorld(1)
    world.run(story, world)
