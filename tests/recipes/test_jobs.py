"""Schedules, singleton jobs and migrations, step by step: when what is due, who does it, and what is written down."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from scripted import World

import zkcore.sync
from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    ConfigMismatchError,
    InvalidScheduleError,
    LeaseLostError,
    LockTimeoutError,
)
from zkcore.recipes.migrations import Migrations, MigrationStep
from zkcore.recipes.schedule import Cron, Every
from zkcore.recipes.singleton_job import JobState, SingletonJob, Tick
from zkcore.tree.requests import Delete, SetData

JOB = "/job"
STEPS = "/migrations"


# --- schedules --------------------------------------------------------------------------------------------------------


def at(text: str, zone: Any = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("line", "after", "due"),
    [
        ("* * * * *", "2026-01-01 00:00:00", "2026-01-01 00:01"),
        ("* * * * *", "2026-01-01 00:00:59.9", "2026-01-01 00:01"),
        ("*/15 * * * *", "2026-01-01 00:15", "2026-01-01 00:30"),
        ("5/20 * * * *", "2026-01-01 00:26", "2026-01-01 00:45"),
        ("0 3 * * *", "2026-01-01 03:00", "2026-01-02 03:00"),
        ("30 2 * * mon-fri", "2026-01-02 02:30", "2026-01-05 02:30"),
        ("0 0 * * 7", "2026-01-01 00:00", "2026-01-04 00:00"),
        ("0 0 29 feb *", "2026-01-01 00:00", "2028-02-29 00:00"),
        ("0 0 31 * *", "2026-02-01 00:00", "2026-03-31 00:00"),
        ("0 0 13 * fri", "2026-01-01 00:00", "2026-01-02 00:00"),
        ("0 0 1,15 * *", "2026-01-01 00:00", "2026-01-15 00:00"),
        ("0 12-14/2 * * *", "2026-01-01 12:30", "2026-01-01 14:00"),
        ("@yearly", "2026-01-01 00:00", "2027-01-01 00:00"),
        ("@HOURLY", "2026-01-01 00:59", "2026-01-01 01:00"),
    ],
)
def test_a_line_of_a_crontab_is_due(line: str, after: str, due: str) -> None:
    assert Cron(line).next_after(at(after)) == at(due)


@pytest.mark.parametrize(
    ("line", "after", "due"),
    [
        ("30 2 * * *", "2026-03-28 12:00", "2026-03-30 02:30"),  # there is no half past two on the 29th
        ("30 2 * * *", "2026-10-24 12:00", "2026-10-25 02:30"),
        ("30 2 * * *", "2026-10-25 02:30", "2026-10-26 02:30"),  # and two of them on the 25th
        ("0 0 * * *", "2026-03-29 12:00", "2026-03-30 00:00"),
        ("0 3 * * *", "2026-03-28 12:00", "2026-03-29 03:00"),
    ],
)
def test_a_zone_that_changes_its_clocks_leaves_out_and_repeats_nothing(line: str, after: str, due: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert Cron(line, zone=zone).next_after(at(after, zone)) == at(due, zone)


@pytest.mark.parametrize(
    "line",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *",
        "*/0 * * * *", "a * * * *", "1- * * * *", "-1 * * * *", "* * * jam *", "0 0 31 2 *", "0 0 30 feb *", "@often",
        "², * * * *",
    ],
)  # fmt: skip
def test_a_line_that_makes_no_sense_is_refused(line: str) -> None:
    with pytest.raises(InvalidScheduleError):
        Cron(line)


def test_every_so_many_seconds_means_the_same_times_to_everybody() -> None:
    assert Every(3600).next_after(at("2026-01-01 00:10")) == at("2026-01-01 01:00")
    assert Every(3600).next_after(at("2026-01-01 01:00")) == at("2026-01-01 02:00")
    for seconds in (0.1, 0.3, 1 / 3):
        time = 1_800_000_000.0
        for _ in range(1000):
            due = Every(seconds).next_after(time)
            assert time < due <= time + 1.01 * seconds
            time = due
    for odd in (0, -1, float("nan"), 1e9):
        with pytest.raises(InvalidScheduleError, match="between"):
            Every(odd)
    assert (repr(Every(5)), repr(Cron("@daily"))) == ("Every(5)", "Cron('@daily')")


# --- singleton jobs ---------------------------------------------------------------------------------------------------


class Worker:
    """One that serves the job in a session of its own, and what it was called with."""

    def __init__(self, world: World, name: str, *, schedule: Any = None) -> None:
        self.world = world
        self.client: Client = world.client()
        self.ticks: list[Tick] = []
        self.may_end = self.client.port.signal()
        self.may_end.set()
        self.fails = False
        self.job = SingletonJob(self.client, JOB, self.do, schedule=schedule or Every(10), name=name)
        self.serving = world.start(self.job.serve())
        world.settle()

    async def do(self, tick: Tick) -> None:
        self.ticks.append(tick)
        await self.client.port.wait(self.may_end)
        if self.fails:
            raise ValueError("out of paper")

    @property
    def due(self) -> list[float]:
        return [tick.due for tick in self.ticks]


def record(world: World) -> Any:
    return world.run(SingletonJob(world.client(), JOB, print, schedule=Every(1)).record())  # type: ignore[arg-type]


def test_one_does_what_is_due_and_the_next_goes_on_when_it_is_gone() -> None:
    world = World()
    one, two = Worker(world, "one"), Worker(world, "two")
    assert record(world).state is JobState.WAITING
    for _ in range(25):
        world.sleep(1)
    assert (one.due, two.due) == ([1010, 1020], [])
    assert world.run(two.job.leader()) == "one"
    assert (one.job.is_leader, two.job.is_leader) == (True, False)
    world.expire(one.client)
    for _ in range(10):
        world.sleep(1)
    assert two.due == [1030]
    assert two.ticks[0].token > one.ticks[0].token
    assert two.ticks[0].attempt == 1
    assert (record(world).by, record(world).state, record(world).due) == ("two", "done", 1030)
    assert repr(two.job) == "<SingletonJob /job leading>"


def test_what_an_instance_died_in_is_done_again_and_what_is_done_is_not() -> None:
    world = World()
    one, two = Worker(world, "one"), Worker(world, "two")
    world.sleep(10)
    one.may_end.clear()
    world.sleep(10)
    assert record(world).state is JobState.RUNNING
    assert one.due == [1010, 1020]
    world.expire(one.client)
    world.settle()
    assert [(tick.due, tick.attempt) for tick in two.ticks] == [(1020, 2)]
    assert record(world).state is JobState.DONE
    assert record(world).attempt == 2


def test_what_was_due_while_nobody_could_do_it_is_made_up_for_once() -> None:
    world = World()
    one = Worker(world, "one")
    world.expire(one.client)
    world.sleep(55)
    two = Worker(world, "two")
    assert two.due == [1010]
    world.sleep(4)
    assert two.due == [1010]
    world.sleep(1)
    assert two.due == [1010, 1060]


def test_a_clock_that_is_slow_does_nothing_again() -> None:
    world = World()
    one = Worker(world, "one")
    world.sleep(30)
    world.expire(one.client)
    world.time -= 20
    two = Worker(world, "two")
    for _ in range(30):
        world.sleep(1)
    assert one.due == [1010]  # all three of them in one call
    assert two.due == [1040]


def test_what_the_job_raises_is_recorded_and_the_next_tick_comes() -> None:
    world = World()
    one = Worker(world, "one")
    one.fails = True
    world.sleep(10)
    found = record(world)
    assert (found.state, found.by, found.due) == ("failed", "one", 1010)
    assert "out of paper" in found.traceback
    one.fails = False
    world.sleep(10)
    assert one.due == [1010, 1020]
    assert record(world).traceback == ""


def test_who_leads_no_more_is_told_before_it_begins_anything() -> None:
    world = World()
    one = Worker(world, "one")
    (name,) = world.children(f"{JOB}/leader")
    world.do(one.client.session_id, Delete(f"{JOB}/leader/{name}"))
    world.sleep(10)
    assert one.due == []
    with pytest.raises(LeaseLostError):
        one.serving.outcome()


def test_a_job_or_a_schedule_that_makes_no_sense_is_refused() -> None:
    world = World()
    client = world.client()
    with pytest.raises(BadArgumentsError, match="function"):
        SingletonJob(client, JOB, 7, schedule=Every(1))  # type: ignore[arg-type]
    with pytest.raises(InvalidScheduleError, match="next_after"):
        SingletonJob(client, JOB, print, schedule="* * * * *")  # type: ignore[arg-type]

    class Standing:
        def next_after(self, time: float, /) -> float:
            return time

    with pytest.raises(InvalidScheduleError, match="later time"):
        Worker(world, "one", schedule=Standing()).serving.outcome()
    world.do(client.session_id, SetData(JOB, b"{}"))
    with pytest.raises(CodecError, match="another path"):
        record(world)


# --- migrations -------------------------------------------------------------------------------------------------------


def migrate(
    world: World, *names: str, fails: str = "", told: list[tuple[str, bool]] | None = None, timeout: float | None = None
) -> Any:
    async def step(given: MigrationStep) -> None:
        if told is not None:
            told.append((given.name, given.is_again))
        assert given.token == given.lease.fencing_token
        if given.name == fails:
            raise ValueError("out of paper")

    migrations = Migrations(world.client(), STEPS, dict.fromkeys(names, step))
    return world.run(migrations.migrate(timeout=timeout))


def test_steps_are_run_once_and_new_ones_go_to_the_end() -> None:
    world = World()
    assert migrate(world, "a", "b") == ("a", "b")
    assert migrate(world, "a", "b") == ()
    assert migrate(world, "a", "b", "c") == ("c",)
    assert world.run(Migrations(world.client(), STEPS, {}).applied()) == ("a", "b", "c")
    assert repr(Migrations(world.client(), STEPS, {})) == "<Migrations /migrations of 0 steps>"


def test_a_step_that_fails_is_told_and_run_again_and_those_behind_it_are_not() -> None:
    world = World()
    told: list[tuple[str, bool]] = []
    with pytest.raises(ValueError, match="paper"):
        migrate(world, "a", "b", "c", fails="b", told=told)
    assert migrate(world, "a", "b", "c", told=told) == ("b", "c")
    assert told == [("a", False), ("b", False), ("b", True), ("c", False)]


def test_other_steps_than_were_run_are_refused_and_nothing_is_run() -> None:
    world = World()
    migrate(world, "a", "b")
    for names in (("a",), ("b", "a"), ("a", "c", "b")):
        with pytest.raises(ConfigMismatchError, match=r"older version|at the end"):
            migrate(world, *names)
    assert migrate(world, "a", "b") == ()


def test_who_waits_too_long_for_another_is_told() -> None:
    world = World()
    client = world.client()

    async def hang(step: MigrationStep) -> None:
        await client.port.wait()

    world.start(Migrations(client, STEPS, {"a": hang}).migrate())
    world.settle()
    with pytest.raises(LockTimeoutError):
        migrate(world, "a", timeout=0)
    world.expire(client)
    told: list[tuple[str, bool]] = []
    assert migrate(world, "a", told=told) == ("a",)
    assert told == [("a", True)]


def test_who_has_lost_the_lock_records_nothing() -> None:
    world = World()
    client = world.client()

    async def lose(step: MigrationStep) -> None:
        world.do(client.session_id, Delete(step.lease.path))

    with pytest.raises(LeaseLostError):
        world.run(Migrations(client, STEPS, {"a": lose}).migrate())
    assert migrate(world, "a") == ("a",)


@pytest.mark.parametrize("steps", [{"": print}, {"a/b": print}, {"a": 7}, {"a\0": print}])
def test_what_are_no_steps_is_refused(steps: Any) -> None:
    with pytest.raises(BadArgumentsError):
        Migrations(World().client(), STEPS, steps)


# --- for real ---------------------------------------------------------------------------------------------------------


def test_jobs_and_migrations_in_blocking_code() -> None:
    done: list[str] = []
    came = threading.Event()

    def step(given: zkcore.MigrationStep) -> None:
        given.lease.check()
        done.append(given.name)

    def do(tick: zkcore.Tick) -> None:
        tick.lease.check()
        came.set()

    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk:
        migrations = zkcore.sync.Migrations(zk, STEPS, {"a": step, "b": step})
        assert migrations.migrate(timeout=20) == ("a", "b") == migrations.applied() == tuple(done)
        assert (migrations.path, repr(migrations)) == (STEPS, "<Migrations /migrations of 2 steps>")
        with pytest.raises(BadArgumentsError):
            zkcore.sync.Migrations(zk, STEPS, {"a": 7})  # type: ignore[dict-item]
        with pytest.raises(BadArgumentsError):
            zkcore.sync.SingletonJob(zk, JOB, 7, schedule=Every(1))  # type: ignore[arg-type]
        with cluster.client() as other:
            job = zkcore.sync.SingletonJob(other, JOB, do, schedule=Every(0.05), name="one")
            thread = threading.Thread(target=job.serve)
            thread.start()
            assert came.wait(20)
            found = job.record()
            assert found is not None
            assert (found.by, job.leader(), job.path, job.is_leader) == ("one", "one", JOB, True)
            assert repr(job) == "<SingletonJob /job leading>"
        thread.join()
